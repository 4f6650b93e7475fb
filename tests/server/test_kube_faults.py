# SPDX-License-Identifier: Apache-2.0
"""What a real API server does not do, or not on demand: malformed lines and lists, objects beyond every bound, a version that is forgotten between two lines; the watching of `leat source kubernetes`
at each of them. The real one is in test_kubernetes_source.py."""

import json

import pytest

from fake_kubernetes import FakeKubernetes, configmap, event
from leat import Reply, Sink, wait_for


@pytest.fixture
def api():
    with FakeKubernetes() as fake:
        yield fake


@pytest.fixture
def source(start, api, sink, tmp_path):
    def run(*args, to=None, state=True):
        kept = ["--state", str(tmp_path / "state" / "file")] if state else []
        return start("source", "kubernetes", "--resource", "v1/ConfigMap", "--kubeconfig", str(api.kubeconfig(tmp_path)), *kept, *args, env={"K_SINK": to or sink.url, "NAMESPACE": "default"})

    return run


def told(sink):
    return [(r.attributes["type"].rpartition(".")[2], r.attributes["name"]) for r in sink.requests]


def expired():
    return event("ERROR", {"kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old resource version", "code": 410})


def bookmark(version):
    return event("BOOKMARK", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}})


def test_what_is_there_is_no_news_and_what_comes_is(api, source, sink):
    api.objects = [configmap("old", 5)]
    api.script([event("ADDED", configmap("a", 11)), event("MODIFIED", configmap("a", 12)), event("DELETED", configmap("a", 13))])
    source()
    sink.wait(3)
    assert told(sink) == [("add", "a"), ("update", "a"), ("delete", "a")]
    a = sink.requests[0].attributes
    assert a["type"] == "dev.knative.apiserver.ref.add" and a["source"] == api.url and a["subject"] == "/apis/v1/namespaces/default/configmaps/a"
    assert (a["kind"], a["apiversion"], a["namespace"]) == ("ConfigMap", "v1", "default")
    assert json.loads(sink.requests[0].body) == {"kind": "ConfigMap", "namespace": "default", "name": "a", "apiVersion": "v1"}
    again = api.wait_asked("watch=true", 2)
    assert "resourceVersion=10&" in again[0] and "resourceVersion=13&" in again[1] and "allowWatchBookmarks=true" in again[0]


@pytest.mark.parametrize("line", [b"{\n", b"[]\n", b'{"type":"ADDED"}\n', b'{"type":"LATER","object":{"metadata":{"resourceVersion":"11"}}}\n', b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"x"}}}\n',
                                  b'{"type":"ADDED","object":{"metadata":{"name":7,"resourceVersion":"11"}}}\n', b"\xff\xfe\n", b'{"type":"ADDED","object":' + b"[" * 5000 + b"\n"])
def test_a_malformed_line_is_told_and_the_watch_begun_again(api, source, sink, line):
    api.script([event("ADDED", configmap("a", 11)), line], [event("ADDED", configmap("b", 12))])
    process = source()
    said = process.wait_line("kubernetes.trouble", "stderr")
    assert "is not what an API server says" in said and "a line of a watch" in said
    sink.wait(2)
    assert sorted(told(sink)) == [("add", "a"), ("add", "b")]
    assert "resourceVersion=11&" in api.wait_asked("watch=true", 2)[1]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"items":7,"metadata":{"resourceVersion":"1"}}', b'{"items":[7],"metadata":{"resourceVersion":"1"}}', b'{"items":[]}'])
def test_a_malformed_list_is_told_and_asked_for_again(api, source, sink, body):
    api.answers["list"] = body
    api.script([event("ADDED", configmap("a", 11))])
    process = source()
    assert "is not what an API server says" in process.wait_line("kubernetes.trouble", "stderr")
    sink.wait(1)
    assert told(sink) == [("add", "a")]


