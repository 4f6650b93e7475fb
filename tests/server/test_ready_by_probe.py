# SPDX-License-Identifier: Apache-2.0
"""Ready of a channel means that its bus answered for it: asked when the channel is made, and now and then while nobody sends. Nothing of that reaches a subscriber. On Kafka, RabbitMQ and
Pub/Sub: tests/unit/channels_contract_*.c and test_pubsub_bus.py."""

import pytest

from broker import MESSAGING, channel, event, subscription
from leat import wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
OFTEN = ("--probe-interval", "200ms")


def condition(broker, name, type_="Ready"):
    conditions = broker.ask("GET", f"{CHANNELS}/{name}").json().get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == type_), {})


def wait_ready(broker, name, status):
    return wait_for(lambda: (c := condition(broker, name)).get("status") == status and c, f"{name} to be Ready={status}")


def test_a_log_whose_directory_is_gone_is_not_ready(serve, sink, tmp_path):
    """One look at the disk is for all channels of the log; what is in memory is ready meanwhile, and Ready comes back with the directory."""
    memory = channel("m", kind="InMemoryChannel")
    broker = serve([channel("c"), channel("d"), memory, subscription("s", "c", sink.url)], "--data-dir", tmp_path / "data", "--bus", "log", *OFTEN)
    for name in ("c", "d"):
        assert wait_ready(broker, name, "True")
    (tmp_path / "data/log").rename(tmp_path / "elsewhere")
    for name in ("c", "d"):
        gone = wait_ready(broker, name, "False")
        assert gone["reason"] == "NotFoundOnBus" and str(tmp_path / "data/log") in gone["message"], gone
        assert condition(broker, name, "BackingChannelReady")["status"] == "False"
    path = f"/apis/{MESSAGING}/namespaces/default/inmemorychannels/m"
    assert {"type": "Ready", "status": "True"}.items() <= broker.ask("GET", path).json()["status"]["conditions"][-1].items()
    reasons = wait_for(lambda: {e["reason"] for e in broker.ask("GET", "/api/v1/namespaces/default/events").json()["items"] if e["involvedObject"]["name"] == "c"}, "an Event of it")
    assert "NotFoundOnBus" in reasons
    wait_for(lambda: broker.count_lines("bus.fault") >= 2, "both to be said")
    assert broker.count_lines("bus.fault") == 2, "each is said once, however often it is asked about"

    (tmp_path / "elsewhere").rename(tmp_path / "data/log")
    for name in ("c", "d"):
        wait_ready(broker, name, "True")
    assert broker.post("c", b"x", event("after")).status == 202
    sink.wait(1)
    assert [r.headers["ce-id"] for r in sink.requests] == ["after"], "nothing of the questions reached the subscriber"


def test_a_bus_that_does_not_answer_is_told_and_asked_again(serve, sink):
    """Silence counts when it comes twice in a row; here every question has one chance in two, so it comes and goes."""
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--bus", "faulty,inner=memory,seed=5,verify_fail=0.5", "--probe-interval", "100ms")
    wait_ready(broker, "c", "True")
    silent = wait_ready(broker, "c", "False")
    assert silent["reason"] == "BusUnavailable" and "not to answer" in silent["message"], silent
    wait_ready(broker, "c", "True")
    assert broker.post("c", b"x", event("1")).status == 202, "the condition says what is known; what is sent finds out by itself"
    sink.wait(1)
    assert len(sink.requests) == 1


@pytest.mark.parametrize("text", ["1ms", "25h", "often", "-1s"])
def test_an_interval_that_cannot_be(run, text):
    code, _, err = run("serve", "--ephemeral", "--probe-interval", text)
    assert code == 2 and "--probe-interval" in err, err
