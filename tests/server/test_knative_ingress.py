# SPDX-License-Identifier: Apache-2.0
"""Knative's conformance statements about what receives events, each test named after its number in the upstream list: T7 to T10, T16, T18; for every addressable kind."""

import hashlib
import json
import os

import pytest

from broker import event
from leat import Sink, request
from recorder import STRUCTURED, Recorder, reply
from topology import PATH_OF, branch, hear, mesh, object_of, parallel, resource, sequence, trigger

KINDS = ["Broker", "Channel", "InMemoryChannel", "Sequence", "Parallel"]
ENVELOPE = {"specversion": "1.0", "id": "s-1", "type": "t", "source": "/s"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture(scope="module")
def shared(recorder, serve_module):
    url = {kind: recorder[kind].url for kind in KINDS}
    objects = [mesh("broker"), trigger("all", "broker", url["Broker"]), resource("Channel", "channel", {}), hear("all-channel", "channel", url["Channel"])]
    objects += [resource("InMemoryChannel", "inmemory", {}), hear("all-inmemory", "InMemoryChannel/inmemory", url["InMemoryChannel"])]
    objects += [sequence("sequence", [url["Sequence"]]), parallel("parallel", [branch(url["Parallel"])])]
    return serve_module(objects, "--max-event-bytes", "16MiB")


NAMES = {"Broker": "broker", "Channel": "channel", "InMemoryChannel": "inmemory", "Sequence": "sequence", "Parallel": "parallel"}


class Door:
    """One addressable and what its only subscriber gets."""

    def __init__(self, process, recorder, kind):
        self.process, self.kind = process, kind
        self.path = f"/{PATH_OF[kind]}/default/{NAMES[kind]}"
        self.url = process.ingress + self.path
        self.subscriber = recorder[kind]
        self.subscriber.clear()

    def post(self, headers, body=b""):
        return request("POST", self.url, body, headers)

    def delivered(self, headers, body=b""):
        answer = self.post(headers, body)
        assert 200 <= answer.status < 300, answer
        return self.subscriber.wait(1)[-1]


@pytest.fixture(params=KINDS)
def door(request, shared, recorder):
    return Door(shared, recorder, request.param)


@pytest.mark.parametrize("version", ["0.3", "1.0"])
def test_t07_versions_that_are_taken(door, version):
    assert door.delivered({**event("v"), "ce-specversion": version}).id == "v"


@pytest.mark.parametrize("version", ["19.0", "1.1", "", "one"])
def test_t07_versions_that_are_not(door, version):
    assert 400 <= door.post({**event("v"), "ce-specversion": version}).status < 500
    assert not door.subscriber.requests


@pytest.mark.parametrize("media", ["application/vnd.apache.thrift.binary", "application/xml", "application/json"])
def test_t08_binary_of_any_content_type(door, media):
    got = door.delivered({**event("b"), "Content-Type": media}, b"<much/>: \x00\xff wow")
    assert (got.headers["content-type"], got.body) == (media, b"<much/>: \x00\xff wow")


def test_t08_structured(door):
    got = door.delivered({"Content-Type": STRUCTURED}, json.dumps({**ENVELOPE, "data": {"a": 1}}).encode())
    assert got.headers["content-type"].startswith(STRUCTURED) and json.loads(got.body)["data"] == {"a": 1}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_t09_other_methods(door, method):
    answer = request(method, door.url, b"" if method != "GET" else None, event())
    assert answer.status == 405 and "POST" in answer.headers["allow"]


def test_t09_options(door):
    answer = request("OPTIONS", door.url)
    assert answer.status == 200 and "POST" in answer.headers["allow"]


@pytest.mark.parametrize("missing", ["specversion", "id", "type", "source"])
def test_t09_a_missing_attribute(door, missing):
    headers = event()
    del headers["ce-" + missing]
    assert 400 <= door.post(headers).status < 500
    assert 400 <= door.post({"Content-Type": STRUCTURED}, json.dumps({k: v for k, v in ENVELOPE.items() if k != missing}).encode()).status < 500
    assert not door.subscriber.requests


@pytest.mark.parametrize("version", ["0.3", "1.0"])
def test_t10_no_upgrade_on_the_way(door, version):
    assert door.delivered({**event("v"), "ce-specversion": version}).event["specversion"] == version


@pytest.mark.parametrize("size", [36_864, 1 << 20, *([] if os.environ.get("LEAT_BUS", "").startswith("pubsub") else [10 << 20])])  # a Pub/Sub request has 10 MB at most, in base64
def test_t16_long_events(door, size):
    body = b"X" * size
    got = door.delivered({**event("long"), "Content-Type": "text/plain"}, body)
    assert len(got.body) == size and hashlib.sha256(got.body).digest() == hashlib.sha256(body).digest()


def test_t18_an_address_of_its_own(shared, recorder):
    for kind in KINDS:
        recorder[kind].clear()
    urls = [object_of(shared, kind, NAMES[kind])["status"]["address"]["url"] for kind in KINDS]
    assert len(set(urls)) == len(KINDS) and all(u.startswith(shared.ingress + "/") for u in urls)
    assert {request("POST", u, b"", event()).status for u in urls} == {202}
    for kind in KINDS:
        recorder[kind].wait(1)


@pytest.mark.parametrize("kind", KINDS)
def test_t18_nobody_of_that_name(shared, kind):
    assert request("POST", f"{shared.ingress}/{PATH_OF[kind]}/default/missing", b"", event()).status == 404
    assert request("POST", f"{shared.ingress}/{PATH_OF[kind]}/elsewhere/{NAMES[kind]}", b"", event()).status == 404


def test_t18_accepted(door):
    answer = door.post(event())
    assert (answer.status, answer.body) == (202, b"")
    door.subscriber.wait(1)  # else it might be taken for the next test's


def test_t18_headers_that_pass(door):
    got = door.delivered({**event("h"), "Knative-Foo": "bar", "X-Request-Id": "rid", "X-B3-TraceId": "abc", "X-Other": "no", "Authorization": "secret", "Cookie": "c"})
    assert (got.headers["knative-foo"], got.headers["x-request-id"], got.headers["x-b3-traceid"]) == ("bar", "rid", "abc")
    assert not {"x-other", "authorization", "cookie"} & set(got.headers)


def test_t18_the_trace_passes(door):
    got = door.delivered({**event("t"), "traceparent": TRACE, "tracestate": "a=1", "ce-traceparent": TRACE})
    assert got.event["traceparent"] == TRACE, "the extension tells where the trace began: it is never changed"
    assert got.headers["traceparent"].split("-")[1] == TRACE.split("-")[1], "the header belongs to the same trace"


def test_t18_options_of_a_webhook(door):
    answer = request("OPTIONS", door.url, None, {"WebHook-Request-Origin": "example.org"})
    assert answer.status == 200 and answer.headers["webhook-allowed-origin"] in ("*", "example.org")


def test_t16_a_long_answer(serve, sink):
    """A reply as long as the events above passes too."""
    with Recorder() as r, Sink() as answers:
        r.add("svc", reply("long.reply", data=b"Y" * 36_864))
        broker = serve([mesh("b"), trigger("t", "b", r["svc"].url, [{"exact": {"type": "t"}}]), trigger("u", "b", answers.url, [{"exact": {"type": "long.reply"}}])])
        assert request("POST", broker.ingress + "/brokers/default/b", b"", event("orig")).status == 202
        assert answers.wait(1)[0].body == b"Y" * 36_864
