# SPDX-License-Identifier: Apache-2.0
"""Replay on Google Pub/Sub, by its seek on a subscription of its own, and subscriptions that begin in the past: against Google's emulator, which keeps what has passed as the service does; its
fake cannot seek back. Where the emulator is not installed, only what needs no seek is tested."""

import contextlib
import datetime

import pytest

from broker import Broker, channel, event, prefix_of, subscription
from leat import wait_for
from real.pubsub import PROJECT, Emulator, PubSub
from recorder import always
from topology import condition, ready

EMULATED = pytest.mark.skipif(Emulator.jar() is None, reason="Google's emulator is not installed (google-cloud-cli-pubsub-emulator)")
REPLAY = "/leat/v1/subscriptions/default/subscription/s/replay"
TEMPORARY = "leat-replay."


@pytest.fixture(scope="module")
def service():
    with (Emulator if Emulator.jar() else PubSub)() as p:
        yield p


def bus_of(service):
    return f"pubsub,emulator={service.address},project={PROJECT},ack.deadline=10s"


@pytest.fixture
def ours(service, serve):
    """ours(objects): `leat serve` on that service; ready."""
    def run(objects, *args, more=""):
        process = serve(objects, "--bus", bus_of(service) + more, *args)
        ready(process, *objects)
        return process

    return run


@pytest.fixture
def ten(ours, recorder):
    """A channel with ten events that two subscriptions have got; `sub` is the sink of the one that is meant."""
    sub, other = recorder["sub"], recorder["other"]
    broker = ours([channel("c"), subscription("s", "c", sub.url), subscription("other", "c", other.url)])
    post(broker, 0, 10)
    for s in (sub, other):
        s.wait_ids(map(str, range(10)))
        s.clear()
    broker.sub, broker.other = sub, other
    return broker


def post(broker, first, count, **attributes):
    for i in range(first, first + count):
        assert broker.post("c", b"", event(str(i), **attributes)).status == 202


def task(broker, number):
    return broker.ask("GET", f"/leat/v1/tasks/{number}").json()


def start(broker, **order):
    answer = broker.ask("POST", REPLAY, order)
    assert answer.status == 202, answer
    return answer.json()["id"]


def ended(broker, number):
    return wait_for(lambda: (lambda t: t if t["state"] != "running" else None)(task(broker, number)), "the end of the task", 60)


def replay(broker, **order):
    return ended(broker, start(broker, **order))


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


@contextlib.contextmanager
def again(broker, service, objects):
    """In the same folder: the same prefix and the same cursors."""
    with Broker(broker.manifest.parent, objects, "--bus", bus_of(service)) as next:
        ready(next, *objects)
        yield next


def temporary(service, broker):
    prefix = prefix_of(broker.manifest.parent)
    return [n for n in service.names("subscriptions") if f"/{prefix}{TEMPORARY}" in n]


@EMULATED
def test_everything_to_one_only_and_nothing_is_left_behind(ten, service):
    done = replay(ten, **{"from": "earliest"})
    assert (done["state"], done["done"], done["failed"]) == ("done", 10, 0), done
    assert sorted(map(int, ten.sub.ids)) == list(range(10)) and ten.other.ids == []
    assert temporary(service, ten) == []
    post(ten, 10, 1)  # what comes goes its way once
    for s in (ten.sub, ten.other):
        s.wait_ids({"10"})
    assert ten.sub.ids.count("10") == ten.other.ids.count("10") == 1


@EMULATED
def test_times_filters_and_a_dry_run(ours, recorder, leat):
    sub = recorder["sub"]
    broker = ours([channel("c"), subscription("s", "c", sub.url)])
    post(broker, 0, 3)
    middle = now()
    post(broker, 3, 3)
    sub.wait_ids(map(str, range(6)))
    sub.clear()
    code, out, err = leat(broker, "replay", "subscription/s", "--from", middle, "--dry-run")
    assert code == 0 and out.splitlines()[-1] == "task 1: 3 would be delivered.", (out, err)
    assert sorted(line.split()[-1] for line in out.splitlines()[1:-1]) == ["3", "4", "5"] and sub.ids == []
    assert replay(broker, **{"from": "earliest", "to": middle, "filter": "id <> '1'"})["done"] == 2
    assert sorted(sub.ids) == ["0", "2"]


@EMULATED
def test_what_arrives_meanwhile_is_not_replayed_and_ends_it_all_the_same(ten):
    number = start(ten, **{"from": "earliest", "rate": 20})
    ten.sub.wait(2)
    post(ten, 10, 5)
    end = ended(ten, number)
    assert (end["state"], end["done"]) == ("done", 10), end
    ten.sub.wait_ids(map(str, range(15)))
    assert len(ten.sub.ids) == 15


