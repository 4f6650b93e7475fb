# SPDX-License-Identifier: Apache-2.0
"""What the real kubectl writes to a server: create, apply, patches, validation, dry runs, deletion. Most checks run a new kubectl and an old one."""

import json
import time

import pytest

from broker import MESSAGING, channel, subscription
from kubectl import NEW, OLD, Kubectl
from leat import wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
MERGE, PATCH = {"Content-Type": "application/merge-patch+json"}, {"Content-Type": "application/json-patch+json"}


@pytest.fixture(scope="module")
def broker(serve_module):
    return serve_module([channel("owned")])


@pytest.fixture(params=[NEW, OLD], ids=["new", "old"])
def kubectl(request, broker, tmp_path):
    yield Kubectl(request.param, broker.api, tmp_path)
    for plural in ("channels", "subscriptions"):
        for item in broker.ask("GET", f"/apis/{MESSAGING}/namespaces/default/{plural}").json()["items"]:
            if item["metadata"]["name"] != "owned":
                broker.ask("DELETE", f"/apis/{MESSAGING}/namespaces/default/{plural}/{item['metadata']['name']}")


@pytest.fixture
def made(broker):
    """made(thing) makes a channel, and answers its path; it is gone after the test."""
    paths = []

    def make(thing):
        answer = broker.ask("POST", CHANNELS, thing)
        assert answer.status == 201, answer
        paths.append(f"{CHANNELS}/{answer.json()['metadata']['name']}")
        return paths[-1]

    yield make
    for path in paths:
        broker.ask("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
        broker.ask("DELETE", path)


# ---- apply ----


def test_apply_again_and_again(kubectl, broker):
    things = [channel("a"), subscription("s", "a", "http://127.0.0.1:1/")]
    assert kubectl.good("apply", "-f", "-", stdin=things).out.split("\n") == ["channel.messaging.knative.dev/a created", "subscription.messaging.knative.dev/s created"]
    assert kubectl.good("apply", "-f", "-", stdin=things).out.split("\n") == ["channel.messaging.knative.dev/a unchanged", "subscription.messaging.knative.dev/s unchanged"]
    things[0]["spec"] = {"delivery": {"retry": 4}}
    assert kubectl.good("apply", "-f", "-", stdin=things).out.split("\n")[0] == "channel.messaging.knative.dev/a configured"
    assert broker.ask("GET", CHANNELS + "/a").json()["spec"]["delivery"]["retry"] == 4
    del things[0]["spec"]
    kubectl.good("apply", "-f", "-", stdin=things)
    assert "delivery" not in broker.ask("GET", CHANNELS + "/a").json().get("spec", {})
    assert kubectl.good("delete", "-f", "-", stdin=things).out.count("deleted") == 2


def test_apply_of_a_secret(kubectl, broker):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    for value in ("b", "c"):
        secret["stringData"]["a"] = value
        kubectl.good("apply", "-f", "-", stdin=secret)
    assert kubectl.good("get", "secret", "s", "-o", "jsonpath={.data.a}").out == "Yw=="
    kubectl.good("delete", "secret", "s")


def ports(broker):
    return [(p["name"], p["port"]) for p in broker.ask("GET", "/api/v1/namespaces/default/services/web").json()["spec"].get("ports", [])]


def service(*names_and_ports):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"a": "1"}}, "spec": {"type": "ExternalName", "externalName": "example.org", "ports": [{"name": n, "port": p} for n, p in names_and_ports]}}


