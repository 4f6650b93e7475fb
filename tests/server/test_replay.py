# SPDX-License-Identifier: Apache-2.0
"""`leat replay`: what a channel still keeps is delivered again, to one subscription; and leat.dev/start-from, where a new subscription begins."""

import datetime
import json
import re
import shlex

import pytest

from broker import channel, event, subscription
from leat import ROOT, wait_for
from recorder import BATCH, always, reply
from topology import condition, mesh, ready, send, sequence, trigger

LOG = ("--bus", "log")
REPLAY = "/leat/v1/subscriptions/default/{}/replay"
LABELS = {"namespace": "default", "subscription": "s"}


def post(broker, first, count, **attributes):
    for i in range(first, first + count):
        assert broker.post("c", b"", event(str(i), **attributes)).status == 202


def task(broker, number):
    return broker.ask("GET", f"/leat/v1/tasks/{number}").json()


def start(broker, what="subscription/s", **order):
    answer = broker.ask("POST", REPLAY.format(what), order)
    assert answer.status == 202, answer
    return answer.json()["id"]


def replay(broker, what="subscription/s", **order):
    """The task when it has ended."""
    number = start(broker, what, **order)
    return wait_for(lambda: (lambda t: t if t["state"] != "running" else None)(task(broker, number)), "the end of the task")


def offsets(broker, what="subscription/s", **order):
    """{id: offset} of the first ten, as a dry run shows them."""
    return {e["id"]: e["offset"] for e in replay(broker, what, **{"from": "earliest", "dryRun": True, **order})["events"]}


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def drained(broker, name="s"):
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription=name)


@pytest.fixture
def ten(serve, recorder):
    """A channel with ten events that two subscriptions have got; `sub` is the sink of the one that is meant."""
    sub, other = recorder["sub"], recorder["other"]
    broker = serve([channel("c"), subscription("s", "c", sub.url), subscription("other", "c", other.url)], *LOG)
    post(broker, 0, 10)
    for endpoint in (sub, other):
        endpoint.wait_ids(map(str, range(10)))
    drained(broker)
    sub.clear()
    other.clear()
    broker.sub, broker.other = sub, other
    return broker


# ---- what is replayed ----


def test_everything_to_one_only(ten, leat):
    code, out, err = leat(ten, "replay", "subscription/s", "--from", "earliest")
    assert (code, err) == (0, "") and out == "task 1: replay done, 10 done, 0 failed."
    assert sorted(map(int, ten.sub.ids)) == list(range(10)) and ten.other.ids == []


def test_its_cursor_is_not_moved(ten):
    replay(ten, **{"from": "earliest"})
    post(ten, 10, 1)
    ten.sub.wait_ids(["10"])
    drained(ten)
    assert len(ten.sub.ids) == 11


def test_offsets_both_ends_count(ten):
    at = offsets(ten)
    assert replay(ten, **{"from": at["3"], "to": at["5"]})["done"] == 3
    assert sorted(ten.sub.ids) == ["3", "4", "5"]
    ten.sub.clear()
    replay(ten, **{"from": str(at["7"]), "to": str(at["7"])})
    assert ten.sub.ids == ["7"]
    assert replay(ten, **{"from": at["9"] + 1})["done"] == 0


def test_times(serve, recorder):
    sub = recorder["sub"]
    broker = serve([channel("c"), subscription("s", "c", sub.url)], *LOG)
    post(broker, 0, 5)
    middle = now()
    post(broker, 5, 5)
    sub.wait_ids(map(str, range(10)))
    sub.clear()
    assert replay(broker, **{"from": middle})["done"] == 5
    assert sorted(sub.ids) == ["5", "6", "7", "8", "9"]
    sub.clear()
    assert replay(broker, **{"from": "1h", "to": middle})["done"] == 5
    assert sorted(sub.ids) == ["0", "1", "2", "3", "4"]
    assert replay(broker, **{"from": "PT1H", "to": "PT30M"})["done"] == 0
    assert replay(broker, **{"from": now()})["done"] == 0


