# SPDX-License-Identifier: Apache-2.0
"""Parked events: what is kept of an event that nobody took, and `leat dlq` and `leat task`, which look at it, redrive it, throw it away and export it."""

import http.client
import json
import os
import signal
import threading
import time

import pytest

from broker import channel, event, subscription
from leat import Leat, Reply, Sink, in_terminal, request, wait_for
from topology import apply, mesh, terms, trigger

PARKED = "/leat/v1/dlq/default/subscription/s"
SUBSCRIPTION = "/apis/messaging.knative.dev/v1/namespaces/default/subscriptions/s"


def parking(sink, **more):
    """A channel with one subscription whose subscriber is the sink."""
    return [channel("c"), subscription("s", "c", sink.url, **more)]


def park(broker, count, first=0, total=None, **attributes):
    """Posts events that the sink refuses, and waits until all are parked; several are parked in any order."""
    for i in range(first, first + count):
        assert broker.post("c", json.dumps({"n": i}).encode(), {**event(str(i), **attributes), "content-type": "application/json"}).status == 202
    wait_parked(broker, count if total is None else total)


def parked(broker):
    return broker.ask("GET", "/leat/v1/dlq").json()["total"]


def wait_parked(broker, count):
    wait_for(lambda: parked(broker) == count, f"{count} parked events")


def ready(broker):
    """The subscription is there, and what is posted from now on is its own."""
    answer = broker.ask("GET", SUBSCRIPTION)
    conditions = answer.json().get("status", {}).get("conditions", []) if answer.status == 200 else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def listed(broker, query="", path=PARKED):
    answer = broker.ask("GET", path + query)
    assert answer.status == 200, answer
    return answer.json()["items"]


def ids(items):
    return sorted(item["id"] for item in items)


def order(broker, verb, path=PARKED, **body):
    """Starts a task, and gives it back when it has ended."""
    answer = broker.ask("POST", f"{path}/{verb}", body)
    assert answer.status == 202, answer
    return ended(broker, answer.json()["id"])


def ended(broker, number):
    return wait_for(lambda: (lambda t: t if t["state"] != "running" else None)(broker.ask("GET", f"/leat/v1/tasks/{number}").json()), "the end of the task")


@pytest.fixture
def refusing(sink):
    sink.default = Reply(500, body=b"not today")
    return sink


# ---- what is kept ----


def test_what_is_said_of_a_parked_event(serve, refusing):
    broker = serve(parking(refusing, retry=2))
    broker.may_lose = True
    park(broker, 1, subject="it")
    [item] = listed(broker)
    assert (item["id"], item["source"], item["type"], item["subject"], item["bytes"]) == ("0", "/test", "t", "it", 8)
    happened = item["parked"]
    assert (happened["reason"], happened["attempts"], happened["code"], happened["error"], happened["destination"]) == ("retries-exhausted", 3, 500, "not today", refusing.url)
    assert happened["firstAt"] < happened["at"] and "deadLetter" not in happened
    assert item["subscription"].endswith("/default/s")


@pytest.mark.parametrize("status, reason", [(400, "not-retryable"), (503, "retries-exhausted")])
def test_the_reason(serve, sink, status, reason):
    sink.default = Reply(status)
    broker = serve(parking(sink, retry=1))
    broker.may_lose = True
    park(broker, 1)
    assert listed(broker)[0]["parked"]["reason"] == reason


def test_when_the_dead_letter_sink_fails_too_both_failures_are_told(serve, refusing):
    with Sink(Reply(410, body=b"no dead letters here")) as dead:
        broker = serve(parking(refusing, dead=dead.url))
        broker.may_lose = True
        park(broker, 1)
        happened = listed(broker)[0]["parked"]
        assert (happened["reason"], happened["destination"], happened["code"], happened["error"]) == ("dead-letter-failed", refusing.url, 500, "not today")
        assert happened["deadLetter"] == {"destination": dead.url, "code": 410, "error": "no dead letters here"}


def test_no_answer_at_all(serve):
    broker = serve([channel("c"), subscription("s", "c", "http://127.0.0.1:1/")])
    broker.may_lose = True
    park(broker, 1)
    happened = listed(broker)[0]["parked"]
    assert "code" not in happened and happened["error"] and happened["attempts"] == 1


def test_an_answer_that_is_no_text(serve, sink):
    sink.default = Reply(500, body=b"\xff\xfe")
    broker = serve(parking(sink))
    broker.may_lose = True
    park(broker, 1)
    assert listed(broker)[0]["parked"]["errorBase64"] == "//4="


