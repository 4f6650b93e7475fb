# SPDX-License-Identifier: Apache-2.0
"""The log on a disk that fills up: producers are told to come later before the disk is quite full, deliveries go on, and it goes on by itself when there is room again. Nothing that was
acknowledged is lost, whatever happens meanwhile."""

import itertools
import json
import threading
import time

import pytest

from broker import MESSAGING, channel, event, subscription
from disk_faults import SmallDisk
from leat import Client, Reply, wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
MIB = 1 << 20
SIZE, RESERVE, SEGMENT = 64 * MIB, 12 * MIB, 2 * MIB
BODY = bytes(range(256)) * 256  # 64 KiB


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path, SIZE) as d:
        yield d


class Gate:
    """A sink that answers nobody while it is closed."""

    def __init__(self, sink):
        self.sink = sink
        self.opened = threading.Event()
        self.close()

    def close(self):
        self.opened = threading.Event()
        self.sink.default = Reply(202, hold=self.opened)

    def open(self):
        self.opened.set()
        self.sink.default = Reply(202)


@pytest.fixture
def gate(sink):
    g = Gate(sink)
    yield g
    g.open()


@pytest.fixture
def serve_log(serve, sink, disk):
    """A server whose log is on the small disk, with one subscription; the channel's own bound is out of the way."""
    objects = [channel("c", capacity="1GiB"), subscription("s", "c", sink.url, timeout="PT10M")]
    return lambda *args: serve(objects, "--data-dir", disk.path / "data", "--bus", f"log,segment={SEGMENT},reserve={RESERVE}", *args)


def body_of(id):
    return id.encode() + b" " + BODY


def fill(broker, prefix):
    """Posts until refused for three seconds, so that it is not the housekeeping that lags: the ids that were accepted, and the refusal."""
    accepted = []
    with Client(broker.ingress) as client:
        for i in range(2 * SIZE // len(BODY)):
            id, since = f"{prefix}-{i}", time.monotonic()
            while (answer := client.request("POST", "/channels/default/c", body_of(id), event(id))).status != 202:
                assert answer.status == 503, answer
                if time.monotonic() - since > 3:
                    return accepted, answer
            accepted.append(id)
    raise AssertionError("it never was full")


def check_refused(broker, disk, answer):
    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1, answer
    assert "full" in answer.text
    assert disk.free > RESERVE / 2, "the watermark comes before the end of the disk"


def deliver(broker, sink, ids):
    """Waits until all have come; each once, with its bytes."""
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    got = [r.headers["ce-id"] for r in sink.requests]
    assert sorted(got) == sorted(ids)
    assert all(r.body == body_of(r.headers["ce-id"]) for r in sink.requests)
    sink.clear()


def accepts_again(broker, id):
    wait_for(lambda: broker.post("c", body_of(id), event(id)).status == 202, "room on the disk")


def test_filled_and_freed_five_times(serve_log, sink, disk, gate):
    broker = serve_log()
    for round in range(5):
        gate.close()
        accepted, answer = fill(broker, f"r{round}")
        check_refused(broker, disk, answer)
        assert len(accepted) * len(BODY) > (SIZE - RESERVE) / 2, "most of the disk is used before anybody is refused"
        assert broker.ask("GET", "/livez").status == 200
        gate.open()
        accepts_again(broker, f"r{round}-after")
        deliver(broker, sink, [*accepted, f"r{round}-after"])


def ready_of(broker, name):
    conditions = broker.ask("GET", f"{CHANNELS}/{name}").json().get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


def is_ready(broker, name):
    wait_for(lambda: ready_of(broker, name).get("status") == "True", f"{name} to be Ready")


def is_full(broker, name, ids=itertools.count()):
    """The condition that says so; should what is left be given back meanwhile, it is filled again."""

    def said():
        while broker.post("c", body_of(id := f"more-{next(ids)}"), event(id)).status == 202:
            pass
        return (c := ready_of(broker, name)).get("reason") == "BusFull" and c

    return wait_for(said, f"{name} not to be Ready")


def test_channels_are_not_ready_while_events_are_refused(serve_log, disk, gate):
    """One that is made meanwhile neither, nor after a start on the full disk; with room again all are, and it is said as Events."""
    broker = serve_log()
    is_ready(broker, "c")
    said = is_full(broker, "c")
    assert said["status"] == "False" and str(disk.path / "data/log") in said["message"] and "make room" in said["message"], said
    assert broker.ask("POST", CHANNELS, channel("other")).status == 201
    is_full(broker, "other")
    assert broker.ask("GET", "/readyz").status == 200
    assert broker.count_lines("bus.fault") == 0, "the bus says it, not each channel"
    broker.kill()
    broker = serve_log()
    for name in ("c", "other"):
        is_full(broker, name)
    gate.open()
    for name in ("c", "other"):
        is_ready(broker, name)
    accepts_again(broker, "after")
    events = "/api/v1/namespaces/default/events"
    wait_for(lambda: "BusFull" in {e["reason"] for e in broker.ask("GET", events).json()["items"] if e["involvedObject"]["name"] == "c"}, "an Event of it")


def test_killed_and_started_on_a_full_disk(serve_log, sink, disk, gate):
    broker = serve_log()
    accepted, _ = fill(broker, "a")
    broker.kill()
    gate.open()
    sink.clear()
    broker = serve_log()
    wait_for(lambda: set(accepted) <= {r.headers["ce-id"] for r in list(sink.requests)}, "all events")
    accepts_again(broker, "after")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    assert {r.headers["ce-id"] for r in sink.requests} == {*accepted, "after"}
    assert all(r.body == body_of(r.headers["ce-id"]) for r in sink.requests)


def test_somebody_else_fills_the_disk(serve_log, sink, disk, gate):
    gate.open()
    broker = serve_log()
    accepts_again(broker, "before")
    with open(disk.path / "other", "wb") as f:
        with pytest.raises(OSError):
            while True:
                f.write(bytes(MIB))
                f.flush()
    accepted, answer = fill(broker, "a")
    assert answer.status == 503 and answer.headers["retry-after"], answer
    deliver(broker, sink, ["before", *accepted])
    (disk.path / "other").unlink()
    accepts_again(broker, "after")
    deliver(broker, sink, ["after"])
    assert broker.ask("GET", "/readyz").status == 200


def test_a_disk_too_small_to_begin_is_said_at_the_start(run, tmp_path):
    """Such a server must not be ready and then take nothing. With a smaller segment and reserve it can begin, as the text says."""
    manifest = tmp_path / "c.json"
    manifest.write_text(json.dumps(channel("c")))
    with SmallDisk(tmp_path, 20 * MIB) as small:
        code, out, err = run("serve", "-f", manifest, "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data-dir", small.path / "data", "--bus", "log")
        assert code == 1 and "ready" not in out
        assert "MiB left, and a log begins with a segment of 64 MiB" in err and "--bus log,segment=" in err
