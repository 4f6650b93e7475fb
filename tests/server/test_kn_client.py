# SPDX-License-Identifier: Apache-2.0
"""The real kn 0.41 against `leat serve`: what it creates, describes, updates, lists and deletes, with no Kubernetes anywhere. What leat made of it is looked at over the API."""

import json

import pytest

from broker import MESSAGING, event
from kn import Kn
from kubectl import NEW, Kubectl
from leat import request, wait_for
from topology import object_of

EVENTING, SOURCES = "eventing.knative.dev/v1", "sources.knative.dev/v1"
URL = "http://127.0.0.1:9/"


@pytest.fixture(scope="module")
def broker(serve_module):
    return serve_module([])


@pytest.fixture(scope="module")
def kn(broker, tmp_path_factory):
    return Kn(broker.api, tmp_path_factory.mktemp("kn"))


@pytest.fixture
def space(request):
    """A namespace of the test's own."""
    return "n-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:40].strip("-")


@pytest.fixture
def get(broker, space):
    """get(apiVersion, plural, name): the object, or None."""

    def once(version, plural, name):
        answer = broker.ask("GET", f"/apis/{version}/namespaces/{space}/{plural}/{name}")
        return answer.json() if answer.status == 200 else None

    return once


def names(done):
    return [row["NAME"] for row in done.rows]


def ready(kn, *words):
    """Waits until the row of a list says that its object is ready."""

    def row():
        rows = [r for r in kn(*words).rows if r["READY"] == "True"]
        return rows and rows[0]

    return wait_for(row, f"kn {' '.join(words)} to show it ready")


def said(get, version, plural, name):
    """Waits until leat has written the object's status: one that comes between an update's look and its write is a conflict, as it would be in Kubernetes."""
    wait_for(lambda: (get(version, plural, name) or {}).get("status", {}).get("conditions"), f"the status of {name}")


def test_version(kn):
    out = kn.good("version").out
    assert "eventing.knative.dev/v1" in out and "v0.41.0" in out


# ---- channels and subscriptions ----


def test_channel(kn, space, get):
    assert f"Channel 'orders' created in namespace '{space}'" in kn.good("channel", "create", "orders", "-n", space).out
    row = ready(kn, "channel", "list", "-n", space)
    assert row["NAME"] == "orders" and row["URL"].endswith(f"/channels/{space}/orders")
    out = kn.good("channel", "describe", "orders", "-n", space).out
    assert "Type:       Channel" in out and "++ Ready" in out and f"/channels/{space}/orders" in out
    assert kn.good("channel", "describe", "orders", "-n", space, "-o", "url").out.endswith("/orders")
    kn.good("channel", "delete", "orders", "-n", space)
    assert get(MESSAGING, "channels", "orders") is None
    assert "No channels found" in kn.good("channel", "list", "-n", space).out


def test_channel_of_a_type(kn, space, get):
    kn.good("channel", "create", "fast", "--type", "messaging.knative.dev:v1:InMemoryChannel", "-n", space)
    assert get(MESSAGING, "channels", "fast")["spec"]["channelTemplate"]["kind"] == "InMemoryChannel"
    assert "InMemoryChannel" in kn.good("channel", "describe", "fast", "-n", space).out


def test_channel_types(kn):
    assert {"InMemoryChannel", "KafkaChannel"} <= {row["TYPE"] for row in kn.good("channel", "list-types").rows}


def test_a_channel_that_is_there(kn, space):
    kn.good("channel", "create", "c", "-n", space)
    done = kn("channel", "create", "c", "-n", space)
    assert done.code == 1 and 'channels.messaging.knative.dev "c" already exists' in done.err
    assert "not found" in kn("channel", "describe", "none", "-n", space).err
    assert "not found" in kn("channel", "delete", "none", "-n", space).err


def test_subscription(kn, space, get):
    for name in ("in", "out"):
        kn.good("channel", "create", name, "-n", space)
    kn.good("broker", "create", "b", "-n", space)
    kn.good("subscription", "create", "s", "--channel", "messaging.knative.dev:v1:Channel:in", "--sink", URL, "-n", space)
    assert ready(kn, "subscription", "list", "-n", space)["SUBSCRIBER"] == URL
    kn.good("subscription", "update", "s", "--sink", URL + "x", "--sink-reply", "channel:out", "--sink-dead-letter", "broker:b", "-n", space)
    spec = get(MESSAGING, "subscriptions", "s")["spec"]
    assert spec["subscriber"]["uri"] == URL + "x" and spec["reply"]["ref"]["name"] == "out" and spec["delivery"]["deadLetterSink"]["ref"]["kind"] == "Broker"
    assert "Channel:in" in kn.good("subscription", "describe", "s", "-n", space).out
    kn.good("subscription", "delete", "s", "-n", space)
    assert get(MESSAGING, "subscriptions", "s") is None


