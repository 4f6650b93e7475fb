# SPDX-License-Identifier: Apache-2.0
"""leat serve with its channels on Google Pub/Sub: what lies there, that nothing accepted is lost when leat is killed, that senders are told when the service is away, that it goes on by
itself when that is back, and that an event which waits for its retry is nobody else's meanwhile. The service is Google's own fake behind its REST interface (tests/real/pubsub.py)."""

import contextlib
import pathlib
import threading
import time

import pytest

from broker import Broker, channel, event, prefix_of, subscription
from leat import Client, Reply, wait_for
from real.pubsub import PROJECT, PubSub, Refused
from recorder import fail_first, held
from topology import condition, hear, ready, terms

LEASE = "10s"  # the service's least


@pytest.fixture(scope="module")
def service():
    with PubSub() as p:
        yield p


def bus_of(service, lease=LEASE):
    return f"pubsub,emulator={service.address},project={PROJECT},ack.deadline={lease}"


@pytest.fixture
def ours(service, serve):
    """ours(objects): `leat serve` on that service; ready."""
    def run(objects, *args, lease=LEASE):
        process = serve(objects, "--bus", bus_of(service, lease), *args)
        ready(process, *objects)
        return process

    return run


def one(url, **more):
    return [channel("c"), subscription("s", "c", url, **more)]


def tried(url, **delivery):
    return [channel("c"), hear("s", "c", url, delivery=terms(**delivery))]


def post(broker, id, body=b"v", **attributes):
    return broker.post("c", body, event(id, **attributes))


def accepted(broker, *ids, **attributes):
    for id in ids:
        answer = post(broker, id, **attributes)
        assert answer.status == 202, answer


def until_taken(broker):
    """A list, and what sends an event each time it is asked: true once one was accepted. Those accepted are in the list."""
    taken = []

    def takes():
        if post(broker, f"taken {len(taken)}").status == 202:
            taken.append(f"taken {len(taken)}")
        return taken

    return taken, takes


def begun(ours, recorder, *more):
    """A broker whose subscription `s` has got event 1 of channel `c`, and the name of its topic."""
    broker = ours(one(recorder["sub"].url), *more)
    accepted(broker, "1")
    recorder["sub"].wait_ids({"1"})
    return broker, prefix_of(broker.manifest.parent) + "leat.default.c"


def names(service, kind, broker):
    """Of what this process has there, but for parked events; without its prefix."""
    prefix = prefix_of(broker.manifest.parent)
    ids = [name.rpartition("/")[2] for name in service.names(kind)]
    return [id.removeprefix(prefix) for id in ids if id.startswith(prefix) and "dead-letter" not in id]


# ---- what lies there ----


def test_a_channel_is_a_topic_and_a_subscription_one_of_it(ours, service, recorder):
    sub = recorder["sub"]
    broker = ours(one(sub.url, annotations={"leat.dev/order": "key"}))
    assert names(service, "topics", broker) == ["leat.default.c"]
    [id] = names(service, "subscriptions", broker)
    assert id.startswith("leat.default.s.")
    there = service.look("subscriptions", prefix_of(broker.manifest.parent) + id)
    assert there["enableMessageOrdering"] and there["ackDeadlineSeconds"] == 10, there
    accepted(broker, *(str(i) for i in range(50)))
    sub.wait_ids({str(i) for i in range(50)})


def test_what_is_removed_from_the_manifests_goes_from_the_service(ours, service, recorder):
    sub = recorder["sub"]
    broker = ours(one(sub.url))
    broker.reload([channel("other")])
    wait_for(lambda: names(service, "subscriptions", broker) == [] and names(service, "topics", broker) == ["leat.default.other"], "topic and subscription to go")


def test_events_of_a_key_come_in_their_order(ours, recorder):
    sub = recorder["sub"]
    broker = ours(one(sub.url, annotations={"leat.dev/order": "key"}))
    with Client(broker.ingress) as client:
        for i in range(40):
            assert client.request("POST", "/channels/default/c", b"v", event(str(i), partitionkey="k")).status == 202
    sub.wait_ids({str(i) for i in range(40)})
    assert [r.id for r in sub.requests] == [str(i) for i in range(40)]


