# SPDX-License-Identifier: Apache-2.0
"""What goes wrong elsewhere, and must not here: a test for each defect and contradiction that users of Knative's data planes meet and that concerns what leat does.

A comment in capitals at the head of each group says which. The filters that elsewhere let everything pass are in test_knative_filters.py, the delivery matrix in
test_knative_delivery.py. Delivery after a crash is the matter of durable buses.
"""

import base64
import json
import threading
import time

import pytest

from broker import event
from leat import Client, Reply, Sink, free_port, wait_for
from recorder import STRUCTURED, accept, always, delayed, fail_first, reply
from topology import apply, condition, ends, hear, mesh, object_of, ready, resource, send, sequence, settled, terms, trigger, wait_end

GRAIN = 0.005  # seconds: timers of the kernel and of the program
REPLY = {"ce-specversion": "1.0", "ce-id": "r-1", "ce-type": "reply", "ce-source": "/svc", "Content-Type": "application/json"}
KINDS = pytest.mark.parametrize("kind", ["Broker", "Channel"])


def channel(name, **spec):
    return resource("Channel", name, spec)


def one(kind, url, delivery=None, replies=None, **annotations):
    """A channel or broker `x`, with one subscription `t` to a URL."""
    if kind == "Broker":
        return [mesh("x"), trigger("t", "x", url, delivery=delivery, **annotations)]
    return [channel("x"), hear("t", "x", url, replies, delivery, **annotations)]


def post(broker, where, id="1", body=b"x", **attributes):
    answer = send(broker, where, body, event(id, **attributes))
    assert answer.status == 202, answer


def parked(broker, of="trigger/t", query=""):
    answer = broker.ask("GET", f"/leat/v1/dlq/default/{of}{query}")
    assert answer.status == 200, answer
    return answer.json()["items"]


def data_of(request):
    return base64.b64decode(request.event.get("knativeerrordata", ""))


# ---- AN ERROR BODY OF 769 BYTES ENDS THE DISPATCHER; larger ones are cut wrongly, HTML in them breaks the dead letter ----


@KINDS
@pytest.mark.parametrize("body", [b"e" * 768, b"e" * 769, b"e" * 1025, b"e" * (1 << 20), "ü".encode() * 400, b"<html>\r\n\r\nCe-Id: evil\x00\xff</html>"], ids=["768", "769", "1025", "1MiB", "characters", "html"])
def test_error_bodies(serve, recorder, kind, body):
    sub = recorder.add("sub", lambda request, nth: Reply(422, body=body) if request.id == "bad" else Reply(202))
    broker = serve(one(kind, sub.url, terms(dead=recorder["dead"].url)))
    post(broker, f"{kind}/x", "bad")
    got = recorder["dead"].wait(1)[0]
    assert (got.id, got.event["data"], data_of(got)) == ("bad", b"x", body[:768])
    assert len(got.event["knativeerrordata"]) <= 1024
    post(broker, f"{kind}/x", "good")
    wait_end(broker, "delivered", 1, "t")


def test_a_long_good_answer_is_not_cut(serve, recorder):
    answers = recorder["answers"]
    broker = serve(one("Channel", recorder.add("sub", reply("r", data=b"g" * 5000)).url, replies=answers.url))
    post(broker, "Channel/x")
    assert answers.wait(1)[0].body == b"g" * 5000


# ---- WHAT MUST NOT BE TRIED AGAIN COUNTS AS DELIVERED ----


@KINDS
@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 413, 422, 425])
def test_a_final_answer_is_a_dead_letter_at_once(serve, recorder, kind, status):
    sub = recorder.add("sub", always(status))
    broker = serve(one(kind, sub.url, terms(retry=10, dead=recorder["dead"].url)))
    post(broker, f"{kind}/x")
    got = recorder["dead"].wait(1)[0]
    settled(broker)
    assert got.event["knativeerrorcode"] == str(status) and len(sub.requests) == 1
    assert ends(broker, "t") == {"delivered": 0, "dead_lettered": 1, "parked": 0}


