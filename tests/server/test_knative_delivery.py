# SPDX-License-Identifier: Apache-2.0
"""Knative's conformance statements about delivery, each test named after its number in the upstream list: T11 to T15, T19 to T24, T30.

Waits between attempts are asserted with the real clock: the lower bounds to the jitter (10 %) and a grain of the clock, the upper ones with room for a busy machine.
"""

import base64
import json
import time

import pytest

from broker import event
from leat import free_port
from recorder import STRUCTURED, accept, always, delayed, fail_fibonacci, fail_first, reply
from topology import branch, condition, ends, hear, mesh, object_of, parallel, ready, resource, send, sequence, settled, terms, trigger, wait_end

GRAIN = 0.005  # seconds: timers of the kernel and of the program
SLACK = 30.0  # seconds that a machine under load may take longer than it should


def channel(name, **spec):
    return resource("Channel", name, spec)


def in_mode(mode, id="1", type="t", data=b'{"n": 1}', **attributes):
    """Headers and body of an event in binary or structured mode."""
    if mode == "binary":
        return {**event(id, type, **attributes), "Content-Type": "application/json"}, data
    return {"Content-Type": STRUCTURED}, json.dumps({"specversion": "1.0", "id": id, "type": type, "source": "/test", **attributes, "data": json.loads(data)}).encode()


MODES = pytest.mark.parametrize("mode", ["binary", "structured"])


def post(broker, where, mode="binary", **of_event):
    headers, body = in_mode(mode, **of_event)
    answer = send(broker, where, body, headers)
    assert answer.status == 202, answer


def failure(request):
    """What a dead letter says: where, code, and the answer's first bytes."""
    e = request.event
    data = e.get("knativeerrordata")
    return e["knativeerrordest"], e["knativeerrorcode"], None if data is None else base64.b64decode(data, validate=True)


# ---- T11: the delivery matrix ----

# Each row: the broker's terms; per trigger its own terms (None: the broker's) and how often its subscriber fails; per trigger the expected end and attempts.
MATRIX = {
    "neither sink nor retries": (dict(retry=0), [(None, 0)], [("delivered", 1)]),
    "the broker's sink, 3 retries": (dict(dead="broker", retry=3), [(None, 3), (None, 4)], [("delivered", 4), ("broker", 4)]),
    "the triggers' own": (dict(retry=0), [(dict(dead="trigger", retry=3), 3), (dict(retry=1), 2)], [("delivered", 4), ("parked", 2)]),
    "one of each": (dict(dead="broker", retry=1), [(dict(dead="trigger", retry=3), 3), (None, 2)], [("delivered", 4), ("broker", 2)]),
    "one of each, both fail": (dict(dead="broker", retry=1), [(dict(dead="trigger", retry=3), 4), (None, 2)], [("trigger", 4), ("broker", 2)]),
    "own retries, the broker's sink": (dict(dead="broker", retry=7), [(dict(retry=1), 2)], [("broker", 2)]),
    "terms without a retry have none": (dict(dead="broker", retry=7), [(dict(), 1)], [("broker", 1)]),
}


def made(recorder, given):
    """Terms in which the name of a sink stands for an endpoint."""
    if given is None:
        return None
    return terms(**{**given, **({"dead": recorder[given["dead"]].url} if given.get("dead") else {})})


@MODES
@pytest.mark.parametrize("row", MATRIX)
def test_t11_the_delivery_matrix(serve, recorder, row, mode):
    of_broker, triggers, expected = MATRIX[row]
    objects = [mesh("b", made(recorder, of_broker))]
    for i, (own, failures) in enumerate(triggers):
        objects.append(trigger(f"t{i}", "b", recorder.add(f"sub{i}", fail_first(failures)).url, delivery=made(recorder, own)))
    broker = serve(objects)
    broker.may_lose = True  # rows with an event that nobody takes
    post(broker, "Broker/b", mode, id="m")
    settled(broker)
    dead = {name: sorted(failure(r)[0] for r in recorder[name].requests) for name in ("broker", "trigger")}
    wanted = {name: sorted(recorder[f"sub{i}"].url for i, (end, _) in enumerate(expected) if end == name) for name in dead}
    assert dead == wanted
    for i, (end, attempts) in enumerate(expected):
        assert [r.id for r in recorder[f"sub{i}"].requests] == ["m"] * attempts
        assert ends(broker, f"t{i}") == {"delivered": end == "delivered", "dead_lettered": end in dead, "parked": end == "parked"}


