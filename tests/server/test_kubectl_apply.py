# SPDX-License-Identifier: Apache-2.0
"""Server-side apply: with the real kubectl, a new one and an old one, and on the wire, where what must be answered is what kube-apiserver 1.36 answers to the same requests."""

import json

import pytest

from broker import MESSAGING, channel, unversioned
from kubectl import NEW, OLD, Kubectl

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
APPLY, MERGE, JSON_PATCH = ({"Content-Type": f"application/{form}"} for form in ("apply-patch+yaml", "merge-patch+json", "json-patch+json"))


@pytest.fixture(scope="module")
def broker(serve_module):
    return serve_module([channel("owned")])


@pytest.fixture(autouse=True)
def clean(broker):
    yield
    for plural in (CHANNELS, "/api/v1/namespaces/default/secrets"):
        for item in broker.ask("GET", plural).json()["items"]:
            if item["metadata"]["name"] != "owned":
                path = f"{plural}/{item['metadata']['name']}"
                broker.ask("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
                broker.ask("DELETE", path)


@pytest.fixture(params=[NEW, OLD], ids=["new", "old"])
def kubectl(request, broker, tmp_path):
    return Kubectl(request.param, broker.api, tmp_path)


@pytest.fixture
def apply(broker):
    """apply(thing, manager, ...) applies; answers the answer."""

    def run(thing, manager="m1", query="", where="", path=CHANNELS):
        return broker.ask("PATCH", f"{path}/{thing['metadata']['name']}{where}?fieldManager={manager}{query}", thing, APPLY)

    return run


def thing(name="a", spec=None, **metadata):
    return {"apiVersion": MESSAGING, "kind": "Channel", "metadata": {"name": name, **metadata}, **({"spec": spec} if spec is not None else {})}


def delivery(name="a", **policy):
    return thing(name, {"delivery": policy})


def managers(answer):
    """(manager, operation, subresource) -> its fields"""
    return {(m["manager"], m["operation"], m.get("subresource", "")): m["fieldsV1"] for m in answer.json()["metadata"].get("managedFields", [])}


def fields(answer, manager, operation="Apply", subresource=""):
    return managers(answer)[manager, operation, subresource]


def owns(**members):
    return {"f:spec": {"f:delivery": {f"f:{name}": {} for name in members}}}


# ---- on the wire ----


def test_an_apply_creates_and_again_changes_nothing(apply):
    made = apply(delivery(retry=3, backoffPolicy="linear"))
    assert made.status == 201 and fields(made, "m1") == owns(retry=1, backoffPolicy=1)
    again = apply(delivery(retry=3, backoffPolicy="linear"))
    assert again.status == 200 and again.json()["metadata"]["managedFields"] == made.json()["metadata"]["managedFields"]  # their time too; the version may be that of a status
    assert again.json()["metadata"]["generation"] == 1


def test_what_has_the_same_value_is_shared(apply):
    apply(delivery(retry=3, backoffPolicy="linear"))
    shared = apply(delivery(retry=3), "m2")
    assert fields(shared, "m2") == owns(retry=1) and fields(shared, "m1") == owns(retry=1, backoffPolicy=1)
    left = apply(delivery(backoffPolicy="linear"))  # m1 has no retry any more, m2 has
    assert left.json()["spec"]["delivery"] == {"retry": 3, "backoffPolicy": "linear"} and fields(left, "m1") == owns(backoffPolicy=1)


def test_what_nobody_applies_any_more_goes(apply):
    apply(thing("a", {"delivery": {"retry": 3, "backoffPolicy": "linear"}}, labels={"x": "y"}))
    left = apply(thing("a", {"delivery": {"retry": 3}})).json()
    assert left["spec"]["delivery"] == {"retry": 3} and not left["metadata"].get("labels")
    assert left["metadata"]["generation"] == 2
    assert "delivery" not in apply(thing("a")).json().get("spec", {})


def test_a_conflict_names_manager_and_field(apply):
    apply(thing("a", {"delivery": {"retry": 3, "backoffPolicy": "linear"}}, labels={"x": "y"}))
    one = apply(delivery(retry=4), "m2")
    assert one.status == 409 and one.json()["reason"] == "Conflict"
    assert one.json()["message"] == 'Apply failed with 1 conflict: conflict with "m1": .spec.delivery.retry'
    assert one.json()["details"] == {"causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".spec.delivery.retry"}]}
    several = apply(thing("a", {"delivery": {"retry": 4, "backoffPolicy": "exponential"}}, labels={"x": "z"}), "m2").json()
    assert several["message"] == 'Apply failed with 3 conflicts: conflicts with "m1":\n- .metadata.labels.x\n- .spec.delivery.backoffPolicy\n- .spec.delivery.retry'
    assert [c["field"] for c in several["details"]["causes"]] == [".metadata.labels.x", ".spec.delivery.backoffPolicy", ".spec.delivery.retry"]


def test_force_takes_the_field(apply):
    apply(delivery(retry=3, backoffPolicy="linear"))
    taken = apply(delivery(retry=4), "m2", "&force=true")
    assert taken.json()["spec"]["delivery"]["retry"] == 4
    assert fields(taken, "m1") == owns(backoffPolicy=1) and fields(taken, "m2") == owns(retry=1)


def test_ordinary_writes_own_what_they_change(apply, broker):
    made = broker.ask("POST", CHANNELS + "?fieldManager=maker", thing("a", {"delivery": {"retry": 1}}, labels={"p": "q"}, finalizers=["x.y/z"], ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1"}]))
    owned = fields(made, "maker", "Update")
    assert owned["f:spec"].pop("f:channelTemplate")  # what is filled in is the writer's too
    owned["f:metadata"].pop("f:annotations", None)
    assert owned == {
        "f:metadata": {"f:finalizers": {".": {}, 'v:"x.y/z"': {}}, "f:labels": {".": {}, "f:p": {}}, "f:ownerReferences": {".": {}, 'k:{"uid":"u-1"}': {}}},
        "f:spec": {".": {}, "f:delivery": {".": {}, "f:retry": {}}},
    }
    changed = broker.ask("PATCH", CHANNELS + "/a", {"spec": {"delivery": {"retry": 2}}}, {**MERGE, "User-Agent": "tool/1.2 (linux)"})
    assert fields(changed, "tool", "Update") == owns(retry=1) and fields(changed, "maker", "Update")["f:spec"]["f:delivery"] == {}
    put = broker.ask("PUT", CHANNELS + "/a?fieldManager=putter", unversioned(changed.json(), spec={"delivery": {"retry": 5}}))
    assert fields(put, "putter", "Update") == owns(retry=1) and ("tool", "Update", "") not in managers(put)
    refused = apply(delivery(retry=9))
    assert refused.json()["message"] == f'Apply failed with 1 conflict: conflict with "putter" using {MESSAGING}: .spec.delivery.retry'


def test_managers_are_taken_away_by_an_empty_entry_alone(apply, broker):
    apply(delivery(retry=1))
    assert managers(broker.ask("PATCH", CHANNELS + "/a", {"metadata": {"managedFields": []}}, MERGE))
    assert managers(broker.ask("PATCH", CHANNELS + "/a", {"metadata": {"managedFields": [{}]}}, MERGE)) == {}
    assert managers(broker.ask("PATCH", CHANNELS + "/a", {"spec": {"delivery": {"retry": 7}}}, MERGE)) == {}  # nobody is known until an apply
    applied = apply(delivery(retry=7))
    assert fields(applied, "m1") == owns(retry=1) and ("before-first-apply", "Update", "") in managers(applied)


def test_managers_that_are_none_are_left_as_they_were(apply, broker):
    before = managers(apply(delivery(retry=1)))
    for bad in ({"operation": "Foo"}, {"operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"spec": {}}}, {"operation": "Update", "fieldsType": "V9"}, {"operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"k:{": {}}}):
        answer = broker.ask("PATCH", CHANNELS + "/a", {"metadata": {"managedFields": [{"manager": "x", "apiVersion": MESSAGING, **bad}]}}, MERGE)
        assert answer.status == 200 and managers(answer) == before


def test_a_json_patch_may_write_the_managers(apply, broker):
    apply(delivery(retry=1))
    answer = broker.ask("PATCH", CHANNELS + "/a", [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "other"}], JSON_PATCH)
    assert fields(answer, "other") == owns(retry=1) and len(managers(answer)) == 1


def test_finalizers_and_owners_are_merged(apply):
    apply(thing("a", finalizers=["x.y/a"], ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1"}]))
    both = apply(thing("a", finalizers=["x.y/b"], ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "p", "uid": "u-2"}]), "m2")
    assert both.json()["metadata"]["finalizers"] == ["x.y/a", "x.y/b"] and [o["uid"] for o in both.json()["metadata"]["ownerReferences"]] == ["u-1", "u-2"]
    assert fields(both, "m2") == {"f:metadata": {"f:finalizers": {'v:"x.y/b"': {}}, "f:ownerReferences": {'k:{"uid":"u-2"}': {}}}}
    less = apply(thing("a"), "m2")
    assert less.json()["metadata"]["finalizers"] == ["x.y/a"] and [o["uid"] for o in less.json()["metadata"]["ownerReferences"]] == ["u-1"]


def test_values_of_a_secret_are_owned_where_they_are_kept(apply):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    made = apply(secret, path="/api/v1/namespaces/default/secrets")
    assert made.json()["data"] == {"a": "Yg=="} and fields(made, "m1") == {"f:data": {"f:a": {}}}
    changed = apply({**secret, "stringData": {"c": "d"}}, path="/api/v1/namespaces/default/secrets")
    assert changed.json()["data"] == {"c": "ZA=="}


def test_the_oldest_of_many_become_one(apply, broker):
    apply(delivery(retry=1))
    for i in range(13):
        answer = broker.ask("PATCH", f"{CHANNELS}/a?fieldManager=u{i}", {"metadata": {"labels": {f"l{i}": "x"}}}, MERGE)
    updates = [m for m in managers(answer) if m[1] == "Update"]
    assert len(updates) == 10 and ("ancient-changes", "Update", "") in updates and len(answer.json()["metadata"]["labels"]) == 13
    assert sum(len([f for f in fields(answer, *m)["f:metadata"]["f:labels"] if f != "."]) for m in updates) == 13  # each label has its owner


def test_yaml_is_taken_too(apply, broker):
    text = f"# hand-written\napiVersion: {MESSAGING}\nkind: Channel\nspec:\n  delivery: {{retry: 6}}\n"
    answer = broker.ask("PATCH", CHANNELS + "/a?fieldManager=m1", text.encode(), APPLY)
    assert answer.status == 201 and answer.json()["spec"]["delivery"]["retry"] == 6 and fields(answer, "m1") == owns(retry=1)


@pytest.mark.parametrize(
    "body,query,code,said",
    [
        (delivery(retry=1), "", 422, "fieldManager: Required value: is required for apply patch"),
        (delivery(retry=1), "?fieldManager=" + "m" * 129, 422, "fieldManager: Too long: may not be more than 128 bytes"),
        (delivery(retry=1), "?fieldManager=a%0ab", 422, "fieldManager: Invalid value"),
        (thing("b"), "?fieldManager=m", 400, "the name of the object (b) does not match the name on the URL (a)"),
        (thing("a", namespace="other"), "?fieldManager=m", 400, "the namespace of the provided object does not match"),
        (thing("a", managedFields=[]), "?fieldManager=m", 400, "metadata.managedFields must be nil"),
        ({**thing("a"), "kind": "Subscription"}, "?fieldManager=m", 400, "invalid object type: messaging.knative.dev/v1, Kind=Subscription"),
        ({"metadata": {"name": "a"}}, "?fieldManager=m", 400, "invalid object type: , Kind="),
        (b"{", "?fieldManager=m", 400, "error decoding YAML"),
        (b"- 1", "?fieldManager=m", 400, "error decoding YAML: the body must be one object"),
        (b"", "?fieldManager=m", 400, "error decoding YAML"),
        (b"a: &a [*a]", "?fieldManager=m", 400, "error decoding YAML"),
        (thing("a", {"bogus": 1}), "?fieldManager=m&fieldValidation=Strict", 400, 'unknown field "spec.bogus"'),
        (delivery(retry="x"), "?fieldManager=m", 422, "spec.delivery.retry"),
        (thing("a", {"delivery": 7}), "?fieldManager=m", 422, "spec.delivery"),
    ],
)
def test_an_apply_that_is_none(broker, body, query, code, said):
    answer = broker.ask("PATCH", CHANNELS + "/a" + query, body, APPLY)
    assert answer.status == code and said in answer.json()["message"], answer
    assert broker.ask("GET", CHANNELS + "/a").status == 404


def test_a_merge_patch_cannot_be_forced(broker):
    assert "force: Forbidden" in broker.ask("PATCH", CHANNELS + "/owned?force=true", {}, MERGE).json()["message"]


def test_an_unknown_field_is_left_out_and_owned_by_nobody(apply):
    answer = apply(thing("a", {"bogus": 1, "delivery": {"retry": 1}}))
    assert answer.status == 201 and 'unknown field' in answer.headers["warning"] and fields(answer, "m1") == owns(retry=1)


def test_a_version_is_a_condition_of_the_apply(apply):
    made = apply(delivery(retry=1)).json()
    assert apply(thing("a", {"delivery": {"retry": 2}}, resourceVersion="1")).status == 409
    assert apply(thing("a", {"delivery": {"retry": 2}}, resourceVersion=made["metadata"]["resourceVersion"])).status in (200, 409)  # a status may have come between


def test_a_dry_run_shows_the_managers_and_stores_nothing(apply, broker):
    answer = apply(delivery(retry=1), query="&dryRun=All")
    assert answer.status == 201 and fields(answer, "m1") == owns(retry=1)
    assert broker.ask("GET", CHANNELS + "/a").status == 404


def test_what_a_file_owns_cannot_be_applied(apply, broker):
    answer = apply(delivery("owned", retry=4), query="&force=true")
    assert answer.status == 409 and str(broker.manifest) in answer.json()["message"]


# ---- kubectl ----


def ssa(kubectl, thing, *more, ok=True):
    done = kubectl("apply", "--server-side", "-f", "-", *more, stdin=thing)
    assert (done.code == 0) is ok, done
    return done


def test_kubectl_applies_again_and_again(kubectl, broker):
    assert ssa(kubectl, channel("a", delivery={"retry": 1})).out == "channel.messaging.knative.dev/a serverside-applied"
    version = broker.ask("GET", CHANNELS + "/a").json()["metadata"]["generation"]
    ssa(kubectl, channel("a", delivery={"retry": 1}))
    assert broker.ask("GET", CHANNELS + "/a").json()["metadata"]["generation"] == version
    ssa(kubectl, channel("a", delivery={"backoffPolicy": "linear"}))
    assert broker.ask("GET", CHANNELS + "/a").json()["spec"]["delivery"] == {"backoffPolicy": "linear"}


def test_kubectl_tells_of_conflicts(kubectl, broker):
    ssa(kubectl, channel("a", delivery={"retry": 1}), "--field-manager", "one")
    done = ssa(kubectl, channel("a", delivery={"retry": 2}), "--field-manager", "two", ok=False)
    assert 'conflict with "one": .spec.delivery.retry' in done.err and "--force-conflicts" in done.err
    ssa(kubectl, channel("a", delivery={"retry": 2}), "--field-manager", "two", "--force-conflicts")
    assert broker.ask("GET", CHANNELS + "/a").json()["spec"]["delivery"]["retry"] == 2


def test_kubectl_takes_over_what_it_applied_client_side(kubectl, broker):
    kubectl.good("apply", "-f", "-", stdin=channel("a", delivery={"retry": 1, "backoffPolicy": "linear"}))
    ssa(kubectl, channel("a", delivery={"retry": 2}))
    there = broker.ask("GET", CHANNELS + "/a")
    assert there.json()["spec"]["delivery"] == {"retry": 2}, "what was applied client-side and no longer is goes"
    assert "kubectl-client-side-apply" not in [m[0] for m in managers(there)]
    assert there.json()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].endswith("}\n")
    assert json.loads(there.json()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])["spec"] == {"delivery": {"retry": 2}}
    kubectl.good("apply", "-f", "-", stdin=channel("a", delivery={"retry": 3}))  # and back
    assert broker.ask("GET", CHANNELS + "/a").json()["spec"]["delivery"] == {"retry": 3}


