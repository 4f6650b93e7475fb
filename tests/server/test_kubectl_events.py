# SPDX-License-Identifier: Apache-2.0
"""core/v1 Events of what happens to a resource, as the real kubectl shows them, and on the wire. Every check with kubectl runs a new one and an old one."""

import re
import sqlite3

import pytest

from broker import MESSAGING, channel, event, subscription
from kubectl import NEW, OLD, Kubectl
from leat import Reply, wait_for
from recorder import always
from test_access import token
from test_bus_refuses import BUS, of_capacity
from test_kubectl_watching import Watch
from topology import send, sequence

EVENTS = "/api/v1/namespaces/default/events"
NOWHERE = "http://127.0.0.1:1/"


def lost(name="lost", namespace="default"):
    """A Subscription whose Channel is not there."""
    return subscription(name, "nothing", NOWHERE, namespace=namespace)


def events(broker, path=EVENTS, **about):
    """Events whose involvedObject has these fields."""
    items = broker.ask("GET", path).json()["items"]
    return [e for e in items if all(e["involvedObject"].get(k) == v for k, v in about.items())]


def wait_event(broker, reason, count=1, **about):
    """The one Event with this reason, as soon as it counts so much."""
    return wait_for(lambda: next((e for e in events(broker, **about) if e["reason"] == reason and e["count"] >= count), None), f"the Event {reason}")


@pytest.fixture(scope="module")
def broker(serve_module):
    broker = serve_module([channel("orders"), lost(), lost("other", "elsewhere")])
    wait_event(broker, "ChannelNotFound", name="lost")
    wait_for(lambda: events(broker, "/api/v1/namespaces/elsewhere/events"), "the other Event")
    return broker


@pytest.fixture(scope="module", params=[NEW, OLD], ids=["new", "old"])
def kubectl(request, broker, tmp_path_factory):
    return Kubectl(request.param, broker.api, tmp_path_factory.mktemp("home"))


# ---- what kubectl shows ----


def test_describe(kubectl):
    out = kubectl.good("describe", "subscription.messaging.knative.dev", "lost").out
    events = out.partition("\nEvents:\n")[2].split("\n")
    assert events[0].split() == ["Type", "Reason", "Age", "From", "Message"]
    assert events[2].split()[:2] == ["Warning", "ChannelNotFound"] and "leat" in events[2] and "Channel default/nothing is not declared" in events[2], out


def test_describe_of_what_is_well(kubectl):
    assert "Events:" in kubectl.good("describe", "channel.messaging.knative.dev", "orders").out and "<none>" in kubectl.good("describe", "channel.messaging.knative.dev", "orders").out


def test_get_events(kubectl):
    rows = kubectl.good("get", "events", "--field-selector", "involvedObject.name=lost").rows
    assert list(rows[0]) == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert (rows[0]["TYPE"], rows[0]["REASON"], rows[0]["OBJECT"]) == ("Warning", "ChannelNotFound", "subscription/lost") and rows[0]["LAST SEEN"][-1] in "smh"


def test_get_events_wide(kubectl):
    rows = kubectl.good("get", "ev", "-o", "wide", "--field-selector", "involvedObject.name=lost").rows
    assert list(rows[0])[-3:] == ["FIRST SEEN", "COUNT", "NAME"] and rows[0]["NAME"].startswith("lost.") and rows[0]["SOURCE"] == "leat"


def test_kubectl_events(kubectl):
    assert "ChannelNotFound" in kubectl.good("events", "--for", "subscription.messaging.knative.dev/lost", "--types=Warning").out
    assert "No events found" in kubectl.good("events", "--types=Normal").out + kubectl.good("events", "--types=Normal").err


def test_of_all_namespaces(kubectl):
    assert {r["NAMESPACE"] for r in kubectl.good("get", "events", "-A").rows} >= {"default", "elsewhere"}


@pytest.mark.parametrize("field,good,bad", [("name", "lost", "x"), ("namespace", "default", "x"), ("kind", "Subscription", "Channel"), ("apiVersion", MESSAGING, "v1")])
def test_field_selectors(broker, field, good, bad):
    def names(value):
        return [e["involvedObject"]["name"] for e in broker.ask("GET", f"{EVENTS}?fieldSelector=involvedObject.name%3Dlost,involvedObject.{field}%3D{value}").json()["items"]]

    assert names(good) == ["lost"] and names(bad) == []