def test_ports_of_a_service_by_strategic_patches(kubectl, broker, tmp_path):
    """Of Kubernetes' own kinds kubectl sends strategic merge patches: an apply, an edit or a patch takes elements out of a list by directives, and orders them."""
    kubectl.good("apply", "-f", "-", stdin=service(("http", 80), ("https", 443), ("admin", 8080)))
    kubectl.good("apply", "-f", "-", stdin=service(("http", 80), ("admin", 8080)))
    assert ports(broker) == [("http", 80), ("admin", 8080)]
    kubectl.good("apply", "-f", "-", stdin=service(("admin", 8080), ("more", 81), ("http", 80)))
    assert ports(broker) == [("admin", 8080), ("more", 81), ("http", 80)]
    kubectl.good("patch", "service", "web", "-p", '{"spec":{"ports":[{"port":81,"$patch":"delete"}]}}')
    assert ports(broker) == [("admin", 8080), ("http", 80)]
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i -e '/- name: admin/,/port: 8080/d' -e 's/a: \"1\"/b: \"2\"/' \"$1\"\n")
    editor.chmod(0o755)
    kubectl.env["EDITOR"] = str(editor)
    assert kubectl.good("edit", "service", "web").out == "service/web edited"
    assert ports(broker) == [("http", 80)] and broker.ask("GET", "/api/v1/namespaces/default/services/web").json()["metadata"]["labels"] == {"b": "2"}
    kubectl.good("delete", "service", "web")


def test_services_are_created_and_exposed(kubectl, broker):
    """New kubectls send protobuf of Kubernetes' own kinds, old ones JSON: the same comes of both."""
    def made(name, *words):
        kubectl.good(*words)
        spec = broker.ask("GET", f"/api/v1/namespaces/default/services/{name}").json()["spec"]
        return spec
    tcp = {"protocol": "TCP"}
    assert made("e", "create", "service", "externalname", "e", "--external-name", "example.org") == {"type": "ExternalName", "externalName": "example.org", "selector": {"app": "e"}}
    assert made("c", "create", "service", "clusterip", "c", "--tcp=80:8080", "--tcp=443:https") == {
        "type": "ClusterIP", "selector": {"app": "c"}, "ports": [{"name": "80-8080", "port": 80, "targetPort": 8080, **tcp}, {"name": "443-https", "port": 443, "targetPort": "https", **tcp}]}
    assert made("n", "create", "service", "nodeport", "n", "--tcp=5:6", "--node-port=30000")["ports"] == [{"name": "5-6", "port": 5, "targetPort": 6, "nodePort": 30000, **tcp}]
    assert made("d", "expose", "service", "c", "--name=d", "--port=90", "--target-port=web", "--external-ip=10.0.0.1") == {
        "selector": {"app": "c"}, "ports": [{"port": 90, "targetPort": "web", **tcp}], "externalIPs": ["10.0.0.1"]}
    kubectl.good("delete", "service", "e", "c", "n", "d")


def test_what_cannot_be_changed_is_named(kubectl):
    kubectl.good("apply", "-f", "-", stdin=[channel("a"), subscription("s", "a", "http://127.0.0.1:1/")])
    done = kubectl("patch", "subscription.messaging.knative.dev", "s", "--type=merge", "-p", '{"spec":{"channel":{"name":"other"}}}')
    assert done.code == 1 and 'The Subscription "s" is invalid: spec.channel: cannot be changed; delete the Subscription' in done.err


def test_a_config_is_edited(kubectl, broker, tmp_path):
    kubectl.good("create", "configmap", "c", "--from-literal=keep=1", "--from-literal=drop=2")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i -e '/drop:/d' -e 's/keep: .*/keep: three/' \"$1\"\n")
    editor.chmod(0o755)
    kubectl.env["EDITOR"] = str(editor)
    assert kubectl.good("edit", "configmap", "c").out == "configmap/c edited"
    assert broker.ask("GET", "/api/v1/namespaces/default/configmaps/c").json()["data"] == {"keep": "three"}
    kubectl.good("delete", "configmap", "c")


def test_apply_to_what_a_file_owns(kubectl, broker):
    done = kubectl("apply", "-f", "-", stdin=channel("owned", delivery={"retry": 4}))
    assert done.code == 1 and "(Conflict)" in done.err and str(broker.manifest) in done.err


def test_an_event_goes_through_what_was_applied(kubectl, broker, sink):
    kubectl.good("apply", "-f", "-", stdin=[channel("flow"), subscription("to-sink", "flow", sink.url)])
    kubectl.good("wait", "--for=condition=Ready", "subscription.messaging.knative.dev/to-sink", "--timeout=50s")
    assert broker.post("flow", b"x").status == 202
    wait_for(lambda: sink.requests, "a delivery")


