# SPDX-License-Identifier: Apache-2.0
"""The same requests to leat and to a real kube-apiserver that has our definitions (deploy/crds): the answers are alike, but for what the table in docs/internals/api.md lists with its reason. A new
difference fails, and so does one that is listed and gone."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from alike import Peer, Step, form, of_answers  # noqa: E402
from leat import wait_for  # noqa: E402
from real.kubernetes import Kubernetes  # noqa: E402

PAGE = ROOT / "docs/internals/api.md"
HEAD = "| request | place | leat | kube-apiserver | why |"
ABSENT = ("status",)  # what leat's own controllers write; the other server has none

GROUP = "/apis/messaging.knative.dev/v1"
CHANNELS, SUBSCRIPTIONS = GROUP + "/namespaces/{ns}/channels", GROUP + "/namespaces/{ns}/subscriptions"
MAPS, SECRETS = "/api/v1/namespaces/{ns}/configmaps", "/api/v1/namespaces/{ns}/secrets"
SERVICES = "/api/v1/namespaces/{ns}/services"
EVENTS = "/api/v1/namespaces/{ns}/events"
APPLY = "application/apply-patch+yaml"
MERGE, PATCH, STRATEGIC = (f"application/{kind}+json" for kind in ("merge-patch", "json-patch", "strategic-merge-patch"))
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL, PARTIALS = ("application/json;as=PartialObjectMetadata%s;v=v1;g=meta.k8s.io,application/json" % word for word in ("", "List"))
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def channel(name="a", spec=None, **metadata):
    """With what Knative's defaults fill in, which the other server does not do."""
    spec = {"channelTemplate": {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}, **(spec or {})}
    return {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "spec": spec,
            "metadata": {**({"name": name} if name else {}), "annotations": {"messaging.knative.dev/creator": "x"}, **metadata}}


def config(name="a", **more):
    labels = more.pop("labels", None)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **({"labels": labels} if labels else {})}, "data": {"k": "v", **more}}


def get(path, accept="application/json"):
    return Step("GET", path, accept=accept)


def post(path, body, **more):
    return Step("POST", path, body, **more)


def delete(path, body=None, **more):
    return Step("DELETE", path, body, **more)


def patch(path, body, kind=MERGE, **more):
    return Step("PATCH", path, body, kind, **more)


def put(path, body, **more):
    return Step("PUT", path, body, **more)


def changed(answer, **spec):
    """A function for a body: the object of that answer with these fields of its spec."""
    return lambda answers: {**answers[answer].json, "spec": {**answers[answer].json["spec"], **spec}}


def old_version(answers):
    thing = answers[0].json
    return {**thing, "spec": {**thing["spec"], "delivery": {"retry": 9}}}


def without_version(answers):
    thing = answers[0].json
    del thing["metadata"]["resourceVersion"]
    return {**thing, "spec": {**thing["spec"], "delivery": {"retry": 9}}}


def applied(thing, by="one"):
    """Server-side apply of the channel a."""
    return patch(CHANNELS + "/a?fieldManager=" + by, thing, APPLY)


def event(namespace="{ns}"):
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "a", "namespace": namespace},
            "reason": "Tried", "message": "m", "type": "Normal", "source": {"component": "test"}, "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z", "count": 1}


def another_uid(answers):
    thing = answers[-1].json
    return {**thing, "metadata": {**thing["metadata"], "uid": "12345678-1234-1234-1234-123456789012"}}


def next_page(answers):
    return MAPS + "?limit=2&continue=" + answers[-1].json["metadata"]["continue"]


def from_version(answer, more=""):
    return lambda answers: MAPS + "?watch=true&timeoutSeconds=1&resourceVersion=" + answers[answer].json["metadata"]["resourceVersion"] + more


def named_maps(*names):
    return [post(MAPS, config(n, labels={"odd": str(i % 2), **({"first": ""} if i == 0 else {})})) for i, n in enumerate(names)]