def test_by_uid_type_and_reason(broker):
    uid = broker.ask("GET", f"/apis/{MESSAGING}/namespaces/default/subscriptions/lost").json()["metadata"]["uid"]
    found = broker.ask("GET", f"{EVENTS}?fieldSelector=involvedObject.uid%3D{uid},type%3DWarning,reason%3DChannelNotFound").json()["items"]
    assert len(found) == 1 and found[0]["involvedObject"]["uid"] == uid
    assert broker.ask("GET", f"{EVENTS}?fieldSelector=involvedObject.bogus%3Dx").status == 400


# ---- how they come and go ----


def test_a_condition_turns_and_turns_back(serve):
    """Aggregated: the same again is the same Event."""
    broker = serve([])
    broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/subscriptions", lost())
    first = wait_event(broker, "ChannelNotFound")
    with Watch(broker, EVENTS, resourceVersion=first["metadata"]["resourceVersion"]) as watch:
        broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/channels", channel("nothing"))
        told = watch.next()
        assert told["type"] == "ADDED" and (told["object"]["type"], told["object"]["reason"]) == ("Normal", "ChannelReady"), told
        broker.ask("DELETE", f"/apis/{MESSAGING}/namespaces/default/channels/nothing")
        told = watch.until("MODIFIED", first["metadata"]["name"])["object"]
    assert told["count"] == 2 and told["firstTimestamp"] == first["firstTimestamp"] and told["metadata"]["uid"] == first["metadata"]["uid"]
    assert len(events(broker, name="lost")) == 2


def test_pause_and_resume(serve):
    broker = serve([channel("orders"), subscription("s", "orders", NOWHERE)])
    where = "/leat/v1/subscriptions/default/subscription/s"
    assert broker.ask("POST", where + "/pause").status == 200
    paused = wait_event(broker, "Paused", name="s")
    assert paused["type"] == "Normal" and "leat resume" in paused["message"]
    assert broker.ask("POST", where + "/resume").status == 200
    assert wait_event(broker, "Resumed", name="s")["type"] == "Normal"


def test_they_are_kept_in_memory_only(serve, tmp_path):
    broker = serve([lost()], "--data-dir", tmp_path / "data")
    first = wait_event(broker, "ChannelNotFound")
    broker.stop()
    broker = serve([lost()], "--data-dir", tmp_path / "data")
    again = wait_event(broker, "ChannelNotFound")
    assert again["metadata"]["uid"] != first["metadata"]["uid"] and len(events(broker)) == 1
    assert not [c for c in broker.ask("GET", "/leat/v1/audit").json()["items"] if c.get("kind") == "Event"]