def test_diff(kubectl):
    thing = channel("a", delivery={"retry": 1})
    kubectl.good("apply", "-f", "-", stdin=thing)
    kubectl.good("wait", "--for=condition=Ready", "channel.messaging.knative.dev/a", "--timeout=50s")  # a status that comes between is a difference
    assert kubectl("diff", "-f", "-", stdin=thing).code == 0
    thing["spec"]["delivery"]["retry"] = 2
    done = kubectl("diff", "-f", "-", stdin=thing)
    assert done.code == 1 and "-    retry: 1" in done.out and "+    retry: 2" in done.out


# ---- create ----


def test_create(kubectl):
    assert kubectl.good("create", "-f", "-", stdin=channel("a")).out == "channel.messaging.knative.dev/a created"
    done = kubectl("create", "-f", "-", stdin=channel("a"))
    assert done.code == 1 and '(AlreadyExists)' in done.err and 'channels.messaging.knative.dev "a" already exists' in done.err


def test_names_that_are_made(kubectl):
    thing = {"apiVersion": MESSAGING, "kind": "Channel", "metadata": {"generateName": "gen-"}}
    names = {kubectl.good("create", "-f", "-", "-o", "name", stdin=thing).out for _ in range(2)}
    assert len(names) == 2 and all(n.startswith("channel.messaging.knative.dev/gen-") and len(n.partition("gen-")[2]) == 5 for n in names)


def test_core_kinds_that_new_kubectls_send_as_protobuf(kubectl):
    kubectl.good("create", "namespace", "room")
    kubectl.good("create", "secret", "generic", "pass", "-n", "room", "--from-literal=user=jo", "--from-literal=word=geheim")
    kubectl.good("create", "configmap", "conf", "-n", "room", "--from-literal=key=value")
    assert kubectl.good("get", "ns", "room", "--no-headers").out.split()[:2] == ["room", "Active"]
    assert kubectl.good("get", "secret", "pass", "-n", "room", "-o", "json").json["data"] == {"user": "am8=", "word": "Z2VoZWlt"}
    assert kubectl.good("get", "cm", "conf", "-n", "room", "-o", "json").json["data"] == {"key": "value"}
    kubectl.good("delete", "secret/pass", "cm/conf", "-n", "room")
    kubectl.good("delete", "ns", "room")


