# SPDX-License-Identifier: Apache-2.0
"""leat.dev/keep-cursor: a subscription that is deleted leaves where it stood, and one of the same kind, namespace and name goes on from there and misses nothing."""

import pytest

from broker import channel, event, subscription
from leat import Reply, wait_for
from recorder import always
from topology import mesh, path_of, ready, send, trigger

KEEP = {"leat.dev/keep-cursor": "true"}
LABELS = {"namespace": "default", "subscription": "s"}


def post(broker, first, count):
    for i in range(first, first + count):
        assert broker.post("c", b"", event(str(i))).status == 202


def next_plan(broker, objects, marks=[0]):
    """Other manifests, and waits until they are in force."""
    marks[0] += 1
    assert "result=applied" in broker.reload([*objects, channel(f"mark-{marks[0]}")])
    broker.in_force(f"mark-{marks[0]}")


def sub(url, **annotations):
    return subscription("s", "c", url, annotations={**KEEP, **annotations})


def gone(broker):
    wait_for(lambda: not any(name == "leat_backlog_events" and dict(labels)["subscription"] == "s" for name, labels in broker.metrics()), "the end of the subscription")


def test_it_goes_on_where_it_stood(serve, recorder):
    there = recorder["there"]
    broker = serve([channel("c"), sub(there.url)])
    post(broker, 0, 10)
    there.wait_ids(map(str, range(10)))
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 10, 10)
    next_plan(broker, [channel("c"), sub(there.url)])
    post(broker, 20, 10)
    there.wait_ids(map(str, range(30)))
    assert sorted(map(int, there.ids)) == list(range(30))


def test_over_the_api_and_of_a_trigger(serve, recorder):
    there = recorder["there"]
    t = trigger("t", "x", there.url, keep_cursor="true", filters=[{"exact": {"type": "t"}}])
    broker = serve([mesh("x")])

    def create():
        assert broker.ask("POST", path_of("Trigger"), t).status == 201
        ready(broker, t)

    def taken(id):  # and known to be: else it comes once more
        there.wait_ids([id])
        broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="t")

    create()
    assert send(broker, "Broker/x", b"", event("0")).status == 202
    taken("0")
    for n in range(1, 4):  # again and again: the name of the cursor is passed on
        assert broker.ask("DELETE", path_of("Trigger", "t")).status == 200
        wait_for(lambda: not any(dict(labels).get("subscription") == "t" for _, labels in broker.metrics()), "the end of the trigger")
        assert send(broker, "Broker/x", b"", event(f"{n}")).status == 202
        assert send(broker, "Broker/x", b"", event(f"{n}-other", type="other")).status == 202
        create()
        taken(str(n))
    assert there.ids == ["0", "1", "2", "3"]


def test_without_it_a_new_one_is_new(serve, recorder):
    there = recorder["there"]
    plain = subscription("s", "c", there.url)
    broker = serve([channel("c"), plain])
    post(broker, 0, 1)
    there.wait_ids(["0"])
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 1, 1)
    next_plan(broker, [channel("c"), plain])
    post(broker, 2, 1)
    there.wait_ids(["2"])
    assert there.ids == ["0", "2"]


def test_what_the_last_one_says_counts(serve, recorder):
    there = recorder["there"]
    broker = serve([channel("c"), sub(there.url)])
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 0, 1)
    next_plan(broker, [channel("c"), subscription("s", "c", there.url)])  # takes it up, and will not leave it
    there.wait_ids(["0"])
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 1, 1)
    next_plan(broker, [channel("c"), sub(there.url)])
    post(broker, 2, 1)
    there.wait_ids(["2"])
    assert there.ids == ["0", "2"]


def test_another_name_or_namespace_takes_nothing_up(serve, recorder):
    there, other = recorder["there"], recorder["other"]
    broker = serve([channel("c"), sub(there.url)])
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 0, 1)
    next_plan(broker, [channel("c"), subscription("s2", "c", other.url, annotations=KEEP), sub(there.url)])
    there.wait_ids(["0"])
    assert other.ids == []


def test_parked_events_are_there_again(serve, recorder):
    there = recorder.add("there", always(400))
    broker = serve([channel("c"), sub(there.url)])
    post(broker, 0, 3)
    broker.wait_metric(3, "leat_parked_events", **LABELS)
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    next_plan(broker, [channel("c")])
    wait_for(lambda: [s["gone"] for s in broker.ask("GET", "/leat/v1/dlq").json()["items"]] == [True], "the end of the subscription")
    post(broker, 3, 1)
    there.rule = lambda request, nth: Reply(202)
    next_plan(broker, [channel("c"), sub(there.url)])
    there.wait_ids(["3"])
    wait_for(lambda: [(s["gone"], s["parked"]) for s in broker.ask("GET", "/leat/v1/dlq").json()["items"]] == [(False, 3)], "the parked events")
    task = broker.ask("POST", "/leat/v1/dlq/default/subscription/s/redrive", {"all": True}).json()
    wait_for(lambda: broker.ask("GET", f"/leat/v1/tasks/{task['id']}").json()["state"] == "done", "the redrive")
    broker.wait_metric(0, "leat_parked_events", **LABELS)
    assert sorted(there.ids) == sorted(["0", "1", "2", "3", "0", "1", "2"])


def test_a_limit_that_spans_the_loops(serve, recorder):
    """One loop drains it all, before and after."""
    there = recorder["there"]
    limited = {"leat.dev/max-in-flight": "1"}
    broker = serve([channel("c"), sub(there.url, **limited)], "--loops", "3")
    post(broker, 0, 20)
    there.wait_ids(map(str, range(20)))
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 20, 20)
    next_plan(broker, [channel("c"), sub(there.url, **limited)])
    there.wait_ids(map(str, range(40)))
    assert sorted(map(int, there.ids)) == list(range(40))


# ---- over a restart, on a data directory ----


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_outlasts_the_process(serve, recorder, tmp_path, how):
    there = recorder["there"]
    kept = ("--bus", "log", "--data-dir", tmp_path / "data")
    broker = serve([channel("c"), sub(there.url)], *kept)
    post(broker, 0, 10)
    there.wait_ids(map(str, range(10)))
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    next_plan(broker, [channel("c")])
    gone(broker)
    post(broker, 10, 10)
    if how == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()
    broker = serve([channel("c")], *kept)
    post(broker, 20, 10)
    next_plan(broker, [channel("c"), sub(there.url)])
    there.wait_ids(map(str, range(30)))
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    new = [int(i) for i in there.ids[10:]]
    assert sorted(new) == list(range(10, 30)) if how == "stop" else set(new) >= set(range(10, 30))


def test_parked_events_outlast_the_process_with_it(serve, recorder, tmp_path):
    there = recorder.add("there", always(400))
    kept = ("--bus", "log", "--data-dir", tmp_path / "data")
    broker = serve([channel("c"), sub(there.url)], *kept)
    post(broker, 0, 3)
    broker.wait_metric(3, "leat_parked_events", **LABELS)
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    next_plan(broker, [channel("c")])
    assert broker.stop() == 0
    broker = serve([channel("c")], *kept)
    next_plan(broker, [channel("c"), sub(there.url)])
    broker.wait_metric(3, "leat_parked_events", **LABELS)
    assert sorted(i["id"] for i in broker.ask("GET", "/leat/v1/dlq/default/subscription/s").json()["items"]) == ["0", "1", "2"]