# ---- A REDIRECT IS FOLLOWED, AS A GET ----


@KINDS
@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_failure(serve, recorder, kind, status):
    elsewhere = recorder["elsewhere"]
    sub = recorder.add("sub", lambda request, nth: Reply(status, {"Location": elsewhere.url}))
    broker = serve(one(kind, sub.url, terms(retry=5, dead=recorder["dead"].url)))
    post(broker, f"{kind}/x")
    assert recorder["dead"].wait(1)[0].event["knativeerrorcode"] == str(status)
    assert len(sub.requests) == 1 and not elsewhere.requests and sub.requests[0].method == "POST"


# ---- A 202 WITH AN EVENT IN IT IS TAKEN AS A REPLY ----


@pytest.mark.parametrize("kind", ["Broker", "Channel", "Sequence"])
def test_a_202_is_never_a_reply(serve, recorder, kind):
    sub, answers = recorder.add("sub", reply("reply", status=202)), recorder["answers"]
    objects = {"Broker": [mesh("x"), trigger("t", "x", sub.url, attributes={"type": "t"}), trigger("answers", "x", answers.url, attributes={"type": "reply"})], "Channel": one("Channel", sub.url, replies=answers.url), "Sequence": [sequence("x", [sub.url, answers.url])]}[kind]
    broker = serve(objects)
    post(broker, f"{kind}/x")
    settled(broker)
    assert len(sub.requests) == 1 and not answers.requests


# ---- AN ANSWER THAT IS NO EVENT: a broker tries for ever, or answers itself 502 ----

NO_EVENTS = {"text": ({"Content-Type": "text/plain"}, b"hello"), "json": ({"Content-Type": "application/json"}, b"{}"), "no id": ({**REPLY, "ce-id": ""}, b""), "broken": ({"Content-Type": STRUCTURED}, b"{"), "batch": ({"Content-Type": "application/cloudevents-batch+json"}, b"[]"), "version": ({**REPLY, "ce-specversion": "9"}, b"")}


@pytest.mark.parametrize("what", NO_EVENTS)
def test_an_answer_that_is_no_event_fails_a_trigger_without_retry(serve, recorder, what):
    headers, body = NO_EVENTS[what]
    sub = recorder.add("sub", lambda request, nth: Reply(200, headers, body))
    broker = serve(one("Broker", sub.url, terms(retry=5, dead=recorder["dead"].url)))
    post(broker, "Broker/x")
    got = recorder["dead"].wait(1)[0]
    settled(broker)
    assert (got.event["knativeerrordest"], got.event["knativeerrorcode"]) == (sub.url, "502") and len(sub.requests) == 1


@pytest.mark.parametrize("what", NO_EVENTS)
def test_an_answer_that_is_no_event_is_ignored_by_a_channel(serve, recorder, what):
    headers, body = NO_EVENTS[what]
    sub = recorder.add("sub", lambda request, nth: Reply(200, headers, body))
    broker = serve(one("Channel", sub.url, terms(retry=5, dead=recorder["dead"].url), recorder["answers"].url))
    post(broker, "Channel/x")
    settled(broker)
    assert len(sub.requests) == 1 and not recorder["dead"].requests and not recorder["answers"].requests
    assert ends(broker, "t")["delivered"] == 1
    broker.wait_metric(1, "leat_replies_ignored_total", namespace="default", subscription="t")


def test_an_empty_200_is_no_reply_and_no_failure(serve, recorder):
    broker = serve(one("Broker", recorder.add("sub", accept(200)).url, terms(dead=recorder["dead"].url)))
    post(broker, "Broker/x")
    settled(broker)
    assert ends(broker, "t")["delivered"] == 1 and not recorder["dead"].requests


# ---- THE DEAD LETTER SINK IS DOWN, AND THE EVENT IS LOST ----


