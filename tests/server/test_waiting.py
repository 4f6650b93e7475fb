# SPDX-License-Identifier: Apache-2.0
"""Events that wait for an address: that of a Sequence's step that is not there yet, and that of a Trigger that has gone."""

from broker import event
from leat import Reply, request, wait_for

FLOWS = "flows.knative.dev/v1"
LATE = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "late"}, "uri": "/second"}


def sequence(sink):
    spec = {"steps": [{"uri": sink.url.rstrip("/") + "/first"}, LATE]}
    return {"apiVersion": FLOWS, "kind": "Sequence", "metadata": {"name": "s", "namespace": "default"}, "spec": spec}


def service(sink):
    host, port = sink.url.rstrip("/").split("//")[1].split(":")
    spec = {"type": "ExternalName", "externalName": host, "ports": [{"port": int(port)}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late", "namespace": "default"}, "spec": spec}


def test_a_step_without_an_address_keeps_its_events(serve, sink):
    sink.default = Reply(200, event("2", "answer").items(), b"between")
    broker = serve([sequence(sink)])

    def ready():
        status = broker.ask("GET", f"/apis/{FLOWS}/namespaces/default/sequences/s").json()["status"]
        return next(c for c in status["conditions"] if c["type"] == "Ready")

    assert ready()["status"] == "False" and "steps[1]" in ready()["message"]
    assert request("POST", f"{broker.ingress}/sequences/default/s", b"x", event()).status == 202
    assert sink.wait(1)[0].path == "/first"
    broker.wait_metric(1, "leat_backlog_events", namespace="default", subscription="s-kn-sequence-1")
    broker.reload([sequence(sink), service(sink)])
    got = sink.wait(2)[1]
    assert got.path == "/second" and got.body == b"between" and got.attributes["id"] == "2"
    wait_for(lambda: ready()["status"] == "True", "the sequence to be Ready")


def test_a_subscriber_that_goes_away_and_comes_back(serve, sink):
    eventing = {"apiVersion": "eventing.knative.dev/v1"}
    broker_ = {**eventing, "kind": "Broker", "metadata": {"name": "b", "namespace": "default"}}
    trigger = {**eventing, "kind": "Trigger", "metadata": {"name": "t", "namespace": "default"}, "spec": {"broker": "b", "subscriber": LATE}}
    broker = serve([broker_, trigger, service(sink)])

    def send(id):
        assert request("POST", f"{broker.ingress}/default/b", b"", event(id)).status == 202

    def subscription_ready():
        status = broker.ask("GET", "/apis/eventing.knative.dev/v1/namespaces/default/triggers/t").json()["status"]
        return next(c["status"] for c in status["conditions"] if c["type"] == "SubscriptionReady")

    send("1")
    assert sink.wait(1)[0].attributes["id"] == "1"
    broker.reload([broker_, trigger])
    wait_for(lambda: subscription_ready() == "Unknown", "the condition")
    send("2")
    broker.reload([broker_, trigger, {**broker_, "metadata": {"name": "other", "namespace": "default"}}])
    wait_for(lambda: request("POST", f"{broker.ingress}/default/other", b"", event("x")).status == 202, "another plan")
    send("3")
    broker.reload([broker_, trigger, service(sink)])
    assert sorted(r.attributes["id"] for r in sink.wait(3)) == ["1", "2", "3"]
