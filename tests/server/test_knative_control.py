# SPDX-License-Identifier: Apache-2.0
"""Knative's conformance statements about resources, each test named after its number in the upstream list: T1 to T6, T27, T31.

T26 (ApiServerSource), T28 (OIDC) and T29 (TLS of ingress) are about parts that this build does not have.
"""

import copy
import json
import pathlib
import re

import pytest

from broker import event, exchange
from leat import ROOT, request, wait_for
from topology import API_OF, condition, hear, mesh, object_of, parallel, path_of, place, ready, resource, send, sequence, terms, trigger

CHANNEL = resource("Channel", "c", {})
REFUSED = {400, 409, 422}


def make(broker, *objects):
    for o in objects:
        answer = broker.ask("POST", path_of(o["kind"], namespace=o["metadata"]["namespace"]), o)
        assert answer.status == 201, answer


def replace(broker, o):
    return broker.ask("PUT", path_of(o["kind"], o["metadata"]["name"], o["metadata"]["namespace"]), o)


def test_t01_broker_is_ready_and_addressable(serve):
    broker = serve()
    make(broker, mesh("shop"))
    ready(broker, mesh("shop"))
    seen = object_of(broker, "Broker", "shop")["status"]
    url = seen["address"]["url"]
    assert url.startswith(broker.ingress) and url.endswith("/default/shop")
    assert {c["type"] for c in seen["conditions"]} >= {"Ready", "IngressReady", "TriggerChannelReady", "FilterReady", "Addressable", "DeadLetterSinkResolved"}
    assert all(c["status"] == "True" for c in seen["conditions"]), seen
    assert condition(broker, "Broker", "shop", "DeadLetterSinkResolved")["reason"] == "DeadLetterSinkNotConfigured"
    assert seen["observedGeneration"] == 1
    wait_for(lambda: 200 <= request("POST", url, b"", event()).status < 300, f"a 2xx of {url}")