def test_an_event_without_room_for_what_happened_is_parked_all_the_same(serve, refusing, monkeypatch):
    monkeypatch.setattr(http.client, "_MAXHEADERS", 1000)
    broker = serve(parking(refusing), "--max-headers", "64KiB")
    broker.may_lose = True
    attributes = {f"x{i}": "y" for i in range(252)}  # with the four that an event must have: as many as one can have
    assert broker.post("c", b"", event("crowded", **attributes)).status == 202
    wait_parked(broker, 1)
    [item] = listed(broker)
    assert item["id"] == "crowded" and item["parked"] == {}
    refusing.default = Reply(202)
    assert order(broker, "redrive", all=True)["done"] == 1
    assert {k: v for k, v in refusing.requests[-1].attributes.items() if k.startswith("x")} == attributes


# ---- list and show ----


def test_looking_changes_nothing_and_shows_the_oldest_first(serve, refusing):
    broker = serve(parking(refusing), "--loops", "2")
    broker.may_lose = True
    for i in range(6):
        park(broker, 1, i, total=i + 1)
    for _ in range(2):
        assert [item["id"] for item in listed(broker)] == ["0", "1", "2", "3", "4", "5"]
    assert [item["id"] for item in listed(broker, "?limit=2")] == ["0", "1"]
    assert broker.ask("GET", PARKED + "?limit=2").json() | {"items": []} == {"items": [], "matched": 6, "seen": 6, "total": 6, "more": False}
    park(broker, 1, 6, total=7)  # while the others are held
    assert [item["id"] for item in listed(broker)] == ["0", "1", "2", "3", "4", "5", "6"]


def test_what_was_looked_at_is_handed_back(serve, refusing):
    """The session ends by itself; then the next one finds everything again."""
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 3)
    assert len(listed(broker)) == 3
    objects = [*parking(refusing), channel("another")]
    assert "applied" in broker.reload(objects)  # a plan goes in force while the session is open
    assert len(listed(broker)) == 3
    assert order(broker, "discard", all=True)["done"] == 3
    assert listed(broker) == []


def test_filters(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 3, kind="a")
    park(broker, 3, 3, total=6, kind="b")
    assert ids(listed(broker, "?filter=kind%20%3D%20'b'")) == ["3", "4", "5"]
    assert ids(listed(broker, '?filter={"exact":{"kind":"a"}}')) == ["0", "1", "2"]
    assert ids(listed(broker, "?filter=leatreason%20%3D%20'retries-exhausted'%20AND%20id%20%3D%20'4'")) == ["4"]
    answer = broker.ask("GET", PARKED + "?filter=kind%20%3D%3D%20'b'")
    assert answer.status == 400 and "line 1, column " in answer.json()["message"]


def test_one_event(serve, refusing, leat):
    refusing.default = Reply(500, body=b"not today\r\n")
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 2)
    [item] = listed(broker, "?id=1&full=true")
    assert item["event"] == {"specversion": "1.0", "id": "1", "source": "/test", "type": "t", "datacontenttype": "application/json", "data": {"n": 1}}
    code, out, err = leat(broker, "dlq", "show", "subscription/s", "1")
    assert code == 0 and '"data":{"n": 1}' in out and "retries-exhausted" in out and "not today" in out and "today?" not in out
    code, out, err = leat(broker, "dlq", "show", "subscription/s", "1", "-o", "json")
    assert code == 0 and json.loads(out) == item
    code, out, err = leat(broker, "dlq", "show", "subscription/s", "7")
    assert (code, out) == (1, "") and "no event parked for subscription/s in default has the id 7" in err


def test_one_id_of_two_sources(serve, refusing, leat):
    broker = serve(parking(refusing))
    broker.may_lose = True
    for source in ("/a", "/b"):
        broker.post("c", b"", event("same", source=source))
    wait_parked(broker, 2)
    answer = broker.ask("GET", PARKED + "?id=same")
    assert answer.status == 409 and "/a" in answer.json()["message"] and "/b" in answer.json()["message"]
    assert broker.ask("POST", PARKED + "/discard", {"ids": ["same"]}).status == 409
    assert listed(broker, "?id=same&source=/b")[0]["source"] == "/b"
    assert leat(broker, "dlq", "discard", "subscription/s", "same", "--source", "/a")[0] == 0
    assert [item["source"] for item in listed(broker)] == ["/b"]


