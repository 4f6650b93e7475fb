# SPDX-License-Identifier: Apache-2.0
"""A topic of Google Pub/Sub as a source: `leat source pubsub` as a pod runs it, CloudPubSubSource and 2018's google.pubsub.topic.publish inside `serve`. A message is Pub/Sub's until the sink has its event."""

import base64
import json

import pytest

from forms import arrived, condition, is_ready
from leat import Reply, Sink, free_port, wait_for
from real.pubsub import PROJECT

GROUP = "events.cloud.google.com/v1"


@pytest.fixture
def topic(pubsub_topic):
    return pubsub_topic


@pytest.fixture
def source(start, sink, pubsub, topic):
    def run(*args, env=None):
        return start("source", "pubsub", *args, env={"K_SINK": sink.url, "PUBSUB_EMULATOR_HOST": pubsub.address, "PROJECT_ID": PROJECT, "TOPIC_ID": topic, "NAME": topic, **(env or {})})

    return run


def of(pubsub, topic):
    """The topic's subscriptions."""
    return [s for s in pubsub.names("subscriptions") if topic in s]


def there(pubsub, topic):
    wait_for(lambda: of(pubsub, topic), "the subscription")


# ---- alone ----


def test_a_message_is_an_event_of_today(source, sink, pubsub, topic):
    source(env={"NAMESPACE": "shop", "K_CE_OVERRIDES": '{"extensions":{"team":"mills"}}'})
    there(pubsub, topic)
    id_ = pubsub.publish(topic, b"hello", {"color": "blau\u00e4"})
    sink.wait(1)
    got = sink.requests[0]
    a = got.attributes
    full = f"projects/{PROJECT}/topics/{topic}"
    assert (a["type"], a["source"], a["id"], a["team"]) == ("google.cloud.pubsub.topic.v1.messagePublished", f"//pubsub.googleapis.com/{full}", id_, "mills")
    assert a["dataschema"].endswith("/google/events/cloud/pubsub/v1/data.proto") and a["time"].startswith("20") and got.headers["content-type"] == "application/json"
    assert got.headers["kn-namespace"] == "shop"
    data = got.json() if hasattr(got, "json") else json.loads(got.body)
    assert data["subscription"] == of(pubsub, topic)[0]
    message = data["message"]
    assert (message["messageId"], base64.b64decode(message["data"]), message["attributes"], message["publishTime"]) == (id_, b"hello", {"color": "blau\u00e4"}, a["time"])


def test_the_form_of_2018(source, sink, pubsub, topic):
    source("--form", "2018")
    there(pubsub, topic)
    id_ = pubsub.publish(topic, b"hello")
    sink.wait(1)
    got = sink.requests[0]
    assert (got.attributes["type"], got.attributes["id"]) == ("google.pubsub.topic.publish", id_) and "dataschema" not in got.attributes
    assert json.loads(got.body) == {"ID": id_, "Data": base64.b64encode(b"hello").decode(), "Attributes": None, "PublishTime": got.attributes["time"]}


def test_a_sink_that_fails_gets_the_message_again(source, sink, pubsub, topic):
    sink.fail(3)
    process = source()
    there(pubsub, topic)
    id_ = pubsub.publish(topic, b"x")
    sink.wait(4)
    assert {r.attributes["id"] for r in sink.requests} == {id_}
    assert "the sink answered 500" in process.wait_line("pubsub.retry", "stderr")
    process.wait_line("pubsub.recovered", "stderr")
    process.stop()
    assert pubsub.pull(of(pubsub, topic)[0]) == []  # acknowledged


def test_what_a_sink_never_takes_is_lost_by_nobody(start, pubsub, topic):
    """Neither a sink that is down nor the source's end loses a message: the next one has it, at once, or, what was on its way when the source ended, after the ack deadline."""
    port = free_port()
    process = start("source", "pubsub", env={"K_SINK": f"http://127.0.0.1:{port}/", "PUBSUB_EMULATOR_HOST": pubsub.address, "PROJECT_ID": PROJECT, "TOPIC_ID": topic, "NAME": topic})
    there(pubsub, topic)
    ids = {pubsub.publish(topic, b"%d" % n) for n in range(20)}
    process.wait_line("connection refused", "stderr")
    process.stop()
    with Sink(port=port) as late:
        again = start("source", "pubsub", env={"K_SINK": late.url, "PUBSUB_EMULATOR_HOST": pubsub.address, "PROJECT_ID": PROJECT, "TOPIC_ID": topic, "NAME": topic})
        late.wait(20, timeout=120)
        assert {r.attributes["id"] for r in late.requests} == ids
        again.stop()


