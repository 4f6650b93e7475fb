# SPDX-License-Identifier: Apache-2.0
"""`leat pause` and `leat resume`: deliveries are held back, whoever owns the object; what comes meanwhile is kept, can be seen, and drains."""

import threading

import pytest

from broker import channel, event, subscription
from leat import request, wait_for
from recorder import held
from topology import condition, hear, mesh, ready, sequence, trigger

LABELS = {"namespace": "default", "subscription": "s"}
BOTH = [channel("c"), subscription("s", "c", "http://127.0.0.1:1/")]


def pause(broker, what="subscription/s", verb="pause"):
    answer = broker.ask("POST", f"/leat/v1/subscriptions/default/{what}/{verb}")
    assert answer.status == 200, answer
    return answer.json()


def delivering(broker, kind="Subscription", name="s"):
    return condition(broker, kind, name, "Delivering")


def wait_paused(broker, kind="Subscription", name="s"):
    wait_for(lambda: delivering(broker, kind, name).get("status") == "False", "the condition Delivering False")


def wait_resumed(broker, kind="Subscription", name="s"):
    wait_for(lambda: not delivering(broker, kind, name), "the end of the condition Delivering")


def listed(broker, name="s"):
    return next(s for s in broker.ask("GET", "/leat/v1/subscriptions").json()["items"] if s["name"] == name)


def post(broker, first, count, to="c"):
    for i in range(first, first + count):
        assert broker.post(to, b"", event(str(i))).status == 202


def test_a_file_s_object_is_paused_and_resumed(serve, recorder, leat):
    sub = recorder["sub"]
    broker = serve([channel("c"), subscription("s", "c", sub.url)])
    post(broker, 0, 5)
    sub.wait_ids(map(str, range(5)))
    assert leat(broker, "pause", "subscription/s") == (0, "subscription/s paused", "")
    wait_paused(broker)
    said = delivering(broker)
    assert said["reason"] == "Paused" and said["message"].startswith("paused by API at 20") and "leat resume subscription/s" in said["message"]
    assert condition(broker, "Subscription", "s")["status"] == "True" and condition(broker, "Subscription", "s")["reason"] == "Paused"
    post(broker, 5, 20)
    broker.wait_metric(20, "leat_backlog_events", **LABELS)
    assert broker.metric("leat_subscription_paused", **LABELS) == 1
    item = listed(broker)
    assert item["paused"] is True and item["backlog"] == 20 and item["parked"] == 0 and item["kind"] == "Subscription"
    assert len(sub.requests) == 5
    # a bus that counts late says "20+" until then
    head, row = wait_for(lambda: [t for t in [leat(broker, "get", "subscriptions")[1]] if "20+" not in t], "the whole backlog")[0].splitlines()
    assert head.split() == ["NAME", "Ready", "Reason", "Backlog", "OWNER"] and row.split()[:4] == ["s", "True", "Paused", "20"]
    assert leat(broker, "resume", "subscription/s") == (0, "subscription/s resumed", "")
    assert sorted(map(int, sub.wait_ids(map(str, range(25))) and sub.ids)) == list(range(25))
    wait_resumed(broker)
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    assert broker.metric("leat_subscription_paused", **LABELS) == 0


def test_what_is_under_way_is_finished(serve, recorder):
    gate = threading.Event()
    sub = recorder.add("sub", held(gate))
    broker = serve([channel("c"), subscription("s", "c", sub.url)])
    post(broker, 0, 1)
    sub.wait(1)
    pause(broker)
    gate.set()
    wait_paused(broker)
    broker.wait_metric(1, "leat_deliveries_total", end="delivered", **LABELS)
    pause(broker, verb="resume")
    wait_resumed(broker)
    assert sub.ids == ["0"]


