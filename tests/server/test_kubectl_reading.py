# SPDX-License-Identifier: Apache-2.0
"""What the real kubectl reads of a server: discovery, tables, lists, selectors, pages, explain. Every check runs a new kubectl and an old one, but for those on the wire alone."""

import json

import pytest

from broker import MESSAGING, channel, subscription
from kubectl import NEW, OLD, Kubectl
from leat import wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList"


def labelled(name, namespace="default", **labels):
    thing = channel(name, namespace)
    thing["metadata"]["labels"] = labels
    return thing


@pytest.fixture(scope="module")
def broker(serve_module):
    broker = serve_module([labelled("a", team="red", tier="1"), labelled("b", team="blue"), labelled("c"), labelled("d", "other", team="red"), subscription("s", "a", "http://127.0.0.1:1/")])
    wait_for(lambda: all(item.get("status") for item in broker.ask("GET", f"/apis/{MESSAGING}/channels").json()["items"]), "the statuses")
    return broker


@pytest.fixture(scope="module", params=[NEW, OLD], ids=["new", "old"])
def kubectl(request, broker, tmp_path_factory):
    return Kubectl(request.param, broker.api, tmp_path_factory.mktemp("home"))


# ---- discovery ----


def test_version(kubectl):
    assert "Server Version: v1." in kubectl.good("version").out


def test_api_resources(kubectl):
    kinds = {(line.split()[-1], line.split()[-3]) for line in kubectl.good("api-resources", "--no-headers").out.split("\n")}
    assert {("Channel", MESSAGING), ("Channel", "channels.knative.dev/v1alpha1"), ("Secret", "v1"), ("Trigger", "eventing.knative.dev/v1"), ("CustomResourceDefinition", "apiextensions.k8s.io/v1")} <= kinds


def test_api_versions(kubectl):
    assert {"v1", MESSAGING, "eventing.knative.dev/v1", "sources.knative.dev/v1"} <= set(kubectl.good("api-versions").out.split())


@pytest.mark.parametrize("word", ["channel", "channels", "ch", "Channel.messaging.knative.dev", "channels.v1.messaging.knative.dev"])
def test_a_kind_by_each_of_its_words(kubectl, word):
    assert kubectl.good("get", word, "-o", "name").out.split("\n") == [f"channel.messaging.knative.dev/{n}" for n in "abc"]


def test_categories(kubectl):
    assert {"channel.messaging.knative.dev/a", "subscription.messaging.knative.dev/s"} <= set(kubectl.good("get", "knative", "-o", "name").out.split())


def test_definitions(kubectl):
    listed = kubectl.good("get", "crd", "-l", "messaging.knative.dev/subscribable=true", "-o", "name").out
    assert "customresourcedefinition.apiextensions.k8s.io/channels.messaging.knative.dev" in listed and "triggers" not in listed
    assert kubectl.good("get", "crd", "channels.messaging.knative.dev", "-o", "json").json["spec"]["names"]["kind"] == "Channel"


