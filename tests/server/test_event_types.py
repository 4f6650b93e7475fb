# SPDX-License-Identifier: Apache-2.0
"""EventTypes that make themselves from what passes (`--auto-create-event-types`)."""

from broker import channel, event
from leat import wait_for
from topology import mesh, object_of, path_of, send


def types(broker):
    return broker.ask("GET", path_of("EventType")).json()["items"]


def attribute(thing, name):
    return next((a.get("value") for a in thing["spec"]["attributes"] if a["name"] == name), None)


def test_one_for_each_type_and_source(serve, sink):
    broker = serve([mesh("shop"), channel("c")], "--auto-create-event-types", "--loops", "2")
    for _ in range(4):
        for where in ("Broker/shop", "Channel/c"):
            for type in ("order.made", "order.paid"):
                assert send(broker, where, b"", event(type=type, source="/till", dataschema="https://example.org/schema")).status == 202
    found = wait_for(lambda: len(types(broker)) == 4 and types(broker), "four EventTypes")
    seen = {(t["spec"]["reference"]["kind"], t["spec"]["reference"]["name"], attribute(t, "type"), attribute(t, "source"), attribute(t, "dataschema")) for t in found}
    assert seen == {(kind, name, type, "/till", "https://example.org/schema") for kind, name in (("Broker", "shop"), ("Channel", "c")) for type in ("order.made", "order.paid")}
    name = found[0]["metadata"]["name"]
    wait_for(lambda: any(c["type"] == "Ready" for c in object_of(broker, "EventType", name).get("status", {}).get("conditions", [])), "its conditions")


def test_none_unless_asked_for(serve, sink):
    broker = serve([mesh("shop")])
    assert send(broker, "Broker/shop", b"", event()).status == 202
    broker.wait_metric(1, "leat_events_accepted_total", namespace="default", channel="shop")
    assert types(broker) == []


def test_sources_made_up_at_random_do_no_harm(serve, sink):
    """More than the shard tells of, and more than the server makes: events pass all the same."""
    broker = serve([channel("c")], "--auto-create-event-types", "--loops", "1")
    envelopes = ",".join(f'{{"specversion":"1.0","id":"1","type":"t","source":"/%d/{i}"}}' for i in range(1000))
    for k in range(10):
        body = f"[{envelopes.replace('%d', str(k))}]".encode()
        assert broker.post("c", body, {"Content-Type": "application/cloudevents-batch+json"}).status == 202
    broker.wait_line("event_types.full")
    broker.wait_metric(10000, "leat_events_accepted_total", namespace="default", channel="c")
    wait_for(lambda: len(types(broker)) >= 1000, "EventTypes up to their bound")