def test_kubectl_shows_and_hides_managers(kubectl):
    ssa(kubectl, channel("a", delivery={"retry": 1}))
    assert "managedFields" not in kubectl.good("get", "channels.messaging.knative.dev", "a", "-o", "yaml").out
    shown = kubectl.good("get", "channels.messaging.knative.dev", "a", "-o", "json", "--show-managed-fields").json
    assert [m["manager"] for m in shown["metadata"]["managedFields"]] == ["kubectl"]


def test_kubectl_diff_and_dry_run(kubectl, broker):
    ssa(kubectl, channel("a", delivery={"retry": 1}))
    kubectl.good("wait", "--for=condition=Ready", "channel.messaging.knative.dev/a", "--timeout=50s")  # a status that comes between is a difference
    assert kubectl("diff", "--server-side", "-f", "-", stdin=channel("a", delivery={"retry": 1})).code == 0
    done = kubectl("diff", "--server-side", "-f", "-", stdin=channel("a", delivery={"retry": 2}))
    assert done.code == 1 and "-    retry: 1" in done.out and "+    retry: 2" in done.out
    assert "resourceVersion" not in [line[1:].split(":")[0].strip() for line in done.out.splitlines() if line[:1] in "+-"], "the version of what was not written"
    done = kubectl("diff", "-f", "-", stdin=channel("a", delivery={"retry": 1}))  # as objects are that kubectl did not apply: without annotations
    assert done.code == 0, done.out
    assert "(server dry run)" in ssa(kubectl, channel("a", delivery={"retry": 2}), "--dry-run=server").out
    assert broker.ask("GET", CHANNELS + "/a").json()["spec"]["delivery"]["retry"] == 1


def test_kubectl_edits_what_it_applied_last(kubectl, tmp_path):
    kubectl.good("apply", "-f", "-", stdin=channel("a", delivery={"retry": 1}))
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/retry: 1/retry: 5/' \"$1\"\n")
    editor.chmod(0o755)
    kubectl.env["KUBE_EDITOR"] = str(editor)
    kubectl.good("apply", "edit-last-applied", "channels.messaging.knative.dev/a")
    assert "retry: 5" in kubectl.good("apply", "view-last-applied", "channels.messaging.knative.dev/a").out


def test_kubectl_names_its_ordinary_writes(kubectl, broker):
    kubectl.good("create", "-f", "-", stdin=channel("a"))
    kubectl.good("label", "channels.messaging.knative.dev", "a", "x=y")
    names = [m[0] for m in managers(broker.ask("GET", CHANNELS + "/a"))]
    assert sorted(names) == ["kubectl-create", "kubectl-label"]