def test_aggregated_discovery_is_one_document(broker):
    for version in ("v2", "v2beta1"):
        answer = broker.ask("GET", "/apis", headers={"Accept": AGGREGATED % version + ",application/json"})
        assert answer.status == 200 and answer.headers["content-type"] == AGGREGATED % version, answer
        assert answer.json()["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        groups = {item["metadata"]["name"]: item for item in answer.json()["items"]}
        resource = {r["resource"]: r for r in groups["messaging.knative.dev"]["versions"][0]["resources"]}["channels"]
        assert resource["responseKind"]["kind"] == "Channel" and resource["scope"] == "Namespaced" and resource["shortNames"] == ["ch"] and "watch" in resource["verbs"]


def test_discovery_group_by_group(broker):
    assert broker.ask("GET", "/api").json()["versions"] == ["v1"]
    groups = {g["name"]: g for g in broker.ask("GET", "/apis", headers={"Accept": "application/json"}).json()["groups"]}
    assert groups["messaging.knative.dev"]["preferredVersion"]["groupVersion"] == MESSAGING
    assert broker.ask("GET", "/apis/messaging.knative.dev").json()["kind"] == "APIGroup"
    resources = broker.ask("GET", f"/apis/{MESSAGING}").json()["resources"]
    assert {"channels", "channels/status", "subscriptions"} <= {r["name"] for r in resources}
    assert "secrets" in {r["name"] for r in broker.ask("GET", "/api/v1").json()["resources"]}


@pytest.mark.parametrize("path", ["/apis/none", "/apis/none/v1", f"/apis/{MESSAGING}/", "/api/v2", "/apis//v1", "/openapi", "/openapi/v3/apis/none/v1", "/openapi/v3x"])
def test_discovery_of_what_is_not_there(broker, path):
    assert broker.ask("GET", path).status == 404


def test_a_document_that_is_known_is_not_sent_again(broker):
    for path in ("/apis", "/openapi/v3", f"/openapi/v3/apis/{MESSAGING}"):
        first = broker.ask("GET", path)
        again = broker.ask("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert first.status == 200 and again.status == 304 and not again.body, path


# ---- explain ----


def test_explain(kubectl):
    assert "How events are delivered." in kubectl.good("explain", "channels.spec").out
    assert "backoffPolicy\t<string>" in kubectl.good("explain", "channels.spec.delivery").out
    assert "nothing" not in kubectl.good("explain", "triggers", "--recursive").out


def test_explain_of_what_is_not_there(kubectl):
    assert 'field "nothing" does not exist' in kubectl("explain", "channels.spec.nothing").err


@pytest.mark.parametrize("form", ["plaintext", "plaintext-openapiv2"])
def test_explain_of_every_kind(kubectl, broker, form):
    """By both versions of OpenAPI; the second one is asked for in protobuf."""
    kinds = [(r["name"], group["name"], v["version"]) for group in broker.ask("GET", "/apis", headers={"Accept": "application/json"}).json()["groups"] for v in group["versions"] for r in broker.ask("GET", f"/apis/{group['name']}/{v['version']}").json()["resources"] if "/" not in r["name"]]
    kinds = [k for k in kinds if k[1] != "apiextensions.k8s.io"] if form == "plaintext" else [k for k in kinds if k[1] == "eventing.knative.dev"]
    assert len(kinds) > 5
    for plural, group, version in kinds if kubectl.program == NEW else kinds[:3]:
        out = kubectl.good("explain", plural, "--recursive", "--api-version", f"{group}/{version}", "--output", form).out
        assert "FIELDS:" in out and "<" in out.split("FIELDS:")[1], (plural, out)


def fields(message):
    """The fields of a protobuf message: (number, wire type, value); a broken one fails."""

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            value, shift, at = value | (message[at] & 127) << shift, shift + 7, at + 1
            if message[at - 1] < 128:
                return value

    at = 0
    while at < len(message):
        tag = varint()
        wire = tag & 7
        assert wire in (0, 1, 2), wire
        size = {1: 8, 2: 0}.get(wire, 0)
        value = varint() if wire == 0 else None
        if wire == 2:
            size = varint()
        if wire:
            value, at = message[at : at + size], at + size
            assert len(value) == size
        yield tag >> 3, wire, value


def one(message, number):
    return next(value for field, _, value in fields(message) if field == number)


def test_openapi_v2_is_the_same_in_json_and_protobuf(broker):
    answer = broker.ask("GET", "/openapi/v2")
    tree = answer.json()
    assert tree["swagger"] == "2.0" and answer.headers["content-type"] == "application/json"
    packed = broker.ask("GET", "/openapi/v2", headers={"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"})
    assert packed.headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert one(packed.body, 1) == b"2.0"

    def same(schema, message):
        got = list(fields(message))
        texts = {2: "format", 4: "description", 13: "pattern"}
        assert {texts[n]: v.decode() for n, _, v in got if n in texts} == {k: v for k, v in schema.items() if k in texts.values()}
        assert [v.decode() for n, _, v in got if n == 19] == schema.get("required", [])
        assert [one(v, 1).decode() for n, _, v in got if n == 22] == ([schema["type"]] if "type" in schema else [])
        assert {one(v, 1).decode(): json.loads(one(one(v, 2), 2)) for n, _, v in got if n == 31} == {k: v for k, v in schema.items() if k.startswith("x-")}
        assert [json.loads(one(v, 2)) for n, _, v in got if n == 20] == schema.get("enum", [])
        inner = {one(v, 1).decode(): one(v, 2) for n, _, p in got if n == 25 for _, _, v in fields(p)}
        assert set(inner) == set(schema.get("properties", {}))
        for name, value in inner.items():
            same(schema["properties"][name], value)
        for n, _, v in got:
            if n == 23:
                same(schema["items"], one(v, 1))
            if n == 21 and isinstance(schema["additionalProperties"], dict):
                same(schema["additionalProperties"], one(v, 1))

    names = {one(v, 1).decode(): one(v, 2) for _, _, v in fields(one(packed.body, 9))}
    assert set(names) == set(tree["definitions"]) and "dev.knative.eventing.v1.Trigger" in names
    for name, message in names.items():
        same(tree["definitions"][name], message)
    assert {one(v, 1).decode() for _, _, v in fields(one(packed.body, 8))} == set(tree["paths"])
    again = broker.ask("GET", "/openapi/v2", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status == 304 and not again.body


# ---- tables ----


def test_the_columns_of_a_channel(kubectl, broker):
    rows = kubectl.good("get", "channels").rows
    assert [list(r) for r in rows] == [["NAME", "URL", "AGE", "READY", "REASON"]] * 3
    assert rows[0]["NAME"] == "a" and rows[0]["URL"] == broker.ingress + "/channels/default/a" and rows[0]["READY"] == "True" and rows[0]["AGE"][-1] in "sm"


def test_all_namespaces_labels_and_order(kubectl):
    rows = kubectl.good("get", "channels", "-A", "--show-labels", "--sort-by", "{.metadata.name}").rows
    assert [(r["NAMESPACE"], r["NAME"]) for r in rows] == [("default", "a"), ("default", "b"), ("default", "c"), ("other", "d")]
    assert rows[0]["LABELS"] == "team=red,tier=1" and rows[2]["LABELS"] == "<none>"


def test_other_outputs(kubectl):
    assert kubectl.good("get", "ch", "a", "-o", "jsonpath={.status.address.url}").out.endswith("/channels/default/a")
    assert kubectl.good("get", "ch", "-o", "custom-columns=N:.metadata.name", "--no-headers").out.split() == ["a", "b", "c"]
    assert kubectl.good("get", "ch", "-o", "json").json["items"][0]["kind"] == "Channel"
    assert "kind: Channel" in kubectl.good("get", "ch", "a", "-o", "yaml").out


def test_describe(kubectl):
    out = kubectl.good("describe", "channel.messaging.knative.dev/a").out
    assert "Name:         a" in out and "BackingChannelReady" in out


def test_nothing(kubectl):
    assert kubectl.good("get", "channels", "-n", "nobody").err == "No resources found in nobody namespace."


def test_not_found(kubectl):
    done = kubectl("get", "channel.messaging.knative.dev/none")
    assert done.code == 1 and done.err == 'Error from server (NotFound): channels.messaging.knative.dev "none" not found'


def test_a_table_on_the_wire(broker):
    table = broker.ask("GET", CHANNELS, headers=TABLE).json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1") and table["metadata"]["resourceVersion"]
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "URL", "Age", "Ready", "Reason"]
    assert table["rows"][0]["cells"][0] == "a" and table["rows"][0]["object"]["kind"] == "PartialObjectMetadata" and table["rows"][0]["object"]["metadata"]["name"] == "a"
    assert broker.ask("GET", CHANNELS + "?includeObject=None", headers=TABLE).json()["rows"][0]["object"] is None
    assert broker.ask("GET", CHANNELS + "/a?includeObject=Object", headers=TABLE).json()["rows"][0]["object"]["kind"] == "Channel"


def test_metadata_alone(broker):
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    listed = broker.ask("GET", CHANNELS, headers=accept).json()
    assert listed["kind"] == "PartialObjectMetadataList" and [list(i) for i in listed["items"]] == [["kind", "apiVersion", "metadata"]] * 3


@pytest.mark.parametrize("accept, status", [("application/vnd.kubernetes.protobuf,application/json", 200), ("*/*", 200), ("text/html, */*;q=0.1", 200), ("", 200), ("application/vnd.kubernetes.protobuf", 406), ("application/json;as=Table;g=meta.k8s.io;v=v9", 406), ("image/png", 406)])
def test_forms_that_are_asked_for(broker, accept, status):
    answer = broker.ask("GET", CHANNELS, headers={"Accept": accept})
    assert answer.status == status and answer.headers["content-type"] == "application/json"


# ---- selectors, pages ----

LABELS = [("team=red", "a"), ("team==red", "a"), ("team!=red", "bc"), ("team", "ab"), ("!team", "c"), ("team in (red,blue)", "ab"), ("team notin (red)", "bc"), ("team=red,tier=1", "a"), ("team=red,!tier", ""), ("", "abc"), ("team in ()", "")]


@pytest.mark.parametrize("selector, names", LABELS)
def test_label_selectors(kubectl, selector, names):
    assert [line.rpartition("/")[2] for line in kubectl.good("get", "ch", "-o", "name", "-l", selector).out.split()] == list(names)


@pytest.mark.parametrize("selector, names", [("metadata.name=a", "a"), ("metadata.name!=a", "bc"), ("metadata.namespace=default,metadata.name=b", "b"), ("metadata.namespace=other", "")])
def test_field_selectors(kubectl, selector, names):
    assert [line.rpartition("/")[2] for line in kubectl.good("get", "ch", "-o", "name", "--field-selector", selector).out.split()] == list(names)


@pytest.mark.parametrize("query", ["labelSelector=a+in", "labelSelector=%3D", "labelSelector=a,,b", "labelSelector=a+b", "labelSelector=" + "a," * 100, "labelSelector=%zz", "fieldSelector=spec.x%3D1", "fieldSelector=metadata.name", "continue=x", "continue=AAAA", "limit=x", "resourceVersion=x"])
def test_400_of_bad_queries(broker, query):
    answer = broker.ask("GET", f"{CHANNELS}?{query}")
    assert answer.status == 400 and answer.json()["reason"] == "BadRequest" and answer.json()["message"], answer


def test_pages(kubectl, broker):
    assert kubectl.good("get", "ch", "--chunk-size", "1", "-o", "name").out.split() == [f"channel.messaging.knative.dev/{n}" for n in "abc"]
    first = broker.ask("GET", CHANNELS + "?limit=2").json()
    assert [i["metadata"]["name"] for i in first["items"]] == ["a", "b"] and first["metadata"]["remainingItemCount"] == 1
    second = broker.ask("GET", f"{CHANNELS}?limit=2&continue={first['metadata']['continue'].replace('=', '%3D').replace('+', '%2B')}").json()
    assert [i["metadata"]["name"] for i in second["items"]] == ["c"] and "continue" not in second["metadata"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_version_that_is_not_there_yet(broker):
    answer = broker.ask("GET", CHANNELS + "?resourceVersion=999999999")
    assert answer.status == 504 and answer.json()["reason"] == "Timeout" and answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert broker.ask("GET", CHANNELS + "?resourceVersion=1").status == 200


def test_what_paths_there_are(kubectl, broker):
    paths = json.loads(kubectl.good("get", "--raw", "/").out)["paths"]
    assert {"/api/v1", "/apis/messaging.knative.dev", "/apis/messaging.knative.dev/v1", "/openapi/v3", "/version"} <= set(paths) and len(paths) == len(set(paths))
    for path in paths:
        assert path == "/leat/v1" or broker.ask("GET", path).status == 200, path


def test_every_field_of_a_kind_that_all_have_is_described(kubectl):
    told = kubectl.good("explain", "channels").out
    for field in ("apiVersion", "kind", "metadata"):
        assert "<no description>" not in told.partition(f"  {field}\t")[2].partition("\n\n")[0], told