@EMULATED
def test_one_at_a_time_and_it_can_be_canceled(ten, service, leat):
    number = start(ten, **{"from": "earliest", "rate": 0.01})
    ten.sub.wait(1)
    answer = ten.ask("POST", REPLAY, {"from": "earliest"})
    assert answer.status == 409 and b"is being replayed" in answer.body, answer
    assert leat(ten, "task", "cancel", str(number))[0] == 0
    end = ended(ten, number)
    assert end["state"] == "canceled" and end["done"] < 10, end
    assert temporary(service, ten) == []


@EMULATED
def test_what_fails_is_parked_and_a_pause_ends_it(ten):
    ten.sub.rule = always(400)
    end = replay(ten, **{"from": "earliest"})
    assert (end["state"], end["done"], end["failed"]) == ("done", 0, 10), end
    ten.sub.rule = always(202)
    number = start(ten, **{"from": "earliest", "rate": 0.2})
    ten.sub.wait(11)
    assert ten.ask("POST", "/leat/v1/subscriptions/default/subscription/s/pause").status == 200
    end = ended(ten, number)
    assert end["state"] == "failed" and "nothing drains the subscription" in end["message"], end


@EMULATED
def test_a_stop_and_a_deletion_end_it(ten, service):
    start(ten, **{"from": "earliest", "rate": 0.2})
    ten.sub.wait(1)
    ten.reload([channel("c"), subscription("other", "c", ten.other.url)])
    wait_for(lambda: temporary(service, ten) == [], "the temporary subscription to go")
    ten.reload([channel("c"), subscription("s", "c", ten.sub.url)])
    ready(ten, subscription("s", "c", ten.sub.url))
    start(ten, **{"from": "earliest", "rate": 0.01})
    wait_for(lambda: temporary(service, ten) != [], "the temporary subscription")
    assert ten.stop() == 0
    assert temporary(service, ten) == []


@EMULATED
def test_what_a_killed_process_left_is_taken_away_by_the_next_start(ten, service):
    start(ten, **{"from": "earliest", "rate": 0.01})
    ten.sub.wait(1)
    [left] = temporary(service, ten)
    there = service.look("subscriptions", left)
    assert there["expirationPolicy"] == {"ttl": "86400s"}, there
    ten.kill()
    ten.sub.clear()
    with again(ten, service, [channel("c"), subscription("s", "c", ten.sub.url), subscription("other", "c", ten.other.url)]) as next:
        assert temporary(service, ten) == []  # before it is Ready
        end = replay(next, **{"from": "earliest"})
        assert (end["state"], end["done"]) == ("done", 10), end
        assert set(map(int, ten.sub.ids)) == set(range(10)) and temporary(service, ten) == []


@EMULATED
@pytest.mark.parametrize("begin", ["earliest", "time"])
def test_a_new_subscription_begins_in_the_past_and_only_then(ours, service, recorder, begin):
    first, late = recorder["first"], recorder["late"]
    broker = ours([channel("c"), subscription("first", "c", first.url)])
    post(broker, 0, 3)
    middle = now()
    post(broker, 3, 3)
    first.wait_ids(map(str, range(6)))
    new = subscription("late", "c", late.url, annotations={"leat.dev/start-from": middle if begin == "time" else "earliest"})
    objects = [channel("c"), subscription("first", "c", first.url), new]
    broker.reload(objects)
    ready(broker, new)
    assert condition(broker, "Subscription", "late", "StartHeeded") == {}
    wanted = set(map(str, range(3 if begin == "time" else 0, 6)))
    late.wait_ids(wanted)
    assert broker.stop() == 0
    with again(broker, service, objects) as next:
        post(next, 6, 1)
        late.wait_ids({"6"})
    assert sorted(late.ids) == sorted(wanted | {"6"})


def test_a_topic_that_keeps_nothing_says_what_to_do(ours, service, recorder):
    broker = ours([channel("c"), subscription("s", "c", recorder["s"].url)], more=",retention-age=0")
    end = replay(broker, **{"from": "earliest"})
    assert end["state"] == "failed" and "--message-retention-duration=1d" in end["message"], end
    assert temporary(service, broker) == []
    wait_for(lambda: broker.post("c", b"", event("x")).status == 202, "the channel to take events as before")


def test_offsets_are_refused_and_topics_keep_what_was_asked_for(ours, service, recorder):
    kept = channel("kept")
    kept["metadata"]["annotations"]["leat.dev/retention-age"] = "PT2H"
    broker = ours([channel("c"), kept, subscription("s", "c", recorder["s"].url)], more=",retention-age=PT1H")
    prefix = prefix_of(broker.manifest.parent)
    assert service.look("topics", f"{prefix}leat.default.c")["messageRetentionDuration"] == "3600s"
    assert service.look("topics", f"{prefix}leat.default.kept")["messageRetentionDuration"] == "7200s"
    for order in ({"from": 5}, {"from": "earliest", "to": 5}):
        answer = broker.ask("POST", REPLAY, order)
        assert answer.status == 400 and b"no offsets" in answer.body, answer
    answer = broker.ask("POST", REPLAY, {"from": "earliest", "parked": True})
    assert answer.status == 409, answer