@KINDS
def test_a_dead_letter_sink_that_is_down(serve, recorder, kind):
    sub, nowhere = recorder.add("sub", always(500, b"why")), f"http://127.0.0.1:{free_port()}/"
    broker = serve(one(kind, sub.url, terms(retry=1, dead=nowhere)))
    broker.may_lose = True
    post(broker, f"{kind}/x", "lost?", b"kept")
    wait_end(broker, "parked", 1, "t")
    of = "trigger/t" if kind == "Broker" else "subscription/t"
    (item,) = parked(broker, of)
    assert (item["id"], item["parked"]["reason"], item["parked"]["destination"], item["parked"]["code"], item["parked"]["attempts"]) == ("lost?", "dead-letter-failed", sub.url, 500, 2)
    assert item["parked"]["deadLetter"]["destination"] == nowhere
    sub.rule = accept()
    sub.clear()
    assert broker.ask("POST", f"/leat/v1/dlq/default/{of}/redrive", {"all": True}).status == 202
    got = sub.wait(1)[0]
    assert (got.id, got.body) == ("lost?", b"kept")
    assert not [k for k in got.event if k.startswith("knativeerror") or k.startswith("leat")], "it comes as it was"
    wait_for(lambda: not parked(broker, of), "an empty list")


def test_what_is_parked_is_listed_and_comes_back_by_the_command_line(serve, run, recorder):
    sub = recorder.add("sub", always(422, b"why"))
    broker = serve(one("Broker", sub.url, terms(retry=1, dead=f"http://127.0.0.1:{free_port()}/")))
    for id in ("a", "b", "c"):
        post(broker, "Broker/x", id)
    wait_end(broker, "parked", 3, "t")
    code, out, err = run("dlq", "list", "trigger/t", "--server", broker.api)
    assert (code, err) == (0, "") and {line.split()[-1] for line in out.splitlines()} >= set("abc") and "dead-letter-failed" in out, out
    items = json.loads(run("dlq", "list", "trigger/t", "--server", broker.api, "-o", "json")[1])["items"]
    assert sorted(i["id"] for i in items) == ["a", "b", "c"] and {i["parked"]["code"] for i in items} == {422}
    sub.rule = accept()
    sub.clear()
    assert run("dlq", "redrive", "trigger/t", "--all", "--server", broker.api)[0] == 0
    settled(broker)
    assert sorted(sub.ids) == ["a", "b", "c"] and not parked(broker)