# ---- retry timing ----


@pytest.mark.parametrize("policy, waits", [("linear", [0.1, 0.2, 0.3]), ("exponential", [0.1, 0.2, 0.4])])
@pytest.mark.parametrize("kind", ["Trigger", "Subscription", "Sequence"])
def test_t11_waits_between_attempts(serve, recorder, kind, policy, waits):
    sub = recorder.add("sub", fail_first(3))
    spec = terms(retry=3, backoffPolicy=policy, backoffDelay="PT0.1S")
    made = {"Trigger": [mesh("x"), trigger("t", "x", sub.url, delivery=spec)], "Subscription": [channel("x"), hear("t", "x", sub.url, delivery=spec)], "Sequence": [sequence("x", [(sub.url, spec)])]}[kind]
    broker = serve(made)
    post(broker, {"Trigger": "Broker", "Subscription": "Channel", "Sequence": "Sequence"}[kind] + "/x")
    sub.wait(4)
    assert len(sub.waits) == 3
    for seen, wanted in zip(sub.waits, waits):
        assert wanted * 0.9 - GRAIN <= seen <= wanted * 1.1 + SLACK, sub.waits


def test_t11_a_broker_s_default_is_exponential_from_200_ms(serve, recorder):
    sub = recorder.add("sub", fail_first(2))
    broker = serve([mesh("b"), trigger("t", "b", sub.url)])
    post(broker, "Broker/b")
    sub.wait(3)
    for seen, wanted in zip(sub.waits, (0.2, 0.4)):
        assert wanted * 0.9 - GRAIN <= seen <= wanted * 1.1 + SLACK, sub.waits


# ---- T12: routing ----

ROUTES = {
    "no filter": ([None], {0}),
    "a filter that does not match": ([{"type": "other"}], set()),
    "a filter that matches": ([{"type": "t"}], {0}),
    "two that match": ([{"type": "t"}, {"source": "/test"}], {0, 1}),
    "one of two matches": ([{"type": "t"}, {"type": "other"}], {0}),
    "two without a filter": ([None, None], {0, 1}),
    "an extension": ([{"team": "mill"}, {"team": "race"}, {"absent": "mill"}], {0}),
}


@MODES
@pytest.mark.parametrize("form", ["filter", "filters"])
@pytest.mark.parametrize("row", ROUTES)
def test_t12_routing(serve, recorder, row, form, mode):
    filters, expected = ROUTES[row]
    objects = [mesh("b")]
    for i, wanted in enumerate(filters):
        how = {"attributes": wanted} if wanted is None or form == "filter" else {"filters": [{"exact": wanted}]}
        objects.append(trigger(f"t{i}", "b", recorder[f"sub{i}"].url, **how))
    broker = serve(objects)
    post(broker, "Broker/b", mode, id="r", team="mill")
    settled(broker)
    assert {i for i in range(len(filters)) if recorder[f"sub{i}"].ids == ["r"]} == expected
    assert all(len(recorder[f"sub{i}"].ids) <= 1 for i in range(len(filters)))


def test_t12_an_empty_value_asks_for_any(serve, recorder):
    """In the legacy filter only: the attribute is there and not empty."""
    broker = serve([mesh("b"), trigger("there", "b", recorder["there"].url, attributes={"team": "", "type": ""}), trigger("absent", "b", recorder["absent"].url, attributes={"absent": ""})])
    post(broker, "Broker/b", id="e", team="mill")
    post(broker, "Broker/b", id="f")
    settled(broker)
    assert (recorder["there"].ids, recorder["absent"].ids) == (["e"], [])


@MODES
def test_t12_a_reply_is_routed_too(serve, recorder, mode):
    first = recorder.add("first", reply("com.example.ReplyEvent", id="answer"))
    second = recorder["second"]
    broker = serve([mesh("b"), trigger("t1", "b", first.url, attributes={"type": "t"}), trigger("t2", "b", second.url, attributes={"type": "com.example.ReplyEvent"})])
    post(broker, "Broker/b", mode)
    got = second.wait(1)[0]
    assert (got.event["type"], got.id) == ("com.example.ReplyEvent", "answer")
    assert len(first.requests) == 1
    assert "knativebrokerttl" not in got.event, "the loop guard is the broker's own business"


