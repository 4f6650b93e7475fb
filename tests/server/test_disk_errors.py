# SPDX-License-Identifier: Apache-2.0
"""The log on a disk that fails: a sync that failed is never tried again, nothing is acknowledged any more, and what to do is said. What was acknowledged before is delivered, also by the
process that follows."""

import threading

import pytest

from broker import channel, event, subscription
from disk_faults import DiskFaults
from leat import Client, Reply, wait_for

OBJECTS = ("fail_syncs", "fail_writes")


@pytest.fixture
def faults(tmp_path):
    return DiskFaults(tmp_path)


@pytest.fixture
def serve_log(serve, sink, tmp_path):
    objects = [channel("c"), subscription("s", "c", sink.url, timeout="PT10M"), channel("other")]
    return lambda *args, **more: serve(objects, "--data-dir", tmp_path / "data", "--bus", "log", *args, **more)


@pytest.mark.parametrize("fault", OBJECTS)
def test_nothing_is_acknowledged_after_a_failure(serve_log, sink, faults, fault):
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    broker = serve_log(env=faults.env)
    broker.may_lose = True
    accepted = [str(i) for i in range(200)]
    with Client(broker.ingress) as client:
        for id in accepted:
            assert client.request("POST", "/channels/default/c", id.encode(), event(id)).status == 202
    assert faults.syncs > 0 and faults.writes > 0
    sink.wait(1)
    setattr(faults, fault, 1)
    answers = [broker.post(name, b"x", event(f"bad{i}")) for i in range(10) for name in ("c", "other")]
    assert all(a.status in (500, 503) for a in answers), answers
    wait_for(lambda: broker.ask("GET", "/readyz").status != 200, "readiness to go")
    text = broker.ask("GET", "/readyz").text
    assert "restart" in text and "disk" in text, text
    assert broker.ask("GET", "/livez").status == 200, "a restart by whoever watches is not what mends a disk"

    setattr(faults, fault, 0)  # the disk claims to be well again: it is not believed
    assert [broker.post("c", b"x", event(f"late{i}")).status for i in range(5)] in ([500] * 5, [503] * 5)
    gate.set()
    wait_for(lambda: set(accepted) <= {r.headers["ce-id"] for r in list(sink.requests)}, "what was acknowledged")
    assert {r.headers["ce-id"] for r in sink.requests} == set(accepted)
    broker.process.terminate()
    broker.wait()
    assert faults.syncs_repeated == 0, "a sync that failed was tried again"
    assert fault == "fail_writes" or faults.syncs_failed == 1

    sink.clear()
    broker = serve_log()
    assert broker.ask("GET", "/readyz").status == 200
    assert broker.post("c", b"x", event("new")).status == 202
    wait_for(lambda: "new" in {r.headers["ce-id"] for r in list(sink.requests)}, "a new event")


@pytest.mark.parametrize("fault", OBJECTS)
def test_what_was_acknowledged_outlives_a_failure_and_a_kill(serve_log, sink, faults, fault):
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    broker = serve_log(env=faults.env)
    accepted = [str(i) for i in range(300) if broker.post("c", str(i).encode(), event(str(i))).status == 202]
    assert len(accepted) == 300
    setattr(faults, fault, 1)
    refused = [str(i) for i in range(300, 320) if broker.post("c", str(i).encode(), event(str(i))).status != 202]
    assert len(refused) == 20
    broker.kill()
    gate.set()
    sink.default = Reply(202)
    sink.clear()
    broker = serve_log()
    wait_for(lambda: set(accepted) <= {r.headers["ce-id"] for r in list(sink.requests)}, "all events")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    got = {r.headers["ce-id"] for r in sink.requests}
    assert set(accepted) <= got <= {*accepted, *refused}
    assert all(r.body == r.headers["ce-id"].encode() for r in sink.requests)