def test_lines_in_pieces(api, source, sink):
    text = b"".join(json.dumps(event("ADDED", configmap(f"m{i}", 11 + i, text="x" * i * 100))).encode() + b"\n" for i in range(20))
    api.script([text[i:i + 97] for i in range(0, len(text), 97)])
    source("--mode", "Resource")
    sink.wait(20)
    bodies = {r.attributes["name"]: json.loads(r.body) for r in sink.requests}
    assert bodies == {f"m{i}": configmap(f"m{i}", 11 + i, text="x" * i * 100) for i in range(20)}


def test_an_object_beyond_what_is_read_is_passed_over(api, source, sink):
    big = json.dumps(event("ADDED", configmap("big", 11, text="x" * (9 << 20)))).encode() + b"\n"
    api.script([big, event("ADDED", configmap("after", 12))])
    process = source()
    assert "has 943" in process.wait_line("is passed over", "stderr")
    sink.wait(1)
    assert told(sink) == [("add", "after")]


def test_an_object_that_is_too_large_for_an_event_is_told(api, source, sink):
    api.script([event("ADDED", configmap("big", 11, text="x" * (2 << 20))), event("ADDED", configmap("after", 12))])
    process = source("--mode", "Resource")
    said = process.wait_line("kubernetes.lost", "stderr")
    assert "default/big" in said and "bytes that an event may have" in said
    sink.wait(1)
    assert told(sink) == [("add", "after")]


def test_a_forgotten_version_is_made_up_for_by_comparing(api, source, sink):
    """Adds, updates, deletes, and one that was made anew, all while nobody watched; what did not change is not told."""
    api.objects = [configmap("same", 1), configmap("changed", 2), configmap("gone", 3), configmap("anew", 4, uid="first")]
    source()
    api.wait_asked("watch=true")
    api.objects = [configmap("same", 1), configmap("changed", 20), configmap("anew", 21, uid="second"), configmap("new", 22)]
    api.version = 30
    api.script([expired()], [event("ADDED", configmap("later", 31))])
    sink.wait(6)
    assert sorted(told(sink)) == sorted([("update", "changed"), ("delete", "anew"), ("add", "anew"), ("add", "new"), ("delete", "gone"), ("add", "later")])
    assert told(sink).index(("delete", "anew")) < told(sink).index(("add", "anew")), "changes of one object keep their order, those of several have none"
    api.wait_asked("resourceVersion=30&")


def test_what_happened_while_it_was_stopped(api, source, sink, start):
    """By its state file: from where it was, or by comparing when that is too long ago."""
    api.objects = [configmap("gone", 3), configmap("same", 4)]
    api.script([event("ADDED", configmap("a", 11))])
    first = source()
    sink.wait(1)
    api.wait_asked("resourceVersion=11&")
    assert first.stop() == 0
    seen = len(api.asked)
    api.script([event("MODIFIED", configmap("a", 12)), bookmark(15)])
    second = source()
    sink.wait(2)
    assert told(sink)[1] == ("update", "a") and not any("limit=" in a for a in api.asked[seen:])
    api.wait_asked("resourceVersion=15&")
    assert second.stop() == 0
    api.objects, api.version = [configmap("same", 4), configmap("a", 12), configmap("new", 20)], 40
    api.script([expired()])
    source()
    sink.wait(4)
    assert sorted(told(sink)[2:]) == [("add", "new"), ("delete", "gone")]
    api.wait_asked("resourceVersion=40&")


def test_a_long_list_comes_in_pages(api, source, sink):
    api.objects = [configmap(f"m{i}", 1) for i in range(700)]
    source()
    api.wait_asked("watch=true")
    assert [a.partition("?")[2] for a in api.asked if "limit=" in a] == ["limit=250", "limit=250&continue=250", "limit=250&continue=500"]
    api.objects, api.version = [], 50
    api.script([expired()])
    sink.wait(700)
    assert sorted(told(sink)) == sorted(("delete", f"m{i}") for i in range(700))


