# SPDX-License-Identifier: Apache-2.0
"""Conditions as clients meet them: `kubectl wait` for each kind, and DeliveryHealthy, which tells what Ready does not. Which kinds have which is in tests/unit/broker_conditions.c."""

import json
import sqlite3
import time

import pytest

from broker import MESSAGING, channel, event, github_source, subscription
from kubectl import NEW, OLD, Kubectl
from leat import Reply, wait_for
from recorder import always
from test_bus_refuses import BUS, of_capacity
from test_kubectl_watching import Watch
from topology import branch, mesh, parallel, resource, send, sequence, trigger

SUBSCRIPTIONS = f"/apis/{MESSAGING}/namespaces/default/subscriptions"
NOWHERE = "http://127.0.0.1:1/"
HEALTHY = "DeliveryHealthy"
OF_2018 = "channels.knative.dev/v1alpha1"


def thing(api, kind, name, spec):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


OBJECTS = [
    channel("c"),
    channel("m", kind="InMemoryChannel"),
    subscription("s", "c", NOWHERE),
    mesh("b"),
    trigger("t", "b", NOWHERE),
    resource("EventType", "e", {"attributes": [{"name": n, "value": "v", "required": True} for n in ("type", "source", "specversion", "id")]}),
    sequence("q", [NOWHERE]),
    parallel("p", [branch(NOWHERE)]),
    *github_source("g", NOWHERE),
    thing("sources.knative.dev/v1", "PingSource", "ping", {"schedule": "0 0 1 1 *", "sink": {"uri": NOWHERE}}),
    BUS,
    of_capacity("1MiB"),
    thing(OF_2018, "Subscription", "old", {"channel": "old", "subscriber": "http://h/"}),
]
READY = ["channel.messaging.knative.dev/c", "inmemorychannel/m", "subscription.messaging.knative.dev/s", "broker/b", "trigger/t", "eventtype.eventing.knative.dev/e", "sequence/q", "parallel/p", "githubsource/g", "pingsource/ping", "clusterbus/stub", "channel.channels.knative.dev/old"]


@pytest.fixture(scope="module")
def broker(serve_module):
    return serve_module(OBJECTS)


@pytest.fixture(scope="module", params=[NEW, OLD], ids=["new", "old"])
def kubectl(request, broker, tmp_path_factory):
    return Kubectl(request.param, broker.api, tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("which", READY)
def test_wait_for_ready(kubectl, which):
    kind = "Ready" if "bus/" not in which else "Serviceable"
    assert "condition met" in kubectl.good("wait", f"--for=condition={kind}", which, "--timeout=50s").out


def condition(broker, type_=HEALTHY, path=SUBSCRIPTIONS + "/s"):
    conditions = broker.ask("GET", path).json().get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == type_), {})


def wait_condition(broker, status, reason=None, **more):
    return wait_for(lambda: (c := condition(broker, **more)).get("status") == status and (not reason or c.get("reason") == reason) and c, f"{status} {reason}")


def test_unknown_before_the_first(broker):
    for path in (SUBSCRIPTIONS + "/s", "/apis/eventing.knative.dev/v1/namespaces/default/triggers/t", f"/apis/{OF_2018}/namespaces/default/subscriptions/old"):
        there = wait_condition(broker, "Unknown", "NothingDelivered", path=path)
        assert there["severity"] == "Info" and there["lastTransitionTime"]


def test_health_and_ready(serve, sink):
    """Ready says nothing of the subscriber, DeliveryHealthy does, and a watch sees it."""
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=0)])
    broker.may_lose = True
    wait_condition(broker, "True", type_="Ready")
    assert broker.post("c").status == 202
    wait_condition(broker, "True")
    version = broker.ask("GET", SUBSCRIPTIONS + "/s").json()["metadata"]["resourceVersion"]
    with Watch(broker, SUBSCRIPTIONS, resourceVersion=version) as watch:
        sink.default = Reply(500)
        assert broker.post("c", headers=event("2")).status == 202
        told, bad = None, {"reason": "DeliveryFailing"}
        while bad["reason"] == "DeliveryFailing":  # it has failed, and is about to be parked
            told = watch.next()["object"]
            bad = next(c for c in told["status"]["conditions"] if c["type"] == HEALTHY)
    assert (bad["status"], bad["reason"]) == ("False", "EventsParked") and sink.url in bad["message"], bad
    assert next(c for c in told["status"]["conditions"] if c["type"] == "Ready")["status"] == "True"
    # A plan changes nothing of it.
    assert broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/channels", channel("new")).status == 201
    broker.in_force("new")
    assert condition(broker)["reason"] == "EventsParked" and condition(broker)["lastTransitionTime"] == bad["lastTransitionTime"]
    sink.default = Reply(202)
    assert broker.post("c", headers=event("3")).status == 202
    wait_condition(broker, "True")


def test_while_it_is_tried_again(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=1000, backoffDelay="PT0.1S")])
    sink.default = Reply(503)
    assert broker.post("c").status == 202
    wait_condition(broker, "False", "DeliveryFailing")
    sink.default = Reply(202)
    wait_condition(broker, "True")


def test_a_dead_letter_sink(serve, recorder):
    bad, dead = recorder.add("bad", always(400)), recorder["dead"]
    broker = serve([mesh("b"), trigger("t", "b", bad.url, delivery={"retry": 0, "deadLetterSink": {"uri": dead.url}})])
    path = "/apis/eventing.knative.dev/v1/namespaces/default/triggers/t"
    wait_condition(broker, "True", type_="Ready", path=path)
    assert send(broker, "Broker/b", b"x", event()).status == 202
    wait_condition(broker, "False", "EventsDeadLettered", path=path)


def test_kubectl_waits_for_it(serve, sink, tmp_path):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    kubectl = Kubectl(NEW, broker.api, tmp_path)
    assert broker.post("c").status == 202
    assert "condition met" in kubectl.good("wait", f"--for=condition={HEALTHY}", "subscription.messaging.knative.dev/s", "--timeout=50s").out


def test_a_flood_of_failures_is_few_writes(serve, sink, tmp_path):
    """At most one a second, and none into the store."""
    broker = serve([], "--data-dir", tmp_path / "data")
    for path, one in ((f"/apis/{MESSAGING}/namespaces/default/channels", channel("c")), (SUBSCRIPTIONS, subscription("s", "c", sink.url, retry=3))):
        assert broker.ask("POST", path, one).status == 201
    wait_condition(broker, "True", type_="Ready")
    sink.default = Reply(500)
    version = broker.ask("GET", SUBSCRIPTIONS).json()["metadata"]["resourceVersion"]
    began = time.monotonic()
    for i in range(200):
        assert broker.post("c", headers=event(str(i))).status == 202
    wait_for(lambda: condition(broker).get("reason") == "EventsParked", "the condition")
    broker.wait_metric(200, "leat_deliveries_total", namespace="default", subscription="s", end="parked")
    assert broker.ask("POST", SUBSCRIPTIONS, subscription("last", "c", sink.url)).status == 201
    with Watch(broker, SUBSCRIPTIONS, resourceVersion=version) as watch:
        writes = 0
        while (told := watch.next())["object"]["metadata"]["name"] != "last":
            writes += 1
    assert 1 <= writes <= time.monotonic() - began + 2
    with sqlite3.connect(tmp_path / "data/resources.db") as db:
        stored = json.loads(db.execute("SELECT object FROM objects WHERE name = 's'").fetchone()[0])
    assert "status" not in stored
