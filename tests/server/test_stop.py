# SPDX-License-Identifier: Apache-2.0
"""How `serve` starts and ends: what it prints, what it waits for, its exit codes, and what it says when it cannot."""

import re
import signal
import socket
import threading

import pytest

from broker import Broker, RawSink, channel, dial, event, github_source, subscription, until_closed
from fake_github import FakeGitHub
from leat import Leat, Reply, free_port, request, sign, wait_for

HEAD = b"POST /channels/default/c HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nce-specversion: 1.0\r\nce-id: half\r\nce-type: t\r\nce-source: /s\r\n\r\n"


# ---- the start ----


def test_what_it_prints(serve):
    broker = serve([channel("c")])
    assert [line.split()[0] for line in broker.stdout] == ["ingress", "api", "ready"]
    assert all(re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", broker.address(word)) for word in ("ingress", "api"))
    assert "serve.ready" in broker.wait_line("serve.ready", "stderr")


def test_a_listener_of_its_own_for_webhooks(serve):
    broker = serve([], "--hooks", "127.0.0.1:0")
    assert [line.split()[0] for line in broker.stdout] == ["ingress", "api", "hooks", "ready"]


def test_without_manifests(serve):
    assert serve([]).ask("GET", "/readyz").status == 200


def test_ready_means_that_channels_take_events_at_once(serve, sink):
    broker = serve([channel(f"c{i}") for i in range(100)] + [subscription(f"s{i}", f"c{i}", sink.url) for i in range(100)])
    assert [broker.post(f"c{i}", b"", event(str(i))).status for i in range(100)] == [202] * 100
    assert {r.headers["ce-id"] for r in sink.wait(100)} == {str(i) for i in range(100)}


@pytest.mark.parametrize("which", ["--ingress", "--api", "--hooks"])
def test_a_port_in_use(which):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        addresses = {"--ingress": "127.0.0.1:0", "--api": "127.0.0.1:0", which: address}
        process = Leat(["serve", "--ephemeral", *(word for pair in addresses.items() for word in pair)])
        assert process.wait() == 1
        line = process.wait_line("serve.failed")
        assert address in line and "in use" in line and "ss -ltnp" in line, line
        assert not process.stdout


def test_a_port_that_needs_privileges_or_an_address_that_is_none(run):
    for address in ("nonsense", "127.0.0.1:99999", "127.0.0.1", ":x", "192.0.2.1:0"):
        code, out, err = run("serve", "--ephemeral", "--ingress", address, "--api", "127.0.0.1:0")
        assert code in (1, 2, 3) and not out and "serve.failed" in err and address.split(":")[0] in err, err


def test_bad_manifests(tmp_path):
    process = Broker(tmp_path, "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata:\n  name: c\nspec:\n  delivery:\n    retry: many\n", ready=False)
    assert process.wait() == 3
    assert not process.stdout
    line = process.wait_line(f"{process.manifest}:7:12: error: ", "stderr")
    assert "Channel default/c" in line and "spec.delivery.retry" in line, line
    assert "nothing was started" in process.wait_line("serve.failed", "stderr")


def test_a_manifest_that_is_not_there(run, tmp_path):
    code, out, err = run("serve", "--ephemeral", "-f", tmp_path / "none.yaml", "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0")
    assert code == 3 and "none.yaml" in err and not out


def test_every_problem_is_said(tmp_path):
    objects = [channel("c", badfield=1), channel("C!"), subscription("s", "c", "ftp://x/", retry=-1)]
    process = Broker(tmp_path, objects, ready=False)
    assert process.wait() == 3
    said = "\n".join(process.stderr)
    assert all(word in said for word in ("spec.badfield", "C!", "spec.subscriber.uri", "spec.delivery.retry")), said


# ---- the end ----


def test_sigterm_and_sigint(serve):
    for number in (signal.SIGTERM, signal.SIGINT):
        broker = serve([channel("c")])
        broker.signal(number)
        assert broker.wait() == 0
        assert "lost=0 kept=0" in broker.wait_line("serve.stopped")


def test_what_is_under_way_is_delivered(serve, sink):
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    for i in range(200):
        assert broker.post("c", b"", event(str(i))).status == 202
    sink.wait(1)
    broker.signal(signal.SIGTERM)
    broker.wait_line("serve.stop ")
    gate.set()
    assert broker.wait() == 0, broker.logs
    assert {r.headers["ce-id"] for r in sink.requests} == {str(i) for i in range(200)}


def test_retries_go_on_while_stopping(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=1000, backoffDelay="PT0.05S", backoffMax="PT0.05S")])
    sink.default = Reply(503)
    broker.post("c", b"", event("r"))
    sink.wait(1)
    broker.signal(signal.SIGTERM)
    broker.wait_line("serve.stop ")
    sink.default = Reply(202)
    assert broker.wait() == 0, broker.logs