REASONS = {
    "not-retryable": (always(400), {}, {}),
    "retries-exhausted": (always(503), {"retry": 2}, {}),
    "deadline": (always(503), {"retry": 1000, "backoffDelay": "PT1H"}, {"deadline": "PT1M"}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_without_a_dead_letter_sink_an_event_is_parked_with_its_reason(serve, recorder, reason):
    rule, of_terms, annotations = REASONS[reason]
    broker = serve(one("Broker", recorder.add("sub", rule).url, terms(**of_terms), **annotations))
    broker.may_lose = True
    post(broker, "Broker/x", "p")
    wait_end(broker, "parked", 1, "t")
    (item,) = parked(broker)
    assert (item["id"], item["parked"]["reason"], item["parked"]["attempts"]) == ("p", reason, len(recorder["sub"].requests))


def test_a_dead_letter_sink_that_comes_back_in_time(serve, recorder):
    dead = recorder.add("dead", fail_first(2, 503))
    broker = serve(one("Broker", recorder.add("sub", always(400)).url, terms(retry=2, dead=dead.url)))
    post(broker, "Broker/x")
    wait_end(broker, "dead_lettered", 1, "t")
    assert len(dead.requests) == 3


# ---- A SUBSCRIPTION WITH A REPLY ONLY FAILS WITH 500 ----


def test_a_reply_only_subscription_sends_the_event_itself(serve, recorder):
    broker = serve([channel("x"), hear("t", "x", None, recorder["answers"].url, terms(retry=1)), channel("y"), hear("u", "y", None, "Channel/x")])
    recorder.add("answers", fail_first(1))
    post(broker, "Channel/y", "o")
    settled(broker)
    assert recorder["answers"].ids == ["o", "o"] and ends(broker, "t")["delivered"] == 1


# ---- A CHANGED TRIGGER LOSES EVENTS WHILE IT IS REPLACED ----


class Producer:
    """Sends numbered events on a connection until told to stop: {id: type} of those that were accepted."""

    def __init__(self, broker, path, which, types):
        self.accepted, self._enough = {}, threading.Event()

        def run():
            with Client(broker.ingress) as client:
                n = 0
                while not self._enough.is_set():
                    id, type = f"{which}-{n}", types[n % len(types)]
                    answer = client.request("POST", path, b"x", event(id, type))
                    assert answer.status == 202, answer
                    self.accepted[id] = type
                    n += 1

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self):
        self._enough.set()
        self._thread.join()


def producing(broker, types=("t",), count=3):
    return [Producer(broker, "/brokers/default/x", i, types) for i in range(count)]


def stopped(producers):
    for p in producers:
        p.stop()
    return {id: type for p in producers for id, type in p.accepted.items()}


def test_a_trigger_s_subscriber_changes_under_traffic(serve, recorder):
    """Each accepted event goes to the old or to the new, once; in the end only to the new."""
    names = ["old", "new"]
    broker = serve([mesh("x"), trigger("t", "x", recorder["old"].url, attributes={"type": "t"})], "--loops", "2")
    producers = producing(broker)
    for round in range(8):
        apply(broker, [mesh("x"), trigger("t", "x", recorder[names[(round + 1) % 2]].url, attributes={"type": "t"})], f"mark-{round}")
        seen = sum(len(p.accepted) for p in producers)
        wait_for(lambda: sum(len(p.accepted) for p in producers) > seen + 20, "traffic")
    accepted = stopped(producers)
    settled(broker)
    assert sorted(recorder["old"].ids + recorder["new"].ids) == sorted(accepted)
    assert recorder["old"].ids and recorder["new"].ids
    before = len(recorder["new"].ids)
    post(broker, "Broker/x", "last")
    settled(broker)
    assert "last" in recorder["old"].ids and len(recorder["new"].ids) == before


def test_a_trigger_s_filter_changes_under_traffic(serve, recorder):
    """The filter that was in force when the event was accepted decides: both types are wanted throughout, a third comes and goes, and what is always wanted is never missed nor repeated."""
    always_, sometimes = [{"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}]}], [{"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}, {"exact": {"type": "c"}}]}]
    sub = recorder["sub"]
    broker = serve([mesh("x"), trigger("t", "x", sub.url, always_)], "--loops", "2")
    producers = producing(broker, ("a", "b", "c"))
    for round in range(8):
        apply(broker, [mesh("x"), trigger("t", "x", sub.url, sometimes if round % 2 == 0 else always_)], f"mark-{round}")
        seen = sum(len(p.accepted) for p in producers)
        wait_for(lambda: sum(len(p.accepted) for p in producers) > seen + 30, "traffic")
    accepted = stopped(producers)
    settled(broker)
    wanted = sorted(id for id, type in accepted.items() if type in "ab")
    assert sorted(id for id in sub.ids if accepted[id] in "ab") == wanted
    third = [id for id in sub.ids if accepted[id] == "c"]
    assert len(third) == len(set(third)) and 0 < len(third) < sum(type == "c" for type in accepted.values())


def test_a_trigger_that_is_made_again_by_the_same_name_is_a_new_one(serve, recorder):
    """Removed and made again between two plans: nothing of the old one's backlog comes back, and it is Ready again."""
    gate = threading.Event()
    sub = recorder.add("sub", lambda request, nth: Reply(202, hold=gate))
    broker = serve([mesh("x"), trigger("t", "x", sub.url)])
    post(broker, "Broker/x", "under way")
    sub.wait(1)
    apply(broker, [mesh("x")], "gone")
    gate.set()
    apply(broker, [mesh("x"), trigger("t", "x", recorder["new"].url)], "again")
    ready(broker, trigger("t", "x", recorder["new"].url))
    post(broker, "Broker/x", "new")
    settled(broker)
    assert recorder["new"].ids == ["new"]


