# SPDX-License-Identifier: Apache-2.0
"""A channel in memory at its bound: producers get 503 with Retry-After, other channels go on, and when the service takes events again so does the channel. Nothing that was
accepted is lost on the way."""

import json
import threading

import pytest

from broker import RawSink, channel, event, subscription
from leat import Reply, Sink, wait_for

BODY = b"x" * 1000
LONG = "PT10M"  # of an attempt: what a gate holds is not given up while a busy machine takes its time


@pytest.fixture
def gate():
    """A sink that answers nobody until `gate.set()`."""
    opened = threading.Event()
    yield opened
    opened.set()


def fill(broker, name="c", limit=10000):
    """Sends until refused: the ids that were accepted, and the refusal."""
    accepted = []
    for i in range(limit):
        answer = broker.post(name, BODY, event(str(i)))
        if answer.status != 202:
            return accepted, answer
        accepted.append(str(i))
    raise AssertionError("it never was full")


def test_503_with_retry_after_and_then_202(serve, sink, gate):
    sink.default = Reply(202, hold=gate)
    broker = serve([channel("c", capacity="128KiB"), channel("other"), subscription("s", "c", sink.url, timeout=LONG)])
    accepted, answer = fill(broker)
    assert answer.status == 503 and answer.headers["retry-after"] == "1" and "full" in answer.text
    assert 60 < len(accepted) < 140, "the bound counts bytes"
    assert broker.metric("leat_events_refused_total", reason="full") >= 1
    assert broker.metric("leat_channel_bytes", namespace="default", channel="c") <= 128 << 10
    assert broker.post("other", BODY).status == 202
    assert broker.ask("GET", "/readyz").status == 200
    gate.set()
    wait_for(lambda: broker.post("c", BODY, event("after")).status == 202, "room")
    wait_for(lambda: "after" in {r.headers["ce-id"] for r in list(sink.requests)}, "the event after")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    ids = [r.headers["ce-id"] for r in sink.requests]
    assert sorted(ids) == sorted([*accepted, *(["after"] * ids.count("after"))])
    broker.wait_metric(0, "leat_channel_bytes", namespace="default", channel="c")


def test_the_slowest_subscription_decides(serve, sink, gate):
    with Sink(Reply(202, hold=gate)) as slow:
        broker = serve([channel("c", capacity="64KiB"), subscription("fast", "c", sink.url), subscription("slow", "c", slow.url, timeout=LONG)])
        accepted, answer = fill(broker)
        assert answer.status == 503
        assert {r.headers["ce-id"] for r in sink.wait(len(accepted))} == set(accepted), "the fast one has all that was accepted"
        gate.set()
        assert {r.headers["ce-id"] for r in slow.wait(len(accepted))} == set(accepted)


def test_drop_oldest_instead(serve, sink, gate):
    with Sink(Reply(202, hold=gate)) as slow:
        broker = serve([channel("c", capacity="256KiB"), subscription("fast", "c", sink.url), subscription("slow", "c", slow.url, timeout=LONG, annotations={"leat.dev/overflow": "drop-oldest"})], "--loops", "1")
        sent = 600
        for i in range(sent):
            wait_for(lambda: broker.post("c", BODY, event(str(i))).status == 202, "the fast one")
        sink.wait(sent)
        gate.set()
        broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="slow")
        got = [int(r.headers["ce-id"]) for r in slow.requests]
        assert len(got) < sent and sent - 1 in got and 0 in got, "the newest, and what was under way"
        broker.wait_metric(sent - len(got), "leat_deliveries_dropped_total", **{"namespace": "default", "subscription": "slow", "from": "backlog"})


def test_an_event_larger_than_the_bound(serve):
    broker = serve([channel("c", capacity="4KiB"), subscription("s", "c", "http://127.0.0.1:1/")])
    answer = broker.post("c", b"x" * 8192)
    assert answer.status == 413 and "too large" in answer.text


def test_a_batch_that_does_not_fit(serve, sink, gate):
    """At least once: the sender of a batch that was refused in its middle sends all of it again."""
    sink.default = Reply(202, hold=gate)
    broker = serve([channel("c", capacity="64KiB"), subscription("s", "c", sink.url, timeout=LONG)])
    batch = [{"specversion": "1.0", "id": str(i), "type": "t", "source": "/s", "data": "x" * 1000} for i in range(100)]
    answer = broker.post("c", json.dumps(batch).encode(), {"Content-Type": "application/cloudevents-batch+json"})
    assert answer.status == 503 and answer.headers["retry-after"]
    gate.set()
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    assert len(sink.requests) < 100


def test_a_full_reply_channel_is_tried_again_and_then_dead_lettered(serve, sink):
    with RawSink(lambda s, stop: stop.wait()) as hanging, Sink() as dead, Sink(Reply(200, event("r", "reply"), b"y" * 3000)) as service:
        broker = serve(
            [channel("c"), channel("small", capacity="8KiB"), subscription("s", "c", service.url, reply="small", retry=2, dead=dead.url), subscription("h", "small", hanging.url)],
            "--drain",
            "100ms",
        )
        broker.may_lose = True
        for i in range(10):
            broker.post("c", b"", event(str(i)))
        got = dead.wait(8)
        assert all(r.headers["ce-knativeerrordest"].endswith("/channels/default/small") for r in got)
        broker.wait_metric(2, "leat_events_accepted_total", namespace="default", channel="small")