def test_both_filters_count(serve, recorder, leat):
    sub = recorder["sub"]
    broker = serve([mesh("x"), trigger("s", "x", sub.url, filters=[{"prefix": {"type": "order."}}])], *LOG)
    for i, type in enumerate(["order.made", "order.paid", "else", "order.made"]):
        assert send(broker, "Broker/x", b"", event(str(i), type=type)).status == 202
    sub.wait_ids(["0", "1", "3"])
    sub.clear()
    assert replay(broker, "trigger/s", **{"from": "earliest"})["done"] == 3
    assert sorted(sub.ids) == ["0", "1", "3"]
    sub.clear()
    assert leat(broker, "replay", "trigger/s", "--from", "earliest", "--filter", "type LIKE '%made' OR type = 'else'")[0] == 0
    assert sorted(sub.ids) == ["0", "3"]


def test_a_dry_run_delivers_nothing(ten, leat):
    code, out, err = leat(ten, "replay", "subscription/s", "--from", "earliest", "--dry-run")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["OFFSET", "APPENDED", "AT", "TYPE", "SOURCE", "ID"] and lines[-1] == "task 1: 10 would be delivered."
    assert [line.split()[-1] for line in lines[1:-1]] == [str(i) for i in range(10)]
    assert ten.sub.ids == []
    assert "would be" not in leat(ten, "task", "show", "1")[1] and "OFFSET" in leat(ten, "task", "show", "1")[1]


def test_what_arrives_meanwhile_is_not_replayed(ten):
    number = start(ten, **{"from": "earliest", "rate": 20})
    ten.sub.wait(2)
    post(ten, 10, 5)
    wait_for(lambda: task(ten, number)["state"] == "done", "the end of the replay")
    assert task(ten, number)["done"] == 10
    ten.sub.wait_ids(map(str, range(15)))
    assert len(ten.sub.ids) == 15


def test_a_task_like_any_other(ten, leat):
    code, out, _ = leat(ten, "replay", "subscription/s", "--from", "earliest", "--rate", "0.01", "--no-wait")
    assert (code, out) == (0, "1")
    ten.sub.wait(1)
    listed = leat(ten, "task", "list")[1].splitlines()[1].split()
    assert listed[1:3] == ["replay", "running"] and listed[-3:] == ["subscription/s", "in", "default"]
    assert leat(ten, "task", "cancel", "1")[0] == 0
    wait_for(lambda: task(ten, 1)["state"] == "canceled", "the end of the replay")
    ended = task(ten, 1)
    assert ended["message"].startswith("--from ") and ended["message"].endswith(" goes on")
    done = len(ten.sub.ids)
    assert 1 <= done < 10 and ended["done"] == done
    assert replay(ten, **{"from": ended["message"].split()[1]})["done"] == 10 - done
    assert sorted(map(int, ten.sub.ids)) == list(range(10))


def test_an_order_is_kept(serve, recorder):
    sub = recorder["sub"]
    strict = {"leat.dev/order": "strict"}
    one = channel("c")
    one["metadata"]["annotations"] = {"leat.dev/partitions": "1"}
    broker = serve([one, subscription("s", "c", sub.url, annotations=strict)], *LOG, "--loops", "2")
    post(broker, 0, 50)
    sub.wait_ids(map(str, range(50)))
    sub.clear()
    assert replay(broker, **{"from": "earliest"})["done"] == 50
    assert sub.ids == [str(i) for i in range(50)]


def test_what_fails_is_parked(ten, leat):
    ten.sub.rule = always(400)
    code, out, err = leat(ten, "replay", "subscription/s", "--from", "earliest")
    assert code == 1 and "0 done, 10 failed: 10 failed and are parked." in err
    assert ten.ask("GET", "/leat/v1/dlq").json()["total"] == 10