def test_a_source_that_is_killed_loses_nothing(source, sink, pubsub, topic):
    """What it had in hand comes again after the ack deadline, ten seconds here."""
    sink.default = Reply(status=503)
    first = source("--ack-deadline", "10s")
    there(pubsub, topic)
    ids = {pubsub.publish(topic, b"%d" % n) for n in range(5)}
    sink.wait(5)
    first.kill()
    sink.clear()
    sink.default = Reply()
    source("--ack-deadline", "10s")
    wait_for(lambda: {r.attributes["id"] for r in sink.requests if r.attributes["id"] in ids} == ids, "all of them", timeout=60)


def test_many_messages(source, sink, pubsub, topic):
    source()
    there(pubsub, topic)
    ids = [pubsub.publish(topic, b"x" * 100) for _ in range(500)]
    sink.wait(500)
    assert sorted({r.attributes["id"] for r in sink.requests}) == sorted(ids)


def test_an_ordering_key_keeps_its_order(source, sink, pubsub, topic):
    sink.fail(2)
    pubsub.subscription(topic + "-ordered", topic, enableMessageOrdering=True)
    source("--subscription", topic + "-ordered")
    ids = [pubsub.publish(topic, b"%d" % n, key="k") for n in range(10)]
    sink.wait(12)
    got = [r.attributes["id"] for r in sink.requests]
    assert list(dict.fromkeys(got)) == ids
    assert json.loads(sink.requests[-1].body)["message"]["orderingKey"] == "k"


# ---- what is wrong is said ----


