# SPDX-License-Identifier: Apache-2.0
"""What subscribers, reply and dead letter sinks see. Upstream's statements T13, T14, T19, T20, T22 and T23 are among it."""

import base64
import json

import pytest

from broker import MESSAGING, RawSink, channel, event, subscription
from leat import Reply, Sink, free_port, wait_for

REPLY = {"ce-specversion": "1.0", "ce-id": "r-1", "ce-type": "reply", "ce-source": "/svc", "Content-Type": "application/json"}


@pytest.fixture
def dead():
    with Sink() as s:
        yield s


@pytest.fixture
def answers():
    """Where replies go."""
    with Sink() as s:
        yield s


def ends(broker, name="s"):
    """How many deliveries of a subscription ended in which way."""
    series = broker.metrics()
    return {end: series["leat_deliveries_total", frozenset({"namespace": "default", "subscription": name, "end": end}.items())] for end in ("delivered", "dead_lettered", "parked")}


def wait_end(broker, end, count=1, name="s"):
    broker.wait_metric(count, "leat_deliveries_total", namespace="default", subscription=name, end=end)


def errors_of(request):
    a = request.attributes
    data = a.get("knativeerrordata")
    return a.get("knativeerrordest"), a.get("knativeerrorcode"), None if data is None else base64.b64decode(data, validate=True)


# ---- retries ----


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 501, 502, 503, 504, 599])
def test_codes_that_are_tried_again(retrying, status):
    broker, sink, dead = retrying
    sink.fail(2, status)
    assert broker.post("c", b"data", event(f"again-{status}")).status == 202
    got = sink.wait(3)
    assert {(r.headers["ce-id"], r.body) for r in got} == {(f"again-{status}", b"data")} and len(got) == 3
    assert not dead.requests


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 400, 401, 403, 405, 410, 413, 415, 422, 425, 451])
def test_codes_that_are_not(retrying, status):
    broker, sink, dead = retrying
    sink.fail(1, status, headers={"Location": dead.url + "redirected"})
    assert broker.post("c", b"data", event(f"once-{status}")).status == 202
    got = dead.wait(1)[0]
    assert (got.path, got.headers["ce-id"], got.body) == ("/", f"once-{status}", b"data")
    assert got.headers["ce-knativeerrorcode"] == str(status)
    assert len(sink.requests) == 1


@pytest.fixture(scope="module")
def sinks_of_retrying():
    with Sink() as sink, Sink() as dead:
        yield sink, dead


@pytest.fixture(scope="module")
def retrying_parts(sinks_of_retrying, serve_module):
    sink, dead = sinks_of_retrying
    return serve_module([channel("c"), subscription("s", "c", sink.url, retry=3, dead=dead.url)]), sink, dead


@pytest.fixture
def retrying(retrying_parts):
    retrying_parts[1].clear()
    retrying_parts[2].clear()
    return retrying_parts


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226])
def test_codes_that_accept(retrying, status):
    broker, sink, dead = retrying
    before = ends(broker)["delivered"]
    sink.fail(1, status)
    broker.post("c", b"", event("ok"))
    wait_end(broker, "delivered", before + 1)
    assert len(sink.requests) == 1 and not dead.requests


def test_retries_are_counted(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=4)])
    sink.fail(2)
    broker.post("c")
    wait_end(broker, "delivered")
    labels = {"namespace": "default", "subscription": "s"}
    assert [broker.metric(f"leat_delivery_{n}_total", **labels) for n in ("attempts", "retries", "failures")] == [3, 2, 2]


def test_tries_are_retry_plus_one_then_the_dead_letter_sink(serve, sink, dead):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=2, dead=dead.url)])
    sink.default = Reply(500, body=b"no")
    broker.post("c", b"x", event("dl"))
    got = dead.wait(1)[0]
    assert len(sink.requests) == 3
    assert (got.headers["ce-id"], got.body, errors_of(got)) == ("dl", b"x", (sink.url, "500", b"no"))
    wait_end(broker, "dead_lettered")