def test_many(serve, recorder):
    """More than a page, with few that match."""
    sub = recorder["sub"]
    broker = serve([channel("c"), subscription("s", "c", sub.url)], *LOG)
    for i in range(0, 3000, 1000):
        batch = [{"specversion": "1.0", "id": str(n), "source": "/test", "type": "rare" if n % 100 == 0 else "t", "data": "x" * 300} for n in range(i, i + 1000)]
        assert broker.post("c", json.dumps(batch).encode(), {"Content-Type": BATCH}).status == 202
    broker.wait_metric(3000, "leat_deliveries_total", end="delivered", **LABELS)
    sub.clear()
    assert replay(broker, **{"from": "earliest", "filter": "type = 'rare'"})["done"] == 30
    assert sorted(map(int, sub.ids)) == list(range(0, 3000, 100))
    assert replay(broker, **{"from": "earliest", "dryRun": True})["done"] == 3000


def test_explain_tells_the_attempts_of_replays_apart(ten, leat):
    for _ in range(2):
        replay(ten, **{"from": "earliest"})
    answer = ten.ask("GET", "/leat/v1/explain?id=3").json()
    [mine] = [s for s in answer["events"][0]["subscriptions"] if s["name"] == "s"]
    assert [a["id"] for a in mine["attempts"]] == ["default/s/subscriber/1", "default/s/replay-1/subscriber/1", "default/s/replay-2/subscriber/1"]
    assert leat(ten, "explain", "3")[1].count("replayed, subscriber 1:") == 2


# ---- pauses, parts, ends ----


def test_of_a_paused_one_only_a_dry_run(ten):
    assert ten.ask("POST", "/leat/v1/subscriptions/default/subscription/s/pause").status == 200
    wait_for(lambda: ten.ask("POST", REPLAY.format("subscription/s"), {"from": "earliest"}).status == 409, "the pause")
    assert replay(ten, **{"from": "earliest", "dryRun": True})["done"] == 10


def test_a_pause_ends_it(ten):
    number = start(ten, **{"from": "earliest", "rate": 0.2})
    ten.sub.wait(1)
    assert ten.ask("POST", "/leat/v1/subscriptions/default/subscription/s/pause").status == 200
    wait_for(lambda: task(ten, number)["state"] != "running", "the end of the replay")
    ended = task(ten, number)
    assert ended["state"] == "failed" and "nothing drains the subscription" in ended["message"] and "goes on" in ended["message"]


def test_a_subscription_that_is_deleted_meanwhile(ten):
    number = start(ten, **{"from": "earliest", "rate": 0.2})
    ten.sub.wait(1)
    ten.reload([channel("d")])
    wait_for(lambda: task(ten, number)["state"] != "running", "the end of the replay")
    assert "nothing drains the subscription" in task(ten, number)["message"]
    wait_for(lambda: not any(name == "leat_backlog_events" for name, _ in ten.metrics()), "the end of the subscription")


def test_a_stop_ends_it(ten):
    start(ten, **{"from": "earliest", "rate": 0.01})
    ten.sub.wait(1)
    assert ten.stop() == 0


def test_a_part_of_a_sequence(serve, recorder, leat):
    one, two = recorder["one"], recorder["two"]
    one.rule = reply(type="second")
    broker = serve([sequence("q", [one.url, two.url])], *LOG)
    assert send(broker, "Sequence/q", b"", event("1")).status == 202
    two.wait(1)
    drained(broker, "q-kn-sequence-1")
    code, _, err = leat(broker, "replay", "sequence/q", "--from", "earliest")
    assert code == 1 and "several parts" in err and "q/steps/0, q/steps/1" in err
    assert leat(broker, "replay", "sequence/q/steps/1", "--from", "earliest")[0] == 0
    assert len(two.ids) == 2 and len(one.ids) == 1