@pytest.mark.parametrize("body", [b"", b"k8s", b"k8s\0", b"k8s\0\x0a\xff", b"k8s\0\x0a\x0a\x0a\x02v1\x12\x04None\x12\0", b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x05\x0a\x7f", b"\xff" * 100], ids=repr)
def test_protobuf_that_is_none(broker, body):
    answer = broker.ask("POST", "/api/v1/namespaces", body, {"Content-Type": "application/vnd.kubernetes.protobuf"})
    assert answer.status in (400, 415, 422) and answer.json()["kind"] == "Status", answer


# ---- validation ----


def test_fields_that_are_not_known(kubectl, broker):
    thing = channel("a", bogus=1)
    strict = kubectl("create", "-f", "-", stdin=thing)
    assert strict.code == 1 and 'strict decoding error: unknown field "spec.bogus"' in strict.err
    warned = kubectl.good("create", "--validate=warn", "-f", "-", stdin=thing)
    assert 'Warning: unknown field "spec.bogus"' in warned.err
    assert "bogus" not in json.dumps(broker.ask("GET", CHANNELS + "/a").json())
    assert not kubectl.good("replace", "--validate=ignore", "-f", "-", stdin=thing).err


def test_an_invalid_object(kubectl):
    done = kubectl("create", "-f", "-", stdin=channel("a", delivery={"retry": "many"}))
    assert done.code == 1 and 'The Channel "a" is invalid: spec.delivery.retry: ' in done.err


def test_what_may_not_change(kubectl):
    kubectl.good("create", "-f", "-", stdin=subscription("s", "owned", "http://127.0.0.1:1/"))
    done = kubectl("patch", "subscription.messaging.knative.dev/s", "--type=merge", "-p", '{"spec":{"channel":{"name":"other"}}}')
    assert done.code == 1 and "spec.channel" in done.err


def test_causes_name_the_fields(broker):
    status = broker.ask("POST", CHANNELS, channel("x", delivery={"retry": "many", "backoffDelay": "soon"})).json()
    assert {c["field"] for c in status["details"]["causes"]} == {"spec.delivery.retry", "spec.delivery.backoffDelay"}
    assert (status["details"]["name"], status["details"]["kind"], status["details"]["group"]) == ("x", "Channel", "messaging.knative.dev")


@pytest.mark.parametrize("query", ["dryRun=Some", "fieldValidation=Soft"])
def test_422_of_options(broker, query):
    assert broker.ask("POST", f"{CHANNELS}?{query}", channel("x")).status == 422


@pytest.mark.parametrize("query", ["", "?dryRun=All"])
def test_what_is_empty_in_metadata_is_not_there(broker, query):
    """As in a cluster, where it makes no difference whether labels are none or not said."""
    empty = {"labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []}
    made = broker.ask("POST", CHANNELS + query, {**channel("hollow"), "metadata": {"name": "hollow", **empty}})
    assert made.status == 201 and not set(empty) & set(made.json()["metadata"]), made.text
    if query:
        return
    patched = broker.ask("PATCH", CHANNELS + "/hollow", {"metadata": empty}, {"Content-Type": "application/merge-patch+json"})
    assert patched.status == 200 and not set(empty) & set(patched.json()["metadata"]) and patched.json()["metadata"]["generation"] == 1
    assert broker.ask("DELETE", CHANNELS + "/hollow").status == 200


# ---- dry runs ----


def test_a_dry_run_changes_nothing(kubectl, broker):
    assert "(server dry run)" in kubectl.good("create", "--dry-run=server", "-f", "-", stdin=channel("a")).out
    assert broker.ask("GET", CHANNELS + "/a").status == 404
    kubectl.good("create", "-f", "-", stdin=channel("a"))
    before = broker.ask("GET", CHANNELS + "/a").json()["spec"] if "spec" in broker.ask("GET", CHANNELS + "/a").json() else {}
    kubectl.good("patch", "channel.messaging.knative.dev/a", "--dry-run=server", "--type=merge", "-p", '{"spec":{"delivery":{"retry":9}}}')
    kubectl.good("delete", "channel.messaging.knative.dev/a", "--dry-run=server")
    assert broker.ask("GET", CHANNELS + "/a").json().get("spec", {}) == before


def test_a_dry_run_finds_what_is_wrong(kubectl):
    assert kubectl("create", "--dry-run=server", "-f", "-", stdin=channel("a", delivery={"retry": "x"})).code == 1
    assert "(AlreadyExists)" in kubectl("create", "--dry-run=server", "-f", "-", stdin=channel("owned")).err


# ---- patches ----


def test_label_annotate_patch(kubectl, broker):
    kubectl.good("create", "-f", "-", stdin=channel("a"))
    kubectl.good("label", "channel.messaging.knative.dev/a", "team=red")
    kubectl.good("annotate", "channel.messaging.knative.dev/a", "note=well")
    kubectl.good("patch", "channel.messaging.knative.dev/a", "--type=json", "-p", '[{"op":"test","path":"/metadata/labels/team","value":"red"},{"op":"add","path":"/spec","value":{"delivery":{"retry":2}}}]')
    kubectl.good("patch", "channel.messaging.knative.dev/a", "--type=merge", "-p", '{"spec":{"delivery":{"backoffDelay":"PT1S"}}}')
    kubectl.good("label", "channel.messaging.knative.dev/a", "team-")
    got = broker.ask("GET", CHANNELS + "/a").json()
    assert got["spec"]["delivery"] == {"retry": 2, "backoffDelay": "PT1S"} and got["metadata"]["annotations"]["note"] == "well" and "team" not in got["metadata"].get("labels", {})


def test_a_json_patch_inserts_into_a_list(broker, made):
    thing = channel("p")
    thing["metadata"]["finalizers"] = ["example.org/a", "example.org/d"]
    path = made(thing)
    operations = [{"op": "add", "path": "/metadata/finalizers/1", "value": "example.org/b"}, {"op": "add", "path": "/metadata/finalizers/0", "value": "example.org/0"}, {"op": "add", "path": "/metadata/finalizers/-", "value": "example.org/e"}, {"op": "replace", "path": "/metadata/finalizers/3", "value": "example.org/c"}]
    assert [f[-1] for f in broker.ask("PATCH", path, operations, PATCH).json()["metadata"]["finalizers"]] == list("0abce")


OPERATIONS = [
    ([{"op": "add", "path": "/metadata/labels", "value": {"a": "1"}}], {"a": "1"}),
    ([{"op": "add", "path": "/metadata/labels", "value": {"a": "1"}}, {"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/b"}, {"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/c"}], {"b": "1", "c": "1"}),
    ([{"op": "add", "path": "/metadata/labels", "value": {"x/y": "1", "z": "2"}}, {"op": "replace", "path": "/metadata/labels/x~1y", "value": "3"}, {"op": "remove", "path": "/metadata/labels/z"}], {"x/y": "3"}),
]


@pytest.mark.parametrize("operations, labels", OPERATIONS)
def test_json_patches(broker, made, operations, labels):
    path = made(channel("p"))
    assert broker.ask("PATCH", path, operations, PATCH).status == 200
    assert broker.ask("GET", path).json()["metadata"]["labels"] == labels


BAD = [
    ({}, 400), ([1], 400), ([{"op": "add"}], 400), ([{"op": "none", "path": ""}], 422), ([{"op": "add", "path": "/x"}], 400), ([{"op": "move", "path": "/x"}], 400),
    ([{"op": "remove", "path": "/none"}], 422), ([{"op": "replace", "path": "/a/b", "value": 1}], 422), ([{"op": "test", "path": "/kind", "value": "x"}], 422), ([{"op": "add", "path": "kind", "value": 1}], 422),
    ([{"op": "add", "path": "/metadata/~2", "value": 1}], 422), ([{"op": "remove", "path": ""}], 422), ([{"op": "move", "from": "/metadata", "path": "/metadata/x"}], 422), ([{"op": "add", "path": "", "value": 1}], 400),
    ([{"op": "add", "path": "/metadata/name", "value": "other"}], 400), ([{"op": "test", "path": "/kind", "value": "Channel"}] * 2000, 400), ([{"op": "copy", "from": "", "path": "/spec"}] * 900, 422),
]


@pytest.mark.parametrize("operations, status", BAD, ids=lambda b: str(b)[:40])
def test_json_patches_that_fail_change_nothing(broker, made, operations, status):
    path = made(channel("p"))
    before = broker.ask("GET", path).json()
    answer = broker.ask("PATCH", path, operations, PATCH)
    assert answer.status == status and answer.json()["message"], answer
    assert broker.ask("GET", path).json()["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_version_in_a_patch_is_a_precondition(broker, made):
    path = made(channel("p"))
    assert broker.ask("PATCH", path, {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}, MERGE).status == 409
    version = broker.ask("GET", path).json()["metadata"]["resourceVersion"]
    answer = broker.ask("PATCH", path, {"metadata": {"resourceVersion": version, "labels": {"a": "b"}}}, MERGE)
    assert answer.status in (200, 409)  # its status may have come between
    assert answer.status == 409 or answer.json()["metadata"]["labels"] == {"a": "b"}


# ---- deletion ----


def test_delete(kubectl):
    kubectl.good("create", "-f", "-", stdin=[channel("a"), channel("b")])
    assert "deleted" in kubectl.good("delete", "channel.messaging.knative.dev/a").out
    assert kubectl.good("delete", "channels.messaging.knative.dev", "-l", "none=none").out == "No resources found"
    done = kubectl("delete", "channel.messaging.knative.dev/a")
    assert done.code == 1 and '(NotFound)' in done.err
    assert not kubectl.good("delete", "channel.messaging.knative.dev/a", "--ignore-not-found").out


def test_finalizers_hold_an_object(kubectl, broker):
    thing = channel("held")
    thing["metadata"]["finalizers"] = ["example.org/hold"]
    kubectl.good("create", "-f", "-", stdin=thing)
    kubectl.good("delete", "channel.messaging.knative.dev/held", "--wait=false")
    held = broker.ask("GET", CHANNELS + "/held").json()["metadata"]
    assert held["deletionTimestamp"] and held["deletionGracePeriodSeconds"] == 0 and held["generation"] == 2
    kubectl.good("label", "channel.messaging.knative.dev/held", "a=b")
    assert broker.ask("GET", CHANNELS + "/held").json()["metadata"]["deletionTimestamp"] == held["deletionTimestamp"]
    kubectl.good("patch", "channel.messaging.knative.dev/held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert broker.ask("GET", CHANNELS + "/held").status == 404


def test_what_is_being_deleted_is_held_by_nothing_more(broker, made):
    """It may let go in any order, and by lists as long as an object may have in the time of a few walks."""
    many = [f"e.org/{i}" for i in range(60000)]
    thing = channel("going")
    thing["metadata"]["finalizers"] = many
    path = made(thing)
    broker.ask("DELETE", path)
    started = time.monotonic()
    assert broker.ask("PATCH", path, {"metadata": {"finalizers": many[::-1]}}, MERGE).status == 200
    more = broker.ask("PATCH", path, {"metadata": {"finalizers": [*many[::-1], "e.org/more"]}}, MERGE)
    assert more.status == 422 and [c["field"] for c in more.json()["details"]["causes"]] == ["metadata.finalizers"], more
    assert time.monotonic() - started < 30, "60,000 against 60,000 one by one take minutes"
    assert broker.ask("PATCH", path, {"metadata": {"finalizers": ["e.org/7", "e.org/3"]}}, MERGE).status == 200
    assert broker.ask("PATCH", path, {"metadata": {"finalizers": None}}, MERGE).status == 200 and broker.ask("GET", path).status == 404


def test_preconditions_of_a_deletion(broker, made):
    path = made(channel("p"))
    for wanted in ({"uid": "x"}, {"resourceVersion": "1"}):
        assert broker.ask("DELETE", path, {"preconditions": wanted}).status == 409
    uid = broker.ask("GET", path).json()["metadata"]["uid"]
    gone = broker.ask("DELETE", path, {"preconditions": {"uid": uid}, "propagationPolicy": "Foreground"})
    assert gone.status == 200 and gone.json()["details"] == {"name": "p", "group": "messaging.knative.dev", "kind": "channels", "uid": uid}


def test_a_collection(broker):
    there = f"/apis/{MESSAGING}/namespaces/crowd/channels"
    for i in range(5):
        thing = channel(f"c{i}", "crowd")
        thing["metadata"]["labels"] = {"odd": str(i % 2)}
        broker.ask("POST", there, thing)
    assert broker.ask("DELETE", there + "?labelSelector=odd%3D1").status == 200
    assert [i["metadata"]["name"] for i in broker.ask("GET", there).json()["items"]] == ["c0", "c2", "c4"]
    assert broker.ask("DELETE", there + "?dryRun=All").status == 200 and len(broker.ask("GET", there).json()["items"]) == 3
    assert broker.ask("DELETE", there).status == 200 and not broker.ask("GET", there).json()["items"]
    answer = broker.ask("DELETE", CHANNELS)
    assert answer.status == 409 and "owned" in answer.json()["message"]


# ---- rights ----


def test_can_i(kubectl):
    assert kubectl.good("auth", "can-i", "create", "channels.messaging.knative.dev").out == "yes"
