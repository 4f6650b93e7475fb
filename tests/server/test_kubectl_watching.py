# SPDX-License-Identifier: Apache-2.0
"""Watches: with the real kubectl, and on the wire. A watch tells every change once, in order, and says so when it cannot."""

import http.client
import json
import threading

import pytest

from broker import MESSAGING, channel, subscription
from kubectl import NEW, OLD, Kubectl
from leat import DEADLINE, wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
MERGE = {"Content-Type": "application/merge-patch+json"}


class Watch:
    """A watch on the wire: next() is the next event, or None at the end; the socket's timeout is met by failing tests alone."""

    def __init__(self, broker, path=CHANNELS, accept="application/json", **query):
        self.connection = http.client.HTTPConnection(broker.api.removeprefix("http://"), timeout=DEADLINE)
        words = "&".join(f"{k}={v}" for k, v in {"watch": "true", **query}.items())
        self.connection.request("GET", f"{path}?{words}", headers={"Accept": accept})
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def next(self):
        line = self.answer.readline()
        return json.loads(line) if line else None

    def change(self):
        """(type, name) of the next event."""
        event = self.next()
        return event["type"], event["object"]["metadata"]["name"]

    def until(self, kind, name):
        """Reads up to this event, and answers it."""
        while True:
            event = self.next()
            assert event, f"the watch ended before {kind} {name}"
            if (event["type"], event["object"]["metadata"].get("name")) == (kind, name):
                return event

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer.close()
        self.connection.close()


@pytest.fixture(scope="module")
def shared(serve_module):
    return serve_module()


@pytest.fixture
def broker(shared):
    yield shared
    for item in shared.ask("GET", f"/apis/{MESSAGING}/channels").json()["items"]:
        shared.ask("DELETE", f"/apis/{MESSAGING}/namespaces/{item['metadata']['namespace']}/channels/{item['metadata']['name']}")


@pytest.fixture(params=[NEW, OLD], ids=["new", "old"])
def kubectl(request, broker, tmp_path):
    return Kubectl(request.param, broker.api, tmp_path)


def version(broker):
    return broker.ask("GET", CHANNELS).json()["metadata"]["resourceVersion"]


def make(broker, name, namespace="default", **labels):
    thing = channel(name, namespace)
    thing["metadata"]["labels"] = labels
    answer = broker.ask("POST", f"/apis/{MESSAGING}/namespaces/{namespace}/channels", thing)
    assert answer.status == 201, answer
    return answer.json()


# ---- kubectl ----


def test_get_w(kubectl, broker):
    make(broker, "a")
    process = kubectl.start("get", "channels.messaging.knative.dev", "-w")
    try:
        assert process.stdout.readline().split()[:2] == ["NAME", "URL"]
        assert process.stdout.readline().split()[0] == "a"
        make(broker, "b")
        wait_for(lambda: process.stdout.readline().split()[0] == "b", "the new channel")
    finally:
        process.kill()
        process.wait()


def test_wait_for_a_condition(kubectl, broker):
    make(broker, "a")
    kubectl.good("wait", "--for=condition=Ready", "channel.messaging.knative.dev/a", "--timeout=50s")
    done = kubectl("wait", "--for=condition=Nothing", "channel.messaging.knative.dev/a", "--timeout=1s")
    assert done.code == 1 and "timed out" in done.err


def test_wait_for_a_condition_that_comes_later(kubectl, broker):
    broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/subscriptions", subscription("s", "later", "http://127.0.0.1:1/"))
    process = kubectl.start("wait", "--for=condition=Ready", "subscription.messaging.knative.dev/s", "--timeout=50s")
    make(broker, "later")
    assert process.wait(DEADLINE) == 0, process.stdout.read()
    broker.ask("DELETE", f"/apis/{MESSAGING}/namespaces/default/subscriptions/s")


def test_delete_waits_until_it_is_gone(kubectl, broker):
    thing = channel("held")
    thing["metadata"]["finalizers"] = ["example.org/hold"]
    broker.ask("POST", CHANNELS, thing)
    process = kubectl.start("delete", "channel.messaging.knative.dev/held", "--timeout=50s")
    wait_for(lambda: broker.ask("GET", CHANNELS + "/held").json()["metadata"].get("deletionTimestamp"), "the mark")
    assert process.poll() is None
    broker.ask("PATCH", CHANNELS + "/held", {"metadata": {"finalizers": None}}, MERGE)
    assert process.wait(DEADLINE) == 0, process.stdout.read()