def test_an_event_in_hand_holds_up_none_of_its_key_where_no_order_is_asked_for(ours, recorder):
    """They come from several loops, too: the second and third while the first has no answer yet."""
    gate = threading.Event()
    sub = recorder.add("sub", lambda request, nth: Reply(202, hold=gate if request.id == "0" else None))
    broker = ours(one(sub.url), "--loops", "3")
    accepted(broker, "0", partitionkey="k")
    sub.wait_ids({"0"})
    accepted(broker, "1", "2", partitionkey="k")
    sub.wait_ids({"0", "1", "2"})
    gate.set()
    assert sorted(sub.ids) == ["0", "1", "2"]


def test_order_that_is_given_up_stays_and_order_that_the_service_did_not_begin_with_is_refused(ours, recorder):
    sub = recorder["sub"]
    keyed = {"annotations": {"leat.dev/order": "key"}}
    broker = ours(one(sub.url, **keyed))
    broker.reload(one(sub.url))
    ready(broker, *one(sub.url))
    accepted(broker, "a", partitionkey="k")
    sub.wait_ids({"a"})
    broker.reload([*one(sub.url), subscription("none", "c", sub.url)])
    ready(broker, subscription("none", "c", sub.url))
    broker.reload([*one(sub.url), subscription("none", "c", sub.url, **keyed)])
    wait_for(lambda: "made without message ordering" in str(condition(broker, "Subscription", "none", "Ready")), "the condition to say so")
    accepted(broker, "b", partitionkey="k")
    wait_for(lambda: sub.ids.count("b") == 2, "both to get it all the same")
    broker.reload([*one(sub.url), subscription("none", "c", sub.url)])
    ready(broker, subscription("none", "c", sub.url))


def test_what_somebody_else_publishes_comes_too(ours, service, recorder):
    sub = recorder["sub"]
    broker = ours(one(sub.url))
    topic = prefix_of(broker.manifest.parent) + "leat.default.c"
    service.publish(topic, b"data", {"ce-specversion": "1.0", "ce-id": "theirs", "ce-source": "/s", "ce-type": "t", "content-type": "text/plain"})
    plain = service.publish(topic, b"no event at all", {"a": "b"})
    sub.wait_ids({"theirs", plain})
    [r] = [r for r in sub.requests if r.id == plain]
    assert r.attributes["type"] == "google.cloud.pubsub.topic.v1.messagePublished", r


def test_the_form_of_2018_keeps_its_names(service, serve, recorder):
    sub = recorder["sub"]
    group, env = "channels.knative.dev/v1alpha1", [{"name": "GOOGLE_CLOUD_PROJECT", "value": "project-of-2018"}, {"name": "PUBSUB_EMULATOR_HOST", "value": service.address}]
    image = "registry.example/eventing/pkg/buses/gcppubsub/dispatcher"
    objects = [
        {"apiVersion": group, "kind": "ClusterBus", "metadata": {"name": "gcppubsub"}, "spec": {"dispatcher": {"name": "dispatcher", "image": image, "env": env}}},
        {"apiVersion": group, "kind": "Channel", "metadata": {"name": "old", "namespace": "default"}, "spec": {"clusterBus": "gcppubsub"}},
        {"apiVersion": group, "kind": "Subscription", "metadata": {"name": "olds", "namespace": "default"}, "spec": {"channel": "old", "subscriber": sub.url}},
    ]
    broker = serve(objects)
    wait_for(lambda: broker.post("old", b"v", event("x")).status == 202, "the channel to take events")
    sub.wait_ids({"x"})
    assert "projects/project-of-2018/topics/channel-gcppubsub-default-old" in service.names("topics", "project-of-2018")
    assert "projects/project-of-2018/subscriptions/subscription-gcppubsub-default-olds" in service.names("subscriptions", "project-of-2018")


# ---- leat is killed ----