# ---- T13: headers ----


@pytest.mark.parametrize("kind", ["Broker", "Channel", "InMemoryChannel"])
def test_t13_prefer_and_namespace(serve, recorder, kind):
    sub = recorder.add("sub", fail_first(1, 400))
    dead = recorder["dead"]
    spec = terms(dead=dead.url)
    made = [mesh("x", namespace="shop"), trigger("t", "x", sub.url, delivery=spec, namespace="shop")] if kind == "Broker" else [resource(kind, "x", {}, "shop"), hear("t", f"{kind}/x", sub.url, delivery=spec, namespace="shop")]
    broker = serve(made)
    assert send(broker, f"{kind}/x", b"", event(), "shop").status == 202
    got, letter = sub.wait(1)[0], dead.wait(1)[0]
    assert (got.headers["prefer"], got.headers["kn-namespace"]) == ("reply", "shop")
    assert "prefer" not in letter.headers and letter.headers["kn-namespace"] == "shop"


# ---- T14, T15: dead letters ----


@MODES
@pytest.mark.parametrize("kind", ["Broker", "Channel"])
def test_t14_an_unreachable_subscriber(serve, recorder, kind, mode):
    nowhere = f"http://127.0.0.1:{free_port()}/nobody"
    spec = terms(dead=recorder["dead"].url, retry=1)
    broker = serve([mesh("x"), trigger("t", "x", nowhere, delivery=spec)] if kind == "Broker" else [channel("x"), hear("t", "x", nowhere, delivery=spec)])
    post(broker, kind + "/x", mode, id="u")
    got = recorder["dead"].wait(1)[0]
    dest, code, why = failure(got)
    assert (got.id, dest, code) == ("u", nowhere, "500") and b"refused" in why.lower()


@MODES
@pytest.mark.parametrize("body", [b"", b'{ "message": "catastrophic failure" }', b"x" * 768, b"x" * 769, bytes(range(256)), b"y" * (1 << 20)], ids=["empty", "json", "768", "769", "binary", "1MiB"])
def test_t14_extensions_of_a_dead_letter(serve, recorder, body, mode):
    sub = recorder.add("sub", always(422, body))
    broker = serve([mesh("b"), trigger("t", "b", sub.url, delivery=terms(dead=recorder["dead"].url, retry=3))])
    post(broker, "Broker/b", mode, id="d")
    got = recorder["dead"].wait(1)[0]
    dest, code, data = failure(got)
    assert (got.id, dest, code, data or b"") == ("d", sub.url, "422", body[:768])
    assert json.loads(got.event["data"]) == {"n": 1} and len(sub.requests) == 1
    assert got.headers.get("content-type", "").startswith(STRUCTURED) == (mode == "structured")


def test_t15_the_broker_s_dead_letter_sink(serve, recorder):
    sub = recorder.add("sub", always(500))
    broker = serve([mesh("b", terms(dead=recorder["brokers"].url)), trigger("plain", "b", sub.url), trigger("terms", "b", sub.url, delivery=terms(retry=1)), trigger("own", "b", sub.url, delivery=terms(dead=recorder["own"].url))])
    post(broker, "Broker/b")
    settled(broker)
    assert (len(recorder["brokers"].requests), len(recorder["own"].requests), len(sub.requests)) == (2, 1, 4)


def test_t15_a_flaky_subscriber(serve, recorder):
    """Of events that are tried once, those with Fibonacci's numbers are taken and the others are dead letters."""
    sub = recorder.add("sub", fail_fibonacci())
    broker = serve([mesh("b"), trigger("t", "b", sub.url, delivery=terms(dead=recorder["dead"].url, retry=0), max_in_flight=1)])
    sent = [str(i) for i in range(1, 14)]
    for id in sent:
        post(broker, "Broker/b", id=id)
    settled(broker)
    assert ends(broker, "t") == {"delivered": 6, "dead_lettered": 7, "parked": 0}  # 1, 2, 3, 5, 8, 13
    assert sorted(sub.ids) == sorted(sent)
    dead = recorder["dead"].ids
    assert sorted(dead) == sorted(set(sent) - {sub.ids[n - 1] for n in (1, 2, 3, 5, 8, 13)})