def test_quarantined_ones(serve, tmp_path):
    broker = serve([], "--data-dir", tmp_path / "data")
    assert broker.ask("POST", "/api/v1/namespaces/default/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}).status == 201
    broker.stop()
    with sqlite3.connect(tmp_path / "data/resources.db") as db:
        db.execute("UPDATE objects SET object = '{' WHERE name = 'c'")
    broker = serve([], "--data-dir", tmp_path / "data")
    assert wait_event(broker, "Quarantined", name="c", kind="ConfigMap")["type"] == "Warning"


# ---- deliveries ----


def test_a_delivery_fails_is_parked_and_recovers(serve, sink, leat):
    broker = serve([channel("orders"), subscription("s", "orders", sink.url, retry=2)])
    broker.may_lose = True  # what is parked in memory
    sink.default = Reply(503)
    assert broker.post("orders").status == 202
    failed = wait_event(broker, "DeliveryFailed", 3, name="s", kind="Subscription", apiVersion=MESSAGING)
    assert failed["type"] == "Warning" and sink.url in failed["message"] and "answered 503" in failed["message"] and failed["count"] == 3, failed
    parked = wait_event(broker, "EventsParked", name="s")
    assert parked["count"] == 1 and "leat dlq" in parked["message"]
    assert re.search(r"^  \S+Z  3 +Warning +DeliveryFailed ", leat(broker, "describe", "subscription/s")[1], re.M)
    assert not [e for e in events(broker) if e["reason"] == "DeliveryRecovered"]
    sink.default = Reply(202)
    assert broker.post("orders", headers=event("2")).status == 202
    assert wait_event(broker, "DeliveryRecovered", name="s")["type"] == "Normal"
    assert len(events(broker)) == 3


def test_nobody_listens(serve):
    broker = serve([channel("orders"), subscription("s", "orders", NOWHERE, retry=0)])
    broker.may_lose = True
    assert broker.post("orders").status == 202
    assert NOWHERE + " did not answer (" in wait_event(broker, "DeliveryFailed", name="s")["message"]


def test_a_dead_letter_sink_takes_them(serve, recorder):
    dead, bad = recorder["dead"], recorder.add("bad", always(500))
    broker = serve([channel("orders"), subscription("s", "orders", bad.url, dead=dead.url, retry=0)])
    for i in range(5):
        assert broker.post("orders", headers=event(str(i))).status == 202
    assert wait_event(broker, "EventsDeadLettered", 5, name="s")["type"] == "Warning"
    assert wait_event(broker, "DeliveryFailed", 5, name="s")["message"].startswith(bad.url)


def test_events_expire(serve, sink):
    broker = serve([channel("orders"), subscription("s", "orders", sink.url)])
    assert broker.post("orders", headers=event(expirytime="2020-01-01T00:00:00Z")).status == 202
    assert wait_event(broker, "EventsExpired", name="s")["type"] == "Normal"


def test_events_are_dropped(serve):
    orders = channel("orders", capacity="16KiB")
    orders["metadata"]["annotations"]["leat.dev/overflow"] = "drop-oldest"
    broker = serve([orders, subscription("s", "orders", NOWHERE, annotations={"leat.dev/paused": "true"})])
    broker.may_lose = True

    def dropped():
        for _ in range(20):
            assert broker.post("orders", b"x" * 1000).status == 202
        return any(e["reason"] == "EventsDropped" for e in events(broker, name="s"))

    wait_for(dropped, "that it is told")


def test_a_part_is_named(serve):
    broker = serve([sequence("q", [NOWHERE])])
    broker.may_lose = True
    send(broker, "Sequence/q", b"x", event())
    assert wait_event(broker, "DeliveryFailed", kind="Sequence", name="q")["message"].startswith("steps/0: " + NOWHERE)


def test_what_the_bus_refuses(serve):
    broker = serve([BUS, of_capacity("lots")])
    assert "capacity" in wait_event(broker, "BusRefused", kind="Channel", name="old")["message"]
    broker.reload([BUS, of_capacity("2MiB")])
    assert wait_event(broker, "Provisioned", kind="Channel", name="old")["type"] == "Normal"


def test_a_replay(serve, sink, tmp_path):
    broker = serve([channel("orders"), subscription("s", "orders", sink.url)], "--data-dir", tmp_path / "data", "--bus", "log")
    for i in range(3):
        assert broker.post("orders", headers=event(str(i))).status == 202
    where = "/leat/v1/subscriptions/default/subscription/s/replay"
    broker.wait_metric(3, "leat_deliveries_total", namespace="default", subscription="s", end="delivered")
    assert broker.ask("POST", where, {"from": "earliest", "dryRun": True}).status == 202
    assert broker.ask("POST", where, {"from": "earliest"}).status == 202
    ended = wait_event(broker, "ReplayEnded", name="s")
    assert ended["type"] == "Normal" and "3 delivered" in ended["message"] and ended["count"] == 1
    assert " of 127.0.0.1 done:" in ended["message"], "who asked for it"
    assert "ReplayEnded" in (shown := Kubectl(NEW, broker.api, tmp_path).good("describe", "subscription.messaging.knative.dev/s").out) and "of 127.0.0.1 done: 3 delivered" in shown
    assert wait_event(broker, "ReplayBegun", name="s")["count"] == 1


def test_a_redrive_and_a_discard(serve, sink, tmp_path):
    """Who did it, and of how many: a token's name and an address."""
    tokens = tmp_path / "tokens"
    admin = {"Authorization": "Bearer " + token(tokens, "--role", "operate", "--name", "alice")}
    viewer = {"Authorization": "Bearer " + token(tokens, "--role", "view", "--name", "victor")}
    sink.default = Reply(400)
    broker = serve([channel("orders"), subscription("s", "orders", sink.url, retry=0)], "--tokens", tokens)

    def told(reason):
        items = broker.ask("GET", EVENTS, headers=viewer).json()["items"]
        return next((e for e in items if e["reason"] == reason and e["involvedObject"]["name"] == "s"), None)

    def do(verb, **body):
        answer = broker.ask("POST", f"/leat/v1/dlq/default/subscription/s/{verb}", body, admin)
        assert answer.status == 202 and answer.json()["by"] == "alice 127.0.0.1", answer
        return answer.json()["id"]

    for i in range(5):
        assert broker.post("orders", headers=event(str(i))).status == 202
    parked = lambda: broker.ask("GET", "/leat/v1/dlq/default/subscription/s", headers=viewer).json()["items"]  # noqa: E731
    wait_for(lambda: len(parked()) == 5, "five parked events")
    sink.default = Reply(202)
    number = do("redrive", ids=["0", "1"])
    ended = wait_for(lambda: told("RedriveEnded"), "the end of it")
    assert ended["type"] == "Normal" and ended["message"] == f"task {number} of alice 127.0.0.1: 2 delivered", ended
    assert told("RedriveBegun")["message"] == f"parked events are delivered again, as task {number} of alice 127.0.0.1"
    sink.default = Reply(400)
    number = do("redrive", ids=["2"])
    again = f"task {number} of alice 127.0.0.1: 0 delivered, 1 failed again and parked anew"
    assert wait_for(lambda: (e := told("RedriveEnded"))["count"] == 2 and e, "the second end")["message"] == again
    wait_for(lambda: len(parked()) == 3, "three parked events")
    number = do("discard", all=True)
    assert wait_for(lambda: told("EventsDiscarded"), "the discard")["message"] == f"task {number} of alice 127.0.0.1: 3 discarded"


# ---- those of clients ----


def note(name="n", namespace="default", about="default", **more):
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace}, "involvedObject": {"kind": "Channel", "namespace": about, "name": "orders", "apiVersion": MESSAGING}, "reason": "Seen", "message": "by a client", "type": "Normal", "count": 1, "source": {"component": "test"}, "eventTime": None, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "reportingComponent": "", "reportingInstance": "", **more}