def test_nothing_new_is_accepted_while_stopping(serve, sink):
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    broker.post("c")
    sink.wait(1)
    broker.signal(signal.SIGTERM)
    broker.wait_line("serve.stop ")

    def refused():
        try:
            dial(broker.ingress).close()
        except ConnectionRefusedError:
            return True

    wait_for(refused, "the listener's end")
    assert broker.process.poll() is None
    gate.set()
    assert broker.wait() == 0


def test_a_kept_connection_is_closed_after_its_answer_while_stopping(serve, sink):
    """A request that was begun before the signal is finished, and its event delivered or refused: a 202 is never a lie."""
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    broker.post("c", b"", event("holds"))
    sink.wait(1)
    with dial(broker.ingress) as s:
        s.sendall(HEAD + b"12")
        wait_for(lambda: broker.metric("leat_ingress_connections") == 1, "the connection")
        broker.signal(signal.SIGTERM)
        broker.wait_line("serve.stop ")
        try:
            s.sendall(b"34")
        except ConnectionError:
            pass  # it was closed before it was begun: what was counted was the one before
        answer = until_closed(s)
    gate.set()
    assert broker.wait() == 0, broker.logs
    if b" 202 " in answer:
        assert "half" in {r.headers["ce-id"] for r in sink.requests}
    else:
        assert not answer or b" 503 " in answer, answer


def test_what_the_memory_bus_still_holds_is_counted(serve):
    with RawSink(lambda s, stop: stop.wait()) as hanging:
        broker = serve([channel("c"), subscription("s", "c", hanging.url), subscription("t", "c", hanging.url)], "--drain", "100ms")
        broker.may_lose = True
        for i in range(7):
            broker.post("c", b"", event(str(i)))
        assert broker.stop() == 4
        assert "events=14" in broker.wait_line("serve.lost"), broker.logs
        assert "durable" in broker.wait_line("serve.lost")


def test_a_source_that_gets_webhooks_is_stopped_in_order(serve, sink):
    """What takes webhooks runs on the loops until the last event has left; its registration ends afterwards."""
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    body = b'{"repository":{"full_name":"jo/mill"}}'
    with FakeGitHub() as github:
        broker = serve([channel("c"), subscription("s", "c", sink.url), *github_source("gh", "c", github.url), *github_source("away", "c")], "--hooks-url", "http://hooks.example.org")
        wait_for(lambda: github.hooks["jo/mill"], "the registration")
        for name in ("gh", "away"):
            headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": name, "X-Hub-Signature-256": sign("s3", body)}
            assert request("POST", f"{broker.ingress}/hooks/default/{name}", body, headers).status == 202
        sink.wait(2)
        broker.signal(signal.SIGTERM)
        broker.wait_line("serve.stop ")
        gate.set()
        assert broker.wait() == 0, broker.logs
        assert len(github.hooks["jo/mill"]) == 1, "a stop is no removal: the webhook stays at its origin"


def test_a_second_signal_ends_at_once(serve):
    with RawSink(lambda s, stop: stop.wait()) as hanging:
        broker = serve([channel("c"), subscription("s", "c", hanging.url)])
        broker.post("c")
        wait_for(lambda: hanging.arrived, "the delivery")
        broker.signal(signal.SIGTERM)
        broker.wait_line("serve.stop ")
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 1
        assert "second signal" in broker.logs


def test_open_connections_do_not_hold_the_stop(serve):
    broker = serve([channel("c")])
    with dial(broker.ingress) as a, dial(broker.api) as b, dial(broker.ingress) as c:
        c.sendall(b"POST /channels/default/c HTTP/1.1\r\nHos")
        wait_for(lambda: broker.metric("leat_ingress_connections") == 2, "both connections")
        assert broker.stop() == 0
        assert until_closed(a) == b"" and until_closed(b) == b""


def test_changes_while_stopping_are_harmless(serve, sink):
    gate = threading.Event()
    sink.default = Reply(202, hold=gate)
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    broker.post("c")
    sink.wait(1)
    broker.signal(signal.SIGTERM)
    broker.wait_line("serve.stop ")
    broker.signal(signal.SIGHUP)
    assert "result=refused" in broker.wait_line("serve.reload")
    broker.ask("POST", "/apis/messaging.knative.dev/v1/namespaces/default/channels", channel("late"))
    gate.set()
    assert broker.wait() == 0, broker.logs


def test_a_stop_while_a_plan_is_applied(serve):
    for _ in range(3):
        broker = serve([channel("c")])
        broker.signal(signal.SIGHUP)
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 0, broker.logs


def test_a_port_that_nobody_has_is_taken():
    port = free_port()
    process = Leat(["serve", "--ephemeral", "--ingress", f"127.0.0.1:{port}", "--api", "127.0.0.1:0"])
    with process:
        assert process.address("ingress") == f"http://127.0.0.1:{port}"