# ---- T19, T20: channels ----


def test_t19_the_channel_matrix(serve, recorder):
    spec = terms(dead=recorder["dead"].url, retry=1)
    ok = reply("ok.reply", id="ok")
    once, twice = recorder.add("replies3", fail_first(1)), recorder.add("replies4", fail_first(2))
    objects = [channel("c"), hear("s1", "c", recorder.add("sub1", fail_first(1)).url, delivery=spec)]
    objects += [hear("s2", "c", recorder.add("sub2", ok).url, recorder["replies2"].url, spec)]
    objects += [hear("s3", "c", recorder.add("sub3", ok).url, once.url, spec), hear("s4", "c", recorder.add("sub4", ok).url, twice.url, spec)]
    broker = serve(objects)
    post(broker, "Channel/c", id="x")
    settled(broker)
    assert [len(recorder[n].requests) for n in ("sub1", "sub2", "replies2", "sub3", "replies3", "sub4", "replies4", "dead")] == [2, 1, 1, 1, 2, 1, 2, 1]
    assert recorder["replies2"].ids == ["ok"] and recorder["replies3"].ids == ["ok", "ok"]
    assert recorder["dead"].ids == ["x"], "the original, not the reply"
    assert failure(recorder["dead"].requests[0])[:2] == (twice.url, "500")


@MODES
@pytest.mark.parametrize("length", [1, 10])
def test_t20_a_chain_of_channels(serve, recorder, length, mode):
    objects = [channel(f"c{i}") for i in range(length)]
    for i in range(length):
        step = recorder.add(f"step{i}", reply(append=f"-{i}".encode())).url
        objects.append(hear(f"s{i}", f"c{i}", step, f"Channel/c{i + 1}" if i + 1 < length else recorder["end"].url))
    broker = serve(objects)
    post(broker, "Channel/c0", mode, data=b'"x"')
    assert recorder["end"].wait(1)[0].event["data"] == b'"x"' + b"".join(b"-%d" % i for i in range(length))
    settled(broker)
    assert len(recorder["end"].requests) == 1


def test_t20_a_channel_as_dead_letter_sink_of_a_channel(serve, recorder):
    sub = recorder.add("sub", always(500, b"why"))
    broker = serve([channel("c", delivery=terms(dead="Channel/letters", retry=1)), channel("letters"), hear("s", "c", sub.url), hear("l", "letters", recorder["end"].url)])
    post(broker, "Channel/c", id="l")
    got = recorder["end"].wait(1)[0]
    assert (got.id, failure(got)) == ("l", (sub.url, "500", b"why")) and len(sub.requests) == 2


def test_t20_async_handler_is_taken(serve, recorder):
    """202 before delivery is what leat always does; the annotation that asks for it changes nothing."""
    c = resource("InMemoryChannel", "c", {}, annotations={"messaging.knative.dev/async-handler": "true"})
    broker = serve([c, hear("s", "InMemoryChannel/c", recorder["sub"].url)])
    ready(broker, c)
    post(broker, "InMemoryChannel/c")
    recorder["sub"].wait(1)


# ---- T21: larger topologies ----


def test_t21_a_broker_as_middleware(serve, recorder):
    """broker, channel, broker; a transformation at each step."""
    objects = [mesh("in"), trigger("into", "in", "Channel/c", attributes={"type": "t"}), channel("c"), hear("through", "c", recorder.add("change", reply("changed")).url, "Broker/out"), mesh("out"), trigger("end", "out", recorder["end"].url, attributes={"type": "changed"})]
    broker = serve(objects)
    post(broker, "Broker/in", id="m")
    got = recorder["end"].wait(1)[0]
    assert (got.id, got.event["type"]) == ("m", "changed") and "knativebrokerttl" not in got.event
    settled(broker)
    assert len(recorder["end"].requests) == len(recorder["change"].requests) == 1