def test_waits_grow_as_the_policy_says(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=3, backoffPolicy="exponential", backoffDelay="PT0.1S")])
    sink.fail(3)
    broker.post("c")
    at = [r.at for r in sink.wait(4)]
    waits = [b - a for a, b in zip(at, at[1:])]
    assert all(wait >= least * 0.9 - 0.005 for wait, least in zip(waits, (0.1, 0.2, 0.4))), waits


def test_backoff_max_caps_the_wait(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=2, backoffDelay="PT1H", backoffMax="PT0.05S")])
    sink.fail(2)
    broker.post("c")
    sink.wait(3)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_lengthens_the_wait(serve, sink, status):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=1, retryAfterMax="PT0.3S")])
    sink.fail(1, status, headers={"Retry-After": "100"})
    broker.post("c")
    first, second = sink.wait(2)
    assert second.at - first.at >= 0.295


def test_retry_after_is_ignored_without_retry_after_max(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=1)])
    sink.fail(1, 503, headers={"Retry-After": "3600"})
    broker.post("c")
    sink.wait(2)


def test_a_slow_subscriber_times_out(serve, dead):
    with RawSink(lambda s, stop: stop.wait()) as slow:
        broker = serve([channel("c"), subscription("s", "c", slow.url, retry=1, timeout="PT1.2S", dead=dead.url)])
        broker.post("c", b"", event("late"))
        got = dead.wait(1)[0]
        wait_for(lambda: slow.arrived == 2, "both attempts to be read")
        dest, code, why = errors_of(got)
        assert (dest, code) == (slow.url, "500") and b"no answer" in why and b"1200 ms" in why, why


def test_nobody_listens(serve, dead):
    url = f"http://127.0.0.1:{free_port()}/path?x=1"
    broker = serve([channel("c"), subscription("s", "c", url, retry=1, dead=dead.url)])
    broker.post("c")
    dest, code, why = errors_of(dead.wait(1)[0])
    assert (dest, code) == (url, "500") and b"refused" in why.lower(), why


def test_other_events_pass_one_that_waits(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=1, backoffDelay="PT1H")])
    broker.may_lose = True
    sink.fail(1)
    broker.post("c", b"", event("stuck"))
    sink.wait(1)
    for i in range(5):
        broker.post("c", b"", event(str(i)))
    assert {r.headers["ce-id"] for r in sink.wait(6)} == {"stuck", "0", "1", "2", "3", "4"}
    broker.reload([channel("c")])  # else the stop would wait for it


def test_a_subscriber_gets_the_query_and_path_of_its_url(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url + "a/b?c=d")])
    broker.post("c")
    assert sink.wait(1)[0].path == "/a/b?c=d"


# ---- dead letters ----


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 767, b"x" * 768, b"x" * 769, bytes(range(256)) * 4, b"<html>\r\nCe-Id: evil\r\n</html>", b"y" * (1 << 20)], ids=["empty", "1", "767", "768", "769", "binary", "crlf", "1MiB"])
def test_error_data(retrying, body):
    broker, sink, dead = retrying
    sink.fail(1, 422, body=body)
    broker.post("c", b"original", event("data"))
    got = dead.wait(1)[0]
    dest, code, data = errors_of(got)
    assert (dest, code, got.body, got.headers["ce-id"]) == (sink.url, "422", b"original", "data")
    assert data == (body[:768] or None)


def test_a_dead_letter_does_not_ask_for_a_reply(retrying):
    broker, sink, dead = retrying
    sink.fail(1, 400)
    broker.post("c", b"", {**event(), "knative-foo": "bar", "x-request-id": "rid"})
    got = dead.wait(1)[0]
    assert "prefer" not in got.headers and got.headers["kn-namespace"] == "default" and got.headers["x-request-id"] == "rid"