def test_it_outlasts_other_plans_and_a_change_of_the_object(serve, recorder):
    sub = recorder["sub"]
    broker = serve([channel("c"), subscription("s", "c", sub.url)])
    pause(broker)
    wait_paused(broker)
    broker.reload([channel("c"), subscription("s", "c", sub.url, retry=3), channel("d")])
    broker.in_force("d")
    post(broker, 0, 3)
    broker.wait_metric(3, "leat_backlog_events", **LABELS)
    assert pause(broker)["since"] == pause(broker)["since"]  # a second time changes nothing
    pause(broker, verb="resume")
    sub.wait_ids(["0", "1", "2"])


def test_a_new_object_of_the_same_name_is_not_paused(serve, recorder):
    sub = recorder["sub"]
    broker = serve([channel("c"), subscription("s", "c", sub.url)])
    pause(broker)
    wait_paused(broker)
    broker.reload([channel("c"), channel("d")])
    broker.in_force("d")
    broker.reload([channel("c"), subscription("s", "c", sub.url)])
    ready(broker, subscription("s", "c", sub.url))
    assert not delivering(broker)


@pytest.mark.parametrize("kind", ["Broker", "Channel"])
def test_a_channel_pauses_all_of_its_subscriptions(serve, recorder, kind):
    a, b = recorder["a"], recorder["b"]
    made = [mesh("x"), trigger("a", "x", a.url), trigger("b", "x", b.url)] if kind == "Broker" else [channel("x"), hear("a", "x", a.url), hear("b", "x", b.url)]
    of = made[1]["kind"]
    broker = serve(made)
    pause(broker, f"{kind.lower()}/x")
    wait_paused(broker, kind, "x")
    assert condition(broker, kind, "x")["status"] == "True"
    for name in "ab":
        wait_paused(broker, of, name)
        assert f"{kind} x: paused by API at" in delivering(broker, of, name)["message"]
    where = "brokers" if kind == "Broker" else "channels"
    for i in range(4):
        assert request("POST", f"{broker.ingress}/{where}/default/x", b"", event(str(i))).status == 202
    broker.wait_metric(4, "leat_backlog_events", namespace="default", subscription="a")
    pause(broker, f"{kind.lower()}/x", "resume")
    a.wait_ids("0123")
    b.wait_ids("0123")


def test_a_sequence(serve, recorder):
    step = recorder["step"]
    broker = serve([sequence("q", [step.url])])
    pause(broker, "sequence/q")
    wait_paused(broker, "Sequence", "q")
    assert request("POST", f"{broker.ingress}/sequences/default/q", b"", event("1")).status == 202
    broker.wait_metric(1, "leat_backlog_events", namespace="default", subscription="q-kn-sequence-0")
    pause(broker, "sequence/q", "resume")
    step.wait_ids(["1"])
    answer = broker.ask("POST", "/leat/v1/subscriptions/default/sequence/q%2Fsteps%2F0/pause")
    assert answer.status == 400 and "as a whole" in answer.json()["message"]


def test_the_kinds_of_2018(serve, recorder):
    sub = recorder["sub"]
    api = {"apiVersion": "channels.knative.dev/v1alpha1"}
    objects = [
        {**api, "kind": "Channel", "metadata": {"name": "old"}, "spec": {"clusterBus": "stub"}},
        {**api, "kind": "Subscription", "metadata": {"name": "s"}, "spec": {"channel": "old", "subscriber": sub.url}},
    ]
    broker = serve(objects)
    pause(broker, "subscriptions.channels.knative.dev/s")

    def said():
        conditions = broker.ask("GET", "/apis/channels.knative.dev/v1alpha1/namespaces/default/subscriptions/s").json()["status"]["conditions"]
        return any(c["type"] == "Delivering" and c["status"] == "False" for c in conditions)

    wait_for(said, "the condition Delivering False")  # which is shown when it holds on every loop
    assert listed(broker)["paused"]
    assert broker.post("old", b"", event("1")).status == 202
    broker.wait_metric(1, "leat_backlog_events", **LABELS)
    pause(broker, "subscriptions.channels.knative.dev/s", "resume")
    sub.wait_ids(["1"])


