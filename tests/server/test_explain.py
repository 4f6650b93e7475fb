# SPDX-License-Identifier: Apache-2.0
"""Where did my event go: what /leat/v1/explain and `leat explain` say, as someone sees it who looks for an event."""

import json
import threading
import urllib.parse

import pytest

from broker import channel, event, subscription
from leat import Reply, Sink, wait_for
from topology import apply, hear, mesh, send, terms, trigger


def ask(broker, id, **more):
    return broker.ask("GET", "/leat/v1/explain?" + urllib.parse.urlencode({"id": id, **more}, quote_via=urllib.parse.quote))


def explain(broker, id, **more):
    answer = ask(broker, id, **more)
    assert answer.status == 200, answer
    return answer.json()["events"]


def one(broker, id, **more):
    events = explain(broker, id, **more)
    assert len(events) == 1, events
    return events[0]


def state(broker, id, name, wanted):
    """The subscription's part, once it is in this state."""

    def look():
        found = [s for e in explain(broker, id) for s in e["subscriptions"] if s["name"] == name]
        return found and found[0].get("state") == wanted and found[0]

    return wait_for(look, f"{name} to be {wanted}")


# ---- what happened ----


def test_a_delivery_with_retries(serve, sink):
    broker = serve([channel("orders"), subscription("billing", "orders", sink.url, retry=5)])
    sink.script = [Reply(500, body=b"no, \x01\xff not now"), Reply(429, body=b"x" * 1000)]
    assert broker.post("orders", b"{}", {**event("e-1", "order.made", "/shop", team="blue"), "x-request-id": "r-17"}).status == 202
    found = state(broker, "e-1", "billing", "delivered")
    e = one(broker, "e-1")
    assert (e["source"], e["type"], e["channel"]) == ("/shop", "order.made", {"kind": "Channel", "namespace": "default", "name": "orders"})
    assert e["attributes"] == {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.made", "team": "blue"}
    (taken,) = e["taken"]
    assert taken["requestId"] == "r-17" and "cause" not in taken
    loop, number = taken["request"].split("-")
    assert int(loop) >= 0 and int(number) == 1
    assert (found["kind"], found["matched"]) == ("Subscription", True)
    assert [(a["id"], a["phase"], a["number"], a["code"]) for a in found["attempts"]] == [(f"default/billing/subscriber/{i + 1}", "subscriber", i + 1, code) for i, code in enumerate([500, 429, 202])]
    assert [a.get("text") for a in found["attempts"]] == ["no, \x01? not now", "x" * 128, None], "128 bytes of an answer, made UTF-8"
    times = [taken["time"], *(a["time"] for a in found["attempts"]), found["ended"]]
    assert times == sorted(times)
    assert all(a["milliseconds"] >= 0 for a in found["attempts"])
    for before, after in zip(found["attempts"], found["attempts"][1:]):
        assert before["time"] < before["nextAttempt"] <= after["time"]
    assert "nextAttempt" not in found["attempts"][2]


def test_a_batch_is_one_request(serve, sink):
    broker = serve([channel("orders"), subscription("s", "orders", sink.url)], "--loops", "1")
    events = [{"specversion": "1.0", "id": f"b-{i}", "type": "t", "source": "/s"} for i in range(3)]
    assert broker.post("orders", json.dumps(events).encode(), {"Content-Type": "application/cloudevents-batch+json"}).status == 202
    assert broker.post("orders", b"", event("single")).status == 202
    assert [one(broker, id)["taken"][0]["request"] for id in ("b-0", "b-1", "b-2", "single")] == ["0-1", "0-1", "0-1", "0-2"]


def test_why_a_filter_says_no(serve, sink):
    broker = serve([mesh("b"), trigger("yes", "b", sink.url, attributes={"type": "order.made"}), trigger("no", "b", sink.url, filters=[{"exact": {"type": "order.paid"}}])])
    assert send(broker, "Broker/b", b"", event("f-1", "order.made")).status == 202
    state(broker, "f-1", "yes", "delivered")
    e = one(broker, "f-1")
    no = next(s for s in e["subscriptions"] if s["name"] == "no")
    assert no["matched"] is False and "attempts" not in no
    assert "order.paid" in no["reason"] and "order.made" in no["reason"]
    assert (e["unmatched"], e["unlisted"]) == (1, 0)


def test_many_that_do_not_match_are_counted_and_some_shown(serve, sink, run):
    broker = serve([mesh("b"), *(trigger(f"t{i:02}", "b", sink.url, attributes={"type": f"type-{i}"}) for i in range(30))])
    assert send(broker, "Broker/b", b"", event("m-1", "type-29")).status == 202
    state(broker, "m-1", "t29", "delivered")
    e = one(broker, "m-1")
    assert (len(e["subscriptions"]), e["unmatched"], e["unlisted"]) == (21, 29, 9)
    assert run("explain", "m-1", "--server", broker.api)[1].endswith("  and 9 more that do not match; --all lists them")
    e = one(broker, "m-1", all="true")
    assert (len(e["subscriptions"]), e["unmatched"], e["unlisted"]) == (30, 29, 0)


def test_ids_are_unique_per_source(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--loops", "2")
    for source in ("/a", "/b"):
        assert broker.post("c", b"", event("same", source=source)).status == 202
    assert sorted(e["source"] for e in explain(broker, "same")) == ["/a", "/b"]
    assert one(broker, "same", source="/b")["source"] == "/b"
    assert ask(broker, "same", source="/c").status == 404


def test_a_reply_and_its_cause(serve, sink):
    sink.script = [Reply(200, {"ce-specversion": "1.0", "ce-id": "answer", "ce-type": "answered", "ce-source": "/service"})]
    broker = serve([channel("in"), channel("out"), hear("s", "in", sink.url, reply="Channel/out"), hear("t", "out", sink.url)])
    assert broker.post("in", b"", event("question")).status == 202
    state(broker, "question", "s", "delivered")
    state(broker, "answer", "t", "delivered")
    question, answer = one(broker, "question"), one(broker, "answer")
    assert question["made"] == [{"id": "answer", "channel": {"kind": "Channel", "namespace": "default", "name": "out"}}]
    assert answer["taken"][0]["cause"] == "question" and "request" not in answer["taken"][0]
    (s,) = question["subscriptions"]
    assert [(a["phase"], a["number"], a["code"]) for a in s["attempts"]] == [("subscriber", 1, 200), ("reply", 1, 202)]


def test_a_dead_letter(serve, sink):
    with Sink(default=Reply(400, body=b"never")) as bad:
        broker = serve([channel("c"), hear("s", "c", bad.url, delivery=terms(dead=sink.url, retry=1))])
        assert broker.post("c", b"", event("d-1")).status == 202
        s = state(broker, "d-1", "s", "dead-lettered")
    assert [(a["phase"], a["number"], a["code"], a.get("text")) for a in s["attempts"]] == [("subscriber", 1, 400, "never"), ("dead-letter", 1, 202, None)]


def test_parked(serve, sink):
    sink.default = Reply(503)
    broker = serve([channel("c"), hear("s", "c", sink.url, delivery=terms(retry=1))])
    broker.may_lose = True
    assert broker.post("c", b"", event("p-1")).status == 202
    s = state(broker, "p-1", "s", "parked")
    assert [a["code"] for a in s["attempts"] if a["phase"] == "subscriber"] == [503, 503]


def test_attempts_of_a_redrive_are_told_apart(serve, sink, run):
    broker = serve([channel("orders"), subscription("s", "orders", sink.url)])
    sink.fail(2, 400)
    broker.post("orders", b"", event("p-1"))
    state(broker, "p-1", "s", "parked")
    for end in ("parked", "delivered"):
        task = broker.ask("POST", "/leat/v1/dlq/default/subscription/s/redrive", {"all": True})
        assert task.status == 202
        wait_for(lambda: broker.ask("GET", f"/leat/v1/tasks/{task.json()['id']}").json()["state"] != "running", "its end")
        wait_for(lambda: len([a for a in one(broker, "p-1")["subscriptions"][0]["attempts"] if a["phase"] == "subscriber"]) == (2 if end == "parked" else 3), "the attempt")
        s = state(broker, "p-1", "s", end)
    first, second, third = [a for a in s["attempts"] if a["phase"] == "subscriber"]
    assert "redrive" not in first and (second["redrive"], third["redrive"]) == (1, 2)
    assert [a["id"] for a in (first, second, third)] == ["default/s/subscriber/1", "default/s/redrive-1/subscriber/1", "default/s/redrive-2/subscriber/1"]
    said = run("explain", "p-1", "--server", broker.api)[1]
    assert said.count("redriven, subscriber 1:") == 2 and said.count("subscriber 1:") == 3


def test_nobody_answers_and_the_next_attempt_is_far_away(serve, run):
    broker = serve([channel("c"), hear("s", "c", "http://127.0.0.1:1/", delivery=terms(retry=3, backoffDelay="PT1H"))], "--drain", "10ms")
    broker.may_lose = True
    assert broker.post("c", b"", event("w-1")).status == 202
    s = state(broker, "w-1", "s", "retrying")
    (attempt,) = s["attempts"]
    assert attempt["error"] == "unavailable" and "code" not in attempt and "refused" in attempt["text"]
    assert attempt["nextAttempt"] > attempt["time"]


def test_a_paused_subscription(serve, sink):
    broker = serve([channel("c"), hear("s", "c", sink.url, paused="true")], "--drain", "10ms")
    broker.may_lose = True
    assert broker.post("c", b"", event("x-1")).status == 202
    assert state(broker, "x-1", "s", "paused")["attempts"] == []


def test_a_subscription_made_after_the_event(serve, sink, run):
    broker = serve([channel("c"), hear("s", "c", sink.url)])
    assert broker.post("c", b"", event("early")).status == 202
    state(broker, "early", "s", "delivered")
    apply(broker, [channel("c"), hear("s", "c", sink.url), hear("t", "c", sink.url)], "now")
    assert state(broker, "early", "t", "newer")["attempts"] == []
    assert broker.post("c", b"", event("late")).status == 202
    state(broker, "late", "t", "delivered")
    code, out, _ = run("explain", "early", "--server", broker.api)
    assert code == 0 and "subscription default/t: newer than the event: it was made after it came" in out


def test_a_channel_without_subscriptions(serve, run):
    broker = serve([channel("c")])
    assert broker.post("c", b"", event("lonely")).status == 202
    assert one(broker, "lonely")["subscriptions"] == []
    code, out, _ = run("explain", "lonely", "--server", broker.api)
    assert code == 0 and "nobody subscribes" in out


# ---- what is remembered ----


def test_events_of_all_loops_are_found(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--loops", "3")
    for i in range(12):  # each on a connection of its own: loops in turn
        assert broker.post("c", b"", event(f"l-{i}")).status == 202
    loops = {one(broker, f"l-{i}")["taken"][0]["request"].split("-")[0] for i in range(12)}
    assert loops == {"0", "1", "2"}


def test_old_events_are_forgotten_and_the_answer_says_so(serve, sink, run):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--loops", "1", "--trace-bytes", "64KiB")
    for i in range(0, 1000, 100):
        events = [{"specversion": "1.0", "id": f"o-{k}", "type": "t", "source": "/s"} for k in range(i, i + 100)]
        assert broker.post("c", json.dumps(events).encode(), {"Content-Type": "application/cloudevents-batch+json"}).status == 202
    sink.wait(1000)
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    assert broker.post("c", b"", event("newest")).status == 202
    state(broker, "newest", "s", "delivered")
    answer = ask(broker, "o-0")
    assert answer.status == 404 and answer.json()["reason"] == "NotFound"
    assert "'o-0'" in answer.json()["message"] and "--trace-bytes" in answer.json()["message"]
    code, out, err = run("explain", "o-0", "--server", broker.api)
    assert (code, out) == (1, "") and "What happened since" in err


def test_without_a_trace(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--trace-bytes", "0")
    assert broker.post("c", b"", event("1")).status == 202
    sink.wait(1)
    answer = ask(broker, "1")
    assert answer.status == 404 and "--trace-bytes 0" in answer.json()["message"]


def test_attributes_that_are_too_long_leave_the_rest_known(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)])
    assert broker.post("c", b"", event("long", text="x" * 3000)).status == 202
    s = state(broker, "long", "s", "delivered")
    assert "matched" not in s and "attributes" not in one(broker, "long")


def test_what_the_plan_no_longer_has(serve, sink):
    broker = serve([channel("c"), channel("kept"), subscription("s", "c", sink.url)])
    assert broker.post("c", b"", event("g-1")).status == 202
    state(broker, "g-1", "s", "delivered")
    apply(broker, [channel("kept")], "now")
    e = one(broker, "g-1")
    assert e["channel"] == {"name": None} and "subscriptions" not in e and e["type"] == "t"


def test_asked_under_load(serve, sink):
    """Many ask while many send: every answer is right, and nothing is lost."""
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--loops", "2")
    failures = []

    def produce(k):
        for i in range(100):
            if broker.post("c", b"x" * 100, event(f"{k}-{i}")).status != 202:
                failures.append((k, i))

    def look(k):
        for i in range(50):
            answer = ask(broker, f"{k}-{i}")
            if answer.status == 404:
                continue
            (e,) = answer.json()["events"]
            if e["attributes"]["id"] != f"{k}-{i}" or len(e["subscriptions"]) != 1:
                failures.append(e)

    threads = [threading.Thread(target=f, args=(k,)) for f in (produce, look) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    sink.wait(300)


# ---- bad questions ----


@pytest.mark.parametrize("query, words", [("", "id is missing"), ("?id=", "id is missing"), ("?source=/s", "id is missing"), ("?id=%zz", "percent"), ("?id=%00", "percent"), ("?id=a&source=%2", "percent")])
def test_a_bad_query(serve_shared, query, words):
    answer = serve_shared.ask("GET", "/leat/v1/explain" + query)
    assert (answer.status, answer.json()["code"]) == (400, 400) and words in answer.json()["message"]


def test_other_methods_and_pages(serve_shared):
    assert serve_shared.ask("POST", "/leat/v1/explain?id=1", b"").status == 405
    assert serve_shared.ask("GET", "/leat/v1/explanation").status == 404


@pytest.fixture(scope="module")
def serve_shared(serve_module):
    return serve_module([channel("c")])


# ---- the verb ----


def test_the_verb(serve, sink, run):
    broker = serve([mesh("b"), trigger("ok", "b", sink.url, delivery=terms(retry=2)), trigger("other", "b", sink.url, attributes={"type": "other"})])
    sink.fail(1, body=b"first\x1b[31m\nsecond")
    code, out, _ = run("send", "--to", f"{broker.ingress}/brokers/default/b", "--type", "order.made", "--source", "/shop")
    assert code == 0
    id = next(w for w in out.split() if w.startswith("id="))[3:]
    state(broker, id, "ok", "delivered")
    code, out, err = run("explain", id, "--server", broker.api)
    assert (code, err) == (0, "")
    lines = out.split("\n")
    assert lines[0] == f"event {id} from /shop, type order.made"
    assert lines[1].startswith("  taken by broker default/b ") and " ago (" in lines[1] and ", request " in lines[1]
    assert lines[2].startswith("  trigger default/ok: delivered at +")
    assert "subscriber 1: 500 after " in lines[3] and "first?[31m; next at +" in lines[3], "control characters do not reach the terminal"
    assert "subscriber 2: 202 after " in lines[4]
    assert lines[5].startswith("  trigger default/other: no match: ") and '"other"' in lines[5]
    code, out, _ = run("explain", id, "--server", broker.api, "-o", "json", "--source", "/shop")
    assert code == 0 and json.loads(out)["events"][0]["type"] == "order.made"
    code, _, err = run("explain", id, "--server", broker.api, "--source", "/else")
    assert code == 1 and "/else" in err


@pytest.mark.parametrize("args, code", [(["explain"], 2), (["explain", "a", "b"], 2), (["explain", "a", "-o", "yaml"], 2), (["explain", "a", "--server", "http://127.0.0.1:1"], 1)])
def test_a_wrong_command_line(run, args, code):
    assert run(*args)[0] == code
