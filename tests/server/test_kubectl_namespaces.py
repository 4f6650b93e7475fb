# SPDX-License-Identifier: Apache-2.0
"""Namespaces that nobody has made: `default`, and those in which objects lie. They are got, listed, watched and described like others, and no store has them."""

import json

import pytest

from broker import MESSAGING, channel
from kubectl import NEW, OLD, Kubectl
from leat import wait_for
from test_access import bearer, token
from test_kubectl_watching import Watch

SPACES = "/api/v1/namespaces"
MERGE, APPLY = {"Content-Type": "application/merge-patch+json"}, {"Content-Type": "application/apply-patch+yaml"}


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **({"labels": labels} if labels else {})}}


def channels(space):
    return f"/apis/{MESSAGING}/namespaces/{space}/channels"


def names(broker, query=""):
    return [i["metadata"]["name"] for i in broker.ask("GET", SPACES + query).json()["items"]]


def of(broker, name):
    answer = broker.ask("GET", f"{SPACES}/{name}")
    return answer.json() if answer.status == 200 else None


def declared(thing):
    """Whether somebody has made it."""
    return not [c for c in thing["status"].get("conditions", []) if c["type"] == "Declared" and c["status"] == "False"]


def test_of_files(serve):
    """What the first request finds, and what a reload changes: namespaces of objects in files, beside those that a file declares."""
    broker = serve([channel("a", "orders"), channel("b", "orders"), namespace("made"), channel("c", "made")])
    assert names(broker) == ["default", "made", "orders"]
    assert [declared(of(broker, n)) for n in names(broker)] == [False, True, False]
    broker.reload([channel("b", "orders"), channel("c", "made"), channel("d", "zebra")])
    wait_for(lambda: names(broker) == ["default", "made", "orders", "zebra"], "the namespaces after the reload")
    assert not declared(of(broker, "made"))
    broker.reload([namespace("orders")])
    wait_for(lambda: names(broker) == ["default", "orders"], "the namespaces after the other reload")
    assert declared(of(broker, "orders"))


def test_they_come_and_go_with_objects(serve):
    broker = serve()
    assert names(broker) == ["default"] and of(broker, "orders") is None
    for name in ("a", "b"):
        assert broker.ask("POST", channels("orders"), channel(name, "orders")).status == 201
    thing = of(broker, "orders")
    assert names(broker) == ["default", "orders"] and thing["status"]["phase"] == "Active" and not declared(thing)
    assert thing["metadata"]["creationTimestamp"] == broker.ask("GET", channels("orders") + "/a").json()["metadata"]["creationTimestamp"]
    broker.ask("DELETE", channels("orders") + "/a")
    assert of(broker, "orders") == thing
    broker.ask("DELETE", channels("orders") + "/b")
    assert names(broker) == ["default"] and of(broker, "orders") is None


def test_selectors_and_pages(serve):
    broker = serve([channel("c", f"n{i}") for i in range(5)])
    for n in ("n1", "n3"):
        broker.ask("POST", SPACES, namespace(n, made="yes"))
    assert names(broker) == ["default", "n0", "n1", "n2", "n3", "n4"]
    assert names(broker, "?labelSelector=made%3Dyes") == ["n1", "n3"] and names(broker, "?fieldSelector=metadata.name%3Dn2") == ["n2"]
    seen, token = [], ""
    while True:
        page = broker.ask("GET", f"{SPACES}?limit=2&continue={token}").json()
        seen.append([i["metadata"]["name"] for i in page["items"]])
        if not (token := page["metadata"].get("continue", "")):
            break
        token = token.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    assert seen == [["default", "n0"], ["n1", "n2"], ["n3", "n4"]]


def test_watches(serve):
    """Each comes once and goes once, in the order in which it happened; a Namespace that comes to one, or leaves one behind, is a change of it."""
    broker = serve([channel("c")])
    began = broker.ask("GET", SPACES).json()["metadata"]["resourceVersion"]
    assert began != "0", "a watch from 0 begins with what is there"
    with Watch(broker, SPACES) as walk, Watch(broker, SPACES, resourceVersion=began) as on, Watch(broker, SPACES, resourceVersion=began, labelSelector="made") as made:
        assert walk.change() == ("ADDED", "default")
        versions = []
        for method, path, body in (
            ("POST", channels("x"), channel("a", "x")),
            ("POST", channels("x"), channel("b", "x")),
            ("POST", SPACES, namespace("x", made="yes")),
            ("DELETE", f"{SPACES}/x", None),
            ("DELETE", channels("x") + "/a", None),
            ("DELETE", channels("x") + "/b", None),
            ("POST", SPACES, namespace("default", made="yes")),
            ("DELETE", f"{SPACES}/default", None),
        ):
            assert broker.ask(method, path, body).status in (200, 201), (method, path)
        expected = [("ADDED", "x", False), ("MODIFIED", "x", True), ("MODIFIED", "x", False), ("DELETED", "x", False), ("MODIFIED", "default", True), ("MODIFIED", "default", False)]
        for watch in (walk, on):
            got = [watch.next() for _ in expected]
            assert [(e["type"], e["object"]["metadata"]["name"], declared(e["object"])) for e in got] == expected
            versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in got]
            assert versions == sorted(set(versions)), "each is a version of its own"
        assert [made.change() for _ in range(4)] == [("ADDED", "x"), ("DELETED", "x"), ("ADDED", "default"), ("DELETED", "default")]
    with Watch(broker, SPACES, resourceVersion=versions[1]) as late:
        assert [late.change() for _ in range(2)] == [("MODIFIED", "x"), ("DELETED", "x")], "a watch goes on where another ended"


