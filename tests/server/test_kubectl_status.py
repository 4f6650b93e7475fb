# SPDX-License-Identifier: Apache-2.0
"""The subresource status: what a client may write there, and what leat says itself and keeps saying. With both kubectls and on the wire."""

import pytest

from broker import MESSAGING, Broker, channel
from kubectl import NEW, OLD, Kubectl
from leat import wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
APPLY, MERGE, JSON_PATCH = ({"Content-Type": f"application/{form}"} for form in ("apply-patch+yaml", "merge-patch+json", "json-patch+json"))
MINE = {"type": "Reviewed", "status": "False", "reason": "Jo", "lastTransitionTime": "2018-07-31T12:00:00Z"}


@pytest.fixture(scope="module")
def broker(serve_module):
    return serve_module([channel("owned")])


def condition(thing, type_):
    return next((c for c in thing.get("status", {}).get("conditions", []) if c["type"] == type_), None)


def ready(broker, path):
    wait_for(lambda: (condition(broker.ask("GET", path).json(), "Ready") or {}).get("status") == "True", "Ready")
    return broker.ask("GET", path).json()


@pytest.fixture
def path(broker):
    broker.ask("POST", CHANNELS, channel("a"))
    yield CHANNELS + "/a"
    broker.ask("DELETE", CHANNELS + "/a")