@pytest.mark.parametrize(
    "args, env, words",
    [
        ([], {"TOPIC_ID": ""}, ["topic is missing"]),
        (["--topic", "x"], {}, ["topic", "3 to 255"]),
        (["--ack-deadline", "5s"], {}, ["ackDeadline", "5s", "10s to 600s"]),
        (["--subscription", "goog-x"], {}, ["subscription", "goog"]),
        ([], {"PROJECT_ID": ""}, ["project is missing", "GOOGLE_CLOUD_PROJECT"]),
        ([], {"PROJECT_ID": "My Project"}, ["project", "My Project"]),
        (["--form", "new"], {}, ["form", "new", "2018"]),
        ([], {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/key.json", "PUBSUB_EMULATOR_HOST": ""}, ["/nowhere/key.json", "cannot be read"]),
        (["--emulator", "http://h"], {}, ["emulator", "HOST:PORT"]),
    ],
)
def test_what_is_wrong_is_said(run, args, env, words):
    code, _, said = run("source", "pubsub", *args, env={"K_SINK": "http://127.0.0.1:1/", "TOPIC_ID": "orders", "PROJECT_ID": "p", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1", **env})
    assert code in (1, 3), said
    for word in words:
        assert word in said, said


def test_a_topic_that_is_missing_is_waited_for(source, sink, pubsub, topic):
    pubsub.remove("topics", topic)
    process = source()
    said = process.wait_line("NotFound", "stderr")
    assert "there is no such topic" in said and f"leat-default-{topic}" in said
    pubsub.topic(topic)
    there(pubsub, topic)
    pubsub.publish(topic, b"x")
    sink.wait(1)


# ---- in serve ----


def cloud(name, topic, sink, **more):
    metadata = {"name": name, "namespace": "default", **({"annotations": more.pop("annotations")} if "annotations" in more else {})}
    return {"apiVersion": GROUP, "kind": "CloudPubSubSource", "metadata": metadata, "spec": {"topic": topic, "project": PROJECT, "sink": {"uri": sink.url}, **more}}


PLURAL = "cloudpubsubsources"


@pytest.fixture
def on(serve, pubsub):
    return lambda *objects: serve(objects, env={"PUBSUB_EMULATOR_HOST": pubsub.address})


def test_a_cloudpubsubsource_is_ready_and_delivers(on, sink, pubsub, topic):
    process = on(cloud(topic, topic, sink, ackDeadline="20s", ceOverrides={"extensions": {"team": "mills"}}))
    is_ready(process, GROUP, PLURAL, topic, "default")
    there(pubsub, topic)
    assert pubsub.look("subscriptions", of(pubsub, topic)[0])["ackDeadlineSeconds"] == 20
    id_ = pubsub.publish(topic, b"x")
    arrived(sink, id_)
    assert sink.requests[0].attributes["team"] == "mills"


def test_a_deleted_source_takes_its_subscription_along(serve, sink, pubsub, topic):
    process = serve([], env={"PUBSUB_EMULATOR_HOST": pubsub.address})
    where = f"/apis/{GROUP}/namespaces/default/{PLURAL}"
    assert process.ask("POST", where, cloud(topic, topic, sink)).status == 201
    there(pubsub, topic)
    assert process.ask("DELETE", f"{where}/{topic}").status == 200
    wait_for(lambda: not of(pubsub, topic), "the subscription to go")


def test_a_sink_that_takes_nothing_is_in_the_condition(on, sink, pubsub, topic):
    process = on(cloud(topic, topic, sink))
    there(pubsub, topic)
    sink.default = Reply(status=503)
    pubsub.publish(topic, b"x")
    wait_for(lambda: condition(process, GROUP, PLURAL, topic, "default", "DeliveryHealthy")[:2] == ("False", "DeliveryFailing"), "the condition")
    assert f"{sink.url} answered 503" in condition(process, GROUP, PLURAL, topic, "default", "DeliveryHealthy")[2]
    assert condition(process, GROUP, PLURAL, topic, "default")[0] == "True", "Ready says nothing of the sink"
    sink.default = Reply()
    wait_for(lambda: condition(process, GROUP, PLURAL, topic, "default", "DeliveryHealthy")[0] == "True", "that it delivers again", 60)


def test_a_missing_topic_is_in_the_condition_until_it_is_there(on, sink, pubsub, topic):
    pubsub.remove("topics", topic)
    process = on(cloud(topic, topic, sink))
    wait_for(lambda: condition(process, GROUP, PLURAL, topic, "default")[:2] == ("False", "NotFound"), "the condition")
    assert "there is no such topic" in condition(process, GROUP, PLURAL, topic, "default", "PullSubscriptionReady")[2]
    pubsub.topic(topic)
    is_ready(process, GROUP, PLURAL, topic, "default")
    there(pubsub, topic)
    arrived(sink, pubsub.publish(topic, b"x"))


def test_wrong_credentials_are_in_the_condition(serve, sink, topic):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "google", "namespace": "default"}, "stringData": {"key.json": '{"type": "authorized_user"}'}}
    process = serve([secret, cloud("wrong", topic, sink, secret={"name": "google", "key": "key.json"}), cloud("none", topic, sink, secret={"name": "nothing", "key": "key.json"})])
    got = condition(process, GROUP, PLURAL, "wrong", "default")
    assert got[:2] == ("False", "InvalidParameters") and "make a key of a service account" in got[2]
    assert condition(process, GROUP, PLURAL, "none", "default")[0] == "False"


def test_a_flow_of_2018(on, sink, pubsub, topic):
    trigger = {"eventType": "google.pubsub.topic.publish", "resource": f"projects/{PROJECT}/topics/{topic}", "service": "pubsub.googleapis.com"}
    process = on({"apiVersion": "flows.knative.dev/v1alpha1", "kind": "Flow", "metadata": {"name": topic, "namespace": "default"}, "spec": {"trigger": trigger, "action": {"targetURI": sink.url}}})
    is_ready(process, "flows.knative.dev/v1alpha1", "flows", topic, "default")
    there(pubsub, topic)
    id_ = pubsub.publish(topic, b"test message")
    sink.wait(1)
    got = sink.requests[0]
    assert got.attributes["type"] == "google.pubsub.topic.publish" and json.loads(got.body)["ID"] == id_
