# SPDX-License-Identifier: Apache-2.0
"""leat on a Kafka that lets it do only some things: what it may not do is said in the conditions, in the broker's words, and works when the right is given."""
import sys

import pytest

from broker import event
from leat import ROOT, request, wait_for
from real.kafka import AUTHORIZER, USER, Kafka
from test_kafka_security import objects, secret_of, send

sys.path.insert(0, str(ROOT / "build" / "python"))  # tests/setup/python-clients

from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, KafkaAdminClient, NewTopic, ResourcePattern, ResourceType  # noqa: E402


@pytest.fixture(scope="module")
def kafka():
    with Kafka(settings=AUTHORIZER) as k:
        yield k


@pytest.fixture
def admin(kafka):
    client = KafkaAdminClient(bootstrap_servers=kafka.address)
    yield client
    client.close()


def allow(admin, kind, name, operation, pattern="LITERAL"):
    """Gives USER this right."""
    resource = ResourcePattern(ResourceType[kind], name, ACLResourcePatternType[pattern])
    admin.create_acls([ACL(f"User:{USER}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, resource)])


def condition_of(server, namespace, kind, name):
    got = server.ask("GET", f"/apis/eventing.knative.dev/v1/namespaces/{namespace}/{kind}/{name}").json()
    return next(c for c in got["status"]["conditions"] if c["type"] == "Ready")


def says(server, namespace, kind, name, *words):
    def told():
        c = condition_of(server, namespace, kind, name)
        return c["status"] != "True" and all(w in c["message"] for w in words) and ("uthorization failed" not in c["message"] or c["reason"] == "NotAuthorized")

    wait_for(told, f"{kind}/{name} to say {words}")


def test_rights_are_missed_by_name_and_taken_up(kafka, admin, serve, sink, namespace):
    topic, group = f"knative-broker-{namespace}-b", f"knative-trigger-{namespace}-t"
    given = objects(namespace, kafka.server("SASL_PLAINTEXT"), secret_of(kafka, "SASL_PLAINTEXT", "PLAIN"), sink.url)
    server = serve(given)
    says(server, namespace, "brokers", "b", topic, "Topic authorization failed")
    assert send(server, namespace, "0").status == 503
    # It sees that there is none, and may not make one.
    allow(admin, "TOPIC", topic, "DESCRIBE")
    says(server, namespace, "brokers", "b", topic, "uthorization failed")
    # The topic is there, and may be neither written nor read. What is tried says so; the sender may come again.
    admin.create_topics([NewTopic(topic, 1, 1)])
    refusals = []
    wait_for(lambda: refusals.append(send(server, namespace, "1").status) or (len(refusals) > 3 and "cannot be written" in condition_of(server, namespace, "brokers", "b").get("message", "")), "what is written to be refused")
    assert set(refusals) == {503}
    says(server, namespace, "brokers", "b", f"topic {topic} cannot be written", "uthorization failed")
    allow(admin, "TOPIC", topic, "WRITE")
    wait_for(lambda: send(server, namespace, "2").status == 202, "an event to be accepted")
    wait_for(lambda: condition_of(server, namespace, "brokers", "b")["status"] == "True", "the Broker to be ready")
    # The group may not be used, then the topic not be read.
    says(server, namespace, "triggers", "t", f"group {group}", "Group authorization failed")
    allow(admin, "GROUP", group, "READ")
    server.reload(given)  # what failed is tried again at once, not after its backoff
    says(server, namespace, "triggers", "t", "Topic authorization failed")
    allow(admin, "TOPIC", topic, "READ")
    server.reload(given)
    says(server, namespace, "triggers", "t", "cannot be parked")
    allow(admin, "TOPIC", "leat-dead-letter.", "ALL", "PREFIXED")
    allow(admin, "GROUP", "leat.dead-letter.", "ALL", "PREFIXED")
    server.reload(given)
    wait_for(lambda: condition_of(server, namespace, "triggers", "t")["status"] == "True", "the Trigger to be ready")
    assert send(server, namespace, "3").status == 202
    wait_for(lambda: "3" in [r.headers.get("ce-id") for r in sink.requests], "the event at the sink")
    for code in ("TopicFailed", "ProducerReplaced", "ClientFailed", "GroupTrouble"):
        assert server.count_lines(f"code={code} ") <= 10, server.logs