# ---- RETRIES WITHOUT A DELAY COME BACK TO BACK; delays have no cap ----


@pytest.mark.parametrize("spec", [{"retry": 3}, {"retry": 3, "backoffPolicy": "exponential"}, {"retry": 3, "backoffPolicy": "linear"}])
def test_without_a_delay_there_is_a_small_one(serve, recorder, spec):
    sub = recorder.add("sub", fail_first(3))
    broker = serve(one("Channel", sub.url, spec))
    post(broker, "Channel/x")
    sub.wait(4)
    for seen, least in zip(sub.waits, (0.05, 0.1, 0.15)):
        assert seen >= least * 0.9 - GRAIN, sub.waits


def test_backoff_max(serve, recorder):
    """Without it the waits would be 200 s in all, and the last one would not come in time."""
    sub = recorder.add("sub", fail_first(12))
    broker = serve(one("Channel", sub.url, terms(retry=12, backoffPolicy="exponential", backoffDelay="PT0.05S", backoffMax="PT0.1S")))
    post(broker, "Channel/x")
    sub.wait(13)
    assert all(w >= least * 0.9 - GRAIN for w, least in zip(sub.waits, (0.05, *[0.1] * 11))), sub.waits


@pytest.mark.parametrize("spec", [{"backoffPolicy": "exponential", "backoffDelay": "PT1S", "retry": 1000}, {"backoffPolicy": "linear", "backoffDelay": "P100000D", "retry": 1000}])
def test_a_wait_never_overflows(serve, recorder, spec):
    """Thirty doublings of a second, or centuries: taken, and capped; the event just waits."""
    broker = serve(one("Channel", recorder.add("sub", always(503)).url, {**spec, "backoffMax": "PT0.01S", "retry": 80, "deadLetterSink": {"uri": recorder["dead"].url}}))
    post(broker, "Channel/x")
    recorder["dead"].wait(1)
    assert len(recorder["sub"].requests) == 81


# ---- Retry-After IS IGNORED, OR HAS NO BOUND ----


@KINDS
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(serve, recorder, kind, status):
    sub = recorder.add("sub", lambda request, nth: Reply(status, {"Retry-After": "1"}) if nth == 1 else Reply(202))
    broker = serve(one(kind, sub.url, terms(retry=1, retryAfterMax="PT10S")))
    post(broker, f"{kind}/x")
    sub.wait(2)
    assert sub.waits[0] >= 1 - GRAIN