def test_a_client_makes_changes_and_deletes_one(broker, kubectl):
    about = broker.ask("GET", f"/apis/{MESSAGING}/namespaces/default/channels/orders").json()["metadata"]["uid"]
    one = note()
    one["involvedObject"]["uid"] = about
    assert broker.ask("POST", EVENTS, one).status == 201
    patch = {"count": 2, "message": "again", "lastTimestamp": "2026-01-01T00:00:01Z"}
    done = broker.ask("PATCH", f"{EVENTS}/n", patch, headers={"Content-Type": "application/strategic-merge-patch+json"})
    assert done.status == 200 and done.json()["count"] == 2, done
    assert "again" in kubectl.good("describe", "channel.messaging.knative.dev", "orders").out
    assert kubectl.good("delete", "event", "n").out.startswith('event "n" deleted')
    assert broker.ask("GET", f"{EVENTS}/n").status == 404


def test_one_that_lies_elsewhere_is_refused(broker):
    done = broker.ask("POST", EVENTS, note(about="elsewhere"))
    assert done.status == 422 and "involvedObject.namespace" in done.text, done
    assert broker.ask("POST", EVENTS, {k: v for k, v in note().items() if k != "involvedObject"}).status == 422


def test_one_makes_no_plan(serve):
    broker = serve([])
    broker.wait_line("serve.ready", "stderr")  # the line of the first plan came before it
    before = broker.count_lines("plan.compiled")
    assert broker.ask("POST", EVENTS, note()).status == 201
    assert broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/channels", channel("c")).status == 201
    wait_for(lambda: broker.count_lines("plan.compiled") == before + 1, "the Channel's plan")
    assert broker.ask("GET", f"{EVENTS}/n").status == 200


def test_one_in_a_file_is_left_out(serve):
    broker = serve([note(), channel("orders")])
    assert events(broker) == [] and any("nothing to declare" in line for line in broker.stderr)