def test_nothing_accepted_is_lost_when_leat_is_killed(ours, service, recorder):
    gate = threading.Event()
    sub = recorder.add("sub", held(gate))
    broker = ours(one(sub.url))
    taken, stop = [], threading.Event()

    def send(n):
        i = 0
        with Client(broker.ingress) as client:
            while not stop.is_set():
                id = f"{n}-{i}"
                try:
                    if client.request("POST", "/channels/default/c", b"v", event(id)).status == 202:
                        taken.append(id)
                except OSError:
                    return
                i += 1

    senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for t in senders:
        t.start()
    wait_for(lambda: len(taken) > 200, "events to be accepted")
    broker.kill()
    stop.set()
    for t in senders:
        t.join()
    gate.set()
    with Broker(broker.manifest.parent, one(sub.url), "--bus", bus_of(service)) as again:  # in the same folder: the same prefix and the same cursors
        ready(again, *one(sub.url))
        wait_for(lambda: set(taken) <= set(sub.ids), "all that was accepted", 60)


def test_a_clean_stop_hands_back_what_was_under_way(ours, service, recorder):
    gate = threading.Event()
    sub = recorder.add("sub", held(gate))
    broker = ours(one(sub.url), "--drain", "100ms", lease="600s")
    accepted(broker, *(str(i) for i in range(20)))
    wait_for(lambda: len(sub.requests) > 0, "a first delivery")
    gate.set()
    assert broker.stop() == 0, broker.logs
    with Broker(broker.manifest.parent, one(sub.url), "--bus", bus_of(service, "600s")) as again:
        ready(again, *one(sub.url))
        sub.wait_ids({str(i) for i in range(20)})  # which nobody waits for as long as for the ack deadline


# ---- retries ----


def test_an_event_that_waits_for_its_retry_longer_than_the_ack_deadline_comes_once(ours, recorder):
    sub = recorder.add("sub", fail_first(1))
    broker = ours(tried(sub.url, retry=2, backoffDelay="PT13S"))
    accepted(broker, "a")
    wait_for(lambda: len(sub.requests) == 2, "the second attempt")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    assert len(sub.requests) == 2


def test_parked_events_are_listed_and_redriven(ours, recorder):
    sub = recorder.add("sub", fail_first(1))
    broker = ours(tried(sub.url, retry=0))
    accepted(broker, "a", "b", "c")
    wait_for(lambda: broker.ask("GET", "/leat/v1/dlq").json()["total"] == 3, "three parked events")
    listed = broker.ask("GET", "/leat/v1/dlq/default/subscription/s")
    assert {item["id"] for item in listed.json()["items"]} == {"a", "b", "c"}
    answer = broker.ask("POST", "/leat/v1/dlq/default/subscription/s/redrive", {"all": True})
    assert answer.status == 202, answer
    wait_for(lambda: len(sub.requests) == 6, "all once more")
    wait_for(lambda: broker.ask("GET", "/leat/v1/dlq").json()["total"] == 0, "no parked events")


# ---- the service is away ----


def test_senders_are_told_while_the_service_is_away_and_it_goes_on_by_itself(service, ours, recorder):
    sub = recorder["sub"]
    broker = ours(one(sub.url))
    accepted(broker, "before")
    sub.wait_ids({"before"})
    service.kill()
    try:
        wait_for(lambda: post(broker, "lost").status == 503, "senders to be told")
        began = time.monotonic()
        answer = post(broker, "still away")
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 0 and time.monotonic() - began < 25, answer  # a call has 30 s and more
        wait_for(lambda: condition(broker, "Channel", "c")["status"] != "True" or "Unreachable" in broker.logs, "it to be told")
    finally:
        service.start()
    wait_for(lambda: post(broker, "after").status == 202, "events to be accepted again", 120)  # the fake forgot all: topic and subscription are made anew, first
    sub.wait_ids({"before", "after"})
    accepted(broker, *(f"later {i}" for i in range(20)))
    sub.wait_ids({"before", "after", *(f"later {i}" for i in range(20))})


def test_a_subscription_that_somebody_deletes_is_made_anew(service, ours, recorder):
    sub = recorder["sub"]
    broker, _ = begun(ours, recorder)
    [id] = names(service, "subscriptions", broker)
    service.remove("subscriptions", prefix_of(broker.manifest.parent) + id)
    wait_for(lambda: names(service, "subscriptions", broker) == [id], "it to be there again")
    wait_for(lambda: post(broker, "2").status == 202, "events to be accepted")
    sub.wait_ids({"1", "2"})


