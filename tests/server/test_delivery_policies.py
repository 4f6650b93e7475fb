# SPDX-License-Identifier: Apache-2.0
"""What a subscription may ask for beyond Knative (annotations leat.dev/...), and events with a time of their own (expirytime, leatdeliverat), through the whole program on several loops.

Lower bounds of times are exact to the grain of a clock; upper ones leave room for a busy machine.
"""

import base64
import datetime
import json
import threading
import time

import pytest

from broker import PAST, RawSink, event
from leat import Client, Reply, wait_for
from recorder import BATCH, STRUCTURED, always, fail_first, reply
from topology import apply, condition, ends, hear, mesh, path_of, ready, resource, send, settled, terms, trigger, wait_end

GRAIN = 0.005  # seconds: timers of the kernel and of the program
SLACK = 30.0  # seconds that a machine under load may take longer than it should
LOOPS = ("--loops", "3")
LABELS = {"namespace": "default", "subscription": "t"}


KINDS = pytest.mark.parametrize("kind", ["Broker", "Channel"])


def one(kind, url, delivery=None, of_channel=None, **annotations):
    """A channel or broker `x`, with one subscription `t` to a URL."""
    made = resource(kind, "x", {}, annotations=of_channel or {})
    return [made, trigger("t", "x", url, delivery=delivery, **annotations) if kind == "Broker" else hear("t", "x", url, delivery=delivery, **annotations)]


def post(broker, where, *ids, **attributes):
    for id in ids:
        answer = send(broker, where, b"x", event(str(id), **attributes))
        assert answer.status == 202, answer