def test_the_table(serve, refusing, leat):
    broker = serve(parking(refusing))
    broker.may_lose = True
    assert leat(broker, "dlq", "list") == (0, "", "No events are parked.")
    assert leat(broker, "dlq", "list", "subscription/s") == (0, "", "No events are parked.")
    park(broker, 3)
    code, out, err = leat(broker, "dlq", "list", "subscription/s")
    head, *rows = out.splitlines()
    assert code == 0 and head.split("  ")[0] == "PARKED AT" and len(rows) == 3
    assert sorted(row.split()[1:] for row in rows) == [["retries-exhausted", "500", "1", "t", "/test", str(i)] for i in range(3)]
    assert [row.index("retries-exhausted") for row in rows] == [head.index("REASON")] * 3
    code, out, err = leat(broker, "dlq", "list", "subscription/s", "--limit", "1", "-o", "json")
    assert code == 0 and len(json.loads(out)["items"]) == 1
    code, out, err = leat(broker, "dlq", "list", "subscription/s", "--limit", "1")
    assert len(out.splitlines()) == 2 and "1 of 3" in err
    code, out, err = leat(broker, "dlq", "list")
    assert [line.split() for line in out.splitlines()] == [["NAMESPACE", "SUBSCRIPTION", "PARKED", "DROPPED", "STATE"], ["default", "subscription/s", "3", "0", "there"]]


# ---- redrive ----


def test_redrive_one(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 3)
    refusing.default = Reply(202)
    refusing.clear()
    task = order(broker, "redrive", ids=["1"])
    assert (task["state"], task["total"], task["done"], task["failed"]) == ("done", 1, 1, 0)
    [got] = refusing.wait(1)
    assert got.attributes == {"specversion": "1.0", "id": "1", "source": "/test", "type": "t"}, "nothing of the parking is left"
    assert json.loads(got.body) == {"n": 1}
    assert ids(listed(broker)) == ["0", "2"]


def test_redrive_goes_to_that_subscription_only(serve, refusing):
    with Sink() as other:
        broker = serve([*parking(refusing), subscription("other", "c", other.url)])
        broker.may_lose = True
        park(broker, 2)
        other.wait(2)
        refusing.default = Reply(202)
        assert order(broker, "redrive", all=True)["done"] == 2
        assert len(other.requests) == 2


def test_redrive_by_filter(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 4)
    refusing.default = Reply(202)
    refusing.clear()
    task = order(broker, "redrive", filter="id IN ('1', '3')")
    assert (task["total"], task["done"]) == (2, 2)
    assert {r.attributes["id"] for r in refusing.wait(2)} == {"1", "3"}
    assert ids(listed(broker)) == ["0", "2"]
    assert order(broker, "redrive", filter=[{"exact": {"id": "2"}}])["done"] == 1


def test_redrive_all_with_a_rate(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 6)
    refusing.default = Reply(202)
    refusing.clear()
    began = time.monotonic()
    assert order(broker, "redrive", all=True, rate=20)["done"] == 6
    times = [r.at for r in refusing.wait(6)]
    assert times[-1] - began >= 5 / 20 - 0.03, times
    assert listed(broker) == []


def test_what_fails_again_is_parked_again(serve, refusing):
    broker = serve(parking(refusing, retry=1))
    broker.may_lose = True
    park(broker, 2)
    before = {item["id"]: item["parked"]["at"] for item in listed(broker)}
    refusing.default = Reply(418, body=b"a teapot")
    task = order(broker, "redrive", ids=["0"])
    assert (task["state"], task["done"], task["failed"]) == ("done", 0, 1) and "1 failed again" in task["message"]
    items = {item["id"]: item["parked"] for item in listed(broker)}
    assert set(items) == {"0", "1"} and items["1"]["at"] == before["1"]
    assert items["0"]["at"] > before["0"] and (items["0"]["reason"], items["0"]["code"], items["0"]["error"], items["0"]["attempts"]) == ("not-retryable", 418, "a teapot", 1)


def test_all_ends_though_everything_fails_again(serve, refusing):
    broker = serve(parking(refusing), "--loops", "2")
    broker.may_lose = True
    park(broker, 40)
    refusing.clear()
    task = order(broker, "redrive", all=True)
    assert (task["total"], task["done"], task["failed"]) == (40, 0, 40)
    assert len(refusing.requests) == 40 and len(listed(broker)) == 40


def test_redrive_to_a_dead_letter_sink_is_an_end(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 1)
    with Sink() as dead:
        apply(broker, parking(refusing, dead=dead.url), "mark")
        assert order(broker, "redrive", all=True)["done"] == 1
        assert dead.wait(1)[0].attributes["knativeerrorcode"] == "500" and listed(broker) == []