def test_subscription_to_what_is_not_there(kn, space):
    done = kn("subscription", "create", "s", "--channel", "messaging.knative.dev:v1:Channel:in", "--sink", "broker:none", "-n", space)
    assert done.code == 1 and 'brokers.eventing.knative.dev "none" not found' in done.err


# ---- brokers and triggers ----


def test_broker(kn, space, get):
    kn.good("broker", "create", "shop", "--retry", "3", "-n", space)
    assert ready(kn, "broker", "list", "-n", space)["URL"].endswith(f"/brokers/{space}/shop")
    kn.good("broker", "update", "shop", "--dl-sink", URL, "--retry", "5", "--backoff-delay", "PT1S", "--backoff-policy", "linear", "--timeout", "PT2S", "-n", space)
    assert get(EVENTING, "brokers", "shop")["spec"]["delivery"] == {"retry": 5, "backoffDelay": "PT1S", "backoffPolicy": "linear", "timeout": "PT2S", "deadLetterSink": {"uri": URL}}
    assert "++ Ready" in kn.good("broker", "describe", "shop", "-n", space).out
    kn.good("broker", "delete", "shop", "--wait", "-n", space)
    assert get(EVENTING, "brokers", "shop") is None


def test_trigger(kn, space, get):
    kn.good("broker", "create", "shop", "-n", space)
    kn.good("channel", "create", "c", "-n", space)
    kn.good("trigger", "create", "t", "--broker", "shop", "--filter", "type=a.b", "--filter", "source=/x", "--sink", "channel:c", "-n", space)
    row = ready(kn, "trigger", "list", "-n", space)
    assert (row["BROKER"], row["SINK"]) == ("shop", "channel:c")
    kn.good("trigger", "update", "t", "--filter", "type=c.d", "--filter", "source-", "--sink", URL, "-n", space)
    spec = get(EVENTING, "triggers", "t")["spec"]
    assert spec["filter"]["attributes"] == {"type": "c.d"} and spec["subscriber"]["uri"] == URL
    assert "type:     c.d" in kn.good("trigger", "describe", "t", "-n", space).out
    kn.good("trigger", "delete", "t", "-n", space)
    assert get(EVENTING, "triggers", "t") is None


def test_a_sink_of_serving_that_is_not_there(kn, space):
    done = kn("trigger", "create", "t", "--broker", "b", "--sink", "shop", "-n", space)
    assert done.code == 1 and 'services.serving.knative.dev "shop" not found' in done.err


# ---- sources ----


def test_source_types(kn):
    assert {"ApiServerSource", "ContainerSource", "PingSource", "SinkBinding", "KafkaSource", "GitHubSource"} <= {row["TYPE"] for row in kn.good("source", "list-types").rows}


def test_ping(kn, space, get):
    kn.good("channel", "create", "c", "-n", space)
    kn.good("source", "ping", "create", "p", "--schedule", "0 0 1 1 *", "--data", '{"a":1}', "--sink", "channel:c", "-n", space)
    assert ready(kn, "source", "ping", "list", "-n", space)["SCHEDULE"] == "0 0 1 1 *"
    kn.good("source", "ping", "update", "p", "--schedule", "0 0 2 1 *", "--ce-override", "x=y", "-n", space)
    spec = get(SOURCES, "pingsources", "p")["spec"]
    assert spec["schedule"] == "0 0 2 1 *" and spec["ceOverrides"] == {"extensions": {"x": "y"}} and spec["data"] == '{"a":1}'
    assert "0 0 2 1 *" in kn.good("source", "ping", "describe", "p", "-n", space).out
    assert ready(kn, "source", "list", "-n", space)["TYPE"] == "PingSource"
    kn.good("source", "ping", "delete", "p", "-n", space)
    assert get(SOURCES, "pingsources", "p") is None and "No sources found" in kn.good("source", "list", "-n", space).out


def test_conditions_are_counted_as_the_docs_say(kn, broker, sink, space):
    """One is Unknown until there was a delivery."""
    kn.good("broker", "create", "b", "-n", space)
    kn.good("trigger", "create", "t", "--broker", "b", "--sink", sink.url, "-n", space)
    assert ready(kn, "trigger", "list", "-n", space)["CONDITIONS"] == "7 OK / 8"
    assert request("POST", f"{broker.ingress}/brokers/{space}/b", b"x", event("1")).status == 202
    wait_for(lambda: ready(kn, "trigger", "list", "-n", space)["CONDITIONS"] == "8 OK / 8", "all conditions to be counted")