def test_the_walk_of_a_watch_has_all_of_them(serve):
    broker = serve([channel("c", f"n{i:03}") for i in range(600)])
    with Watch(broker, SPACES, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true") as watch:
        seen = [watch.change()[1] for _ in range(601)]
        assert seen == ["default", *(f"n{i:03}" for i in range(600))]
        assert watch.next()["type"] == "BOOKMARK"


@pytest.mark.parametrize("how", ["POST", "PUT", "merge", "server-side"])
def test_a_write_makes_one_of_it_and_a_deletion_leaves_it(serve, tmp_path, how):
    objects = [channel("c", "orders")]
    broker = serve(objects, "--data-dir", tmp_path / "d")
    before, path = of(broker, "orders"), f"{SPACES}/orders"
    labelled = {**before, "metadata": {**before["metadata"], "labels": {"a": "b"}}}
    send = {
        "POST": ("POST", SPACES, namespace("orders", a="b"), ()),
        "PUT": ("PUT", path, labelled, ()),
        "merge": ("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE),
        "server-side": ("PATCH", path + "?fieldManager=m", namespace("orders", a="b"), APPLY),
    }[how]
    dry = broker.ask(send[0], send[1] + ("&" if "?" in send[1] else "?") + "dryRun=All", send[2], send[3])
    assert dry.status in (200, 201) and dry.json()["metadata"]["labels"] == {"a": "b"} and of(broker, "orders") == before
    assert broker.ask(*send).status in (200, 201)
    made = of(broker, "orders")
    assert made["metadata"]["labels"] == {"a": "b"} and declared(made) and made["metadata"]["uid"] != before["metadata"]["uid"]
    assert broker.ask("POST", SPACES, namespace("orders")).status == 409
    assert broker.stop() == 0
    broker = serve(objects, "--data-dir", tmp_path / "d")
    assert of(broker, "orders")["metadata"]["uid"] == made["metadata"]["uid"], "it is kept"
    assert broker.ask("DELETE", path).status == 200
    left = of(broker, "orders")
    assert not declared(left) and "labels" not in left["metadata"] and left["metadata"]["uid"] == before["metadata"]["uid"]


def test_what_nobody_made_is_deleted_by_nobody(serve):
    broker = serve([channel("c", "orders")])
    for name, code, reason, why in (("default", 403, "Forbidden", "may not be deleted"), ("orders", 409, "Conflict", "objects lie in it"), ("none", 404, "NotFound", "not found")):
        answer = broker.ask("DELETE", f"{SPACES}/{name}")
        assert (answer.status, answer.json()["reason"]) == (code, reason) and why in answer.json()["message"], answer
    assert broker.ask("DELETE", SPACES).status == 200 and names(broker) == ["default", "orders"]


def test_events_hold_none(serve):
    """They tell of objects, and stay longer."""
    broker = serve()
    happened = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "x"}, "involvedObject": {"kind": "Channel", "namespace": "x", "name": "c"}, "reason": "R", "message": "m", "type": "Normal"}
    assert broker.ask("POST", "/api/v1/namespaces/x/events", happened).status == 201
    assert names(broker) == ["default"]


@pytest.mark.parametrize("version", [NEW, OLD], ids=["new", "old"])
def test_kubectl(serve, tmp_path, version):
    broker = serve([channel("c", "orders")])
    kubectl = Kubectl(version, broker.api, tmp_path)
    assert [(r["NAME"], r["STATUS"]) for r in kubectl.good("get", "ns").rows] == [("default", "Active"), ("orders", "Active")]
    assert kubectl.good("get", "ns", "default", "-o", "name").out == "namespace/default"
    said = kubectl.good("describe", "ns", "orders").out
    assert "Status:" in said and "Active" in said and "HoldsObjects" in said
    assert "may not be deleted" in kubectl("delete", "ns", "default").err
    assert kubectl("create", "ns", "orders").code == 0 and kubectl("create", "ns", "orders").code == 1
    assert "deleted" in kubectl.good("delete", "ns", "orders").out, "its wait ends: what is there then is another one"
    assert "orders" in kubectl.good("get", "ns").out
    kubectl.good("apply", "-f", "-", stdin=namespace("orders", team="blue"))
    assert kubectl.good("get", "ns", "-l", "team=blue", "-o", "name").out == "namespace/orders"
    kubectl.good("label", "ns", "default", "a=b")
    assert of(broker, "default")["metadata"]["labels"] == {"a": "b"} and declared(of(broker, "default"))


def test_leat_shows_them_and_exports_what_was_made(serve, run):
    broker = serve([channel("c", "orders"), namespace("made")])
    at = ("--server", broker.api)
    code, out, err = run("get", "ns", *at)
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["NAME", "default", "made", "orders"], (out, err)
    code, out, err = run("get", "namespace", "orders", "-o", "json", *at)
    assert code == 0 and json.loads(out)["metadata"]["name"] == "orders", (out, err)
    code, out, err = run("export", "-A", "-o", "json", *at)
    things = json.loads(out)["items"]
    assert code == 0 and [t["metadata"]["name"] for t in things if t["kind"] == "Namespace"] == ["made"] and len(things) == 2, (out, err)


def test_who_sees_one_namespace_gets_it(serve, tmp_path):
    """As with those that somebody made: one's own, and no list of all."""
    tokens = tmp_path / "tokens"
    own = bearer(token(tokens, "--role", "view", "--name", "v", "--namespace", "orders"))
    broker = serve([channel("c", "orders"), channel("c", "other")], "--tokens", tokens)
    assert [broker.ask("GET", path, None, own).status for path in (f"{SPACES}/orders", f"{SPACES}/other", SPACES)] == [200, 403, 403]