@pytest.mark.parametrize("after, most, least", [("3600", "PT0.3S", 0.3), ("Wed, 21 Oct 2099 07:28:00 GMT", "PT0.3S", 0.3), ("soon", "PT1H", 0.0), ("3600", "PT0S", 0.0), ("-5", "PT1H", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", "PT1H", 0.0)])
def test_retry_after_has_a_bound(serve, recorder, after, most, least):
    sub = recorder.add("sub", lambda request, nth: Reply(503, {"Retry-After": after}) if nth == 1 else Reply(202))
    broker = serve(one("Channel", sub.url, terms(retry=1, retryAfterMax=most)))
    post(broker, "Channel/x")
    sub.wait(2)
    assert sub.waits[0] >= least - GRAIN


def test_retry_after_of_another_code_is_ignored(serve, recorder):
    sub = recorder.add("sub", lambda request, nth: Reply(500, {"Retry-After": "3600"}) if nth == 1 else Reply(202))
    broker = serve(one("Channel", sub.url, terms(retry=1, retryAfterMax="PT1H")))
    post(broker, "Channel/x")
    sub.wait(2)


# ---- LOOPS NEVER END ----


def test_a_reply_that_matches_its_own_trigger_ends(serve, recorder):
    """255 hops: the event itself and 254 replies are delivered; the 255th reply has no hop left, which is said."""
    sub = recorder.add("sub", reply(id="{id}+"))
    broker = serve([mesh("x"), trigger("t", "x", sub.url)])
    broker.may_lose = True
    post(broker, "Broker/x", "l")
    settled(broker)
    assert len(sub.requests) == 255 and len({r.id for r in sub.requests}) == 255
    assert all("knativebrokerttl" not in r.event for r in sub.requests)
    assert ends(broker, "t") == {"delivered": 254, "dead_lettered": 0, "parked": 1}
    broker.wait_metric(1, "leat_delivery_loops_total", namespace="default", subscription="t")
    (item,) = parked(broker)
    assert item["parked"]["reason"] == "loop"


def test_channels_in_a_circle_end(serve, recorder):
    broker = serve([channel("a"), channel("b"), hear("ab", "a", "Channel/b"), hear("ba", "b", "Channel/a"), hear("seen", "a", recorder["seen"].url)])
    broker.may_lose = True
    post(broker, "Channel/a", "circle")
    settled(broker)
    assert recorder["seen"].ids == ["circle"] * 128, "each second of 255 hops comes by a"
    assert ends(broker, "ab")["parked"] + ends(broker, "ba")["parked"] == 1


def test_a_loop_of_dead_letters_ends(serve, recorder):
    broker = serve([channel("a"), hear("t", "a", recorder.add("sub", always(400)).url, delivery=terms(dead="Channel/a"))])
    broker.may_lose = True
    post(broker, "Channel/a", "d")
    settled(broker)
    assert len(recorder["sub"].requests) == 255 and ends(broker, "t") == {"delivered": 0, "dead_lettered": 254, "parked": 1}


def test_a_loop_by_way_of_the_world_ends(serve, recorder):
    """A subscriber that posts back what it gets: it does not see the guard, so it cannot keep it; with the guard that it is given by hand the broker counts down and refuses at nothing."""
    broker = serve([mesh("x"), trigger("t", "x", recorder["sub"].url)])
    for ttl, status in (("255", 202), ("2", 202), ("1", 400), ("0", 400), ("-3", 400)):
        answer = send(broker, "Broker/x", b"", event(f"ttl{ttl}", knativebrokerttl=ttl))
        assert answer.status == status, (ttl, answer)
        assert status == 202 or "knativebrokerttl" in answer.text
    settled(broker)
    assert sorted(recorder["sub"].ids) == ["ttl2", "ttl255"]
    assert all("knativebrokerttl" not in r.event for r in recorder["sub"].requests)


def test_a_channel_does_not_count_hops_of_events_from_outside(serve, recorder):
    """The guard is a broker's: a channel takes the event, and strips the attribute before the subscriber."""
    broker = serve(one("Channel", recorder["sub"].url))
    post(broker, "Channel/x", "c", knativebrokerttl="1")
    assert "knativebrokerttl" not in recorder["sub"].wait(1)[0].event


# ---- A SLOW SUBSCRIBER HOLDS UP THE OTHERS, AND THE PRODUCER ----


@pytest.mark.parametrize("where", ["another host", "the same host"])
def test_one_dead_subscriber_delays_no_other(serve, recorder, where):
    gate = threading.Event()
    with Sink(Reply(202, hold=gate)) as dead:
        url = dead.url if where == "another host" else recorder.add("hangs", lambda request, nth: Reply(202, hold=gate)).url
        broker = serve([mesh("x"), trigger("hangs", "x", url, delivery=terms(timeout="PT10M")), trigger("t", "x", recorder["sub"].url)])
        for i in range(200):
            post(broker, "Broker/x", str(i))
        recorder["sub"].wait(200)
        wait_end(broker, "delivered", 200, "t")
        gate.set()
        settled(broker)


def test_one_failing_trigger_does_not_make_the_producer_repeat(serve, recorder):
    """The producer has its 202, so it has no reason to send again what the others have got."""
    broker = serve([mesh("x"), trigger("good", "x", recorder["good"].url), trigger("bad", "x", recorder.add("bad", always(500)).url, delivery=terms(dead=recorder["dead"].url))])
    post(broker, "Broker/x")
    settled(broker)
    assert (recorder["good"].ids, recorder["bad"].ids, recorder["dead"].ids) == (["1"], ["1"], ["1"])


# ---- LARGE EVENTS VANISH WITH A 202, OR END THE RECEIVER ----


@KINDS
def test_an_event_that_is_too_large_is_refused(serve, recorder, kind):
    broker = serve(one(kind, recorder["sub"].url), "--max-event-bytes", "64KiB")
    assert send(broker, f"{kind}/x", b"x" * (1 << 20), event("large")).status == 413
    post(broker, f"{kind}/x", "small", b"x" * 60000)
    settled(broker)
    assert recorder["sub"].ids == ["small"]


# ---- BATCHES: all or nothing ----


@KINDS
def test_a_batch_is_taken_whole_or_not_at_all(serve, recorder, kind):
    broker = serve(one(kind, recorder["sub"].url))
    good = [{"specversion": "1.0", "id": f"g{i}", "type": "t", "source": "/s", "data": i} for i in range(10)]
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    bad = [*good[:9], {"specversion": "1.0", "id": "no type", "source": "/s"}]
    answer = send(broker, f"{kind}/x", json.dumps(bad).encode(), headers)
    assert answer.status == 400 and "event 10" in answer.text, answer
    assert send(broker, f"{kind}/x", b"[]", headers).status == 202
    settled(broker)
    assert not recorder["sub"].requests
    assert send(broker, f"{kind}/x", json.dumps(good).encode(), headers).status == 202
    settled(broker)
    assert sorted(recorder["sub"].ids) == [f"g{i}" for i in range(10)]


# ---- READY, BUT NOTHING ARRIVES ----


def test_ready_means_that_the_next_event_arrives(serve, recorder):
    broker = serve([mesh("x")])
    for i in range(10):
        t = trigger(f"t{i}", "x", recorder[f"sub{i}"].url)
        assert broker.ask("POST", "/apis/eventing.knative.dev/v1/namespaces/default/triggers", t).status == 201
        ready(broker, t)
        post(broker, "Broker/x", f"e{i}")
    settled(broker)
    for i in range(10):
        assert f"e{i}" in recorder[f"sub{i}"].ids, f"trigger {i} was Ready before the event was sent"


def test_not_ready_is_said_with_what_to_do(serve, recorder):
    t = trigger("t", "x", "Service/missing")
    broker = serve([mesh("x"), t])
    said = wait_for(lambda: (c := condition(broker, "Trigger", "t")).get("status") == "False" and c, "the reason")
    assert "missing" in said["message"] and said["reason"]
    assert condition(broker, "Trigger", "t", "SubscriberResolved")["status"] == "False"


# ---- DEAD LETTERS SAY TOO LITTLE: the subscriber's own URL, also of a broker ----


def test_the_destination_is_the_subscriber_s_not_the_broker_s(serve, recorder):
    sub = recorder.add("sub", always(422))
    with Sink() as host_only:
        host_only.default = Reply(422)
        bare = host_only.url.rstrip("/")
        broker = serve([mesh("x", terms(dead=recorder["dead"].url)), trigger("a", "x", sub.url + "/in?q=1"), trigger("b", "x", bare)])
        post(broker, "Broker/x")
        got = recorder["dead"].wait(2)
        assert {r.event["knativeerrordest"] for r in got} == {sub.url + "/in?q=1", bare + "/"}
        settled(broker)


# ---- AN EVENT IN A FORMAT KEEPS IT ON ITS WAY THROUGH A BROKER: nothing is re-encoded ----


def test_data_is_not_touched(serve, recorder):
    data = '{"big":12345678901234567890,"pi":1.50,"dup":1,"dup":2, "\\u00e9":"\\/"}'
    broker = serve([mesh("x"), trigger("t", "x", recorder["binary"].url, delivery=terms(format="binary")), trigger("u", "x", recorder["same"].url)])
    assert send(broker, "Broker/x", ('{"specversion":"1.0","id":"s","type":"t","source":"/s","data":' + data + "}").encode(), {"Content-Type": STRUCTURED}).status == 202
    settled(broker)
    assert recorder["binary"].requests[0].body.decode() == data and data in recorder["same"].requests[0].body.decode()


# ---- A SLOW ANSWER: the timeout is for one attempt, not for all ----


def test_the_timeout_is_of_one_attempt(serve, recorder):
    sub = recorder.add("sub", lambda request, nth: Reply(202, delay=0 if nth >= 3 else 30))
    broker = serve(one("Broker", sub.url, terms(retry=1000, timeout="PT0.3S")))  # a crowded machine may not answer the third in time either
    began = time.monotonic()
    post(broker, "Broker/x")
    wait_end(broker, "delivered", 1, "t")
    assert sub.times[2] - began >= 2 * 0.3 - GRAIN, sub.times


# ---- REFERENCES: relative paths, other kinds ----


def test_a_reference_with_a_path(serve, recorder):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc", "namespace": "default"}, "spec": {"type": "ExternalName", "externalName": "127.0.0.1", "ports": [{"port": recorder.port}]}}
    t = trigger("t", "x", "Service/svc /sub/deep?x=1")
    broker = serve([mesh("x"), t, service])
    recorder["sub"]
    ready(broker, t)
    assert object_of(broker, "Trigger", "t")["status"]["subscriberUri"] == f"http://127.0.0.1:{recorder.port}/sub/deep?x=1"
    post(broker, "Broker/x")
    assert recorder["sub"].wait(1)[0].path == "/sub/deep?x=1"


# ---- ORDER: parallel fan-out has none, elsewhere a retry blocks a whole partition ----


def test_a_key_in_retry_blocks_itself_only(serve, recorder):
    sub = recorder.add("sub", lambda request, nth: Reply(503) if request.event["partitionkey"] == "sick" else Reply(202))
    broker = serve(one("Broker", sub.url, terms(retry=1000, backoffDelay="PT1H"), order="key"), "--loops", "2", "--drain", "100ms")
    broker.may_lose = True
    post(broker, "Broker/x", "s1", partitionkey="sick")
    post(broker, "Broker/x", "s2", partitionkey="sick")
    for i in range(50):
        post(broker, "Broker/x", f"w{i}", partitionkey=f"well{i % 5}")
    wait_end(broker, "delivered", 50, "t")
    assert [id for id in sub.ids if id.startswith("s")] == ["s1"]
    for key in range(5):
        mine = [id for id in sub.ids if id.startswith("w") and int(id[1:]) % 5 == key]
        assert mine == [f"w{i}" for i in range(key, 50, 5)]


# ---- A STOP LOSES WHAT IS UNDER WAY ----


def test_a_stop_delivers_what_was_accepted(serve, recorder):
    sub = recorder.add("sub", delayed(0.05))
    broker = serve(one("Broker", sub.url, max_in_flight=4), "--loops", "2")
    for i in range(40):
        post(broker, "Broker/x", str(i))
    assert broker.stop() == 0
    assert sorted(sub.ids, key=int) == [str(i) for i in range(40)]


# ---- DUPLICATES IN THE FIELD: 2 to 40 copies of one event ----


def test_without_faults_each_event_comes_once(serve, recorder):
    broker = serve([mesh("x"), trigger("t", "x", recorder["sub"].url), trigger("u", "x", recorder["sub2"].url, attributes={"type": "t"})], "--loops", "2")
    producers = producing(broker)
    wait_for(lambda: sum(len(p.accepted) for p in producers) > 300, "traffic")
    accepted = stopped(producers)
    settled(broker)
    assert sorted(recorder["sub"].ids) == sorted(recorder["sub2"].ids) == sorted(accepted)