def test_a_bad_schedule_is_refused(kn, space, get):
    done = kn("source", "ping", "create", "p", "--schedule", "soon", "--sink", URL, "-n", space)
    assert done.code == 1 and "spec.schedule" in done.err and "a cron line has 5 fields" in done.err, done
    assert get(SOURCES, "pingsources", "p") is None
    kn.good("source", "ping", "create", "p", "--schedule", "0 0 1 1 *", "--sink", URL, "-n", space)
    done = kn("source", "ping", "update", "p", "--schedule", "0 25 * * *", "-n", space)
    assert done.code == 1 and "spec.schedule" in done.err and get(SOURCES, "pingsources", "p")["spec"]["schedule"] == "0 0 1 1 *", done


def test_apiserver(kn, space, get):
    kn.good("source", "apiserver", "create", "a", "--resource", "Event:v1", "--service-account", "x", "--sink", URL, "-n", space)
    said(get, SOURCES, "apiserversources", "a")
    kn.good("source", "apiserver", "update", "a", "--resource", "Pod:v1", "--mode", "Resource", "-n", space)
    spec = get(SOURCES, "apiserversources", "a")["spec"]
    assert spec["mode"] == "Resource" and [r["kind"] for r in spec["resources"]] == ["Event", "Pod"]
    assert names(kn("source", "apiserver", "list", "-n", space)) == ["a"]
    assert "Pod (v1)" in kn.good("source", "apiserver", "describe", "a", "-n", space).out
    kn.good("source", "apiserver", "delete", "a", "-n", space)


def test_container(kn, space, get):
    kn.good("source", "container", "create", "k", "--image", "one", "--sink", URL, "-n", space)
    said(get, SOURCES, "containersources", "k")
    kn.good("source", "container", "update", "k", "--image", "two", "-n", space)
    assert get(SOURCES, "containersources", "k")["spec"]["template"]["spec"]["containers"][0]["image"] == "two"
    assert names(kn("source", "container", "list", "-n", space)) == ["k"]
    assert "two" in kn.good("source", "container", "describe", "k", "-n", space).out
    kn.good("source", "container", "delete", "k", "-n", space)


def test_binding(kn, space, get):
    kn.good("source", "binding", "create", "b", "--subject", "Job:batch/v1:x", "--sink", URL, "-n", space)
    said(get, SOURCES, "sinkbindings", "b")
    kn.good("source", "binding", "update", "b", "--ce-override", "a=b", "-n", space)
    assert get(SOURCES, "sinkbindings", "b")["spec"]["ceOverrides"] == {"extensions": {"a": "b"}}
    assert names(kn("source", "binding", "list", "-n", space)) == ["b"]
    assert "Job (batch/v1)" in kn.good("source", "binding", "describe", "b", "-n", space).out
    kn.good("source", "binding", "delete", "b", "-n", space)


# ---- event types: kn knows v1beta2 alone, and what is kept is v1beta3 ----


def test_event_type(kn, space, get):
    kn.good("broker", "create", "shop", "-n", space)
    kn.good("eventtype", "create", "e", "--type", "order.made", "--source", "/till", "--broker", "shop", "-n", space)
    row = ready(kn, "eventtype", "list", "-n", space)
    assert (row["TYPE"], row["SOURCE"], row["REFERENCE"]) == ("order.made", "/till", "shop")
    out = kn.good("eventtype", "describe", "e", "-n", space).out
    assert "Source:        /till" in out and "Kind:        Broker" in out
    kept = get("eventing.knative.dev/v1beta3", "eventtypes", "e")
    assert {(a["name"], a.get("value")) for a in kept["spec"]["attributes"]} == {("type", "order.made"), ("source", "/till"), ("specversion", None), ("id", None)}
    assert kept["spec"]["reference"]["name"] == "shop" and kept["apiVersion"] == "eventing.knative.dev/v1beta3"
    for version in ("v1beta1", "v1beta2"):
        old = get(f"eventing.knative.dev/{version}", "eventtypes", "e")
        assert old["apiVersion"] == f"eventing.knative.dev/{version}" and old["spec"]["type"] == "order.made" and "attributes" not in old["spec"]
    kn.good("eventtype", "delete", "e", "-n", space)
    assert get("eventing.knative.dev/v1beta3", "eventtypes", "e") is None


def test_an_event_type_of_today_is_seen_by_kn(kn, broker, space):
    attributes = [{"name": "type", "required": True, "value": "a"}, {"name": "source", "required": True, "value": "/s"}, {"name": "specversion", "required": True}, {"name": "id", "required": True}, {"name": "subject", "value": "x"}]
    thing = {"apiVersion": "eventing.knative.dev/v1beta3", "kind": "EventType", "metadata": {"name": "e", "namespace": space}, "spec": {"attributes": attributes}}
    assert broker.ask("POST", f"/apis/eventing.knative.dev/v1beta3/namespaces/{space}/eventtypes", thing).status == 201
    rows = kn("eventtype", "list", "-n", space).rows
    assert [(r["NAME"], r["TYPE"], r["SOURCE"]) for r in rows] == [("e", "a", "/s")]