def test_many(serve, refusing, leat):
    """2,000 parked events on two loops; every one is redriven exactly once."""
    broker = serve(parking(refusing), "--loops", "2")
    broker.may_lose = True
    batch = [{"specversion": "1.0", "id": str(i), "type": "t", "source": "/test", "data": i} for i in range(2000)]
    for at in range(0, 2000, 500):
        answer = broker.post("c", json.dumps(batch[at : at + 500]).encode(), {"content-type": "application/cloudevents-batch+json"})
        assert answer.status == 202, answer
    wait_parked(broker, 2000)
    assert len(listed(broker, "?limit=10000")) == 2000
    code, out, err = leat(broker, "dlq", "list", "subscription/s")
    assert code == 0 and len(out.splitlines()) == 101 and "100 of 2000" in err
    refusing.default = Reply(202)
    refusing.clear()
    code, out, err = leat(broker, "dlq", "redrive", "subscription/s", "--all")
    assert code == 0 and "2000 done, 0 failed" in out, err
    assert sorted(int(json.loads(r.body)["id"]) for r in refusing.wait(2000)) == list(range(2000))
    assert parked(broker) == 0


def test_two_at_once(serve, refusing):
    """Two redrives of everything and a look at it, at the same time: each event is delivered once."""
    broker = serve(parking(refusing), "--loops", "2")
    broker.may_lose = True
    park(broker, 100)
    refusing.default = Reply(202)
    refusing.clear()
    tasks = [broker.ask("POST", PARKED + "/redrive", {"all": True}).json()["id"] for _ in range(2)]
    listed(broker)
    both = [ended(broker, number) for number in tasks]
    assert [t["state"] for t in both] == ["done", "done"] and sum(t["done"] for t in both) == 100
    assert len(refusing.requests) == 100 and listed(broker) == []


# ---- discard and export ----


def test_discard(serve, refusing, leat):
    broker = serve(parking(refusing))
    park(broker, 6)
    refusing.clear()
    code, out, err = leat(broker, "dlq", "discard", "subscription/s", "1", "2")
    assert code == 0 and "2 done, 0 failed" in out
    code, out, err = leat(broker, "dlq", "discard", "subscription/s", "--filter", "id = '5'")
    assert code == 0 and ids(listed(broker)) == ["0", "3", "4"]
    code, out, err = leat(broker, "dlq", "discard", "subscription/s", "--all")
    assert code == 2 and "--yes" in err and len(listed(broker)) == 3
    assert leat(broker, "dlq", "discard", "subscription/s", "--all", "--yes")[0] == 0
    assert listed(broker) == [] and refusing.requests == []
    assert broker.stop() == 0, "nothing is left that a stop could lose"


def test_export_and_back(serve, refusing, leat, run, tmp_path):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 2)
    broker.post("c", b"\x00\xff", {**event("bytes"), "content-type": "application/octet-stream"})
    broker.post("c", b'{\n  "big": 12345678901234567890.5\n}', {**event("number"), "content-type": "application/json"})
    wait_parked(broker, 4)
    code, out, err = leat(broker, "dlq", "export", "subscription/s")
    lines = out.splitlines()
    assert (code, err) == (0, "") and len(lines) == 4
    assert '"big": 12345678901234567890.5' in out, "numbers stay what they are"
    assert all(json.loads(line)["parked"]["reason"] == "retries-exhausted" for line in lines)
    assert [json.loads(line)["event"]["id"] for line in leat(broker, "dlq", "export", "subscription/s", "--filter", "id = 'bytes'")[1].splitlines()] == ["bytes"]
    assert len(listed(broker)) == 4, "what is exported stays parked"
    refusing.default = Reply(202)
    refusing.clear()
    for line in lines:
        (tmp_path / "event.json").write_text(json.dumps(json.loads(line)["event"]))
        assert run("send", "--to", broker.ingress + "/channels/default/c", "-f", tmp_path / "event.json")[0] == 0
    got = {r.attributes["id"]: r for r in refusing.wait(4)}
    assert got["bytes"].body == b"\x00\xff" and not any(name.startswith(("leat", "knative")) for r in got.values() for name in r.attributes)


# ---- tasks ----


def test_a_slow_task_is_canceled(serve, refusing, leat):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 5)
    refusing.default = Reply(202)
    refusing.clear()
    code, number, err = leat(broker, "dlq", "redrive", "subscription/s", "--all", "--rate", "0.01", "--no-wait")
    assert code == 0 and number.isdigit()
    wait_for(lambda: broker.ask("GET", f"/leat/v1/tasks/{number}").json()["done"] == 1, "the first")
    assert leat(broker, "task", "show", number)[1].splitlines()[3].split() == ["state", "running"]
    assert leat(broker, "task", "cancel", number)[0] == 0
    task = ended(broker, number)
    assert (task["state"], task["total"], task["done"]) == ("canceled", 5, 1)
    assert len(listed(broker)) == 4
    code, out, err = leat(broker, "task", "cancel", number)
    assert code == 1 and "ended already: it is canceled" in err
    code, out, err = leat(broker, "task", "list")
    assert code == 0 and out.splitlines()[1].split()[:6] == [number, "redrive", "canceled", "1", "0", "5"]
    assert leat(broker, "task", "wait", number)[0] == 1