def test_wait_for_a_deletion(kubectl, broker):
    make(broker, "a")
    process = kubectl.start("wait", "--for=delete", "channel.messaging.knative.dev/a", "--timeout=50s")
    broker.ask("DELETE", CHANNELS + "/a")
    assert process.wait(DEADLINE) == 0, process.stdout.read()


# ---- on the wire ----


def test_every_change_once_and_in_order(broker):
    began = version(broker)
    with Watch(broker, resourceVersion=began) as watch:
        assert watch.status == 200 and watch.answer.headers["content-type"] == "application/json"
        made = make(broker, "a")
        first = watch.next()
        assert first["type"] == "ADDED" and first["object"]["metadata"]["uid"] == made["metadata"]["uid"] and first["object"]["kind"] == "Channel"
        changed = broker.ask("PATCH", CHANNELS + "/a", {"metadata": {"labels": {"x": "y"}}}, MERGE).json()["metadata"]["resourceVersion"]
        broker.ask("DELETE", CHANNELS + "/a")
        events = [first]
        while events[-1]["type"] != "DELETED":
            events.append(watch.next())
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(set(versions)) and int(changed) in versions and versions[0] == int(made["metadata"]["resourceVersion"])
    assert {e["type"] for e in events[1:-1]} == {"MODIFIED"}


def test_what_happened_before_the_watch_began(broker):
    began = version(broker)
    make(broker, "a")
    broker.ask("DELETE", CHANNELS + "/a")
    with Watch(broker, resourceVersion=began) as watch:
        assert watch.change() == ("ADDED", "a")
        gone = watch.until("DELETED", "a")
    assert int(gone["object"]["metadata"]["resourceVersion"]) <= int(version(broker))


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}, {"resourceVersion": ""}])
def test_without_a_version_it_begins_with_what_is_there(broker, query):
    for name in "ba":
        make(broker, name)
    for name in "ba":  # else it may come between them
        wait_for(lambda: broker.ask("GET", f"{CHANNELS}/{name}").json().get("status"), "its status")
    with Watch(broker, **query) as watch:
        assert [watch.change(), watch.change()] == [("ADDED", "a"), ("ADDED", "b")]
        make(broker, "c")
        watch.until("ADDED", "c")