def owner(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": f"12345678-0000-4000-8000-{len(name):012}"}


def port(number, name, target=None):
    return {"name": name, "port": number, "targetPort": target or number, "protocol": "TCP"}


def by_strategy(body=None, **changes):
    """Of a Service with two ports, finalizers, labels and an owner. Its cluster's address and the like are left out, which no two have alike."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "finalizers": ["example.org/a", "example.org/b"], "labels": {"x": "1", "y": "2"}, "ownerReferences": [owner("one")]},
               "spec": {"type": "ExternalName", "externalName": "example.org", "sessionAffinity": "None", "ports": [port(80, "http", 8080), port(443, "https")]}}
    return [post(SERVICES, service), patch(SERVICES + "/s", changes if body is None else body, STRATEGIC)]


A = post(CHANNELS, channel())
SETTLED = Step("GET", CHANNELS + "/a", settled=True)
HELD = post(CHANNELS, channel(finalizers=["example.org/hold"]))
RETRY = {"spec": {"delivery": {"retry": 3}}}

BARE = ("/version", "/api")  # where what they say of themselves must differ

CASES = {
    # create
    "create": [A],
    "create what is there": [A, A],
    "create with a made name": [post(CHANNELS, channel(None, generateName="made-"))],
    "create without a name": [post(CHANNELS, channel(None))],
    "create with a bad name": [post(CHANNELS, channel("No_Name"))],
    "create with bad labels": [post(CHANNELS, channel(labels={"a b": "c"}))],
    "create of another kind": [post(CHANNELS, {**channel(), "kind": "InMemoryChannel"})],
    "create of no kind": [post(CHANNELS, {**channel(), "kind": "Nothing"})],
    "create without a kind": [post(CHANNELS, {"metadata": {"name": "a"}})],
    "create for another namespace": [post(CHANNELS, channel(namespace="other"))],
    "create where no namespace is": [post(GROUP + "/namespaces/nowhere/channels", channel())],
    "create with a version": [post(CHANNELS, channel(resourceVersion="1"))],
    "create with a status": [post(CHANNELS, {**channel(), "status": {"observedGeneration": 7}})],
    "create of null fields": [post(CHANNELS, channel(spec={"delivery": None}))],
    "create with fields of the server": [post(CHANNELS, channel(uid="mine", generation=9, creationTimestamp="2001-01-01T00:00:00Z"))],
    "a dry run": [post(CHANNELS + "?dryRun=All", channel())],
    "a dry run leaves nothing": [post(CHANNELS + "?dryRun=All", channel()), get(CHANNELS + "/a")],
    "a dry run of something else": [post(CHANNELS + "?dryRun=Some", channel())],
    "no JSON": [post(CHANNELS, b"{")],
    "no object": [post(CHANNELS, b"[]")],
    "no body": [post(CHANNELS, b"")],
    "YAML": [post(CHANNELS, b"apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\nspec: {}\n", kind="application/yaml")],
    "a media type that is none": [post(CHANNELS, channel(), kind="text/plain")],
    "an object of 1.2 MiB": [post(MAPS, config(big="x" * 1200000))],
    # fields
    "a field unknown, strict": [post(CHANNELS + "?fieldValidation=Strict", channel(spec={"bogus": 1, "delivery": {"more": 2}}))],
    "a field unknown, warn": [post(CHANNELS + "?fieldValidation=Warn", channel(spec={"bogus": 1}))],
    "a field unknown": [post(CHANNELS, channel(spec={"bogus": 1}))],
    "a field unknown, ignore": [post(CHANNELS + "?fieldValidation=Ignore", channel(spec={"bogus": 1}))],
    "a field twice, strict": [post(CHANNELS + "?fieldValidation=Strict", b'{"apiVersion":"messaging.knative.dev/v1","kind":"Channel","metadata":{"name":"a"},"spec":{},"spec":{}}')],
    "a field in metadata unknown, strict": [post(CHANNELS + "?fieldValidation=Strict", channel(bogus=1))],
    "a validation that is none": [post(CHANNELS + "?fieldValidation=Soft", channel())],
    "wrong types": [post(CHANNELS, channel(spec={"delivery": {"retry": "many", "backoffDelay": 3}}))],
    "a wrong type of metadata": [post(CHANNELS, channel(labels={"a": 1}))],
    "not of an enumeration": [post(CHANNELS, channel(spec={"delivery": {"backoffPolicy": "square"}}))],
    "a field missing": [post("/apis/eventing.knative.dev/v1/namespaces/{ns}/triggers", {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "t"}, "spec": {"broker": "b"}})],
    "a spec missing": [post("/apis/flows.knative.dev/v1/namespaces/{ns}/sequences", {"apiVersion": "flows.knative.dev/v1", "kind": "Sequence", "metadata": {"name": "s"}, "spec": {}})],
    # read
    "get": [A, get(CHANNELS + "/a")],
    "get what is not there": [get(CHANNELS + "/a")],
    "get in no namespace that is": [get(GROUP + "/namespaces/nowhere/channels/b")],
    "get of the metadata": [A, get(CHANNELS + "/a", PARTIAL)],
    "get of a table": [*named_maps("a"), get(MAPS + "/a", TABLE)],
    "get of no form that is": [A, get(CHANNELS + "/a", "application/xml")],
    "list": [*named_maps("a", "b"), get(MAPS)],
    "list of nothing": [get(CHANNELS)],
    "list of a table": [A, get(CHANNELS, TABLE)],
    "list of a table of core": [*named_maps("a", "b"), get(MAPS, TABLE)],
    "list of a table with objects": [*named_maps("a"), get(MAPS + "?includeObject=Object", TABLE)],
    "list of a table without": [*named_maps("a"), get(MAPS + "?includeObject=None", TABLE)],
    "list of metadata": [A, get(CHANNELS, PARTIALS)],
    "list by labels": [*named_maps("a", "b", "c"), get(MAPS + "?labelSelector=odd%3D0,first")],
    "list by a set of labels": [*named_maps("a", "b", "c"), get(MAPS + "?labelSelector=odd%20in%20(1,2),!first")],
    "list by a bad selector": [get(MAPS + "?labelSelector=odd%3D%3D%3D0")],
    "list by a name": [*named_maps("a", "b", "c"), get(MAPS + "?fieldSelector=metadata.name%3Db")],
    "list by a field that is none": [get(CHANNELS + "?fieldSelector=spec.x%3Db")],
    "list by a bad field selector": [get(CHANNELS + "?fieldSelector=a")],
    "a page": [*named_maps("a", "b", "c"), get(MAPS + "?limit=2")],
    "the next page": [*named_maps("a", "b", "c"), get(MAPS + "?limit=2"), get(next_page)],
    "a page by labels": [*named_maps("a", "b", "c"), get(MAPS + "?limit=1&labelSelector=odd%3D0")],
    "a token that is none": [get(MAPS + "?limit=2&continue=bogus")],
    "a limit that is none": [get(MAPS + "?limit=two")],
    "list from a version": [*named_maps("a"), get(MAPS + "?resourceVersion=0")],
    "list from a version that is none": [get(MAPS + "?resourceVersion=new")],
    "list from a later version": [get(MAPS + "?resourceVersion=999999999999")],
    # watch
    "watch what is there": [*named_maps("a", "b"), get(MAPS + "?watch=true&timeoutSeconds=1")],
    "watch from a version": [*named_maps("a"), get(MAPS), *named_maps("b"), delete(MAPS + "/b"), get(from_version(1))],
    "watch with initial events": [*named_maps("a"), get(MAPS + "?watch=true&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan")],
    "watch with initial events, no match": [get(MAPS + "?watch=true&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true")],
    "watch from a version that is none": [get(MAPS + "?watch=true&timeoutSeconds=1&resourceVersion=new")],
    "watch by labels": [*named_maps("a"), get(MAPS), patch(MAPS + "/a", {"metadata": {"labels": {"odd": "9"}}}), get(from_version(1, "&labelSelector=odd%3D0"))],
    "watch as a table": [*named_maps("a", "b"), get(MAPS + "?watch=true&timeoutSeconds=1", TABLE)],
    "watch of one": [*named_maps("a", "b"), get(MAPS + "?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Da")],
    # update
    "update": [A, SETTLED, put(CHANNELS + "/a", changed(1, delivery={"retry": 9}))],
    "update of nothing": [A, SETTLED, put(CHANNELS + "/a", changed(1))],
    "update from an old version": [A, patch(CHANNELS + "/a", RETRY), put(CHANNELS + "/a", old_version)],
    "update without a version": [A, put(CHANNELS + "/a", without_version)],
    "update of core with an empty version": [*named_maps("a"), put(MAPS + "/a", {**config(more="1"), "metadata": {"name": "a", "resourceVersion": "", "uid": ""}})],
    "update of core without a version": [*named_maps("a"), put(MAPS + "/a", config(more="1"))],
    "update of what is not there": [put(CHANNELS + "/a", channel())],
    "update of what is not there, with a version": [put(CHANNELS + "/a", channel(resourceVersion="5"))],
    "update of core that is not there": [put(MAPS + "/a", config())],
    "update by another name": [A, put(CHANNELS + "/a", channel("b"))],
    "update by another uid": [A, SETTLED, put(CHANNELS + "/a", another_uid)],
    "update of a version that is none": [A, put(CHANNELS + "/a", channel(resourceVersion="new"))],
    "update that is invalid": [A, SETTLED, put(CHANNELS + "/a", changed(1, delivery={"retry": "x"}))],
    # patch
    "merge patch": [A, patch(CHANNELS + "/a", RETRY)],
    "merge patch of nothing": [A, patch(CHANNELS + "/a", {})],
    "merge patch of what is not there": [patch(CHANNELS + "/a", RETRY)],
    "merge patch with an old version": [A, patch(CHANNELS + "/a", RETRY), patch(CHANNELS + "/a", {"metadata": {"resourceVersion": "1"}, "spec": {"delivery": {"retry": 4}}})],
    "merge patch that is invalid": [A, patch(CHANNELS + "/a", {"spec": {"delivery": {"retry": "x"}}})],
    "merge patch that is none": [A, patch(CHANNELS + "/a", b"{")],
    "merge patch that is a list": [A, patch(CHANNELS + "/a", [])],
    "merge patch of an unknown field, strict": [A, patch(CHANNELS + "/a?fieldValidation=Strict", {"spec": {"bogus": 1}})],
    "merge patch of the name": [A, patch(CHANNELS + "/a", {"metadata": {"name": "b"}})],
    "merge patch, dry": [A, patch(CHANNELS + "/a?dryRun=All", RETRY)],
    "JSON patch": [A, patch(CHANNELS + "/a", [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}, {"op": "test", "path": "/metadata/name", "value": "a"}], PATCH)],
    "JSON patch whose test fails": [A, patch(CHANNELS + "/a", [{"op": "test", "path": "/metadata/name", "value": "b"}], PATCH)],
    "JSON patch of no path that is": [A, patch(CHANNELS + "/a", [{"op": "remove", "path": "/spec/nothing"}], PATCH)],
    "JSON patch that is no list": [A, patch(CHANNELS + "/a", {"op": "remove"}, PATCH)],
    "JSON patch of an unknown operation": [A, patch(CHANNELS + "/a", [{"op": "burn", "path": "/spec"}], PATCH)],
    "strategic patch of ours": [A, patch(CHANNELS + "/a", RETRY, STRATEGIC)],
    "strategic patch of core": [*named_maps("a"), patch(MAPS + "/a", {"data": {"k": None, "l": "m"}}, STRATEGIC)],
    "a port added": by_strategy(spec={"ports": [port(81, "more")]}),
    "a port renamed": by_strategy(spec={"ports": [{"name": "web", "port": 80}]}),
    "a port deleted": by_strategy(spec={"ports": [{"$patch": "delete", "port": 80}], "$setElementOrder/ports": [{"port": 443}]}),
    "a port deleted that is not there": by_strategy(spec={"ports": [{"$patch": "delete", "port": 81}]}),
    "ports in another order": by_strategy(spec={"$setElementOrder/ports": [{"port": 443}, {"port": 80}]}),
    "ports, one between": by_strategy(spec={"$setElementOrder/ports": [{"port": 443}, {"port": 81}, {"port": 80}], "ports": [port(81, "n")]}),
    "ports replaced": by_strategy(spec={"ports": [{"$patch": "replace"}, port(81, "x")]}),
    "a port's member changed": by_strategy(spec={"ports": [{"port": 80, "targetPort": 8081}]}),
    "a port's members but these": by_strategy(spec={"ports": [{"port": 80, "$retainKeys": ["port", "name", "protocol", "targetPort"], **port(80, "q")}]}),
    "ports of a spec that is replaced": by_strategy(spec={"$patch": "replace", "type": "ExternalName", "externalName": "other.example.org", "sessionAffinity": "None"}),
    "a finalizer added": by_strategy(metadata={"finalizers": ["example.org/b", "example.org/c"]}),
    "a finalizer deleted": by_strategy(metadata={"$deleteFromPrimitiveList/finalizers": ["example.org/a"]}),
    "finalizers changed as kubectl does": by_strategy(metadata={"$deleteFromPrimitiveList/finalizers": ["example.org/a"], "$setElementOrder/finalizers": ["example.org/c", "example.org/b"], "finalizers": ["example.org/c"]}),
    "finalizers in another order": by_strategy(metadata={"$setElementOrder/finalizers": ["example.org/b", "example.org/a"]}),
    "an owner added": by_strategy(metadata={"ownerReferences": [owner("other")]}),
    "an owner deleted": by_strategy(metadata={"ownerReferences": [{"uid": owner("one")["uid"], "$patch": "delete"}]}),
    "labels replaced": by_strategy(metadata={"labels": {"$patch": "replace", "z": "3"}}),
    "labels deleted": by_strategy(metadata={"labels": {"$patch": "delete"}}),
    "labels but these": by_strategy(metadata={"labels": {"$retainKeys": ["x"], "x": "7"}}),
    "labels but these, wrongly": by_strategy(metadata={"labels": {"$retainKeys": ["x"], "z": "7"}}),
    "a port without its key": by_strategy(spec={"ports": [{"name": "x"}]}),
    "a port of an unknown directive": by_strategy(spec={"ports": [{"port": 80, "$patch": "burn"}]}),
    "labels of an unknown directive": by_strategy(metadata={"labels": {"$patch": "merge"}}),
    "ports beside their order": by_strategy(spec={"$setElementOrder/ports": [{"port": 443}], "ports": [{"port": 81, "name": "n"}]}),
    "an order that is no list": by_strategy(spec={"$setElementOrder/ports": "x"}),
    "a strategic patch that is no object": by_strategy([]),
    "a config replaced": [*named_maps("a"), patch(MAPS + "/a", {"data": {"$patch": "replace", "l": "m"}}, STRATEGIC)],
    "a patch of no kind": [A, patch(CHANNELS + "/a", RETRY, "application/json")],
    # server-side apply
    "apply": [applied(channel())],
    "apply of YAML": [applied(b"apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\nspec: {delivery: {retry: 3}}\n")],
    "apply again": [applied(channel()), applied(channel(spec=RETRY["spec"]))],
    "apply of the same": [applied(channel()), applied(channel())],
    "apply of less": [applied(channel(spec=RETRY["spec"])), applied(channel())],
    "apply against another": [applied(channel(spec=RETRY["spec"])), applied(channel(spec={"delivery": {"retry": 4}}), by="other")],
    "apply against another, by force": [applied(channel(spec=RETRY["spec"])), applied(channel(spec={"delivery": {"retry": 4}}), by="other&force=true")],
    "apply by nobody": [applied(channel(), by="")],
    "apply of what is invalid": [applied(channel(spec={"delivery": {"retry": "x"}}))],
    "apply of an unknown field, strict": [applied(channel(spec={"bogus": 1}), by="one&fieldValidation=Strict")],
    "apply with managed fields": [applied({**channel(), "metadata": {"name": "a", "managedFields": [{"manager": "x", "operation": "Apply", "apiVersion": "messaging.knative.dev/v1"}]}})],
    "apply by another name": [applied(channel("b"))],
    "apply of another kind": [applied({**channel(), "kind": "InMemoryChannel"})],
    "apply of no object": [applied(b"[]")],
    "apply, dry": [applied(channel(), by="one&dryRun=All")],
    "apply with an old version": [applied(channel()), applied(channel(resourceVersion="1"))],
    "apply of core": [patch(MAPS + "/a?fieldManager=one", config(), APPLY)],
    "force without apply": [A, patch(CHANNELS + "/a?force=true", RETRY)],
    # events
    "create of an event": [post(EVENTS, event())],
    "create of an event elsewhere": [post(EVENTS, event("elsewhere"))],
    "list of events by their object": [post(EVENTS, event()), get(EVENTS + "?fieldSelector=involvedObject.name%3Da,involvedObject.kind%3DChannel")],
    "list of a table of events": [post(EVENTS, event()), get(EVENTS, TABLE)],
    # delete
    "delete": [A, delete(CHANNELS + "/a")],
    "delete of core": [*named_maps("a"), delete(MAPS + "/a")],
    "delete what is not there": [delete(CHANNELS + "/a")],
    "delete, dry": [A, delete(CHANNELS + "/a?dryRun=All")],
    "delete by another uid": [A, delete(CHANNELS + "/a", {"preconditions": {"uid": "12345678-1234-1234-1234-123456789012"}})],
    "delete by another version": [A, delete(CHANNELS + "/a", {"preconditions": {"resourceVersion": "1"}})],
    "delete with a body that is none": [A, delete(CHANNELS + "/a", b"{")],
    "delete what is held": [HELD, delete(CHANNELS + "/a")],
    "delete what is held, again": [HELD, delete(CHANNELS + "/a"), delete(CHANNELS + "/a")],
    "release what is deleted": [HELD, delete(CHANNELS + "/a"), patch(CHANNELS + "/a", {"metadata": {"finalizers": None}})],
    "released and gone": [HELD, delete(CHANNELS + "/a"), patch(CHANNELS + "/a", {"metadata": {"finalizers": None}}), get(CHANNELS + "/a")],
    "hold what is deleted": [HELD, delete(CHANNELS + "/a"), patch(CHANNELS + "/a", {"metadata": {"finalizers": ["example.org/hold", "example.org/more"]}})],
    "delete in the foreground": [A, delete(CHANNELS + "/a?propagationPolicy=Foreground")],
    "delete by a policy that is none": [A, delete(CHANNELS + "/a?propagationPolicy=Some")],
    "delete all": [*named_maps("a", "b", "c"), delete(MAPS + "?labelSelector=odd%3D0")],
    "delete all leaves the others": [*named_maps("a", "b", "c"), delete(MAPS + "?labelSelector=odd%3D0"), get(MAPS)],
    "delete all of ours": [A, post(CHANNELS, channel("b")), delete(CHANNELS)],
    # paths
    "a group that is none": [get("/apis/none.example.org/v1/namespaces/{ns}/things")],
    "a version that is none": [get("/apis/messaging.knative.dev/v9/namespaces/{ns}/channels")],
    "a kind that is none": [get(GROUP + "/namespaces/{ns}/things")],
    "a subresource that is none": [A, get(CHANNELS + "/a/things")],
    "a path that is none": [get("/nothing")],
    "a method that is none": [A, Step("POST", CHANNELS + "/a", channel())],
    "a put of all": [put(CHANNELS, channel())],
    "a delete over all namespaces": [delete(GROUP + "/channels")],
    "a create over all namespaces": [post(GROUP + "/channels", channel(namespace="{ns}"))],
    # the subresource of the status
    "get of the status": [A, get(CHANNELS + "/a/status")],
    # discovery
    "/version": [get("/version")],
    "/api": [get("/api")],
    "the group": [get("/apis/messaging.knative.dev")],
    "a group unknown": [get("/apis/none.example.org")],
    "the resources": [get(GROUP)],
    "the resources of eventing": [get("/apis/eventing.knative.dev/v1")],
    "resources unknown": [get("/apis/messaging.knative.dev/v9")],
    # core
    "create of a namespace": [post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "{ns}-more"}})],
    "get of a namespace": [get("/api/v1/namespaces/{ns}")],
    "delete of the default namespace": [delete("/api/v1/namespaces/default")],
    "create of a secret": [post(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}})],
    "create of a secret that is no base64": [post(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "?"}})],
    "create of a config": [post(MAPS, config())],
    # one's own rights
    "may I": [post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                                                                             "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "secrets"}}})],
}


# ---- the table ----


def listed():
    """{(request, place): (leat, kube-apiserver)} of the page's table."""
    rows = {}
    for line in PAGE.read_text().partition(HEAD + "\n")[2].splitlines()[1:]:
        if not line.startswith("|"):
            break
        requests, place, ours, theirs, why = (cell.strip() for cell in line.strip("|").split("|"))
        assert why, f"no reason: {line}"
        for request in re.findall(r"`([^`]*)`", requests):
            assert (request, place.strip("`")) not in rows, f"twice: {line}"
            rows[request, place.strip("`")] = ours.strip("`"), theirs.strip("`")
    return rows


def told(found):
    return "\n".join(f"| `{request}` | `{place}` | `{ours}` | `{theirs}` | |" for (request, place), (ours, theirs) in sorted(found.items()))


# ---- both servers ----


def define(cluster):
    """Our definitions, once they are served."""
    crds = ROOT / "deploy/crds"
    cluster.kubectl("apply", "-f", crds)
    cluster.kubectl("wait", "--for=condition=Established", "-f", crds, "--timeout=120s")
    versions = sorted({line.split()[1] for line in subprocess.run(["grep", "-rhA1", "^spec:", crds], capture_output=True, text=True, check=True).stdout.splitlines() if "group:" in line})
    wait_for(lambda: all(cluster.ask("GET", f"/apis/{group}")[0] == 200 for group in versions), "discovery of our groups", 120)
    wait_for(lambda: cluster.ask("GET", GROUP.replace("{ns}", "default") + "/channels")[0] == 200, "our channels", 120)


@pytest.fixture(scope="module")
def peers(serve_module):
    cluster = Kubernetes.shared()
    define(cluster)
    return Peer(serve_module().api), Peer(cluster.url, cluster.certificates)


@pytest.fixture(scope="module")
def found(peers):
    """{(request, place): (leat, kube-apiserver)} as it is; every request is sent in a namespace of its own."""
    ran = {}

    def run(name):
        namespace = f"alike-{os.getpid()}-{list(CASES).index(name)}"

        def answer(peer):
            made = peer.ask(post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}), namespace, [])
            assert made.code == 201, made
            return form(peer.run(CASES[name], namespace), namespace, ABSENT, name in BARE)
        with concurrent.futures.ThreadPoolExecutor(2) as both_at_once:
            forms = list(both_at_once.map(answer, peers))
        return {(name, place): both for place, both in of_answers(*forms).items()}

    def of(name):
        if name not in ran:
            ran[name] = run(name)
        return ran[name]

    return of


@pytest.mark.parametrize("name", CASES)
def test_alike(found, name):
    expected = {key: both for key, both in listed().items() if key[0] == name}
    actual = found(name)
    assert actual == expected, f"what differs now, and is not in {PAGE.name} like this:\n{told({k: v for k, v in actual.items() if expected.get(k) != v})}\nwhat is listed, and is gone:\n{told({k: v for k, v in expected.items() if k not in actual})}"


def test_the_table_names_requests_that_are_sent():
    assert {request for request, _ in listed()} <= set(CASES)