def test_t21_many_triggers(serve, recorder):
    count = 60
    objects = [mesh("b")] + [trigger(f"t{i}", "b", recorder[f"sub{i}"].url, attributes={"type": f"type{i % 30}"}) for i in range(count)]
    broker = serve(objects)
    for i in range(30):
        post(broker, "Broker/b", id=str(i), type=f"type{i}")
    settled(broker)
    assert all(recorder[f"sub{i}"].ids == [str(i % 30)] for i in range(count))


# ---- T22, T23: format and timeout ----


@MODES
@pytest.mark.parametrize("format", ["json", "binary", None])
@pytest.mark.parametrize("kind", ["Broker", "Channel"])
def test_t22_format(serve, recorder, kind, format, mode):
    spec = terms(**({"format": format} if format else {}))
    broker = serve([mesh("x"), trigger("t", "x", recorder["sub"].url, delivery=spec)] if kind == "Broker" else [channel("x"), hear("t", "x", recorder["sub"].url, delivery=spec)])
    post(broker, kind + "/x", mode, id="f")
    got = recorder["sub"].wait(1)[0]
    structured = {"json": True, "binary": False, None: mode == "structured"}[format]
    assert got.headers["content-type"].startswith(STRUCTURED) == structured
    assert got.id == "f" and json.loads(got.event["data"]) == {"n": 1}


def test_t22_format_is_the_broker_s_where_the_trigger_has_no_terms(serve, recorder):
    broker = serve([mesh("b", terms(format="json")), trigger("t", "b", recorder["sub"].url)])
    post(broker, "Broker/b")
    assert recorder["sub"].wait(1)[0].headers["content-type"].startswith(STRUCTURED)


@pytest.mark.parametrize("kind", ["Broker", "Channel"])
def test_t23_timeout(serve, recorder, kind):
    slow = recorder.add("slow", delayed(60))
    spec = terms(dead=recorder["dead"].url, retry=1, timeout="PT1S")
    broker = serve([mesh("x"), trigger("t", "x", slow.url, delivery=spec)] if kind == "Broker" else [channel("x"), hear("t", "x", slow.url, delivery=spec)])
    began = time.monotonic()
    post(broker, kind + "/x", id="slow")
    got = recorder["dead"].wait(1)[0]
    assert got.id == "slow" and failure(got)[:2] == (slow.url, "500")
    slow.wait(2)
    assert len(slow.requests) == 2 and 2 - GRAIN <= got.at - began <= 2 + SLACK


def test_t23_a_slow_subscriber_in_time(serve, recorder):
    broker = serve([mesh("b"), trigger("t", "b", recorder.add("slow", delayed(0.2)).url, delivery=terms(dead=recorder["dead"].url, timeout="PT60S"))])
    post(broker, "Broker/b")
    wait_end(broker, "delivered", 1, "t")
    assert not recorder["dead"].requests


# ---- T24: flows ----


@MODES
def test_t24_a_sequence(serve, recorder, mode):
    steps = [recorder.add(f"step{i}", reply(append=f"-{i}".encode())).url for i in range(3)]
    broker = serve([sequence("q", steps, recorder["end"].url)])
    post(broker, "Sequence/q", mode, id="q", data=b'"x"')
    got = recorder["end"].wait(1)[0]
    assert (got.id, got.event["data"]) == ("q", b'"x"-0-1-2')
    settled(broker)
    assert [len(recorder[f"step{i}"].requests) for i in range(3)] == [1, 1, 1]
    assert all("knativebrokerttl" not in recorder[f"step{i}"].requests[0].event for i in range(3))


def test_t24_a_step_that_answers_nothing_ends_the_flow(serve, recorder):
    broker = serve([sequence("q", [recorder["first"].url, recorder["second"].url], recorder["end"].url)])
    post(broker, "Sequence/q")
    settled(broker)
    assert (len(recorder["first"].requests), len(recorder["second"].requests), len(recorder["end"].requests)) == (1, 0, 0)


def test_t24_each_step_has_its_own_delivery(serve, recorder):
    spec = terms(dead=recorder["dead"].url, retry=2)
    first, second = recorder.add("first", fail_first(2, then=reply())), recorder.add("second", fail_first(2, then=reply()))
    broker = serve([sequence("q", [(first.url, spec), (second.url, terms(dead=recorder["dead2"].url, retry=1))], recorder["end"].url)])
    post(broker, "Sequence/q", id="q")
    settled(broker)
    assert [len(recorder[n].requests) for n in ("first", "second", "dead", "dead2", "end")] == [3, 2, 0, 1, 0]
    assert recorder["dead2"].ids == ["q"]