IMMUTABLE = {
    "broker class": (mesh("b", **{"eventing.knative.dev/broker.class": "MTChannelBasedBroker"}), lambda o: o["metadata"]["annotations"].update({"eventing.knative.dev/broker.class": "Kafka"})),
    "broker config": (resource("Broker", "b", {"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "one"}}), lambda o: o["spec"]["config"].update(name="two")),
    "trigger broker": (trigger("t", "b", "http://127.0.0.1:1/"), lambda o: o["spec"].update(broker="other")),
    "subscription channel": (hear("s", "c", "http://127.0.0.1:1/"), lambda o: o["spec"]["channel"].update(name="other")),
    "channel template": (resource("Channel", "c", {"channelTemplate": {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}}), lambda o: o["spec"]["channelTemplate"].update(kind="KafkaChannel")),
}


@pytest.mark.parametrize("what", IMMUTABLE)
def test_t02_what_cannot_be_changed(serve, run, tmp_path, what):
    first, change = IMMUTABLE[what]
    broker = serve()
    make(broker, first)
    changed = copy.deepcopy(first)
    change(changed)
    answer = replace(broker, changed)
    assert answer.status in REFUSED and "immutable" in answer.json()["message"].lower().replace("cannot be changed", "immutable"), answer
    path = tmp_path / "changed.yaml"
    path.write_text(json.dumps(changed))
    code, _, err = run("apply", "-f", path, "--server", broker.api)
    assert code not in (0, None) and err
    kept = object_of(broker, first["kind"], first["metadata"]["name"])
    assert kept["metadata"]["generation"] == 1, "nothing of it was taken"


def test_t02_delivery_of_a_broker_may_change(serve):
    broker = serve()
    make(broker, mesh("b"))
    answer = replace(broker, mesh("b", delivery={"retry": 3}))
    assert answer.status == 200 and answer.json()["spec"]["delivery"]["retry"] == 3


def test_t03_dead_letter_sink_uri_in_status(serve):
    broker = serve()
    dead = {"deadLetterSink": {"uri": "http://127.0.0.1:1/dead"}}
    objects = [mesh("b", delivery=dead), trigger("own", "b", "http://127.0.0.1:1/", delivery={"deadLetterSink": place("Channel/c")}), trigger("brokers", "b", "http://127.0.0.1:1/"), CHANNEL, resource("Channel", "d", {"delivery": dead}), hear("s", "d", "http://127.0.0.1:1/")]
    make(broker, *objects)
    ready(broker, *objects)
    assert object_of(broker, "Broker", "b")["status"]["deadLetterSinkUri"] == "http://127.0.0.1:1/dead"
    assert object_of(broker, "Channel", "d")["status"]["deadLetterSinkUri"] == "http://127.0.0.1:1/dead"
    assert object_of(broker, "Trigger", "own")["status"]["deadLetterSinkUri"] == broker.ingress + "/channels/default/c"
    assert object_of(broker, "Trigger", "brokers")["status"]["deadLetterSinkUri"] == "http://127.0.0.1:1/dead"
    assert object_of(broker, "Subscription", "s")["status"]["physicalSubscription"]["deadLetterSinkUri"] == "http://127.0.0.1:1/dead"


def test_t04_trigger_before_its_broker(serve, sink):
    broker = serve()
    early = trigger("early", "late-broker", sink.url + "in")
    make(broker, early)
    wait_for(lambda: condition(broker, "Trigger", "early", "BrokerReady").get("status") == "False", "the reason")
    waiting = condition(broker, "Trigger", "early")
    assert waiting["status"] != "True" and "late-broker" in waiting["message"]
    make(broker, mesh("late-broker"))
    ready(broker, early)
    assert object_of(broker, "Trigger", "early")["status"]["subscriberUri"] == sink.url + "in"
    assert {c["type"] for c in object_of(broker, "Trigger", "early")["status"]["conditions"]} >= {"Ready", "BrokerReady", "SubscriptionReady", "DependencyReady", "SubscriberResolved", "DeadLetterSinkResolved"}
    wait_for(lambda: send(broker, "Broker/late-broker", b"", event()).status == 202, "the broker")
    assert sink.wait(1)[0].path == "/in"


def test_t04_subscription_before_its_channel(serve, sink):
    broker = serve()
    early = hear("early", "c", sink.url)
    make(broker, early)
    wait_for(lambda: condition(broker, "Subscription", "early").get("status") in ("False", "Unknown"), "the reason")
    make(broker, CHANNEL)
    ready(broker, early)
    assert object_of(broker, "Subscription", "early")["status"]["physicalSubscription"]["subscriberUri"] == sink.url


def test_t05_defaults_of_a_trigger(serve):
    broker = serve()
    plain = {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "t", "namespace": "shop"}, "spec": {"broker": "b", "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "svc"}}}}
    make(broker, plain)
    seen = object_of(broker, "Trigger", "t", "shop")
    assert seen["spec"]["filter"] == {}
    assert seen["spec"]["subscriber"]["ref"]["namespace"] == "shop"
    assert seen["metadata"]["labels"]["eventing.knative.dev/broker"] == "b"


def test_t05_defaults_of_a_broker(serve):
    broker = serve()
    make(broker, mesh("b"))
    seen = object_of(broker, "Broker", "b")
    assert seen["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "MTChannelBasedBroker"
    assert {k: seen["spec"]["delivery"][k] for k in ("retry", "backoffPolicy", "backoffDelay")} == {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}


GOOD_NAMES = ["source", "type", "id", "subject", "time", "dataschema", "specversion", "extension", "ext3ns10n", "a"]
BAD_NAMES = ["SOURCE", "Source", "souRce", "s pace s", "s_pace_s", "s-pace-s", "123", "\N{GRINNING FACE}", "!@#$%^&*()-_=_`~+\\", "{}[];':\"<>,./?"]


def test_t06_attribute_names_of_filters(serve):
    broker = serve()
    for i, name in enumerate(GOOD_NAMES):
        good = trigger(f"good-{i}", "b", "http://127.0.0.1:1/", attributes={name: "v"})
        make(broker, good)
        assert object_of(broker, "Trigger", f"good-{i}")["spec"]["filter"]["attributes"] == {name: "v"}
    for name in BAD_NAMES:
        bad = trigger("bad", "b", "http://127.0.0.1:1/", attributes={name: "v"})
        answer = broker.ask("POST", path_of("Trigger"), bad)
        assert answer.status in REFUSED, (name, answer)
        assert "filter.attributes" in answer.json()["message"], answer
    for name in BAD_NAMES:
        for dialect in ("exact", "prefix", "suffix"):
            answer = broker.ask("POST", path_of("Trigger"), trigger("bad", "b", "http://127.0.0.1:1/", [{dialect: {name: "v"}}]))
            assert answer.status in REFUSED and f"filters[0].{dialect}" in answer.json()["message"], (name, answer)


TRANSFORM = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "EventTransform", "metadata": {"name": "x", "namespace": "default"}, "spec": {"jsonata": {"expression": "$"}}}
REQUEST_REPLY = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "RequestReply", "metadata": {"name": "x", "namespace": "default"}, "spec": {"brokerRef": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}}}


@pytest.mark.parametrize("thing", [TRANSFORM, REQUEST_REPLY], ids=["EventTransform", "RequestReply"])
def test_t27_what_this_build_cannot_do_is_said_in_a_condition(serve, thing):
    """The kinds are taken, so that one set of manifests serves here and there; that nothing comes of them is said, not kept silent."""
    broker = serve()
    path = f"/apis/eventing.knative.dev/v1alpha1/namespaces/default/{'eventtransforms' if thing is TRANSFORM else 'requestreplies'}"
    assert broker.ask("POST", path, thing).status == 201
    wait_for(lambda: broker.ask("GET", path + "/x").json().get("status", {}).get("conditions"), "a condition")
    ready_ = next(c for c in broker.ask("GET", path + "/x").json()["status"]["conditions"] if c["type"] == "Ready")
    assert ready_["status"] == "False" and ready_["reason"] and ready_["message"]


CRDS = sorted(pathlib.Path(ROOT, "deploy/crds").glob("*.yaml"))


def under(text, key):
    """The lines that are deeper than the first `key:` of a YAML text, stripped."""
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.strip() == key + ":")
    depth = len(lines[first]) - len(lines[first].lstrip())
    found = []
    for line in lines[first + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        found.append(line.strip())
    return found


@pytest.mark.parametrize("path", CRDS, ids=lambda p: p.stem)
def test_t31_labels_categories_and_columns(path):
    text = path.read_text()
    group, kind, plural = (re.search(rf"^ +{key}: (\S+)$", text, re.M)[1] for key in ("group", "kind", "plural"))
    assert f"\n  name: {plural}.{group}\n" in text and path.stem == f"{group}_{plural}"
    assert {"- all", "- knative"} <= set(under(text, "categories"))
    assert text.count("storage: true") == 1 and "served: false" not in text
    assert ("subresources:" in text) == (kind != "RabbitmqBrokerConfig")  # Knative's has no status
    labels = under(text, "labels") if "\n  labels:\n" in text else []
    if group == "messaging.knative.dev" and kind.endswith("Channel"):
        assert "messaging.knative.dev/subscribable: 'true'" in labels
    if (group, kind) in {(API_OF[k].split("/")[0], k) for k in ("Channel", "InMemoryChannel", "Broker", "Sequence", "Parallel")}:
        assert "duck.knative.dev/addressable: 'true'" in labels
        assert {"- name: URL", "- name: Age", "- name: Ready", "- name: Reason"} <= set(under(text, "additionalPrinterColumns"))


@pytest.mark.parametrize("made", [sequence("flow", ["http://127.0.0.1:1/"]), parallel("flow", [{"subscriber": {"uri": "http://127.0.0.1:1/"}}])], ids=["Sequence", "Parallel"])
def test_t24_flows_are_ready_and_addressable(serve, made):
    broker = serve()
    make(broker, made)
    ready(broker, made)
    status = object_of(broker, made["kind"], "flow")["status"]
    assert status["address"]["url"].startswith(broker.ingress) and status["address"]["url"].endswith("/default/flow")
    assert {c["type"] for c in status["conditions"]} >= ({"Ready", "ChannelsReady", "SubscriptionsReady", "Addressable"} if made["kind"] == "Sequence" else {"Ready", "Addressable"})
    if made["kind"] == "Sequence":
        assert len(status["subscriptionStatuses"]) == len(status["channelStatuses"]) == 1
    else:
        assert len(status["branchStatuses"]) == 1 and status["ingressChannelStatus"]


def test_terms_are_checked_at_admission(serve):
    """Wrong durations, policies and counts: refused with the path of the field."""
    broker = serve()
    for field, value in (("backoffDelay", "5s"), ("timeout", "PT0S"), ("backoffPolicy", "quadratic"), ("retry", -1), ("retryAfterMax", "P"), ("format", "xml"), ("backoffMax", "-PT1S")):
        for thing in (mesh("x", delivery={field: value}), trigger("x", "b", "http://127.0.0.1:1/", delivery={field: value}), hear("x", "c", "http://127.0.0.1:1/", delivery={field: value}), sequence("x", [("http://127.0.0.1:1/", terms(**{field: value}))])):
            answer = broker.ask("POST", path_of(thing["kind"]), thing)
            assert answer.status in REFUSED and f"delivery.{field}" in answer.json()["message"], (thing, answer)


def test_t01_knative_s_own_addresses(serve, sink):
    """A Broker is at /NAMESPACE/NAME too, as Knative's ingress has it, and a Channel behind its host name."""
    broker = serve([mesh("shop"), trigger("t", "shop", sink.url + "broker"), CHANNEL, hear("s", "c", sink.url + "channel")])
    assert request("POST", broker.ingress + "/default/shop", b"", event()).status == 202
    assert sink.wait(1)[0].path == "/broker"
    head = "".join(f"{k}: {v}\r\n" for k, v in event().items())
    answer = exchange(broker.ingress, f"POST / HTTP/1.1\r\nHost: c-kn-channel.default.svc.cluster.local\r\nConnection: close\r\nContent-Length: 0\r\n{head}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert sink.wait(2)[1].path == "/channel"