def test_a_put_writes_the_status_and_nothing_else(broker, path):
    before = ready(broker, path)
    # without a version: leat's own statuses may come between
    answer = broker.ask("PUT", path + "/status?fieldManager=jo", {**before, "spec": {"delivery": {"retry": 9}}, "metadata": {"name": "a", "labels": {"x": "y"}}, "status": {**before["status"], "conditions": [*before["status"]["conditions"], MINE]}})
    after = answer.json()
    assert answer.status == 200 and condition(after, "Reviewed") == MINE
    assert after["spec"] == before["spec"] and "labels" not in after["metadata"] and after["metadata"]["generation"] == before["metadata"]["generation"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    assert [(m["operation"], m["subresource"]) for m in after["metadata"]["managedFields"] if m["manager"] == "jo"] == [("Update", "status")]
    assert condition(broker.ask("GET", path + "/status").json(), "Reviewed") == MINE


def test_what_leat_says_stays(broker, path):
    before = ready(broker, path)
    lie = {"observedGeneration": 77, "address": {"url": "http://else/"}, "conditions": [{"type": "Ready", "status": "False"}, MINE]}
    after = broker.ask("PATCH", path + "/status", {"status": lie}, MERGE).json()
    assert condition(after, "Ready") == condition(before, "Ready") and condition(after, "Reviewed") == MINE
    assert after["status"]["address"] == before["status"]["address"] and after["status"]["observedGeneration"] == before["status"]["observedGeneration"]
    assert {c["type"] for c in after["status"]["conditions"]} >= {c["type"] for c in before["status"]["conditions"]} | {"Reviewed"}


def test_what_others_say_stays_when_the_plan_changes(broker, path):
    ready(broker, path)
    broker.ask("PATCH", path + "/status", {"status": {"conditions": [MINE], "annotations": {"k": "v"}}}, MERGE)
    changed = broker.ask("PATCH", path, {"spec": {"delivery": {"retry": 3}}}, MERGE).json()
    wait_for(lambda: broker.ask("GET", path).json()["status"].get("observedGeneration") == changed["metadata"]["generation"], "the new plan")
    there = broker.ask("GET", path).json()
    assert condition(there, "Reviewed") == MINE and there["status"]["annotations"] == {"k": "v"} and condition(there, "Ready")["status"] == "True"
    gone = broker.ask("PATCH", path + "/status", {"status": {"conditions": [], "annotations": None}}, MERGE).json()
    assert condition(gone, "Reviewed") is None and "annotations" not in gone["status"] and condition(gone, "Ready")["status"] == "True"


def test_the_main_path_ignores_a_status(broker, path):
    before = ready(broker, path)
    after = broker.ask("PATCH", path + "?fieldManager=jo", {"status": {"conditions": [MINE]}}, MERGE).json()
    assert condition(after, "Reviewed") is None and after["metadata"]["managedFields"] == before["metadata"]["managedFields"]
    applied = broker.ask("PATCH", path + "?fieldManager=jo", {**channel("a"), "status": {"conditions": [MINE]}}, APPLY).json()
    assert condition(applied, "Reviewed") is None and "f:status" not in str(applied["metadata"].get("managedFields"))


def test_an_apply_of_the_status(broker, path):
    ready(broker, path)
    thing = {**channel("a", delivery={"retry": 9}), "status": {"annotations": {"k": "v"}}}
    one = broker.ask("PATCH", path + "/status?fieldManager=m1", thing, APPLY).json()
    assert one["status"]["annotations"] == {"k": "v"} and "delivery" not in one["spec"]
    entry = next(m for m in one["metadata"]["managedFields"] if m["manager"] == "m1")
    assert entry["operation"] == "Apply" and entry["subresource"] == "status" and entry["fieldsV1"] == {"f:status": {"f:annotations": {"f:k": {}}}}
    assert broker.ask("PATCH", path + "/status?fieldManager=m1", thing, APPLY).json()["metadata"]["managedFields"] == one["metadata"]["managedFields"]
    refused = broker.ask("PATCH", path + "/status?fieldManager=m2", {**thing, "status": {"annotations": {"k": "w"}}}, APPLY)
    assert refused.status == 409 and refused.json()["message"] == 'Apply failed with 1 conflict: conflict with "m1" with subresource "status": .status.annotations.k'
    left = broker.ask("PATCH", path + "/status?fieldManager=m1", channel("a"), APPLY).json()
    assert "annotations" not in left["status"] and condition(left, "Ready")["status"] == "True"


def test_a_json_patch_of_the_status(broker, path):
    ready(broker, path)
    after = broker.ask("PATCH", path + "/status", [{"op": "add", "path": "/status/conditions/-", "value": MINE}, {"op": "add", "path": "/spec/delivery", "value": {"retry": 2}}], JSON_PATCH).json()
    assert condition(after, "Reviewed") == MINE and "delivery" not in after["spec"]


def test_a_dry_run(broker, path):
    ready(broker, path)
    assert condition(broker.ask("PATCH", path + "/status?dryRun=All", {"status": {"conditions": [MINE]}}, MERGE).json(), "Reviewed") == MINE
    assert condition(broker.ask("GET", path).json(), "Reviewed") is None


@pytest.mark.parametrize(
    "method,where,body,headers,code,said",
    [
        ("PUT", "", {**channel("a"), "metadata": {"name": "a", "resourceVersion": "1"}, "status": {}}, {}, 409, "the object has been modified"),
        ("PUT", "", {**channel("b"), "status": {}}, {}, 400, "does not match the name on the URL"),
        ("PUT", "", {"status": {}}, {}, 400, "invalid object type"),
        ("PUT", "", b"[]", {}, 400, "must be one object"),
        ("PUT", "", b"{", {}, 400, ""),
        ("PUT", "", b"status: {}", {"Content-Type": "application/yaml"}, 415, "application/json"),
        ("PATCH", "", {"status": {"observedGeneration": "x"}}, MERGE, 422, "status.observedGeneration: must be a whole number"),
        ("PATCH", "", {"status": 7}, MERGE, 422, "status: must be a mapping"),
        ("PATCH", "?fieldValidation=Strict", {"status": {"bogus": 7}}, MERGE, 400, 'unknown field "status.bogus"'),
        ("PATCH", "", {"metadata": {"resourceVersion": "1"}, "status": {}}, MERGE, 409, "the object has been modified"),
        ("PATCH", "", {"status": {}}, {"Content-Type": "text/plain"}, 415, "merge-patch"),
        ("DELETE", "", None, {}, 405, ""),
        ("POST", "", {}, {}, 405, ""),
    ],
)
def test_what_is_no_status(broker, path, method, where, body, headers, code, said):
    answer = broker.ask(method, path + "/status" + where, body, headers) if headers else broker.ask(method, path + "/status" + where, body)
    assert answer.status == code and said in answer.json()["message"], answer
    assert broker.ask("GET", path).status == 200


def test_of_what_is_not_there(broker):
    assert broker.ask("PATCH", CHANNELS + "/none/status", {"status": {}}, MERGE).status == 404


def test_a_files_object(broker):
    answer = broker.ask("PATCH", CHANNELS + "/owned/status", {"status": {"conditions": [MINE]}}, MERGE)
    assert answer.status == 409 and str(broker.manifest) in answer.json()["message"]


def test_it_is_there_after_a_restart(tmp_path, leat_binary):
    broker = Broker(tmp_path, [], "--data-dir", tmp_path / "data")
    broker.ask("POST", CHANNELS + "?fieldManager=maker", channel("a"))
    ready(broker, CHANNELS + "/a")
    broker.ask("PATCH", CHANNELS + "/a/status?fieldManager=jo", {"status": {"conditions": [MINE]}}, MERGE)
    before = broker.ask("GET", CHANNELS + "/a").json()
    assert broker.stop() == 0
    again = Broker(tmp_path, [], "--data-dir", tmp_path / "data")
    after = ready(again, CHANNELS + "/a")
    assert condition(after, "Reviewed") == MINE and after["metadata"]["managedFields"] == before["metadata"]["managedFields"]
    assert again.stop() == 0


@pytest.mark.parametrize("program", [NEW, OLD], ids=["new", "old"])
def test_kubectl_patches_the_status(broker, path, tmp_path, program):
    kubectl = Kubectl(program, broker.api, tmp_path)
    ready(broker, path)
    kubectl.good("patch", "channels.messaging.knative.dev", "a", "--subresource=status", "--type=merge", "-p", '{"status": {"annotations": {"by": "jo"}}}')
    assert kubectl.good("get", "channels.messaging.knative.dev", "a", "--subresource=status", "-o", "jsonpath={.status.annotations.by}").out == "jo"
    kubectl.good("apply", "--server-side", "--subresource=status", "--force-conflicts", "-f", "-", stdin={**channel("a"), "status": {"annotations": {"by": "jo", "on": "x"}}}) if program is NEW else None
    kubectl.good("wait", "--for=condition=Ready", "channels.messaging.knative.dev/a", "--timeout=50s")