def test_a_sink_that_is_down_holds_the_watch_and_nothing_is_lost(api, source):
    """More changes than it keeps in memory: the rest waits at the API server."""
    api.history = [event("ADDED", configmap(f"m{i}", 11 + i)) for i in range(600)]
    with Sink(default=Reply(503)) as sink:
        process = source(to=sink.url)
        process.wait_line("kubernetes.retry", "stderr")
        api.wait_asked("watch=true")
        sink.default = Reply(202)
        tried = len(sink.requests)
        wait_for(lambda: len({r.attributes["name"] for r in list(sink.requests)}) == 600, "all changes")
        assert len(api.wait_asked("watch=true", 2)) < 10 and len(sink.requests) - tried < 700, "it asks again when there is room, not all the time"
        process.wait_line("kubernetes.recovered", "stderr")


def test_an_object_keeps_its_order_while_the_sink_fails_now_and_then(api, source, sink):
    sink.script = [Reply(500 if i % 3 == 0 else 202) for i in range(60)]
    api.script([event("MODIFIED", configmap("a", 11 + i, n=str(i))) for i in range(100)])
    source("--mode", "Resource")
    wait_for(lambda: any(json.loads(r.body)["data"]["n"] == "99" for r in sink.requests), "the last change")
    numbers = [int(json.loads(r.body)["data"]["n"]) for r in sink.requests]
    assert all(b in (a, a + 1) for a, b in zip(numbers, numbers[1:])), numbers


def test_filters_and_owner(api, source, sink):
    owned = configmap("owned", 12)
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "controller": True}]
    api.script([event("ADDED", configmap("free", 11)), event("ADDED", owned), event("DELETED", {**owned, "metadata": {**owned["metadata"], "resourceVersion": "13"}})])
    source("--owner", "apps/v1/Deployment", "--filter", "type LIKE '%.delete'")
    sink.wait(1)
    assert told(sink) == [("delete", "owned")]
    api.wait_asked("resourceVersion=13&")


def test_a_state_file_of_somebody_else_is_refused(api, source, tmp_path):
    (tmp_path / "state").mkdir()
    for text, words in ((b"hello\n", "line 1: it is not what this source wrote"), (b"leat kubernetes 2\n", "newer leat"), (b"leat kubernetes 1\nV 0 1\n", "line 2")):
        (tmp_path / "state" / "file").write_bytes(text)
        process = source()
        assert process.wait() == 1 and words in process.logs, process.logs
    assert (tmp_path / "state" / "file").read_bytes() == b"leat kubernetes 1\nV 0 1\n"


def test_two_processes_do_not_share_a_state_file(api, source):
    source()
    api.wait_asked("watch=true")
    second = source()
    assert second.wait() == 1 and "another process runs this source" in second.logs


@pytest.mark.parametrize("args, words", [
    (["--resource", ""], "resources: none is named"),
    (["--resource", "ConfigMap"], 'resources: "ConfigMap" is no API version and kind'),
    (["--mode", "All"], 'mode: "All" is none'),
    (["--watch-namespace", "a/b"], 'namespaces: "a/b" is no name'),
    (["--owner", "x"], "owner:"),
    (["--filter", "type ="], "filter, column"),
])
def test_what_is_wrong_is_said(source, args, words):
    process = source(*args)
    assert process.wait() == 3 and words in process.logs, process.logs


def test_an_unknown_kind_is_waited_for(api, start, sink, tmp_path):
    process = start("source", "kubernetes", "--resource", "v1/Nothing", "--kubeconfig", str(api.kubeconfig(tmp_path)), env={"K_SINK": sink.url})
    said = process.wait_line("kubernetes.trouble", "stderr")
    assert "has no Nothing of v1" in said and "CustomResourceDefinition" in said
    api.wait_asked("/api/v1", 3)