def test_after_a_crash_nothing_is_lost(serve, recorder, tmp_path):
    sub = recorder["sub"]
    objects = [channel("c"), subscription("s", "c", sub.url)]
    broker = serve(objects, *LOG, "--data-dir", tmp_path / "data")
    post(broker, 0, 10)
    sub.wait_ids(map(str, range(10)))
    start(broker, **{"from": "earliest", "rate": 0.01})
    sub.wait(11)
    broker.kill()
    broker = serve(objects, *LOG, "--data-dir", tmp_path / "data")
    assert broker.ask("GET", "/leat/v1/tasks").json()["items"] == []
    sub.clear()
    assert replay(broker, **{"from": "earliest"})["done"] == 10
    assert set(map(int, sub.ids)) == set(range(10))


def test_how_long_the_past_is_kept_can_be_said(serve, recorder):
    """By the channel, and by the bus for all of them; what the bus does with it is its own tests' business."""
    sub = recorder["sub"]
    kept = channel("c")
    kept["metadata"]["annotations"] = {"leat.dev/retention-age": "P7D", "leat.dev/retention-bytes": "2GiB"}
    for bus in ("log,retention-age=P3D,retention-bytes=1GiB", "memory"):
        broker = serve([kept, subscription("s", "c", sub.url)], "--bus", bus)
        ready(broker, kept)
        post(broker, 0, 1)
        sub.wait_ids(["0"])
        sub.clear()


# ---- what is refused ----