def test_a_structured_event_is_dead_lettered_structured(retrying):
    broker, sink, dead = retrying
    sink.fail(1, 400, body=b"why")
    broker.post("c", b'{"specversion":"1.0","id":"s","type":"t","source":"/s","data":1.50}', {"Content-Type": "application/cloudevents+json"})
    got = dead.wait(1)[0]
    seen = json.loads(got.body)
    assert (seen["id"], seen["knativeerrorcode"], base64.b64decode(seen["knativeerrordata"])) == ("s", "400", b"why") and b"1.50" in got.body


def test_the_dead_letter_sink_is_retried_too(serve, sink, dead):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=2, dead=dead.url)])
    sink.default = Reply(400)
    dead.fail(2)
    broker.post("c")
    wait_end(broker, "dead_lettered")
    assert (len(sink.requests), len(dead.requests)) == (1, 3)


def test_a_dead_letter_sink_that_is_down_parks(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url, retry=1, dead=f"http://127.0.0.1:{free_port()}/")])
    broker.may_lose = True
    sink.default = Reply(500)
    for i in range(3):
        broker.post("c", b"", event(str(i)))
    wait_end(broker, "parked", 3)
    broker.wait_metric(3, "leat_parked_events", namespace="default", subscription="s")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    assert broker.stop() == 4  # it is the memory bus: what is parked goes with the process, and that is said
    assert "events=3" in broker.wait_line("serve.lost")