def test_a_topic_that_somebody_deletes_is_made_anew_with_its_subscription(service, ours, recorder):
    sub = recorder["sub"]
    broker, topic = begun(ours, recorder)
    service.remove("topics", topic)
    wait_for(lambda: post(broker, "2").status == 503, "senders to be told")
    wait_for(lambda: post(broker, "3").status == 202, "events to be accepted", 60)
    sub.wait_ids({"1", "3"})


def test_a_topic_that_was_made_anew_while_leat_did_not_run_loses_nothing(service, ours, recorder):
    """Its subscription gets nothing any more: no event is accepted until that one was drained and another one is there, and the condition says why."""
    sub = recorder["sub"]
    broker, topic = begun(ours, recorder)
    assert broker.stop() == 0, broker.logs
    service.publish(topic, b"v", {"ce-specversion": "1.0", "ce-id": "waits", "ce-source": "/s", "ce-type": "t"})
    service.remove("topics", topic)
    service.topic(topic)
    with Broker(broker.manifest.parent, one(sub.url), "--bus", bus_of(service)) as again:
        taken, takes = until_taken(again)
        wait_for(lambda: takes() or "topic that was deleted" in str(condition(again, "Subscription", "s", "Ready")), "the condition to say so")
        wait_for(takes, "events to be accepted", 120)  # not before leases that somebody may have had have run out
        sub.wait_ids({"1", "waits", *taken})
        again.wait_line("SubscriptionFailed")
        ready(again, *one(sub.url))


def test_a_topic_that_somebody_makes_anew_while_nobody_sends_is_noticed(service, ours, recorder):
    """It is there, and its subscriptions are not any more: they are drained and made anew, and meanwhile nothing is accepted that they would miss."""
    sub = recorder["sub"]
    broker, topic = begun(ours, recorder, "--probe-interval", "300ms")
    service.remove("topics", topic)
    with contextlib.suppress(Refused):  # leat was there first
        service.topic(topic)
    broker.wait_line("SubscriptionFailed")
    taken, takes = until_taken(broker)
    wait_for(takes, "events to be accepted", 120)
    sub.wait_ids({"1", *taken})
    ready(broker, *one(sub.url))


def test_a_topic_that_is_deleted_while_nobody_sends_is_noticed(service, ours, recorder):
    """Ready is what the service answers when it is asked for that topic, now and then; what it misses is made again, and an Event tells of it. Nothing of that reaches the subscriber."""
    sub = recorder["sub"]
    broker, topic = begun(ours, recorder, "--probe-interval", "300ms")
    service.remove("topics", topic)
    about = lambda: {e["reason"] for e in broker.ask("GET", "/api/v1/namespaces/default/events").json()["items"] if e["involvedObject"]["name"] == "c"}  # noqa: E731
    wait_for(lambda: "NotFoundOnBus" in about(), "the Event", 60)
    wait_for(lambda: "leat.default.c" in names(service, "topics", broker), "the topic to be there again", 60)
    ready(broker, channel("c"))
    wait_for(lambda: post(broker, "2").status == 202, "events to be accepted", 60)
    sub.wait_ids({"1", "2"})


# ---- bounds, and a service that hangs ----


