# SPDX-License-Identifier: Apache-2.0
"""A Sequence whose step has no address yet: what the steps before it answered is kept, and goes on when the address is there."""

from broker import event
from leat import Reply, request

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
    assert ready()["status"] == "True"
