# SPDX-License-Identifier: Apache-2.0
"""Events as they pass: /leat/v1/tail and `leat tail`. Whoever watches is never in the way of delivery."""

import json
import signal
import socket
import urllib.parse

import pytest

from broker import channel, event, subscription
from leat import DEADLINE, Leat, wait_for
from topology import apply, hear, mesh, send, sequence, trigger


class Tail:
    """An open tail as a reader of its lines. Made when the head of the answer is there: from then on nothing is missed."""

    def __init__(self, broker, kind, name, receive_buffer=None, **more):
        query = urllib.parse.urlencode({"kind": kind, "name": name, **more}, quote_via=urllib.parse.quote)
        parts = urllib.parse.urlsplit(broker.api)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect((parts.hostname, parts.port))
        self.socket.sendall(f"GET /leat/v1/tail?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(self.file.readline, b"\r\n"))
        self.rest = b""

    def line(self):
        """The next line of the body, as JSON; None at its end."""
        while b"\n" not in self.rest:
            size = int(self.file.readline(), 16)
            self.rest += self.file.read(size)
            self.file.readline()
            if size == 0:
                return None
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ids(self, count):
        return [self.line()["event"]["id"] for _ in range(count)]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- what is shown ----


def test_events_that_enter_a_channel(serve, sink):
    broker = serve([channel("c"), channel("other"), subscription("s", "c", sink.url)])
    with Tail(broker, "channel", "c") as tail:
        assert (tail.status, tail.headers["content-type"]) == (200, "application/x-ndjson")
        assert broker.post("other", b"", event("elsewhere")).status == 202
        data = '{"big":12345678901234567890,"pi":1.50}'
        assert broker.post("c", data.encode(), {**event("t-1", "order.made", "/shop", subject="s"), "Content-Type": "application/json"}).status == 202
        line = tail.line()
        assert line["event"] == {"specversion": "1.0", "id": "t-1", "source": "/shop", "type": "order.made", "subject": "s", "datacontenttype": "application/json", "data": json.loads(data)}
        assert line["size"] > len(data) and line["time"].endswith("Z")


@pytest.mark.parametrize("kind", ["Broker", "brokers", "broker.eventing.knative.dev", "brokers.eventing.knative.dev"])
def test_a_kind_by_any_of_its_names(serve, sink, kind):
    broker = serve([mesh("b")])
    with Tail(broker, kind, "b", namespace="default") as tail:
        assert send(broker, "Broker/b", b"", event("1")).status == 202
        assert tail.ids(1) == ["1"]


def test_a_sequence_shows_what_enters_it(serve, sink):
    broker = serve([sequence("q", [sink.url])])
    with Tail(broker, "sequence", "q") as tail:
        assert send(broker, "Sequence/q", b"", event("1")).status == 202
        assert tail.ids(1) == ["1"]


def test_a_trigger_shows_what_its_filter_lets_pass(serve, sink):
    broker = serve([mesh("b"), trigger("t", "b", sink.url, attributes={"type": "order.made"})])
    with Tail(broker, "trigger", "t") as tail:
        for i, type in enumerate(["order.paid", "order.made", "x", "order.made"]):
            assert send(broker, "Broker/b", b"", event(str(i), type)).status == 202
        assert tail.ids(2) == ["1", "3"]


def test_a_subscription_with_a_filter_of_ones_own(serve, sink):
    broker = serve([channel("c"), hear("s", "c", sink.url)])
    with Tail(broker, "subscription", "s", filter="subject LIKE 'a%'") as tail:
        for i, subject in enumerate(["abc", "b", "a"]):
            assert broker.post("c", b"", event(str(i), subject=subject)).status == 202
        assert broker.post("c", b"", event("none")).status == 202
        assert broker.post("c", b"", event("last", subject="a")).status == 202
        assert tail.ids(3) == ["0", "2", "last"]


def test_replies_are_seen_where_they_enter(serve, sink):
    sink.default.status, sink.default.headers = 200, {"ce-specversion": "1.0", "ce-id": "answer", "ce-type": "a", "ce-source": "/s"}
    broker = serve([channel("in"), channel("out"), hear("s", "in", sink.url, reply="Channel/out")])
    with Tail(broker, "channel", "out") as tail:
        assert broker.post("in", b"", event("question")).status == 202
        assert tail.ids(1) == ["answer"]


def test_events_of_all_loops_and_two_who_watch(serve, sink):
    broker = serve([channel("c")], "--loops", "3")
    with Tail(broker, "channel", "c") as one, Tail(broker, "channel", "c") as two:
        sent = [str(i) for i in range(30)]
        for id in sent:
            assert broker.post("c", b"", event(id)).status == 202
        assert sorted(one.ids(30), key=int) == sorted(two.ids(30), key=int) == sent


# ---- slow and gone clients ----


def batch(broker, ids, bytes):
    events = [{"specversion": "1.0", "id": str(i), "type": "t", "source": "/s", "datacontenttype": "text/plain", "data": "x" * bytes} for i in ids]
    answer = broker.post("c", json.dumps(events).encode(), {"Content-Type": "application/cloudevents-batch+json"})
    assert answer.status == 202, answer


def test_a_client_that_does_not_read_misses_events_and_is_told_how_many(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    with Tail(broker, "channel", "c", receive_buffer=4096) as tail:
        for i in range(0, 400, 20):
            batch(broker, range(i, i + 20), 40000)
        sink.wait(400)  # 16 MB: more than is kept for the client and the kernel takes; delivery has not waited
        seen, left_out, asked = [], 0, 0

        def read():
            nonlocal left_out
            line = tail.line()
            left_out += line.get("leftOut", 0)
            if "event" in line:
                seen.append(line["event"]["id"])

        while not left_out:  # what was left out is told before the next event for which there is room
            read()
            if len(seen) % 10 == 0:
                asked += 1
                assert broker.post("c", b"", event(f"more-{asked}")).status == 202
        assert broker.post("c", b"", event("final")).status == 202
        while "final" not in seen:
            read()
        assert 0 < left_out < 400 + asked
        assert len(seen) == len(set(seen)) and len(seen) + left_out == 400 + asked + 1


def test_a_client_that_goes_leaves_nothing_behind(serve, sink):
    """The bound of open tails is the witness: places come back when clients go."""
    broker = serve([channel("c")])
    tails = [Tail(broker, "channel", "c") for _ in range(64)]
    assert all(t.status == 200 for t in tails)
    with Tail(broker, "channel", "c") as refused:
        assert refused.status == 429
    for t in tails[1:]:
        t.close()

    def place():
        with Tail(broker, "channel", "c") as again:
            return again.status == 200

    wait_for(place, "a place for another tail")
    assert broker.post("c", b"", event("1")).status == 202
    assert tails[0].ids(1) == ["1"]
    tails[0].close()


# ---- the end ----


def test_the_server_stops(serve, sink):
    broker = serve([channel("c")])
    with Tail(broker, "channel", "c") as tail:
        broker.signal(signal.SIGTERM)
        assert tail.line() == {"end": "the server is stopping"}
        assert tail.line() is None
        assert broker.wait() == 0


def test_the_server_stops_while_a_client_does_not_read(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    with Tail(broker, "channel", "c", receive_buffer=4096):
        for i in range(0, 400, 20):
            batch(broker, range(i, i + 20), 40000)
        sink.wait(400)
        assert broker.stop() == 0


def test_the_channel_goes(serve, sink):
    broker = serve([channel("c"), channel("kept")])
    with Tail(broker, "channel", "c") as tail, Tail(broker, "channel", "kept") as kept:
        apply(broker, [channel("kept")], "now")
        assert tail.line() == {"end": "the channel is gone"}
        assert tail.line() is None
        assert broker.post("kept", b"", event("1")).status == 202
        assert kept.ids(1) == ["1"]


# ---- bad questions ----


@pytest.fixture(scope="module")
def shared(serve_module):
    return serve_module([channel("c")])


@pytest.mark.parametrize(
    "query, status, words",
    [
        ("", 400, "expected /leat/v1/tail?kind=KIND"),
        ("?kind=channel", 400, "expected"),
        ("?kind=chanel&name=c", 400, "no kind 'chanel'"),
        ("?kind=channel&name=d", 404, "no events pass a channel 'd' in the namespace default"),
        ("?kind=channel&name=c&namespace=x", 404, "in the namespace x"),
        ("?kind=service&name=c", 404, "of a kind that events do not enter"),
        ("?kind=channel&name=c&filter=type%20%3D", 400, "filter: at character"),
        ("?kind=channel&name=c&filter=%zz", 400, "filter:"),
        ("?kind=channel&name=" + "x" * 2000, 400, "expected"),
    ],
)
def test_a_bad_query(shared, query, status, words):
    answer = shared.ask("GET", "/leat/v1/tail" + query)
    assert answer.status == status and words in answer.json()["message"], answer


# ---- the verb ----


def watch(broker, *args):
    return Leat(["tail", *args, "--server", broker.api])


def nudge(broker, process, lines):
    """Posts until the verb has printed so many lines: it does not tell when it has begun. The ids are n-1, n-2 ..."""
    sent = [0]

    def seen():
        if len(process.stdout) >= lines:
            return True
        sent[0] += 1
        assert broker.post("c", b'{"n":1.50}', {**event(f"n-{sent[0]}", "order.made", "/shop", subject="s"), "Content-Type": "application/json"}).status == 202
        return False

    wait_for(seen, f"{lines} lines")


def test_the_verb_prints_a_line_for_each_event(serve, sink):
    broker = serve([channel("c")])
    with watch(broker, "channel/c", "--count", "1") as tail:
        nudge(broker, tail, 1)
        assert tail.wait() == 0
        (line,) = tail.stdout
        time, type, source, id, subject, size, unit = line.split()
        assert (type, source, subject, unit) == ("order.made", "/shop", "subject=s", "bytes")
        assert id.startswith("n-") and int(size) > 0 and time.count(":") == 2


def test_the_verb_prints_envelopes_as_they_are(serve, sink):
    broker = serve([channel("c")])
    with watch(broker, "channel", "c", "-o", "json", "--count", "2", "--filter", "type = 'order.made'") as tail:
        nudge(broker, tail, 2)
        assert tail.wait() == 0
        assert all('"data":{"n":1.50}' in line and json.loads(line)["subject"] == "s" for line in tail.stdout)


def test_ctrl_c_ends_the_verb(serve, sink):
    broker = serve([channel("c")])
    with watch(broker, "channel/c") as tail:
        nudge(broker, tail, 1)
        tail.signal(signal.SIGINT)
        assert tail.wait() == 0 and tail.stderr == []


@pytest.mark.parametrize("how, words", [(signal.SIGTERM, "the server is stopping"), (signal.SIGKILL, "closed the connection")])
def test_the_verb_says_when_the_server_goes(serve, sink, how, words):
    broker = serve([channel("c")])
    tail = watch(broker, "channel/c")
    nudge(broker, tail, 1)
    broker.signal(how)
    assert tail.wait() == 1 and words in "\n".join(tail.stderr)
    broker.wait()


@pytest.mark.parametrize(
    "args, code, words",
    [
        (["tail"], 2, "expected KIND/NAME"),
        (["tail", "channel"], 2, "which channel?"),
        (["tail", "chanel/c"], 2, "no kind 'chanel'"),
        (["tail", "channel/d"], 1, "no events pass"),
        (["tail", "channel/c", "--filter", "type ="], 1, "filter: at character"),
        (["tail", "channel/c", "--count", "0"], 2, "--count"),
        (["tail", "channel/c", "-o", "yaml"], 2, "neither text nor json"),
    ],
)
def test_a_wrong_command_line(shared, run, args, code, words):
    got, out, err = run(*args, "--server", shared.api)
    assert (got, out) == (code, "") and words in err


def test_nobody_is_there(run):
    code, _, err = run("tail", "channel/c", "--server", "http://127.0.0.1:1")
    assert code == 1 and "--server" in err