def test_t24_a_sequence_into_a_broker(serve, recorder):
    broker = serve([sequence("q", [recorder.add("step", reply("stepped")).url], "Broker/b"), mesh("b"), trigger("t", "b", recorder["end"].url, attributes={"type": "stepped"})])
    post(broker, "Sequence/q", id="q")
    assert recorder["end"].wait(1)[0].id == "q"


def test_t24_a_sequence_of_sequences(serve, recorder):
    inner = sequence("inner", [recorder.add("inside", reply(append=b"-inside")).url], "Channel/c")
    broker = serve([sequence("outer", [recorder.add("before", reply(append=b"-before")).url], "Sequence/inner"), inner, channel("c"), hear("s", "c", recorder["end"].url)])
    post(broker, "Sequence/outer", data=b"1")
    assert recorder["end"].wait(1)[0].event["data"] == b"1-before-inside"


@MODES
def test_t24_a_parallel(serve, recorder, mode):
    """One branch passes by its filter's reply, one is blocked by an empty answer, one has no filter; one has a reply of its own, the others the common one."""
    passes = recorder.add("passes", reply(append=b"-filtered"))
    blocks = recorder.add("blocks", accept(200))
    branches = [branch(recorder.add("a", reply("from.a")).url, passes.url, recorder["own"].url), branch(recorder.add("b", reply("from.b")).url, blocks.url), branch(recorder.add("c", reply("from.c")).url)]
    broker = serve([parallel("p", branches, recorder["common"].url)])
    post(broker, "Parallel/p", mode, id="p", data=b"7")
    settled(broker)
    assert [len(recorder[n].requests) for n in ("passes", "blocks", "a", "b", "c")] == [1, 1, 1, 0, 1]
    assert recorder["a"].requests[0].event["data"] == b"7-filtered", "what the filter answers goes on"
    assert [r.event["type"] for r in recorder["own"].requests] == ["from.a"]
    assert [r.event["type"] for r in recorder["common"].requests] == ["from.c"]


def test_t24_delivery_of_a_branch(serve, recorder):
    spec = terms(dead=recorder["dead"].url, retry=1)
    broker = serve([parallel("p", [branch(recorder.add("bad", always(500)).url, delivery=spec), branch(recorder["good"].url)])])
    post(broker, "Parallel/p", id="p")
    settled(broker)
    assert (len(recorder["bad"].requests), recorder["dead"].ids, recorder["good"].ids) == (2, ["p"], ["p"])


# ---- T30: what is observable ----


def test_t30_counters_and_trace(serve, recorder):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sub = recorder.add("sub", fail_first(2))
    broker = serve([mesh("b"), trigger("t", "b", sub.url, attributes={"type": "t"}, delivery=terms(retry=5))])
    headers, body = in_mode("binary")
    assert send(broker, "Broker/b", body, {**headers, "ce-traceparent": trace, "traceparent": trace}).status == 202
    post(broker, "Broker/b", id="2", type="other")
    page = settled(broker)

    def value(name, **labels):
        return page[name, frozenset(labels.items())]

    labels = {"namespace": "default", "subscription": "t"}
    assert value("leat_events_accepted_total", namespace="default", channel="b") == 2
    assert [value(f"leat_delivery_{n}_total", **labels) for n in ("attempts", "retries", "failures")] == [3, 2, 2]
    assert value("leat_deliveries_total", end="delivered", **labels) == 1
    assert value("leat_backlog_events", **labels) == value("leat_deliveries_in_flight", **labels) == 0
    for got in sub.requests:
        assert got.event["traceparent"] == trace and got.headers["traceparent"].split("-")[1] == trace.split("-")[1]


def test_t30_a_trigger_s_status_has_what_upstream_s_has(serve, recorder):
    t = trigger("t", "b", recorder["sub"].url + "/path")
    broker = serve([mesh("b"), t])
    ready(broker, t)
    assert object_of(broker, "Trigger", "t")["status"]["subscriberUri"] == recorder["sub"].url + "/path"
    assert condition(broker, "Trigger", "t", "SubscriberResolved")["status"] == "True"
