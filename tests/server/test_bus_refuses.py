# SPDX-License-Identifier: Apache-2.0
"""What the bus refuses while a plan is put in force: a condition says it, later plans do not hide it, and it goes when the cause goes."""

from broker import channel
from leat import wait_for

OLD = "channels.knative.dev/v1alpha1"
BUS = {
    "apiVersion": OLD,
    "kind": "ClusterBus",
    "metadata": {"name": "stub"},
    "spec": {"dispatcher": {"image": "x/buses/stub/dispatcher"}, "parameters": {"channel": [{"name": "capacity", "default": "1MiB"}]}},
}


def of_capacity(value):
    spec = {"clusterBus": "stub", "arguments": [{"name": "capacity", "value": value}]}
    return {"apiVersion": OLD, "kind": "Channel", "metadata": {"name": "old"}, "spec": spec}


def test_a_channel_that_the_bus_refuses(serve):
    broker = serve([BUS, of_capacity("lots")])

    def condition(type_):
        status = broker.ask("GET", f"/apis/{OLD}/namespaces/default/channels/old").json()["status"]
        return next(c for c in status["conditions"] if c["type"] == type_)

    wait_for(lambda: condition("Provisioned")["status"] == "False", "the refusal")
    said = condition("Ready")
    assert said["status"] == "False" and said["reason"] == "BusRefused"
    assert "lots" in said["message"] and "capacity" in said["message"]
    # A plan that changes something else.
    broker.reload([BUS, of_capacity("lots"), channel("new")])
    broker.in_force("new")
    assert condition("Ready")["reason"] == "BusRefused"
    assert condition("Provisioned")["lastTransitionTime"] == said["lastTransitionTime"]
    # The cause goes.
    broker.reload([BUS, of_capacity("2MiB"), channel("new")])
    wait_for(lambda: condition("Ready")["status"] == "True", "the channel")
    assert broker.post("old").status == 202
