# SPDX-License-Identifier: Apache-2.0
"""What a restart finds on the log: after a clean stop, a kill at any moment of the start, damage in the middle, another number of loops."""

import random
import re
import threading

import pytest

from broker import channel, event, subscription
from leat import Client, Reply, Sink, wait_for


@pytest.fixture
def last():
    """A sink for the last server: what those before it had sent may come late at theirs."""
    with Sink() as s:
        yield s


def ordered(sink):
    """`sink` may take as long as it likes."""
    return [channel("c"), subscription("s", "c", sink.url, timeout="PT10M", annotations={"leat.dev/order": "key"})]


@pytest.fixture
def serve_log(serve, sink, tmp_path):
    return lambda *args, objects=ordered(sink), **more: serve(objects, "--data-dir", tmp_path / "data", "--bus", "log", *args, **more)


@pytest.fixture
def gate(sink):
    """The sink answers nobody until it is set."""
    opened = threading.Event()
    sink.default = Reply(202, hold=opened)
    yield opened
    opened.set()


def post_all(broker, ids, name="c", **attributes):
    with Client(broker.ingress) as client:
        for id in ids:
            answer = client.request("POST", f"/channels/default/{name}", f"body of {id}.".encode() * 20, event(id, **attributes))
            assert answer.status == 202, answer


def let_go(sink, gate):
    """From here on the sink takes everything; what it got before is forgotten."""
    gate.set()
    sink.default = Reply(202)
    sink.clear()


def delivered(broker, sink, ids=()):
    """Ids in their order, once these have come and nothing is left. After a start what was kept is counted first."""
    wait_for(lambda: set(ids) <= {r.headers["ce-id"] for r in list(sink.requests)}, "all events")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    return [r.headers["ce-id"] for r in sink.requests]


def segments(tmp_path):
    return sorted((tmp_path / "data/log").glob("*.seg"))


# ---- clean stops ----


def test_nothing_comes_again_after_a_clean_stop(serve_log, sink):
    for round in range(3):
        broker = serve_log()
        post_all(broker, [f"{round}-{i}" for i in range(100)])
        assert broker.stop() == 0, broker.logs
    broker = serve_log()
    post_all(broker, ["last"])
    ids = [*(f"{round}-{i}" for round in range(3) for i in range(100)), "last"]
    assert sorted(delivered(broker, sink, ids)) == sorted(ids)


def test_a_stop_does_not_wait_for_what_is_kept_anyway(serve_log, sink, gate):
    broker = serve_log("--drain", "100ms")
    ids = [str(i) for i in range(300)]
    post_all(broker, ids)
    assert broker.stop() == 0, "nothing is lost: the log has it"
    let_go(sink, gate)
    assert set(delivered(serve_log(), sink, ids)) == set(ids)


def test_what_ran_and_finds_no_destination_at_a_start_misses_nothing(serve_log, sink):
    channels = [channel("c"), channel("other")]
    runs = [*channels, subscription("s", "c", sink.url)]
    lost = [*channels, subscription("s", "c", "missing")]
    broker = serve_log(objects=runs)
    post_all(broker, ["before"])
    delivered(broker, sink, ["before"])
    for i in range(2):
        assert broker.stop() == 0, broker.logs
        broker = serve_log(objects=lost)
        post_all(broker, [f"meanwhile-{i}"])
        broker.wait_metric(i + 1, "leat_backlog_events", namespace="default", subscription="s")
    assert broker.stop() == 0, broker.logs
    assert sorted(delivered(serve_log(objects=runs), sink, ["meanwhile-0", "meanwhile-1"])) == ["before", "meanwhile-0", "meanwhile-1"]


# ---- kills while it starts ----


def test_killed_again_and_again_while_it_starts(serve_log, sink, gate):
    broker = serve_log()
    ids = [str(i) for i in range(500)]
    post_all(broker, ids)
    broker.kill()
    chance = random.Random(5)
    for _ in range(25):
        broker = serve_log(ready=False)
        threading.Event().wait(chance.uniform(0, 0.05))
        broker.kill()
    let_go(sink, gate)
    broker = serve_log()
    post_all(broker, ["after"])
    assert set(delivered(broker, sink, [*ids, "after"])) == {*ids, "after"}


# ---- another number of loops ----