def test_ctrl_c_leaves_the_task_running(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 3)
    refusing.default = Reply(202)
    process = Leat(["dlq", "redrive", "subscription/s", "--all", "--rate", "0.01"], env={"LEAT_SERVER": broker.api})
    number = wait_for(lambda: broker.ask("GET", "/leat/v1/tasks").json()["items"])[0]["id"]
    refusing.wait(1)
    wait_for(lambda: watches(process.pid), "the client that watches")
    process.signal(signal.SIGINT)
    assert process.wait() == 1
    assert f"leat task cancel {number}" in "\n".join(process.stderr)
    assert broker.ask("GET", f"/leat/v1/tasks/{number}").json()["state"] == "running"
    assert broker.ask("DELETE", f"/leat/v1/tasks/{number}").json()["canceling"] is True
    ended(broker, number)


def watches(pid):
    """Whether it handles SIGINT already."""
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) & (1 << (signal.SIGINT - 1))


def test_progress_on_a_terminal(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 4)
    refusing.default = Reply(202)
    seen = in_terminal(["dlq", "redrive", "subscription/s", "--all", "--rate", "1"], {"LEAT_SERVER": broker.api, "TERM": os.environ.get("TERM", "")})
    assert "\r\x1b[Ktask 1: redrive, " in seen and "4 done, 0 failed" in seen


def test_unknown_tasks(serve, leat):
    broker = serve([])
    assert leat(broker, "task", "list") == (0, "", "No tasks.")
    for verb in ("show", "cancel", "wait"):
        code, out, err = leat(broker, "task", verb, "9")
        assert code == 1 and "there is no task '9'" in err
        assert leat(broker, "task", verb, "x")[0] == 2
    assert broker.ask("POST", "/leat/v1/tasks/1", {}).status == 405


# ---- subscriptions that are gone, paused, or in parts ----


def test_a_subscription_that_is_gone(serve, refusing, leat):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 3)
    broker.reload([])
    [item] = wait_for(lambda: [i for i in broker.ask("GET", "/leat/v1/dlq").json()["items"] if i["gone"]])
    assert item["parked"] == 3 and "deleted" in leat(broker, "dlq", "list")[1]
    assert [i["gone"] for i in listed(broker)] == [True] * 3
    code, out, err = leat(broker, "dlq", "redrive", "subscription/s", "--all")
    assert code == 1 and "no longer exists" in err and "discard" in err
    assert len(leat(broker, "dlq", "export", "subscription/s")[1].splitlines()) == 3
    assert leat(broker, "dlq", "discard", "subscription/s", "0", "1")[0] == 0
    assert ids(listed(broker)) == ["2"]
    assert leat(broker, "dlq", "discard", "subscription/s", "--all", "--yes")[0] == 0
    wait_for(lambda: broker.ask("GET", PARKED).status == 404, "the end of what was left of the subscription")
    assert broker.stop() == 0


def test_a_subscription_of_which_nothing_was_parked(serve, sink):
    broker = serve(parking(sink))
    assert listed(broker) == [] and parked(broker) == 0
    for verb in "redrive", "discard":
        task = order(broker, verb, all=True)
        assert (task["state"], task["done"], task["failed"]) == ("done", 0, 0), task
    sink.default = Reply(500)
    park(broker, 1)
    assert ids(listed(broker)) == ["0"]
    assert order(broker, "discard", all=True)["done"] == 1
    assert broker.stop() == 0


def test_subscriptions_that_go_while_their_first_events_are_parked(serve, refusing):
    count = 20
    broker = serve([o for i in range(count) for o in (channel(f"c{i}"), subscription(f"s{i}", f"c{i}", refusing.url))])
    broker.may_lose = True  # what no subscriber was asked to take goes with its subscription
    for i in range(count):
        assert broker.post(f"c{i}", b"{}", {**event(str(i)), "content-type": "application/json"}).status == 202
    refusing.wait(1)
    broker.reload([])
    wait_for(lambda: broker.ask("GET", "/leat/v1/subscriptions").json()["items"] == [], "the end of all")
    wait_for(lambda: parked(broker) == len(refusing.requests), "all that was refused to be parked")
    assert broker.stop() in (0, 4)  # a bus in memory says what it still holds


