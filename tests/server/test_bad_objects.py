# SPDX-License-Identifier: Apache-2.0
"""Objects, patches, selectors and paths that are broken, hostile or too large: each is refused in words, the server goes on, and what is there already is neither changed nor delivered differently."""

import json
import socket
import urllib.parse

import pytest

from broker import MESSAGING, channel, subscription, event
from leat import DEADLINE, wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
MAPS = "/api/v1/namespaces/default/configmaps"
JSON = {"Content-Type": "application/json"}
MIB = 1 << 20


def big(size):
    thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"k": ""}}
    thing["data"]["k"] = "x" * (size - len(json.dumps(thing)))
    text = json.dumps(thing).encode()
    assert len(text) == size
    return text


DEEP = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":' + b'{"a":' * 50000 + b"1" + b"}" * 50001
BODIES = [
    b"", b"{", b"null", b"[]", b'"x"', b"\x00" * 100, b"\xff\xfe{}", b'{"kind":"ConfigMap"}', DEEP, b"[" * 100000, b'{"apiVersion":"v1","kind":"ConfigMap","metadata":[]}',
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"\\u0000"}}', b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":1e999}}', b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"' + b"a" * 300 + b'"}}',
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"\xff":"b"}}}', b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"../../etc"}}',
    json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"k" * 400: "v"}}}).encode(),
]
QUERIES = ["labelSelector=%ff%00", "labelSelector=" + "(" * 5000, "labelSelector=" + "a%3Db," * 5000 + ",", "fieldSelector=" + "%3D" * 3000, "limit=-1", "limit=99999999999999999999", "continue=" + "A" * 5000, "resourceVersion=-1",
           "watch=true&resourceVersion=99999999999999999999", "watch=true&timeoutSeconds=x"]
PATHS = ["/apis/" + "a" * 3000, "/api/v1/namespaces/" + "n" * 300 + "/configmaps/a", "/api/v1/namespaces/%00/configmaps/a", "/api/v1/namespaces/default/configmaps/%2e%2e%2f%2e%2e", "/api/v1//configmaps", "/apis///", "/api/v1/namespaces/default/configmaps/a/b/c/d"]


@pytest.fixture(scope="module")
def server(serve_module):
    process = serve_module()
    assert process.ask("POST", CHANNELS, channel("kept")).status == 201  # over the API: nothing is refused because it is a file's
    return process


@pytest.fixture
def broker(server, sink):
    """With a channel that delivers; after the test it still does, and is what it was."""
    assert server.ask("POST", f"/apis/{MESSAGING}/namespaces/default/subscriptions", subscription("kept", "kept", sink.url)).status == 201
    wait_for(lambda: any(c["type"] == "Ready" and c["status"] == "True" for c in server.ask("GET", f"/apis/{MESSAGING}/namespaces/default/subscriptions/kept").json().get("status", {}).get("conditions", [])), "the subscription")
    before = server.ask("GET", CHANNELS + "/kept").json()["spec"]
    yield server
    assert server.ask("GET", CHANNELS + "/kept").json()["spec"] == before
    assert server.post("kept", b"1", event("after")).status == 202
    assert any(r.headers["ce-id"] == "after" for r in sink.wait(1))
    assert server.ask("DELETE", f"/apis/{MESSAGING}/namespaces/default/subscriptions/kept").status == 200


def refused(answer, *also):
    assert answer.status in (400, 404, 405, 413, 415, 422, *also), answer
    if answer.status >= 400 and answer.headers["content-type"] == "application/json":
        status = answer.json()
        assert status["kind"] == "Status" and status["message"] and status["code"] == answer.status, status
    return answer


def test_bodies_that_are_no_objects(broker):
    for body in BODIES:
        refused(broker.ask("POST", MAPS, body, JSON))
        refused(broker.ask("PUT", MAPS + "/a", body, JSON))
    assert broker.ask("GET", MAPS).json()["items"] == []


@pytest.mark.parametrize("kind", ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])
def test_patches_that_are_none(broker, kind):
    for body in BODIES:
        nothing_to_do = [200] if (kind, body) == ("json-patch+json", b"[]") else []
        refused(broker.ask("PATCH", CHANNELS + "/kept?fieldManager=x", body, {"Content-Type": f"application/{kind}"}), *nothing_to_do)


def test_queries_and_paths_that_mean_nothing(broker):
    for query in QUERIES:
        refused(broker.ask("GET", f"{MAPS}?{query}"), 200, 410, 504)
    for path in PATHS:
        refused(broker.ask("GET", path), 414, 431)


def test_an_object_may_have_a_mebibyte(broker):
    assert broker.ask("POST", MAPS, big(MIB), JSON).status == 201
    for method, path in (("POST", MAPS), ("PUT", MAPS + "/big")):
        answer = refused(broker.ask(method, path, big(MIB + 1), JSON))
        assert answer.status == 413 and answer.json()["reason"] == "RequestEntityTooLarge"
    grown = refused(broker.ask("PATCH", MAPS + "/big", json.dumps({"data": {"l": "y" * 1000}}).encode(), {"Content-Type": "application/merge-patch+json"}))
    assert grown.status == 413, "a patch made it larger"
    assert len(broker.ask("GET", MAPS + "/big").json()["data"]["k"]) == len(json.loads(big(MIB))["data"]["k"])
    assert broker.ask("DELETE", MAPS + "/big").status == 200


def test_a_body_of_unknown_length_that_does_not_end(broker):
    """Chunks beyond the limit: refused while they come."""
    where = urllib.parse.urlsplit(broker.api)
    with socket.create_connection((where.hostname, where.port), DEADLINE) as s:
        s.sendall(f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(200):
                s.sendall(chunk)
        except OSError:
            pass  # it has closed
        try:
            head = s.recv(4096)
        except OSError:
            head = b""
    assert head == b"" or b" 413 " in head.split(b"\r\n")[0], head