def test_another_number_of_loops(serve_log, last, gate):
    """The events of a key keep their order, across restarts with other numbers of loops and new events behind the old ones."""
    ids = []
    for round, loops in enumerate(("3", "1", "4", "2")):
        broker = serve_log("--loops", loops, "--drain", "50ms")
        for i in range(60):
            ids.append(f"{round}-{i}")
            post_all(broker, ids[-1:], partitionkey=f"k{i % 7}")
        broker.kill()
    got = delivered(serve_log("--loops", "3", objects=ordered(last)), last, ids)
    assert sorted(got) == sorted(ids), "nothing was settled, so nothing is lost and nothing comes twice"
    key_of = lambda id: int(id.partition("-")[2]) % 7
    for key in range(7):
        assert [id for id in got if key_of(id) == key] == [id for id in ids if key_of(id) == key]


# ---- damage ----


def damage(tmp_path, text):
    """Flips a byte in the middle of the record that holds this text."""
    for path in segments(tmp_path):
        data = bytearray(path.read_bytes())
        at = data.find(text)
        if at >= 0:
            data[at + len(text) // 2] ^= 0x20
            path.write_bytes(data)
            return
    raise AssertionError(f"{text} is in no segment")


def test_damage_in_the_middle_is_named_and_skipped(serve_log, last, gate, tmp_path):
    broker = serve_log("--drain", "50ms")
    ids = [f"e{i:03}" for i in range(200)]
    post_all(broker, ids)
    assert broker.stop() == 0
    damage(tmp_path, b"body of e100.")
    broker = serve_log(objects=ordered(last))
    assert set(delivered(broker, last, set(ids) - {"e100"})) == set(ids) - {"e100"}
    assert all(r.body == f"body of {r.headers['ce-id']}.".encode() * 20 for r in last.requests)
    line = broker.wait_line("LogLost")
    assert re.search(r"\b\d+\b", line), "the lost range is named"
    assert sum(n for (name, _), n in broker.metrics().items() if name == "leat_bus_lost_records_total") == 1
    assert broker.post("c", b"x", event("after")).status == 202
    delivered(broker, last, ["after"])


def test_a_torn_tail_is_cut_and_said(serve_log, sink, gate, tmp_path):
    """As a crash leaves it: the last record is not whole, and nothing is behind it."""
    broker = serve_log()
    ids = [f"e{i:03}" for i in range(50)]
    post_all(broker, ids)
    broker.kill()
    damage(tmp_path, b"body of e049.")
    let_go(sink, gate)
    broker = serve_log()
    delivered(broker, sink, ids[:-1])
    assert broker.ask("GET", "/readyz").status == 200
    assert broker.post("c", b"x", event("after")).status == 202
    delivered(broker, sink, ["after"])


# ---- parked events ----


def parked(broker, count):
    """Waits until so many are on the disk: the gauge leat_parked_events counts them before they are."""
    broker.wait_metric(count, "leat_deliveries_total", namespace="default", subscription="s", end="parked")


def test_parked_events_are_all_there_from_the_first_moment(serve_log, sink):
    sink.default = Reply(400)
    broker = serve_log()
    post_all(broker, [str(i) for i in range(300)])
    parked(broker, 300)
    broker.kill()
    broker = serve_log()
    listed = broker.ask("GET", "/leat/v1/dlq/default/subscription/s?limit=1000").json()
    assert {item["id"] for item in listed["items"]} == {str(i) for i in range(300)}


def test_parked_events_of_what_is_deleted_right_after_a_start(serve_log, sink):
    sink.default = Reply(400)
    broker = serve_log()
    post_all(broker, [str(i) for i in range(300)])
    parked(broker, 300)
    broker.kill()
    broker = serve_log()
    broker.reload([channel("c")])
    name = "leat_parked_events", frozenset({"namespace": "default", "subscription": "s"}.items())
    wait_for(lambda: broker.metrics().get(name, 0) >= 300, "all of them to be counted")


# ---- one directory, one process ----


def test_a_second_process_is_refused(serve_log, tmp_path):
    first = serve_log()
    second = serve_log(ready=False)
    assert second.wait() != 0
    said = second.logs
    assert str(first.pid) in said and "serve.failed" in said, said
    assert first.post("c").status == 202