def test_the_end_of_what_is_there_is_told(broker):
    make(broker, "a")
    with Watch(broker, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true", resourceVersion=version(broker)) as watch:
        assert watch.change() == ("ADDED", "a")
        end = watch.next()
        while end["type"] == "MODIFIED":  # its status came meanwhile
            end = watch.next()
        assert end["type"] == "BOOKMARK" and end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"} and end["object"]["kind"] == "Channel"


def test_a_watch_of_many_objects_under_change(broker):
    for i in range(300):
        make(broker, f"c{i:03}")
    stop = threading.Event()

    def churn():
        n = 0
        while not stop.is_set():
            n += 1
            broker.ask("PATCH", f"{CHANNELS}/c{n * 7 % 300:03}", {"metadata": {"labels": {"n": str(n)}}}, MERGE)
            make(broker, f"d{n:04}")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with Watch(broker) as watch:
            seen, versions = {}, set()
            while len(seen) < 330:
                event = watch.next()
                metadata = event["object"]["metadata"]
                assert (metadata["name"], metadata["resourceVersion"]) not in versions, "told twice"
                versions.add((metadata["name"], metadata["resourceVersion"]))
                assert (event["type"] == "ADDED") == (metadata["name"] not in seen), event
                assert int(metadata["resourceVersion"]) > seen.get(metadata["name"], 0)
                seen[metadata["name"]] = int(metadata["resourceVersion"])
    finally:
        stop.set()
        thread.join()


def test_namespaces_names_and_fields(broker):
    began = version(broker)
    everywhere = Watch(broker, f"/apis/{MESSAGING}/channels", resourceVersion=began)
    one = Watch(broker, CHANNELS + "/b", resourceVersion=began)
    by_field = Watch(broker, resourceVersion=began, fieldSelector="metadata.name%3Db")
    for name, namespace in (("a", "other"), ("a", "default"), ("b", "default")):
        make(broker, name, namespace)
    assert everywhere.until("ADDED", "a")["object"]["metadata"]["namespace"] == "other" and everywhere.until("ADDED", "b")
    assert one.change() == by_field.change() == ("ADDED", "b")
    for w in (everywhere, one, by_field):
        w.__exit__()


def test_labels_into_view_and_out_of_it(broker):
    make(broker, "a", team="blue")
    wait_for(lambda: broker.ask("GET", CHANNELS + "/a").json().get("status"), "its status")
    with Watch(broker, resourceVersion=version(broker), labelSelector="team%3Dred") as watch:
        for team in ("red", "blue"):
            broker.ask("PATCH", CHANNELS + "/a", {"metadata": {"labels": {"team": team}}}, MERGE)
        assert watch.change() == ("ADDED", "a")
        gone = watch.next()
        assert gone["type"] == "DELETED" and gone["object"]["metadata"]["labels"] == {"team": "red"}
        broker.ask("DELETE", CHANNELS + "/a")
        make(broker, "z", team="red")
        assert watch.change() == ("ADDED", "z")


def test_tables(broker):
    with Watch(broker, accept="application/json;as=Table;v=v1;g=meta.k8s.io", resourceVersion=version(broker)) as watch:
        make(broker, "a")
        make(broker, "b")
        first, second = watch.next()["object"], watch.next()["object"]
        assert first["kind"] == second["kind"] == "Table" and first["rows"][0]["cells"][0] == "a"
        assert first["columnDefinitions"][0]["name"] == "Name" and second["columnDefinitions"] is None


def test_its_time(broker):
    with Watch(broker, resourceVersion=version(broker), timeoutSeconds="1", allowWatchBookmarks="true") as watch:
        last = watch.next()
        assert last["type"] == "BOOKMARK" and last["object"]["metadata"]["resourceVersion"] and last["object"]["kind"] == "Channel"
        assert watch.next() is None
    with Watch(broker, resourceVersion=version(broker), timeoutSeconds="1") as watch:
        assert watch.next() is None


def is_expired(watch):
    event = watch.next()
    assert watch.status == 200 and event["type"] == "ERROR" and (event["object"]["code"], event["object"]["reason"]) == (410, "Expired"), event
    assert watch.next() is None
    return True


def test_versions_that_are_too_old_or_not_there_yet(serve):
    broker = serve([channel("a")])
    now = int(version(broker))
    for wrong in (1, now + 1000):
        with Watch(broker, resourceVersion=wrong) as watch:
            assert is_expired(watch)


def test_more_changes_than_are_kept(broker):
    """8,192 changes are kept: after more, an old place is too old."""
    began = version(broker)
    make(broker, "a")
    number = 0
    while True:
        number += 1
        broker.ask("PATCH", CHANNELS + "/a", {"metadata": {"annotations": {"big": f"{number} " + "x" * 900000}}}, MERGE)
        if number == 20:  # of 16 MiB
            break
    with Watch(broker, resourceVersion=began) as watch:
        assert is_expired(watch)
    with Watch(broker, resourceVersion=version(broker)) as watch:
        make(broker, "b")
        watch.until("ADDED", "b")


def test_versions_go_on_after_a_restart(serve, tmp_path):
    first = serve([], "--data-dir", tmp_path / "data")
    make(first, "a")
    before = int(version(first))
    first.stop()
    again = serve([], "--data-dir", tmp_path / "data")
    assert int(version(again)) >= before
    with Watch(again, resourceVersion=version(again)) as watch:
        make(again, "b")
        watch.until("ADDED", "b")


def test_a_file_s_objects(serve):
    broker = serve([channel("a"), channel("b")])
    with Watch(broker, resourceVersion=version(broker)) as watch:
        broker.reload([channel("a"), channel("c")])
        watch.until("ADDED", "c")
        watch.until("DELETED", "b")


@pytest.mark.parametrize("query", [{"resourceVersion": "x"}, {"timeoutSeconds": "x"}, {"labelSelector": "a,,b"}, {"fieldSelector": "spec.x%3D1"}])
def test_400(broker, query):
    with Watch(broker, **query) as watch:
        assert watch.status == 400 and json.loads(watch.answer.read())["reason"] == "BadRequest"


def test_the_end_of_the_server_is_the_end_of_a_watch(serve):
    broker = serve()
    with Watch(broker, resourceVersion=version(broker)) as watch:
        broker.stop()
        assert watch.next() is None


def test_many_watches(broker):
    began = version(broker)
    watches = [Watch(broker, resourceVersion=began) for _ in range(200)]
    make(broker, "a")
    for watch in watches:
        assert watch.change() == ("ADDED", "a")
        watch.__exit__()