def post_from_many(broker, kind, ids, connections=6, **attributes):
    """From several connections at a time, which are dealt to the loops in turn; `attributes` may be functions of the id."""
    path = f"/{'brokers' if kind == 'Broker' else 'channels'}/default/x"
    refused = []

    def some(mine):
        with Client(broker.ingress) as client:
            for id in mine:
                given = {k: v(id) if callable(v) else v for k, v in attributes.items()}
                answer = client.request("POST", path, b"x", event(str(id), **given))
                if answer.status != 202:
                    refused.append(answer)

    ids = list(ids)
    threads = [threading.Thread(target=some, args=(ids[i::connections],)) for i in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not refused, refused


class Turnstile:
    """A rule that holds every request until the test lets it go, oldest first, and knows how many were held at most."""

    def __init__(self):
        self.held, self.most, self.open = [], 0, False
        self._lock = threading.Lock()

    def __call__(self, request, nth):
        with self._lock:
            gate = threading.Event()
            if self.open:
                gate.set()
            self.held.append(gate)
            self.most = max(self.most, sum(not g.is_set() for g in self.held))
            return Reply(202, hold=gate)

    def waiting(self):
        with self._lock:
            return sum(not g.is_set() for g in self.held)

    def release(self):
        with self._lock:
            next(g for g in self.held if not g.is_set()).set()

    def open_all(self):
        with self._lock:
            self.open = True
            for g in self.held:
                g.set()


# ---- max-in-flight ----


@KINDS
@pytest.mark.parametrize("most", [1, 3])
def test_max_in_flight_is_exact_over_all_loops(serve, recorder, kind, most):
    """A second subscription without a limit shows that every loop has had all events in hand before the first one's requests are counted."""
    turnstile, count = Turnstile(), 30
    limited = recorder.add("limited", turnstile)
    objects = one(kind, limited.url, max_in_flight=most)
    objects.append(trigger("free", "x", recorder["free"].url) if kind == "Broker" else hear("free", "x", recorder["free"].url))
    broker = serve(objects, *LOOPS)
    post_from_many(broker, kind, range(count))
    recorder["free"].wait(count)
    for done in range(count):
        wait_for(lambda: turnstile.waiting() == min(most, count - done), "the next")
        turnstile.release()
    settled(broker)
    assert turnstile.most == most
    assert sorted(limited.ids) == sorted(map(str, range(count)))


def test_max_in_flight_counts_a_retry_that_waits(serve, recorder):
    """An event that waits for its next attempt keeps its place, whichever of them comes first: they are in no order."""
    came = []

    def rule(request, nth):
        came.append(request.id)
        return Reply(503 if len(came) == 1 else 202)

    sub = recorder.add("sub", rule)
    broker = serve(one("Broker", sub.url, terms(retry=1, backoffDelay="PT0.3S"), max_in_flight=1), *LOOPS)
    post(broker, "Broker/x", "first", "second", "third")
    settled(broker)
    assert sub.ids[0] == sub.ids[1] and sorted(sub.ids[1:]) == ["first", "second", "third"] and sub.waits[0] >= 0.27 - GRAIN


def test_max_in_flight_changes_under_way(serve, recorder):
    turnstile = Turnstile()
    sub = recorder.add("sub", turnstile)
    broker = serve(one("Channel", sub.url, max_in_flight=1), *LOOPS)
    post_from_many(broker, "Channel", range(12))
    wait_for(lambda: turnstile.waiting() == 1, "the first")
    apply(broker, one("Channel", sub.url, max_in_flight=4), "mark")
    wait_for(lambda: turnstile.waiting() == 4, "four at a time")
    turnstile.open_all()
    settled(broker)
    assert turnstile.most == 4 and sorted(sub.ids) == sorted(map(str, range(12)))


# ---- rate-per-second ----


@KINDS
def test_rate_per_second(serve, recorder, kind):
    """In any time t there are at most t * rate attempts and those of a tenth of a second; attempts, so retries count."""
    sub, rate, count = recorder.add("sub", fail_first(1)), 50, 20
    broker = serve(one(kind, sub.url, terms(retry=3, backoffDelay="PT0.001S"), rate_per_second=rate), *LOOPS)
    began = time.monotonic()
    post_from_many(broker, kind, range(count))
    settled(broker)
    at = sorted(sub.times)
    assert len(at) == 2 * count and at[-1] - began <= 2 * count / rate + SLACK
    burst = rate * 0.1
    assert all(n <= (t - began + GRAIN) * rate + burst + 1 for n, t in enumerate(at, 1)), [t - began for t in at]


# ---- paused ----


@KINDS
def test_paused_keeps_everything(serve, recorder, kind):
    sub = recorder["sub"]
    broker = serve(one(kind, sub.url, paused="true"), *LOOPS)
    post_from_many(broker, kind, range(40))
    broker.wait_metric(40, "leat_backlog_events", **LABELS)
    ready_ = condition(broker, "Trigger" if kind == "Broker" else "Subscription", "t")
    assert (ready_["status"], ready_["reason"]) == ("True", "Paused")
    assert not sub.requests
    apply(broker, one(kind, sub.url, paused="false"), "mark")
    settled(broker)
    assert sorted(sub.ids) == sorted(map(str, range(40)))


def test_pause_and_resume_under_traffic_lose_and_repeat_nothing(serve, recorder):
    sub, accepted, refused, enough = recorder["sub"], [], [], threading.Event()
    broker = serve(one("Broker", sub.url), *LOOPS)

    def produce(which):
        with Client(broker.ingress) as client:
            n = 0
            while not enough.is_set():
                id = f"{which}-{n}"
                (accepted if client.request("POST", "/brokers/default/x", b"x", event(id)).status == 202 else refused).append(id)
                n += 1

    threads = [threading.Thread(target=produce, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for round in range(8):
        apply(broker, one("Broker", sub.url, paused="true" if round % 2 == 0 else "false"), f"mark-{round}")
        before = len(accepted)
        wait_for(lambda: len(accepted) > before + 20, "traffic")
    enough.set()
    for t in threads:
        t.join()
    settled(broker)
    assert sorted(set(sub.ids) - set(refused)) == sorted(accepted)  # a node that did not answer in time may have a refused one, or not
    assert len(sub.ids) == len(set(sub.ids))


def test_a_paused_subscription_finishes_what_is_under_way(serve, recorder):
    turnstile = Turnstile()
    sub = recorder.add("sub", turnstile)
    broker = serve(one("Channel", sub.url), *LOOPS)
    post(broker, "Channel/x", 1)
    wait_for(turnstile.waiting, "the request")
    apply(broker, one("Channel", sub.url, paused="true"), "mark", loops=3)  # it holds the plan's end
    post(broker, "Channel/x", 2)
    turnstile.open_all()
    wait_end(broker, "delivered", 1, "t")
    broker.wait_metric(1, "leat_backlog_events", **LABELS)
    assert sub.ids == ["1"]
    apply(broker, one("Channel", sub.url), "mark2")
    settled(broker)
    assert sub.ids == ["1", "2"]


# ---- order ----


def test_order_none_lets_others_pass(serve, recorder):
    """The first event fails as long as the others have not come, which in an order would be for ever."""
    sub, came = recorder["sub"], set()

    def rule(request, nth):
        came.add(request.id)
        return Reply(202 if request.id != "a" or came >= {"b", "c"} else 503)

    sub.rule = rule
    broker = serve(one("Broker", sub.url, terms(retry=1000, backoffDelay="PT0.05S", backoffMax="PT0.05S"), order="none"), "--loops", "1")
    post(broker, "Broker/x", "a", "b", "c", partitionkey="k")
    settled(broker)
    assert ends(broker, "t") == {"delivered": 3, "dead_lettered": 0, "parked": 0} and sorted(set(sub.ids)) == ["a", "b", "c"]


@KINDS
def test_order_by_key(serve, recorder, kind):
    """Each key's events come one at a time, in the order of their acceptance, whatever fails; another key is not held up."""
    keys, each = 4, 12
    sub = recorder.add("sub", lambda request, nth: Reply(503 if int(request.id.split("-")[1]) % 4 == 0 and nth <= 2 else 202))
    broker = serve(one(kind, sub.url, terms(retry=5, backoffDelay="PT0.005S"), order="key"), *LOOPS)

    def produce(key):
        path = f"/{'brokers' if kind == 'Broker' else 'channels'}/default/x"
        with Client(broker.ingress) as client:
            for n in range(each):
                assert client.request("POST", path, b"x", event(f"{key}-{n}", partitionkey=f"k{key}")).status == 202

    threads = [threading.Thread(target=produce, args=(key,)) for key in range(keys)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    settled(broker)
    for key in range(keys):
        mine = [int(id.split("-")[1]) for id in sub.ids if id.startswith(f"{key}-")]
        assert mine == sorted(mine) and set(mine) == set(range(each)), "a retry comes before the next event of its key"


def test_a_slow_key_does_not_hold_up_the_others(serve, recorder):
    """Its first event waits for another try, its second one for an answer, until all others have come."""
    gate = threading.Event()
    sub = recorder.add("sub", lambda request, nth: Reply(503, hold=gate if request.id == "s1" else None) if request.event.get("partitionkey") == "slow" and nth == 1 else Reply(202))
    broker = serve(one("Broker", sub.url, terms(retry=1, backoffDelay="PT0.7S", backoffPolicy="linear", timeout="PT10M"), order="key", max_in_flight=4), *LOOPS)
    post(broker, "Broker/x", *(f"s{i}" for i in range(3)), partitionkey="slow")
    post(broker, "Broker/x", *(f"f{i}" for i in range(20)), partitionkey="fast")
    post(broker, "Broker/x", *(f"n{i}" for i in range(20)))
    try:
        sub.wait_ids([f"{which}{i}" for which in "fn" for i in range(20)])
    finally:
        gate.set()
    settled(broker)
    ids = sub.ids
    assert [i for i in ids if i[0] == "s"] == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert [i for i in ids if i[0] == "f"] == [f"f{i}" for i in range(20)]
    assert ids[-1] == "s2", "all others were done before"


def test_order_strict(serve, recorder):
    sub = recorder.add("sub", lambda request, nth: Reply(503 if int(request.id) % 5 == 0 and nth <= 2 else 202))
    broker = serve(one("Channel", sub.url, terms(retry=3, backoffDelay="PT0.005S"), {"partitions": 1}, order="strict"), *LOOPS)
    post(broker, "Channel/x", *range(30))
    settled(broker)
    numbers = list(map(int, sub.ids))
    assert numbers == sorted(numbers) and len(numbers) == 30 + 2 * 6


def test_order_strict_needs_one_partition(serve, recorder):
    objects = one("Broker", recorder["sub"].url, order="strict")
    broker = serve(objects, *LOOPS)
    wait_for(lambda: condition(broker, "Trigger", "t").get("status") == "False", "the reason")
    said = condition(broker, "Trigger", "t")
    assert "leat.dev/partitions" in said["message"]
    apply(broker, one("Broker", recorder["sub"].url, of_channel={"partitions": 1}, order="strict"), "mark")
    ready(broker, objects[1])


# ---- dedup-window ----


@KINDS
def test_dedup(serve, recorder, kind):
    sub = recorder["sub"]
    broker = serve(one(kind, sub.url, dedup_window="PT1H"), *LOOPS)
    post_from_many(broker, kind, ["1"] * 30 + ["2"] * 10)
    for _ in range(3):
        assert send(broker, f"{kind}/x", b"", event("1", source="/other")).status == 202
    page = settled(broker)
    assert sorted((r.id, r.event["source"]) for r in sub.requests) == [("1", "/other"), ("1", "/test"), ("2", "/test")]
    assert page["leat_deliveries_total", frozenset({**LABELS, "end": "duplicate"}.items())] == 40
    assert page["leat_deliveries_total", frozenset({**LABELS, "end": "delivered"}.items())] == 3


def test_dedup_ends_with_its_window(serve, recorder):
    sub = recorder["sub"]
    broker = serve(one("Broker", sub.url, dedup_window="PT0.3S"), *LOOPS)
    began = time.monotonic()
    post(broker, "Broker/x", "again")
    sub.wait(1)
    wait_for(lambda: send(broker, "Broker/x", b"", event("again")).status == 202 and len(sub.requests) >= 2, "the window's end")
    assert sub.times[1] - began >= 0.3 - GRAIN
    settled(broker)


def test_a_retry_is_no_duplicate(serve, recorder):
    sub = recorder.add("sub", fail_first(3))
    broker = serve(one("Broker", sub.url, terms(retry=3), dedup_window="PT1H"), *LOOPS)
    post(broker, "Broker/x", "r")
    settled(broker)
    assert ends(broker, "t")["delivered"] == 1 and len(sub.requests) == 4


# ---- jitter ----


@pytest.mark.parametrize("jitter, least", [(0, 0.1), (10, 0.09), (50, 0.05)])
def test_jitter_keeps_its_bounds(serve, recorder, jitter, least):
    sub = recorder.add("sub", fail_first(1))
    broker = serve(one("Broker", sub.url, terms(retry=1, backoffDelay="PT0.1S"), jitter=jitter), *LOOPS)
    post_from_many(broker, "Broker", range(20))
    settled(broker)
    waits = [b - a for a, b in (sorted(r.at for r in sub.requests if r.id == str(i)) for i in range(20))]
    assert all(least - GRAIN <= w <= 0.1 + 0.1 * jitter / 100 + SLACK for w in waits), waits


def test_jitter_spreads(serve, recorder):
    """With 100 % a wait is anything from 0 to double: that none of 30 is below three quarters has a chance of one to a million."""
    sub = recorder.add("sub", fail_first(1))
    broker = serve(one("Broker", sub.url, terms(retry=1, backoffDelay="PT1S"), jitter=100), *LOOPS)
    post_from_many(broker, "Broker", range(30))
    settled(broker)
    waits = [b - a for a, b in (sorted(r.at for r in sub.requests if r.id == str(i)) for i in range(30))]
    assert min(waits) < 0.75 and max(waits) > 1


# ---- retry-on ----


@pytest.mark.parametrize(
    "retry_on, status, again",
    [("429", 429, True), ("429", 500, False), ("5xx", 599, True), ("5xx", 429, False), ("4xx", 422, True), ("no-answer,422,5xx", 422, True), ("no-answer,422,5xx", 503, True), ("no-answer,422,5xx", 404, False), ("no-answer", 500, False), ("3xx", 302, True)],
)
def test_retry_on(serve, recorder, retry_on, status, again):
    sub = recorder.add("sub", always(status))
    broker = serve(one("Channel", sub.url, terms(retry=2, dead=recorder["dead"].url), retry_on=retry_on), *LOOPS)
    post(broker, "Channel/x", 1)
    recorder["dead"].wait(1)
    assert len(sub.requests) == (3 if again else 1)


@pytest.mark.parametrize("retry_on, again", [("no-answer", True), ("5xx", False), ("5xx,no-answer", True)])
def test_retry_on_no_answer(serve, recorder, retry_on, again):
    with RawSink(lambda s, stop: None) as closes:
        broker = serve(one("Channel", closes.url, terms(retry=2, dead=recorder["dead"].url), retry_on=retry_on), *LOOPS)
        post(broker, "Channel/x", 1)
        recorder["dead"].wait(1)
        assert closes.arrived == (3 if again else 1)


# ---- deadline ----


def test_deadline(serve, recorder):
    sub = recorder.add("sub", always(503, b"busy"))
    broker = serve(one("Broker", sub.url, terms(retry=1000, backoffDelay="PT0.05S", backoffMax="PT0.05S", dead=recorder["dead"].url), deadline="PT3S"), *LOOPS)
    post(broker, "Broker/x", "d")
    got = recorder["dead"].wait(1)[0]
    last = got.event["knativeerrorcode"], base64.b64decode(got.event["knativeerrordata"])
    assert last == ("503", b"busy") or last[0] == "500" and b"deadline" in last[1], "or a timer that came too late to try again"
    assert 2 <= len(sub.requests) <= 1 + 3 / 0.045 and got.at - sub.times[0] <= 3 + SLACK


def test_a_wait_that_would_end_after_the_deadline_is_not_waited_for(serve, recorder):
    sub = recorder.add("sub", always(503))
    broker = serve(one("Channel", sub.url, terms(retry=1000, backoffDelay="PT1H", dead=recorder["dead"].url), deadline="PT1M"), *LOOPS)
    post(broker, "Channel/x", "d")
    recorder["dead"].wait(1)
    assert len(sub.requests) == 1


# ---- batches ----


def test_a_full_batch_goes_at_once(serve, recorder):
    sub = recorder["sub"]
    broker = serve(one("Channel", sub.url, batch_max_events=5, batch_max_wait="PT1H"), *LOOPS)
    post(broker, "Channel/x", 1, 2)
    assert send(broker, "Channel/x", b'{"b": 1.50}', {**event("3", partitionkey="k"), "Content-Type": "application/json"}).status == 202
    assert send(broker, "Channel/x", b"\x00\xff", {**event("4"), "Content-Type": "image/png"}).status == 202
    assert send(broker, "Channel/x", b'{"specversion":"1.0","id":"5","type":"t","source":"/s","data":{"n":12345678901234567890}}', {"Content-Type": STRUCTURED}).status == 202
    got = sub.wait(1)[0]
    settled(broker)
    assert got.headers["content-type"].split(";")[0] == BATCH
    events = {e["id"]: e for e in json.loads(got.body)}
    assert set(events) == {"1", "2", "3", "4", "5"} and len(sub.requests) == 1
    assert base64.b64decode(events["4"]["data_base64"]) == b"\x00\xff" and events["4"]["datacontenttype"] == "image/png"
    assert events["3"]["data"] == {"b": 1.5} and events["3"]["partitionkey"] == "k" and b'{"b": 1.50}' in got.body
    assert b"12345678901234567890" in got.body
    assert ends(broker, "t")["delivered"] == 5
    broker.wait_metric(1, "leat_delivery_batches_total", **LABELS)


def test_a_batch_waits_no_longer_than_it_may(serve, recorder):
    sub = recorder["sub"]
    broker = serve(one("Channel", sub.url, batch_max_events=100, batch_max_wait="PT0.3S"), *LOOPS)
    began = time.monotonic()
    post(broker, "Channel/x", 1, 2, 3)
    sub.wait_ids({"1", "2", "3"})
    assert 0.3 - GRAIN <= sub.times[0] - began <= 0.3 + SLACK
    settled(broker)


def test_batches_under_load(serve, recorder):
    sub = recorder["sub"]
    broker = serve(one("Broker", sub.url, batch_max_events=10, batch_max_wait="PT1S"), *LOOPS)
    post_from_many(broker, "Broker", range(200))
    settled(broker)
    assert sorted(sub.ids, key=int) == list(map(str, range(200)))
    assert all(1 <= len(r.events) <= 10 for r in sub.requests) and len(sub.requests) < 100
    assert {r.headers["content-type"].split(";")[0] for r in sub.requests} == {BATCH}


def test_a_batch_that_fails(serve, recorder):
    """The answer counts for each event in it; each has its own tries and its own dead letter."""
    count = [0]

    def rule(request, nth):
        count[0] += 1
        return Reply(503 if count[0] <= 3 else 202)

    sub = recorder.add("sub", rule)
    broker = serve(one("Channel", sub.url, terms(retry=2, dead=recorder["dead"].url), batch_max_events=3, batch_max_wait="PT30S"), *LOOPS)
    post(broker, "Channel/x", 1, 2, 3)
    settled(broker)
    assert sorted(recorder["dead"].ids) == ["1", "2", "3"] and all("batch" not in r.headers.get("content-type", "") for r in recorder["dead"].requests)
    assert ends(broker, "t") == {"delivered": 0, "dead_lettered": 3, "parked": 0}


def test_a_batch_s_answer_is_no_reply(serve, recorder):
    sub = recorder.add("sub", lambda request, nth: Reply(200, {"ce-specversion": "1.0", "ce-id": "r", "ce-type": "reply", "ce-source": "/s"}, b""))
    broker = serve([*one("Channel", sub.url, batch_max_events=2, batch_max_wait="PT0.05S")], *LOOPS)
    post(broker, "Channel/x", 1, 2)
    settled(broker)
    assert "prefer" not in sub.requests[0].headers and ends(broker, "t")["delivered"] == 2


# ---- start-from ----


@pytest.mark.parametrize("start", ["latest", "earliest"])
def test_start_from(serve, recorder, start):
    """A log and a Kafka have what came before. Other buses keep nothing for subscriptions to come: both begin with the events that come after it, and what came before was counted
    as dropped."""
    sub = recorder["sub"]
    objects = one("Channel", sub.url, start_from=start)
    broker = serve([objects[0]], *LOOPS)
    post(broker, "Channel/x", "before")
    broker.wait_metric(0 if PAST else 1, "leat_events_dropped_total", namespace="default", channel="x")
    apply(broker, objects, "mark")
    post(broker, "Channel/x", "after")
    settled(broker)
    assert sorted(sub.ids) == (["after", "before"] if PAST and start == "earliest" else ["after"])  # no order was asked for


# ---- events with a time of their own ----


def stamp(seconds):
    """RFC 3339, so many seconds from now."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@KINDS
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_an_event_that_has_expired_is_a_counted_drop(serve, recorder, kind, mode):
    sub = recorder["sub"]
    broker = serve(one(kind, sub.url), *LOOPS)
    if mode == "binary":
        post(broker, f"{kind}/x", "late", expirytime=stamp(-5))
    else:
        assert send(broker, f"{kind}/x", json.dumps({"specversion": "1.0", "id": "late", "type": "t", "source": "/s", "expirytime": stamp(-5)}).encode(), {"Content-Type": STRUCTURED}).status == 202
    post(broker, f"{kind}/x", "in time", expirytime=stamp(3600))
    page = settled(broker)
    assert sub.ids == ["in time"]
    assert page["leat_deliveries_total", frozenset({**LABELS, "end": "expired"}.items())] == 1


def test_an_event_expires_between_attempts(serve, recorder):
    sub = recorder.add("sub", always(503))
    broker = serve(one("Broker", sub.url, terms(retry=1000, backoffDelay="PT0.05S", backoffMax="PT0.05S", dead=recorder["dead"].url)), *LOOPS)
    post(broker, "Broker/x", "soon", expirytime=stamp(10))  # a node that has much to do may need a while for the first
    wait_end(broker, "expired", 1, "t")
    settled(broker)
    assert 1 <= len(sub.requests) <= 1 + 10 / 0.045 and not recorder["dead"].requests


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01T00:00:00Z", "17"])
def test_an_expirytime_that_is_none_is_ignored(serve, recorder, value):
    broker = serve(one("Broker", recorder["sub"].url), *LOOPS)
    post(broker, "Broker/x", "e", expirytime=value)
    assert recorder["sub"].wait(1)[0].event["expirytime"] == value


@KINDS
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_leatdeliverat_holds_an_event_until_its_time(serve, recorder, kind, mode):
    sub = recorder["sub"]
    broker = serve(one(kind, sub.url), *LOOPS)
    for seconds in (3, 30):  # a crowded machine may not bring the other one within three
        began = time.monotonic()
        due = stamp(seconds)
        if mode == "binary":
            post(broker, f"{kind}/x", "later", leatdeliverat=due)
        else:
            assert send(broker, f"{kind}/x", json.dumps({"specversion": "1.0", "id": "later", "type": "t", "source": "/s", "leatdeliverat": due}).encode(), {"Content-Type": STRUCTURED}).status == 202
        post(broker, f"{kind}/x", "now")
        sub.wait(2)
        at = dict(zip(sub.ids, sub.times))
        assert seconds - GRAIN <= at["later"] - began <= seconds + SLACK
        settled(broker)
        if at["now"] - began < seconds - 1:
            break
        sub.clear()
    assert sub.ids == ["now", "later"]


def test_held_events_use_no_credit(serve, recorder):
    """A hundred events that wait for twenty minutes, and one place: an event without a time passes them all. A stop says that they are lost."""
    sub = recorder["sub"]
    broker = serve(one("Channel", sub.url, max_in_flight=1), *LOOPS, "--drain", "100ms")
    broker.may_lose = True
    later = stamp(1200)  # a RabbitMQ holds no event longer than 25
    post(broker, "Channel/x", *range(100), leatdeliverat=later)
    broker.wait_metric(100, "leat_deliveries_held", **LABELS)
    post(broker, "Channel/x", "now")
    sub.wait(1)
    wait_end(broker, "delivered", 1, "t")
    broker.wait_metric(100, "leat_backlog_events", **LABELS)
    assert sub.ids == ["now"]
    broker.ends_with(100)


def test_held_events_come_in_the_order_of_their_times(serve, recorder):
    """One at a time, so that none overtakes another on its way; all are accepted before the first one's time."""
    sub = recorder["sub"]
    broker = serve(one("Channel", sub.url, max_in_flight=1), "--loops", "1")
    for seconds in (3, 30):  # a crowded machine may not take all within three
        began = time.monotonic()
        at = [stamp(seconds + i * 0.2) for i in range(3)]
        for i in (2, 0, 1):
            post(broker, "Channel/x", i, leatdeliverat=at[i])
        taken = time.monotonic() - began
        sub.wait(3)
        settled(broker)
        if taken < seconds - 1:
            break
        sub.clear()
    assert sub.ids == ["0", "1", "2"]


@pytest.mark.parametrize("value", ["tomorrow", "2026-01-01", "-1"])
def test_a_leatdeliverat_that_is_none_is_refused(serve, recorder, value):
    broker = serve(one("Broker", recorder["sub"].url), *LOOPS)
    answer = send(broker, "Broker/x", b"", event("e", leatdeliverat=value))
    assert answer.status == 400 and "leatdeliverat" in answer.text and "RFC 3339" in answer.text, answer


def test_a_leatdeliverat_in_the_past_is_now(serve, recorder):
    broker = serve(one("Broker", recorder["sub"].url), *LOOPS)
    post(broker, "Broker/x", "e", leatdeliverat="2001-01-01T00:00:00Z")
    assert recorder["sub"].wait(1)[0].id == "e"


# ---- annotations are checked ----

WRONG = {
    "max-in-flight": ["0", "10001", "many", "-1", "1.5"],
    "rate-per-second": ["0", "-1", "fast", "1e3"],
    "paused": ["yes", "True", ""],
    "order": ["fifo", ""],
    "start-from": ["now", "2026-01-01"],
    "dedup-window": ["5s", "PT0S", "-PT1S"],
    "jitter": ["101", "-1", "ten"],
    "retry-on": ["", "6xx", "700", "5xx;429", "sometimes"],
    "deadline": ["1h", "PT0S"],
    "batch-max-events": ["0", "1001"],
    "batch-max-wait": ["fast", "-PT1S"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused(serve, name):
    broker = serve()
    for value in WRONG[name]:
        for thing in (trigger("t", "x", "http://127.0.0.1:1/", **{name: value}), hear("t", "x", "http://127.0.0.1:1/", **{name: value})):
            answer = broker.ask("POST", path_of(thing["kind"]), thing)
            assert answer.status in (400, 422) and f"leat.dev/{name}" in answer.json()["message"], (value, answer)


def test_all_at_once(serve, recorder):
    """Limits that meet each other: three places, a rate, order by key, dedup, a deadline, failures and replies; each event ends once, in its key's order."""
    sub = recorder.add("sub", lambda request, nth: Reply(503) if int(request.id) % 7 == 0 and nth == 1 else reply("done", id="r{id}")(request, nth))
    annotations = dict(max_in_flight=3, rate_per_second=500, order="key", dedup_window="PT1H", deadline="PT1M", jitter=0, retry_on="5xx,no-answer")
    objects = [mesh("x"), trigger("t", "x", sub.url, [{"exact": {"type": "t"}}], delivery=terms(retry=3), **annotations), trigger("answers", "x", recorder["answers"].url, [{"exact": {"type": "done"}}])]
    broker = serve(objects, *LOOPS)
    post_from_many(broker, "Broker", [i for i in range(60) for _ in range(2)], 2, partitionkey=lambda id: f"k{id % 2}")
    settled(broker)
    assert ends(broker, "t") == {"delivered": 60, "dead_lettered": 0, "parked": 0}
    assert sorted(recorder["answers"].ids) == sorted(f"r{i}" for i in range(60))
    assert broker.metric("leat_deliveries_total", **LABELS, end="duplicate") == 60