def test_a_subscription_that_goes_during_a_redrive(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 4)
    refusing.default = Reply(202)
    refusing.clear()
    number = broker.ask("POST", PARKED + "/redrive", {"all": True, "rate": 0.1}).json()["id"]
    wait_for(lambda: broker.ask("GET", f"/leat/v1/tasks/{number}").json()["done"] == 1, "the first")
    broker.reload([])
    task = ended(broker, number)
    assert task["state"] == "failed" and "stay parked" in task["message"], task
    assert task["done"] == len(refusing.requests) and len(listed(broker)) == 4 - task["done"]
    assert order(broker, "discard", all=True)["state"] == "done"
    wait_for(lambda: broker.ask("GET", PARKED).status == 404)


def test_made_anew_while_the_old_ones_events_are_parked(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 2)
    broker.reload([])
    wait_for(lambda: broker.ask("GET", SUBSCRIPTION).status == 404 and broker.ask("GET", "/leat/v1/subscriptions").json()["items"] == [], "the end of the old one")
    broker.reload(parking(refusing))
    wait_for(lambda: ready(broker), "the new one")
    park(broker, 1, 2, total=3)
    assert [i.get("gone", False) for i in listed(broker)] == [True, True, False]
    refusing.default = Reply(202)
    task = order(broker, "redrive", all=True)
    assert task["done"] == 1 and "2 of a subscription that no longer exists stay parked" in task["message"]
    assert ids(listed(broker)) == ["0", "1"]


def test_a_paused_subscription(serve, refusing):
    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 2)
    objects = parking(refusing)
    objects[1]["metadata"]["annotations"]["leat.dev/paused"] = "true"
    broker.reload(objects)
    task = wait_for(lambda: (lambda t: t if t["state"] == "failed" else None)(order(broker, "redrive", all=True)), "the pause")
    refusing.default = Reply(202)
    assert "paused" in task["message"] and task["done"] == 0 and len(listed(broker)) == 2
    broker.reload(parking(refusing))
    wait_for(lambda: order(broker, "redrive", all=True)["done"] == 2 or listed(broker) == [], "the stream")


def test_the_parts_of_a_sequence(serve, refusing, leat):
    step = {"uri": refusing.url}
    sequence = {"apiVersion": "flows.knative.dev/v1", "kind": "Sequence", "metadata": {"name": "q", "namespace": "default"}}
    sequence["spec"] = {"channelTemplate": {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}, "steps": [step, step], "reply": {"ref": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "out"}}}
    broker = serve([channel("c"), channel("out"), sequence, subscription("into", "c", reply=None, subscriber="http://127.0.0.1:1/")])
    broker.may_lose = True
    url = wait_for(lambda: broker.ask("GET", "/apis/flows.knative.dev/v1/namespaces/default/sequences/q").json().get("status", {}).get("address", {}).get("url"))
    assert request("POST", url, b"", event("first")).status == 202
    wait_parked(broker, 1)
    path = "/leat/v1/dlq/default/sequence/q"
    [item] = listed(broker, path=path)
    assert item["id"] == "first" and "Sequence.flows.knative.dev/default/q/" in item["subscription"]
    assert "sequence/q (" in leat(broker, "dlq", "list")[1]
    refusing.default = Reply(200, headers=event("second"), body=b"")
    refusing.script = [Reply(200, headers=event("second")), Reply(500)]
    assert order(broker, "redrive", path=path, all=True)["done"] == 1
    wait_parked(broker, 1)
    assert ids(listed(broker, path=path)) == ["second"]
    assert order(broker, "discard", path=path, all=True)["done"] == 1


# ---- wrong input ----