def test_an_older_version_takes_nothing_away(broker, space, tmp_path):
    """`edit`, `label` and `patch` through v1beta2 leave what only v1beta3 can say."""
    attributes = [{"name": "type", "required": True, "value": "a"}, {"name": "source", "required": True}, {"name": "specversion", "required": True}, {"name": "id", "required": True}, {"name": "subject", "value": "x"}]
    base = f"/apis/eventing.knative.dev/%s/namespaces/{space}/eventtypes"
    thing = {"apiVersion": "eventing.knative.dev/v1beta3", "kind": "EventType", "metadata": {"name": "e", "namespace": space}, "spec": {"attributes": attributes}}
    assert broker.ask("POST", base % "v1beta3", thing).status == 201
    kubectl = Kubectl(NEW, broker.api, tmp_path)
    kubectl.good("patch", "eventtypes.v1beta2.eventing.knative.dev", "e", "-n", space, "--type=merge", "-p", json.dumps({"spec": {"type": "b"}}))
    attributes[0]["value"] = "b"
    assert broker.ask("GET", base % "v1beta3" + "/e").json()["spec"]["attributes"] == attributes
    kubectl.good("label", "eventtypes.v1beta2.eventing.knative.dev", "e", "-n", space, "a=b")
    now = broker.ask("GET", base % "v1beta3" + "/e").json()
    assert now["spec"]["attributes"] == attributes and now["metadata"]["labels"] == {"a": "b"} and "annotations" not in now["metadata"]


def test_a_body_of_another_version_than_its_path(broker, space):
    base = f"/apis/eventing.knative.dev/v1beta2/namespaces/{space}/eventtypes"
    answer = broker.ask("POST", base, {"apiVersion": "eventing.knative.dev/v1beta1", "kind": "EventType", "metadata": {"name": "e"}, "spec": {"type": "a"}})
    assert answer.status == 400 and "does not match the expected API version (eventing.knative.dev/v1beta2)" in answer.json()["message"], answer


def test_a_watch_of_an_older_version(broker, space):
    base = f"/apis/eventing.knative.dev/v1beta2/namespaces/{space}/eventtypes"
    answer = broker.ask("POST", base, {"apiVersion": "eventing.knative.dev/v1beta2", "kind": "EventType", "metadata": {"name": "e"}, "spec": {"type": "a"}})
    assert answer.status == 201 and answer.json()["apiVersion"] == "eventing.knative.dev/v1beta2" and answer.json()["spec"] == {"type": "a"}
    version = int(answer.json()["metadata"]["resourceVersion"]) - 1
    changes = [json.loads(line) for line in broker.ask("GET", f"{base}?watch=true&resourceVersion={version}&timeoutSeconds=1").text.splitlines()]
    assert [(c["type"], c["object"]["apiVersion"], c["object"]["spec"]) for c in changes][0] == ("ADDED", "eventing.knative.dev/v1beta2", {"type": "a"})
    walked = [json.loads(line) for line in broker.ask("GET", f"{base}?watch=true&timeoutSeconds=1").text.splitlines()]
    assert walked[0]["object"]["spec"] == {"type": "a"}
    assert [i["spec"] for i in broker.ask("GET", base).json()["items"]] == [{"type": "a"}]


# ---- other kinds of several versions: one object, its fields the same ----


@pytest.mark.parametrize("group, plural, kind, versions, spec", [
    ("sources.knative.dev", "pingsources", "PingSource", ("v1", "v1beta2"), {"schedule": "0 0 1 1 *", "sink": {"uri": URL}}),
    ("messaging.knative.dev", "kafkachannels", "KafkaChannel", ("v1", "v1beta1"), {"numPartitions": 2}),
    ("sources.knative.dev", "kafkasources", "KafkaSource", ("v1", "v1beta1"), {"bootstrapServers": ["x:9092"], "topics": ["t"], "sink": {"uri": URL}}),
])
def test_one_object_through_each_version(broker, space, group, plural, kind, versions, spec):
    for written in versions:
        paths = {v: f"/apis/{group}/{v}/namespaces/{space}/{plural}" for v in versions}
        made = broker.ask("POST", paths[written], {"apiVersion": f"{group}/{written}", "kind": kind, "metadata": {"name": written}, "spec": spec})
        assert made.status == 201, made
        for version, path in paths.items():
            seen = broker.ask("GET", f"{path}/{written}").json()
            assert (seen["apiVersion"], seen["metadata"]["uid"]) == (f"{group}/{version}", made.json()["metadata"]["uid"])
            assert {i["apiVersion"] for i in broker.ask("GET", path).json()["items"]} <= {None, f"{group}/{version}"}
            seen["metadata"] = {"name": written, "labels": {"by": version}}
            assert broker.ask("PUT", f"{path}/{written}", seen).status == 200