def test_without_a_dead_letter_sink_events_are_parked(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    broker.may_lose = True
    sink.default = Reply(400)
    broker.post("c")
    wait_end(broker, "parked")
    broker.wait_metric(1, "leat_parked_events", namespace="default", subscription="s")
    assert len(sink.requests) == 1


def test_parked_events_outlive_their_subscription_and_its_namesake(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    broker.may_lose = True
    sink.default = Reply(400)
    broker.post("c")
    wait_end(broker, "parked")
    broker.reload([channel("c"), channel("mark")])
    broker.in_force("mark")
    broker.wait_metric(1, "leat_parked_events", namespace="default", subscription="s")
    broker.reload([channel("c"), channel("mark2"), subscription("s", "c", sink.url)])
    broker.in_force("mark2")
    broker.post("c")  # metrics() below also refuses a series that is there twice
    broker.wait_metric(2, "leat_parked_events", namespace="default", subscription="s")


def test_a_channel_as_dead_letter_sink(serve, sink, dead):
    broker = serve([channel("c"), channel("dl"), subscription("s", "c", sink.url, dead="dl"), subscription("d", "dl", dead.url)])
    sink.default = Reply(400, body=b"why")
    broker.post("c", b"x", event("to-channel"))
    got = dead.wait(1)[0]
    assert (got.headers["ce-id"], got.body, errors_of(got)) == ("to-channel", b"x", (sink.url, "400", b"why"))


def test_the_channel_s_delivery_counts_where_the_subscription_has_none(serve, sink, dead):
    alone = subscription("s", "c", sink.url)
    del alone["spec"]["delivery"]
    broker = serve([channel("c", delivery={"retry": 1, "backoffDelay": "PT0.01S", "backoffPolicy": "linear", "deadLetterSink": {"uri": dead.url}}), alone])
    sink.default = Reply(500)
    broker.post("c")
    dead.wait(1)
    assert len(sink.requests) == 2


def test_the_channel_s_dead_letter_sink_counts_where_the_subscription_has_none(serve, sink, dead):
    broker = serve([channel("c", delivery={"retry": 9, "deadLetterSink": {"uri": dead.url}}), subscription("s", "c", sink.url, retry=0)])
    sink.default = Reply(500)
    broker.post("c")
    dead.wait(1)
    assert len(sink.requests) == 1


def test_one_failing_subscription_does_not_repeat_the_others(serve, sink, dead):
    with Sink() as other:
        broker = serve([channel("c"), subscription("a", "c", sink.url), subscription("b", "c", other.url, retry=3, dead=dead.url)])
        other.default = Reply(500)
        assert broker.post("c").status == 202
        dead.wait(1)
        assert (len(sink.requests), len(other.requests)) == (1, 4)


# ---- replies ----


def test_a_reply_goes_to_the_reply_address(serve, sink, answers):
    broker = serve([channel("c"), subscription("s", "c", sink.url, reply=answers.url)])
    sink.default = Reply(200, {**REPLY, "knative-bar": "1", "x-other": "2"}, b'{"r": 1.0}')
    broker.post("c", b"x", {**event(), "knative-foo": "f"})
    got = answers.wait(1)[0]
    assert (got.headers["ce-id"], got.headers["ce-type"], got.body, got.headers["content-type"]) == ("r-1", "reply", b'{"r": 1.0}', "application/json")
    assert got.headers["kn-namespace"] == "default" and got.headers["knative-bar"] == "1"
    assert not {"prefer", "x-other", "knative-foo"} & set(got.headers)
    wait_end(broker, "delivered")
    broker.wait_metric(1, "leat_replies_total", namespace="default", subscription="s")


def test_a_structured_reply(serve, sink, answers):
    broker = serve([channel("c"), subscription("s", "c", sink.url, reply=answers.url)])
    sink.default = Reply(201, {"Content-Type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"r-2","type":"reply","source":"/svc","data":1.0}')
    broker.post("c")
    got = answers.wait(1)[0]
    assert got.headers["content-type"].startswith("application/cloudevents+json") and b'"data":1.0' in got.body.replace(b" ", b"")


def test_a_reply_to_another_channel(serve, sink, answers):
    broker = serve([channel("c"), channel("next"), subscription("s", "c", sink.url, reply="next"), subscription("n", "next", answers.url)])
    sink.default = Reply(200, REPLY, b"{}")
    broker.post("c")
    got = answers.wait(1)[0]
    assert got.headers["ce-id"] == "r-1" and got.headers["prefer"] == "reply"
    broker.wait_metric(1, "leat_events_accepted_total", namespace="default", channel="next")


def test_a_chain_of_channels(serve, answers):
    length = 8
    objects = [channel(f"c{i}") for i in range(length)]
    objects += [subscription(f"s{i}", f"c{i}", reply=f"c{i + 1}") for i in range(length - 1)]
    broker = serve([*objects, subscription("last", f"c{length - 1}", answers.url)])
    broker.post("c0", b"through", event("chain"))
    got = answers.wait(1)[0]
    assert (got.headers["ce-id"], got.body) == ("chain", b"through")


def test_a_202_is_never_a_reply(serve, sink, answers):
    broker = serve([channel("c"), subscription("s", "c", sink.url, reply=answers.url)])
    sink.default = Reply(202, REPLY, b"{}")
    broker.post("c")
    wait_end(broker, "delivered")
    assert not answers.requests and broker.metric("leat_replies_total", namespace="default", subscription="s") == 0


@pytest.mark.parametrize(
    "headers, body",
    [({"Content-Type": "text/plain"}, b"hello"), ({**REPLY, "ce-id": ""}, b"{}"), ({"Content-Type": "application/cloudevents+json"}, b"{"), ({"Content-Type": "application/cloudevents-batch+json"}, b"[]"), ({**REPLY, "ce-specversion": "9"}, b"")],
    ids=["text", "no-id", "broken-json", "batch", "version"],
)
def test_a_reply_that_is_no_event_is_ignored(serve, sink, answers, headers, body):
    broker = serve([channel("c"), subscription("s", "c", sink.url, reply=answers.url, retry=3)])
    sink.default = Reply(200, headers, body)
    broker.post("c")
    wait_end(broker, "delivered")
    assert not answers.requests and len(sink.requests) == 1
    broker.wait_metric(1, "leat_replies_ignored_total", namespace="default", subscription="s")


def test_a_reply_without_an_address_is_dropped_and_counted(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    sink.default = Reply(200, REPLY, b"{}")
    broker.post("c")
    wait_end(broker, "delivered")
    broker.wait_metric(1, "leat_replies_ignored_total", namespace="default", subscription="s")


def test_a_reply_sink_that_fails(serve, sink, answers, dead):
    broker = serve([channel("c"), subscription("s", "c", sink.url, reply=answers.url, retry=1, dead=dead.url)])
    sink.default = Reply(200, REPLY, b"{}")
    answers.default = Reply(503, body=b"rbad")
    broker.post("c", b"x", event("orig"))
    got = dead.wait(1)[0]
    assert (got.headers["ce-id"], got.body) == ("orig", b"x"), "the original, not the reply"
    assert errors_of(got) == (answers.url, "503", b"rbad")
    assert (len(sink.requests), len(answers.requests)) == (1, 2)


def test_reply_only(serve, answers):
    broker = serve([channel("c"), subscription("s", "c", reply=answers.url)])
    broker.post("c", b"x", event("only"))
    got = answers.wait(1)[0]
    assert (got.headers["ce-id"], got.body) == ("only", b"x")


# ---- headers and format ----


def test_prefer_and_kn_namespace(serve, sink):
    broker = serve([channel("c", "shop"), subscription("s", "c", sink.url, namespace="shop")])
    broker.post("c", b"", event(), "shop")
    got = sink.wait(1)[0]
    assert (got.headers["prefer"], got.headers["kn-namespace"]) == ("reply", "shop")
    assert got.headers["host"] == sink.url[7:-1] and got.headers["content-length"] == "0"


def test_format(serve, sink):
    with Sink() as plain:
        broker = serve([channel("c"), subscription("j", "c", sink.url, format="json"), subscription("b", "c", plain.url, format="binary")])
        broker.post("c", b'{"a": 1.0}', {**event("bin"), "Content-Type": "application/json"})
        got = sink.wait(1)[0]
        assert got.headers["content-type"].startswith("application/cloudevents+json") and b'{"a": 1.0}' in got.body and "ce-id" not in got.headers
        got = plain.wait(1)[0]
        assert (got.headers["ce-id"], got.body) == ("bin", b'{"a": 1.0}')
        sink.clear(), plain.clear()
        broker.post("c", b'{"specversion":"1.0","id":"str","type":"t","source":"/s","datacontenttype":"application/json","data":{"b": 2.0}}', {"Content-Type": "application/cloudevents+json"})
        assert json.loads(sink.wait(1)[0].body)["data"] == {"b": 2}
        got = plain.wait(1)[0]
        assert (got.headers["ce-id"], got.body, got.headers["content-type"]) == ("str", b'{"b": 2.0}', "application/json")


# ---- sinks that break the rules: they delay no other subscription ----


def endless_headers(s, stop):
    s.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.is_set():
        s.sendall(b"X-Filler: " + b"a" * 4000 + b"\r\n")


def ten_gigabytes(s, stop):
    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10737418240\r\n\r\n")
    while not stop.is_set():
        s.sendall(b"z" * 65536)


def bad_chunks(s, stop):
    s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-hex\r\nabc\r\n0\r\n\r\n")
    stop.wait()


def endless_chunks(s, stop):
    s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not stop.is_set():
        s.sendall(b"1000\r\n" + b"z" * 4096 + b"\r\n")


def garbage(s, stop):
    s.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    stop.wait()


def two_lengths(s, stop):
    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    stop.wait()


def hangs(s, stop):
    stop.wait()


def head_then_hangs(s, stop):
    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    stop.wait()


def closes(s, stop):
    pass


def early_answer(s, stop):
    s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    stop.wait()


@pytest.mark.parametrize("behaviour", [endless_headers, bad_chunks, garbage, two_lengths, closes, early_answer])
def test_a_sink_that_breaks_http_fails_alone(serve, sink, dead, behaviour):
    with RawSink(behaviour) as bad:
        broker = serve([channel("c"), subscription("bad", "c", bad.url, retry=1, timeout="PT20S", dead=dead.url), subscription("good", "c", sink.url)])
        for i in range(10):
            assert broker.post("c", b"x", event(str(i))).status == 202
        assert {r.headers["ce-id"] for r in sink.wait(10)} == {str(i) for i in range(10)}
        got = dead.wait(10)
        assert {r.headers["ce-id"] for r in got} == {str(i) for i in range(10)}
        assert {r.headers["ce-knativeerrordest"] for r in got} == {bad.url}
        wait_end(broker, "delivered", 10, "good")
        wait_end(broker, "dead_lettered", 10, "bad")


@pytest.mark.parametrize("behaviour", [ten_gigabytes, endless_chunks])
def test_an_answer_without_end_is_cut(serve, sink, behaviour):
    """The status has been said, so the event is delivered; what came beyond the bound is no reply."""
    with RawSink(behaviour) as bad:
        broker = serve([channel("c"), subscription("bad", "c", bad.url), subscription("good", "c", sink.url)])
        for i in range(10):
            assert broker.post("c", b"x", event(str(i))).status == 202
        sink.wait(10)
        wait_end(broker, "delivered", 10, "bad")
        broker.wait_metric(10, "leat_replies_ignored_total", namespace="default", subscription="bad")


@pytest.mark.parametrize("behaviour", [hangs, head_then_hangs])
def test_a_sink_that_hangs_delays_no_other(serve, sink, behaviour):
    with RawSink(behaviour) as bad:
        broker = serve([channel("c"), subscription("bad", "c", bad.url, timeout="PT10M"), subscription("good", "c", sink.url)], "--drain", "100ms")
        broker.may_lose = True
        for i in range(200):
            assert broker.post("c", b"x", event(str(i))).status == 202
        assert {r.headers["ce-id"] for r in sink.wait(200)} == {str(i) for i in range(200)}
        assert ends(broker, "bad") == {"delivered": 0, "dead_lettered": 0, "parked": 0}
        broker.wait_metric(200, "leat_backlog_events", namespace="default", subscription="bad")
        assert broker.stop() == 4


def test_100_continue_before_an_answer_is_no_answer(serve):
    def behaviour(s, stop):
        s.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        stop.wait()

    with RawSink(behaviour) as s:
        broker = serve([channel("c"), subscription("s", "c", s.url)])
        broker.post("c")
        wait_end(broker, "delivered")


def test_a_service_without_address_leaves_the_others_alone(serve, sink):
    nowhere = subscription("nowhere", "c", "http://x/")
    nowhere["spec"]["subscriber"] = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "missing"}}
    broker = serve([channel("c"), nowhere, subscription("s", "c", sink.url)])
    broker.post("c")
    sink.wait(1)
    status = broker.ask("GET", f"/apis/{MESSAGING}/namespaces/default/subscriptions/nowhere").json()["status"]
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["status"] != "True" and ready["message"]


@pytest.mark.parametrize("resolve", ["missing.default=", None])
def test_a_service_by_name(serve, sink, resolve):
    objects = [channel("c")]
    s = subscription("s", "c", "http://x/")
    s["spec"]["subscriber"] = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "missing"}, "uri": "/in"}
    if not resolve:
        port = int(sink.url.split(":")[2].rstrip("/"))
        objects.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "missing", "namespace": "default"}, "spec": {"type": "ExternalName", "externalName": "127.0.0.1", "ports": [{"port": port}]}})
    broker = serve([*objects, s], *(["--resolve", resolve + sink.url] if resolve else []))
    broker.post("c")
    assert sink.wait(1)[0].path == "/in"
