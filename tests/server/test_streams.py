# SPDX-License-Identifier: Apache-2.0
"""Who drains a subscription, and what of it changes in place: pausing, limits that span loops, filters, capacities. Each on more loops than one."""

import threading
import time

import pytest

from broker import channel, event, subscription
from leat import Client, Reply, Sink, wait_for

LOOPS = ("--loops", "3")
EVENTING = "eventing.knative.dev/v1"


def deal(broker, count, name="a", first=0, **attributes):
    """Events 0, 1 ... over as many connections as spread them over all loops."""
    clients = [Client(broker.ingress) for _ in range(6)]
    for i in range(first, first + count):
        answer = clients[i % 6].request("POST", f"/channels/default/{name}", b"", event(str(i), **attributes))
        assert answer.status == 202, answer
    for c in clients:
        c.close()


def ids(sink):
    return sorted(int(r.headers["ce-id"]) for r in sink.requests)


def paused(value=True, **more):
    return {"leat.dev/paused": "true" if value else "false", **more}


def backlog(broker, name="s"):
    return broker.metric("leat_backlog_events", namespace="default", subscription=name)


def test_paused_from_the_start_misses_nothing(serve, sink):
    broker = serve([channel("a"), subscription("s", "a", sink.url, annotations=paused())], *LOOPS)
    deal(broker, 20)
    assert backlog(broker) == 20 and not sink.requests
    broker.reload([channel("a"), subscription("s", "a", sink.url)])
    sink.wait(20)
    assert ids(sink) == list(range(20))


def test_paused_later_keeps_its_backlog_and_goes_on(serve, sink):
    running, stopped = subscription("s", "a", sink.url), subscription("s", "a", sink.url, annotations=paused())
    broker = serve([channel("a"), running], *LOOPS)
    deal(broker, 5)
    sink.wait(5)
    broker.reload([channel("a"), channel("mark"), stopped])
    broker.in_force("mark")
    deal(broker, 20, first=5)
    wait_for(lambda: backlog(broker) == 20, "the end of what was at the sink")
    assert len(sink.requests) == 5
    broker.reload([channel("a"), running])
    sink.wait(25)
    assert ids(sink) == list(range(25))


def test_a_stop_does_not_wait_for_what_is_paused(serve, sink):
    broker = serve([channel("a"), subscription("s", "a", sink.url, annotations=paused())], *LOOPS, "--drain", "60s")
    deal(broker, 3)
    began = time.monotonic()
    assert broker.stop() == 4  # said as lost: the memory bus keeps nothing
    assert time.monotonic() - began < 40
    assert any("serve.lost" in line and "events=3" in line for line in broker.stderr), broker.logs


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_spans_the_loops(serve, limit):
    hold = threading.Event()
    with Sink(Reply(200, hold=hold)) as sink:
        broker = serve([channel("a"), subscription("s", "a", sink.url, annotations={"leat.dev/max-in-flight": str(limit)})], *LOOPS)
        deal(broker, 24)
        sink.wait(limit)
        assert backlog(broker) == 24
        assert broker.metric("leat_deliveries_in_flight", namespace="default", subscription="s") == limit
        assert len(sink.requests) == limit
        hold.set()
        sink.wait(24)
        assert ids(sink) == list(range(24))
        wait_for(lambda: backlog(broker) == 0, "an empty backlog")


def test_a_limit_that_comes_later_moves_all_to_one_loop(serve, sink):
    broker = serve([channel("a"), subscription("s", "a", sink.url)], *LOOPS)
    deal(broker, 12)
    sink.wait(12)
    for k, limits in enumerate(({"leat.dev/max-in-flight": "2"}, {}, {"leat.dev/max-in-flight": "1"})):
        broker.reload([channel("a"), channel(f"mark{k}"), subscription("s", "a", sink.url, annotations=limits)])
        broker.in_force(f"mark{k}")
        deal(broker, 12, first=12 * (k + 1))
        sink.wait(12 * (k + 2))
    assert ids(sink) == list(range(48))


def trigger(name, url, **attributes):
    spec = {"broker": "b", "filter": {"attributes": attributes}, "subscriber": {"uri": url}}
    return {"apiVersion": EVENTING, "kind": "Trigger", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def broker_object():
    return {"apiVersion": EVENTING, "kind": "Broker", "metadata": {"name": "b", "namespace": "default"}}


def post_types(broker, *types):
    client = Client(broker.ingress)
    for n, type_ in enumerate(types):
        assert client.request("POST", "/brokers/default/b", b"", event(f"{type_}-{n}", type_)).status == 202
    client.close()


def test_a_changed_filter_counts_for_later_events_and_keeps_what_was_kept(serve, sink):
    held = trigger("t", sink.url, type="x")
    held["metadata"]["annotations"] = paused()
    broker = serve([broker_object(), held], *LOOPS)
    post_types(broker, "x", "y", "x")
    assert backlog(broker, "t") == 2
    broker.reload([broker_object(), channel("mark"), trigger("t", sink.url, type="y")])
    broker.in_force("mark")
    post_types(broker, "x", "y", "y")
    sink.wait(4)
    assert sorted(r.headers["ce-type"] for r in sink.requests) == ["x", "x", "y", "y"]
    wait_for(lambda: backlog(broker, "t") == 0, "an empty backlog")


def test_what_no_filter_wants_is_accepted_and_counted(serve, sink):
    broker = serve([broker_object(), trigger("t", sink.url, type="x")], *LOOPS)
    post_types(broker, "y", "x", "z")
    sink.wait(1)
    assert broker.metric("leat_events_unmatched_total", namespace="default", channel="b") == 2
    assert broker.metric("leat_events_dropped_total", namespace="default", channel="b") == 0


def test_a_changed_capacity_counts_at_once(serve, sink):
    held = subscription("s", "a", sink.url, annotations=paused())
    broker = serve([channel("a", capacity="2KiB"), held], *LOOPS)
    assert broker.post("a", b"x" * 4000, event("large")).status != 202
    broker.reload([channel("a", capacity="1MiB"), channel("mark"), held])
    broker.in_force("mark")
    assert broker.post("a", b"x" * 4000, event("large")).status == 202
    assert backlog(broker) == 1
    broker.reload([channel("a"), subscription("s", "a", sink.url)])
    sink.wait(1)