def senders(broker, taken, stop, count=4):
    """Threads that send until `stop` is set; what was accepted goes into `taken`."""

    def send(n):
        i = 0
        while not stop.is_set():
            try:
                if post(broker, f"{n}-{i}").status == 202:
                    taken.append(f"{n}-{i}")
            except OSError:
                pass
            i += 1

    threads = [threading.Thread(target=send, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    return threads


def test_a_service_that_hangs_under_load_loses_nothing_and_leases_that_ran_out_are_told(service, ours, recorder):
    """What somebody has in hand is not kept reserved by a service that does not answer: it comes again."""
    gate, taken, stop = threading.Event(), [], threading.Event()
    sub = recorder.add("sub", lambda request, nth: Reply(202, hold=gate if request.id == "held" else None))
    broker = ours(one(sub.url))
    accepted(broker, "held")
    sub.wait_ids({"held"})
    threads = senders(broker, taken, stop)
    try:
        wait_for(lambda: len(taken) > 100, "events to be accepted")
        service.pause()
        broker.wait_line("LeasesLost", timeout=60)
        service.resume()
        before = len(taken)
        wait_for(lambda: len(taken) > before + 100, "events to be accepted again", 60)
    finally:
        service.resume()
        stop.set()
        for t in threads:
            t.join()
    gate.set()
    wait_for(lambda: set(taken) <= set(sub.ids), "all that was accepted", 60)
    wait_for(lambda: sub.ids.count("held") > 1, "what was in hand to come again", 60)


def test_what_waits_for_the_service_is_bounded(service, serve, recorder):
    objects = one(recorder["sub"].url)
    broker = serve(objects, "--bus", bus_of(service) + ",buffer=1KiB")
    ready(broker, *objects)
    answers = []

    def send(n):
        with contextlib.suppress(OSError):
            answers.append(post(broker, str(n), b"v" * 400))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    service.pause()
    try:
        for t in threads:
            t.start()
        wait_for(lambda: any(a.status == 503 and a.body.startswith(b"full") for a in answers), "one to be refused")
    finally:
        service.resume()
    for t in threads:
        t.join()
    wait_for(lambda: post(broker, "after").status == 202, "events to be accepted again", 60)
    recorder["sub"].wait_ids({"after"})


def connections_to(port):
    """Established ones of this machine to that port of 127.0.0.1."""
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] == "01" for row in rows)


def whereabouts(broker, service, name):
    """Of a subscription's event that did not come: whether it was parked, what was counted for it, whether it is Ready, and what the service still has for it (what leat has in hand is not shown)."""
    parked = sum(item["parked"] for item in broker.ask("GET", "/leat/v1/dlq").json()["items"] if item["name"] == name)
    counted = {f"{series} {dict(labels).get('end', '')}".strip(): n for (series, labels), n in broker.metrics().items() if n and ("subscription", name) in labels}
    ids = [id for id in service.names("subscriptions") if f"leat.default.{name}." in id]
    waits = {id.rpartition("/")[2]: [service.look("subscriptions", id)["topic"].rpartition("/")[2], *(attributes for _, attributes, _ in service.pull(id, ack=False))] for id in ids}
    return f"{name}: {parked} parked; {counted}; Ready: {condition(broker, 'Subscription', name).get('status')}; at the service: {waits}"


def test_a_thousand_subscriptions_share_their_connections(service, serve, recorder):
    """On one loop: 64 pulls wait, the others take turns. Each subscription gets its event."""
    sub, count = recorder["sub"], 1000
    objects = [channel("c"), *(subscription(f"s{i}", "c", f"{sub.url}/{i}", retry=100) for i in range(count))]
    broker = serve(objects, "--bus", bus_of(service), "--loops", "1")

    def all_ready():
        items = broker.ask("GET", "/apis/messaging.knative.dev/v1/namespaces/default/subscriptions").json()["items"]
        return len(items) == count and all(c["status"] == "True" for s in items for c in s["status"]["conditions"] if c["type"] == "Ready")

    wait_for(all_ready, "each to be Ready", 300)
    wait_for(lambda: post(broker, "x").status == 202, "the channel to take events", 120)
    most, missing = 0, {f"/sub/{i}" for i in range(count)}

    def all_have_it():
        nonlocal most
        most = max(most, connections_to(service.ports["REST"]))
        missing.difference_update([r.path for r in list(sub.requests)])
        return not missing

    try:
        wait_for(all_have_it, "each to have it", 300)
    except AssertionError as e:
        few = "\n".join(whereabouts(broker, service, "s" + path.rpartition("/")[2]) for path in sorted(missing)[:5])
        raise AssertionError(f"{e}; without it are {len(missing)}:\n{few}\n{broker.logs[-4000:]}") from None
    assert most < 250, most  # 64 pulls that wait, 64 lanes of such that are kept, and 32 each of what does not wait, of the loop and of control