def test_several_names_and_one_that_is_none(serve, recorder, leat):
    broker = serve([channel("c"), *(subscription(n, "c", recorder["sub"].url) for n in "st")])
    code, out, err = leat(broker, "pause", "subscription/s", "subscription/nobody", "subscription/t")
    assert code == 1 and out == "subscription/s paused\nsubscription/t paused" and "there is no subscription/nobody in default" in err
    wait_paused(broker)
    wait_paused(broker, name="t")
    assert leat(broker, "resume", "subscription/s", "subscription/t", "-n", "default")[0] == 0
    wait_resumed(broker)


def test_the_annotation_holds_against_resume(serve, recorder, leat):
    broker = serve([channel("c"), subscription("s", "c", recorder["sub"].url, annotations={"leat.dev/paused": "true"})])
    wait_paused(broker)
    code, _, err = leat(broker, "resume", "subscription/s")
    assert code == 1 and "annotation leat.dev/paused" in err and str(broker.manifest) in err
    pause(broker)  # beside the annotation, and then both are to be taken back
    wait_for(lambda: "by API" in delivering(broker).get("message", ""), "the API's pause")


def test_who_paused_is_in_the_trail(serve):
    broker = serve(BOTH)
    pause(broker)
    pause(broker, verb="resume")
    items = broker.ask("GET", "/leat/v1/audit?kind=Subscription&name=s").json()["items"]
    assert [i["verb"] for i in items][:2] == ["resume", "pause"] and items[0]["who"] == "127.0.0.1"


@pytest.mark.parametrize(
    "method, path, status, words",
    [
        ("POST", "default/secret/s/pause", 404, "there is no secret/s"),
        ("POST", "default/subscription/t/pause", 404, "there is no subscription/t in default"),
        ("POST", "default/subscription/s/stop", 404, "/replay, /pause or /resume"),
        ("GET", "default/subscription/s/pause", 405, "for POST"),
        ("POST", "default/nothing/s/pause", 404, "there is no kind 'nothing'"),
        ("POST", "default/subscription", 404, "no such page"),
        ("POST", "", 405, "for GET"),
    ],
)
def test_requests_that_are_wrong(serve, method, path, status, words):
    broker = serve(BOTH)
    answer = broker.ask(method, "/leat/v1/subscriptions" + ("/" + path if path else ""))
    assert answer.status == status and words in answer.json()["message"], answer


def test_what_delivers_nothing_cannot_be_paused(serve):
    broker = serve([*BOTH, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "default"}, "stringData": {"a": "b"}}])
    answer = broker.ask("POST", "/leat/v1/subscriptions/default/secret/x/pause")
    assert answer.status == 422 and "delivers nothing" in answer.json()["message"]


def test_words_are_needed(run):
    code, _, err = run("pause", env={"LEAT_SERVER": "http://127.0.0.1:1"})
    assert code == 2 and "say what: KIND/NAME" in err


# ---- over a restart, on a data directory ----


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_outlasts_the_process(serve, recorder, tmp_path, how):
    sub = recorder["sub"]
    objects = [channel("c"), subscription("s", "c", sub.url)]
    kept = ("--bus", "log", "--data-dir", tmp_path / "data")
    broker = serve(objects, *kept)
    post(broker, 0, 5)
    sub.wait_ids(map(str, range(5)))
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    pause(broker)
    wait_paused(broker)
    since = delivering(broker)["message"]
    post(broker, 5, 20)
    if how == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()
    sub.clear()
    broker = serve(objects, *kept)
    assert delivering(broker)["message"] == since
    wait_for(lambda: 20 <= listed(broker)["backlog"] <= (20 if how == "stop" else 25), "the backlog")  # a crash forgets what was settled within the last second
    post(broker, 25, 5)
    assert sub.ids == []
    pause(broker, verb="resume")
    sub.wait_ids(map(str, range(5, 30)))
    broker.wait_metric(0, "leat_backlog_events", **LABELS)
    if how == "stop":
        assert sorted(map(int, sub.ids)) == list(range(5, 30))
    assert broker.stop() == 0
    broker = serve(objects, *kept)
    assert not delivering(broker)