def test_a_bus_that_keeps_nothing(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--bus", "memory")
    answer = broker.ask("POST", REPLAY.format("subscription/s"), {"from": "earliest"})
    assert answer.status == 409 and "bus memory" in answer.json()["message"] and answer.json()["message"].endswith("Buses that keep them: log, kafka, pubsub")


@pytest.fixture(scope="module")
def plain(serve_module):
    return serve_module([channel("c"), subscription("s", "c", "http://127.0.0.1:1/")])


@pytest.mark.parametrize(
    "body, words",
    [
        (None, "no JSON object"),
        (b"[]", "no JSON object"),
        ({}, "from: say from where"),
        ({"from": "yesterday"}, 'a duration ago such as 2h, or a time such as 2026-01-31T08:00:00Z (it is "yesterday")'),
        ({"from": "latest"}, "nothing behind the latest"),
        ({"from": -1}, "from: is a text"),
        ({"from": True}, "from: is a text"),
        ({"from": "1h", "to": "earliest"}, "to: is a time or an offset"),
        ({"from": "1h", "to": "soon"}, "to: must be"),
        ({"from": "1h", "rate": 0}, "rate: is the number"),
        ({"from": "1h", "filter": "type ="}, "filter: line 1, column"),
        ({"from": "1h", "dryRun": 1}, "dryRun: is true or false"),
        ({"from": "1h", "all": True}, "all: is not known here"),
        (b'{"from":"1h","from":"2h"}', "twice"),
    ],
)
def test_orders_that_are_wrong(plain, body, words):
    answer = plain.ask("POST", REPLAY.format("subscription/s"), body)
    assert answer.status == 400 and words in answer.json()["message"], answer


def test_names_that_are_not_there(plain):
    answer = plain.ask("POST", REPLAY.format("subscription/t"), {"from": "1h"})
    assert answer.status == 404 and "there are: s" in answer.json()["message"]


@pytest.mark.parametrize("args, words", [([], "say to whom"), (["subscription/s"], "--from"), (["s", "--from", "1h"], "say to whom"), (["subscription/s", "--from", "1h", "--rate", "no"], "--rate")])
def test_command_lines_that_are_wrong(run, args, words):
    code, _, err = run("replay", *args, env={"LEAT_SERVER": "http://127.0.0.1:1"})
    assert code == 2 and words in err


# ---- where a new subscription begins ----


@pytest.mark.parametrize("start_from", ["earliest", "offset", "time", "latest"])
def test_start_from(serve, recorder, start_from):
    first, new = recorder["first"], recorder["new"]
    broker = serve([channel("c"), subscription("s", "c", first.url)], *LOG)
    post(broker, 0, 5)
    middle = now()
    post(broker, 5, 5)
    first.wait_ids(map(str, range(10)))
    value = {"offset": str(offsets(broker)["5"]), "time": middle}.get(start_from, start_from)
    made = subscription("new", "c", new.url, annotations={"leat.dev/start-from": value})
    broker.reload([channel("c"), subscription("s", "c", first.url), made])
    ready(broker, made)
    post(broker, 10, 1)
    wanted = {"earliest": 0, "latest": 10}.get(start_from, 5)
    new.wait_ids(map(str, range(wanted, 11)))
    drained(broker, "new")
    assert sorted(map(int, new.ids)) == list(range(wanted, 11))


def test_start_from_counts_once(serve, recorder, tmp_path):
    """A subscription that is there goes on where it stood, also after a restart."""
    sub = recorder["sub"]
    objects = [channel("c"), subscription("s", "c", sub.url, annotations={"leat.dev/start-from": "earliest"})]
    data = ("--data-dir", tmp_path / "data")
    broker = serve(objects, *LOG, *data)
    post(broker, 0, 5)
    sub.wait_ids("01234")
    drained(broker)
    assert broker.stop() == 0
    broker = serve(objects, *LOG, *data)
    post(broker, 5, 1)
    sub.wait_ids(["5"])
    assert sorted(sub.ids) == ["0", "1", "2", "3", "4", "5"]


# ---- the page ----


def test_the_page_s_examples(serve, recorder, leat):
    """Every command of docs/replay.md, in its order, prints what stands there, but for numbers and blanks."""
    shape = lambda text: [" ".join(re.sub(r"[0-9]+", "N", line).split()) for line in text.splitlines()]
    broker = serve([channel("orders"), subscription("billing", "orders", recorder["sub"].url)], *LOG)
    for id, type in (("4711", "order.made"), ("4712", "order.made"), ("4713", "order.canceled")):
        assert broker.post("orders", b"", event(id, type=type, source="/shop")).status == 202
    recorder["sub"].wait_ids(["4711", "4712", "4713"])
    drained(broker, "billing")
    real = {}  # the page's offsets, and those of this log
    commands = 0
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "docs" / "replay.md").read_text(), re.S):
        for command, wanted in re.findall(r"^\$ leat (.*)\n((?:(?!\$ ).*\n)*)", block, re.M):
            args = [real.get(word, word) for word in shlex.split(command)]
            code, out, err = leat(broker, *args)
            out = out.replace(str(broker.manifest), "manifest.yaml")
            assert (code, err) == (0, "") and shape(out) == shape(wanted), (command, out)
            real |= {a[0]: b[0] for a, b in zip(map(str.split, wanted.splitlines()), map(str.split, out.splitlines())) if a[0].isdigit()}
            if args[0] in ("pause", "resume"):
                wait_for(lambda: condition(broker, "Subscription", "billing", "Delivering").get("status") == ("False" if args[0] == "pause" else None), "the plan")
            commands += 1
    assert commands == 6


# ---- what was parked ----


def test_what_was_parked_and_discarded_is_delivered_again(serve, recorder, leat):
    sub = recorder.add("s", always(400))
    broker = serve([channel("c"), subscription("s", "c", sub.url)], *LOG)
    post(broker, 0, 3)
    broker.wait_metric(3, "leat_deliveries_total", end="parked", **LABELS)
    assert leat(broker, "dlq", "discard", "subscription/s", "--all", "--yes")[0] == 0
    broker.wait_metric(0, "leat_parked_events", **LABELS)
    sub.rule = always(202)
    sub.clear()
    code, out, err = leat(broker, "replay", "subscription/s", "--parked", "--from", "earliest", "--filter", "leatreason = 'not-retryable' AND id <> '1'")
    assert (code, err) == (0, "") and out == "task 2: replay done, 2 done, 0 failed."
    assert sorted(sub.ids) == ["0", "2"] and not [r for r in sub.requests if "ce-leatreason" in r.headers]
    assert replay(broker, **{"from": "earliest"})["done"] == 3  # the channel's own past, as ever