@pytest.mark.parametrize(
    "path, body, status, words",
    [
        ("/redrive", {}, 400, "exactly one of ids, filter"),
        ("/redrive", {"all": True, "ids": ["0"]}, 400, "exactly one of"),
        ("/redrive", {"all": False}, 400, "exactly one of"),
        ("/redrive", {"all": "yes"}, 400, "all: is true or false"),
        ("/redrive", {"all": True, "rate": 0}, 400, "more than 0"),
        ("/redrive", {"all": True, "rate": -1}, 400, "more than 0"),
        ("/redrive", {"all": True, "rate": 1e300}, 400, "at most 1000000"),
        ("/redrive", {"all": True, "rate": "5"}, 400, "rate: is the number"),
        ("/discard", {"all": True, "rate": 5}, 400, "rate: is for a redrive"),
        ("/redrive", {"ids": []}, 400, "at least one"),
        ("/redrive", {"ids": [""]}, 400, "not empty"),
        ("/redrive", {"ids": ["x"] * 1001}, 400, "at most 1000"),
        ("/redrive", {"ids": ["nope", "0", "neither"]}, 404, "has the id nope, neither"),
        ("/redrive", {"filter": "id ="}, 400, "filter: line 1, column "),
        ("/redrive", {"filter": 5}, 400, "filter: is an expression"),
        ("/redrive", {"filter": {"exakt": {"a": "b"}}}, 400, "exakt"),
        ("/redrive", {"all": True, "source": "/x"}, 400, "goes with ids"),
        ("/redrive", {"every": True}, 400, "every: is not known"),
        ("/redrive", b"{", 400, "no JSON object"),
        ("/redrive", b"[]", 400, "no JSON object"),
        ("/redrive", b'{"all":true,"all":true}', 400, "twice"),
        ("/repark", {"all": True}, 404, "/redrive and /discard"),
        ("?limit=0", None, 400, "from 1 to 10000"),
        ("?limit=10001", None, 400, "from 1 to 10000"),
        ("?limit=x", None, 400, "from 1 to 10000"),
        ("?what=1", None, 400, "no parameter 'what'"),
        ("?id=%zz", None, 400, "hexadecimal"),
        ("?full=maybe", None, 400, "true or false"),
    ],
)
def test_requests_that_are_wrong(serve_one, path, body, status, words):
    answer = serve_one.ask("POST" if body is not None else "GET", PARKED + path, body)
    assert answer.status == status and words in answer.json()["message"], answer
    assert ids(listed(serve_one)) == ["0"] and serve_one.ask("GET", "/leat/v1/tasks").json()["items"] == []


@pytest.mark.parametrize(
    "path, words",
    [
        ("default/subscription/t", "no subscription 't' in default delivers events; there are: s"),
        ("other/subscription/s", "in other namespaces there are: default/s"),
        ("default/trigger/s", "nor does any other"),
        ("default/channel/c", "subscription, trigger, sequence or parallel"),
        ("default/subscriber/s", "there is no kind 'subscriber'"),
        ("default/subscription", "no such page"),
        ("default", "no such page"),
        ("default/subscription/", "no such page"),
        ("default/subscription/%00", "no such page"),
    ],
)
def test_names_that_are_not_there(serve_one, path, words):
    answer = serve_one.ask("GET", "/leat/v1/dlq/" + path)
    assert answer.status == 404 and words in answer.json()["message"], answer


@pytest.fixture(scope="module")
def serve_one(tmp_path_factory, leat_binary):
    """A broker with one parked event that no test of wrong input may touch."""
    from broker import Broker

    with Sink(Reply(500)) as sink:
        broker = Broker(tmp_path_factory.mktemp("serve"), parking(sink))
        park(broker, 1)
        yield broker
        broker.ends_with(1)


@pytest.mark.parametrize(
    "args, code, words",
    [
        (["list", "s"], 2, "KIND/NAME"),
        (["list", "/s"], 2, "KIND/NAME"),
        (["list", "subscription/"], 2, "KIND/NAME"),
        (["list", "--limit", "5"], 2, "KIND/NAME"),
        (["list", "subscription/s", "--limit", "0"], 1, "from 1 to 10000"),
        (["list", "subscription/none"], 1, "there are: s"),
        (["list", "sub/s", "-n", "nowhere"], 1, "default/s"),
        (["list", "subscription/s", "--filter", "id = "], 1, "column"),
        (["show", "subscription/s"], 2, "which event"),
        (["show", "subscription/s", "none"], 1, "has the id none"),
        (["redrive", "subscription/s"], 2, "their ids, --filter, or --all"),
        (["redrive", "subscription/s", "0", "--all"], 2, "one of them"),
        (["redrive", "subscription/s", "--all", "--rate", "0"], 2, "above 0"),
        (["redrive", "subscription/s", "--all", "--rate", "fast"], 2, "'fast'"),
        (["redrive", "subscription/s", "--all", "--source", "/x"], 2, "--source"),
        (["redrive", "subscription/s", "none"], 1, "has the id none"),
        (["discard", "subscription/s", "none"], 1, "has the id none"),
        (["discard", "subscription/s", "--all"], 2, "--yes"),
        (["export"], 2, "KIND/NAME"),
        (["purge"], 2, "there is no 'purge'"),
        ([], 2, "say what: list|show"),
    ],
)
def test_command_lines_that_are_wrong(serve_one, leat, args, code, words):
    got, out, err = leat(serve_one, "dlq", *args)
    assert (got, out) == (code, "") and words in err, err
    assert parked(serve_one) == 1


def test_no_server(run):
    code, out, err = run("dlq", "list", "--server", "http://127.0.0.1:1")
    assert (code, out) == (1, "") and "Is `leat serve` running there?" in err


# ---- the stop ----


def test_a_stop_counts_what_is_parked(serve, refusing):
    broker = serve(parking(refusing), "--loops", "2")
    park(broker, 5)
    assert len(listed(broker)) == 5  # a session holds them
    broker.ends_with(5)


def test_a_stop_during_a_redrive(serve, refusing):
    broker = serve(parking(refusing), "--drain", "1s")
    park(broker, 4)
    release = threading.Event()
    refusing.default = Reply(202, hold=release)
    refusing.clear()
    broker.ask("POST", PARKED + "/redrive", {"all": True, "rate": 0.01})
    refusing.wait(1)
    broker.signal(signal.SIGTERM)
    try:
        broker.wait()
    finally:
        release.set()
    broker.ends_with(4)  # what was under way stays parked


def test_a_stop_while_somebody_asks(serve, refusing):
    broker = serve(parking(refusing), "--loops", "2")
    park(broker, 50)
    refusing.default = Reply(202)
    done = threading.Event()

    def ask_again_and_again():
        while not done.is_set():
            try:
                broker.ask("GET", PARKED)
                broker.ask("POST", PARKED + "/redrive", {"filter": "id = 'none'"})
            except OSError:
                return

    askers = [threading.Thread(target=ask_again_and_again) for _ in range(4)]
    for asker in askers:
        asker.start()
    broker.stop()
    done.set()
    for asker in askers:
        asker.join()
    broker.ends_with(50)


def test_a_client_that_goes_away(serve, refusing):
    from broker import dial

    broker = serve(parking(refusing))
    broker.may_lose = True
    park(broker, 10)
    for _ in range(20):
        with dial(broker.api) as s:
            s.sendall(f"GET {PARKED} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert len(listed(broker)) == 10


# ---- the way of the stream's own ----


@pytest.mark.parametrize("annotation", ["max-in-flight", "order"])
def test_a_redrive_keeps_the_limits_of_its_subscription(serve, refusing, annotation):
    """One at a time, over all loops, however many are redriven."""
    limit = {"leat.dev/max-in-flight": "1"} if annotation == "max-in-flight" else {"leat.dev/order": "strict"}
    first = channel("c")
    first["metadata"]["annotations"]["leat.dev/partitions"] = "1"
    broker = serve([first, subscription("s", "c", refusing.url, annotations=limit)], "--loops", "2")
    broker.may_lose = True
    park(broker, 30)
    under_way, most, lock = [0], [0], threading.Lock()

    class Counting:
        """In place of the event that an answer waits for: counts who waits beside it."""

        def wait(self, _):
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            threading.Event().wait(0.002)
            with lock:
                under_way[0] -= 1

    refusing.default = Reply(202, hold=Counting())
    refusing.clear()
    task = order(broker, "redrive", all=True)
    assert (task["state"], task["done"], task["failed"]) == ("done", 30, 0)
    assert most[0] == 1 and len(refusing.requests) == 30


def test_a_trigger(serve, refusing, leat):
    """By its short word, in another namespace; its filter does not count for what it had taken already."""
    objects = [mesh("b", namespace="shop"), trigger("big", "b", refusing.url, attributes={"type": "t"}, delivery=terms(retry=0), namespace="shop")]
    broker = serve(objects)
    broker.may_lose = True
    assert request("POST", broker.ingress + "/shop/b", b"", event("1")).status == 202
    wait_parked(broker, 1)
    code, out, err = leat(broker, "dlq", "list", "trigger/big", "-n", "shop")
    assert code == 0 and out.splitlines()[1].endswith("  1")
    broker.reload([objects[0], trigger("big", "b", refusing.url, attributes={"type": "other"}, delivery=terms(retry=0), namespace="shop")])
    refusing.default = Reply(202)
    refusing.clear()
    assert leat(broker, "dlq", "redrive", "trigger/big", "1", "-n", "shop")[0] == 0
    assert refusing.wait(1)[0].attributes["id"] == "1"


def test_redriven_events_are_delivered_beside_the_traffic(serve, refusing):
    broker = serve(parking(refusing), "--loops", "2")
    broker.may_lose = True
    park(broker, 200)
    refusing.default = Reply(202)
    refusing.clear()
    number = broker.ask("POST", PARKED + "/redrive", {"all": True}).json()["id"]
    for i in range(1000, 1200):
        assert broker.post("c", b"", event(str(i))).status == 202
    assert ended(broker, number)["done"] == 200
    assert sorted(int(r.attributes["id"]) for r in refusing.wait(400)) == [*range(200), *range(1000, 1200)]
