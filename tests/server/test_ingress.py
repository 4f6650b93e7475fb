# SPDX-License-Identifier: Apache-2.0
"""What ingress takes and refuses, as a producer sees it, and that a subscriber gets what was sent. Upstream's statements T16 and T18 are among it."""

import base64
import json

import pytest

from broker import channel, dial, event, exchange, subscription
from leat import Client, Sink, request, wait_for
from topology import mesh, send, trigger

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def shared_sink():
    with Sink() as s:
        yield s


@pytest.fixture(scope="module")
def shared(shared_sink, serve_module):
    return serve_module(
        [
            channel("orders"),
            subscription("all", "orders", shared_sink.url),
            channel("idle", "other"),
            {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "ClusterBus", "metadata": {"name": "stub"}, "spec": {"dispatcher": {"name": "d", "image": "github.com/knative/eventing/pkg/buses/stub/dispatcher"}}},
            {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Channel", "metadata": {"name": "old"}, "spec": {"clusterBus": "stub"}},
        ]
    )


@pytest.fixture
def broker(shared, shared_sink):
    shared_sink.clear()
    return shared


def delivered(broker, sink, body, headers):
    """Posts, expects 202, and returns what the subscriber got."""
    answer = broker.post("orders", body, headers)
    assert (answer.status, answer.body) == (202, b""), answer
    return sink.wait(1)[-1]


# ---- modes ----


def test_binary(broker, shared_sink):
    got = delivered(broker, shared_sink, b'{"n": 1.50}', {**event("b-1", "order.made", "/shop", time="2026-01-02T03:04:05.600Z", subject="s%C3%BC%20x", team="w%C3%A4"), "Content-Type": "application/json"})
    assert (got.method, got.path, got.body) == ("POST", "/", b'{"n": 1.50}')
    assert got.headers["content-type"] == "application/json"
    assert got.attributes == {"specversion": "1.0", "id": "b-1", "type": "order.made", "source": "/shop", "time": "2026-01-02T03:04:05.600Z", "subject": "sü x", "team": "wä"}


def test_binary_without_data(broker, shared_sink):
    got = delivered(broker, shared_sink, b"", event("b-2"))
    assert got.body == b"" and got.headers["ce-id"] == "b-2" and "content-type" not in got.headers


def test_structured_stays_structured(broker, shared_sink):
    data = '{"big":12345678901234567890,"pi":1.50,"dup":1,"dup":2}'
    got = delivered(broker, shared_sink, ('{"specversion":"1.0","id":"s-1","type":"t","source":"/s","flag":true,"n":-7,"data":' + data + "}").encode(), STRUCTURED)
    assert got.headers["content-type"].startswith("application/cloudevents+json") and "ce-id" not in got.headers
    assert data in got.body.decode(), "the data's own text is not touched"
    seen = json.loads(got.body)
    assert (seen["id"], seen["flag"], seen["n"]) == ("s-1", True, -7)


def test_structured_media_type_in_any_case_and_with_charset(broker, shared_sink):
    got = delivered(broker, shared_sink, b'{"specversion":"1.0","id":"s-2","type":"t","source":"/s"}', {"Content-Type": "Application/CloudEvents+JSON; charset=utf-8"})
    assert json.loads(got.body)["id"] == "s-2"


def test_structured_binary_data(broker, shared_sink):
    data = bytes(range(256))
    got = delivered(broker, shared_sink, json.dumps({"specversion": "1.0", "id": "s-3", "type": "t", "source": "/s", "data_base64": base64.b64encode(data).decode()}).encode(), STRUCTURED)
    assert base64.b64decode(json.loads(got.body)["data_base64"]) == data


def test_batch_becomes_one_delivery_per_event(broker, shared_sink):
    events = [{"specversion": "1.0", "id": f"batch-{i}", "type": "t", "source": "/s", "data": i} for i in range(25)]
    assert broker.post("orders", json.dumps(events).encode(), BATCH).status == 202
    got = [json.loads(r.body) for r in shared_sink.wait(25)]
    assert sorted((e["id"], e["data"]) for e in got) == sorted((e["id"], e["data"]) for e in events)
    assert not any("batch" in r.headers["content-type"] for r in shared_sink.requests)


def test_an_empty_batch_is_fine(broker):
    assert broker.post("orders", b"[]", BATCH).status == 202


def test_a_batch_with_one_bad_event_is_refused_whole(broker, shared_sink):
    good = {"specversion": "1.0", "id": "whole-1", "type": "t", "source": "/s"}
    answer = broker.post("orders", json.dumps([good, {**good, "id": ""}]).encode(), BATCH)
    assert answer.status == 400 and "event 2 of the batch" in answer.text
    delivered(broker, shared_sink, b"", event("after"))
    assert [r.headers.get("ce-id") for r in shared_sink.requests] == ["after"]


def test_a_batch_of_too_many_is_refused(broker):
    events = [{"specversion": "1.0", "id": str(i), "type": "t", "source": "/s"} for i in range(1001)]
    assert broker.post("orders", json.dumps(events).encode(), BATCH).status == 413


@pytest.mark.parametrize("version", ["0.3", "1.0"])
def test_the_version_is_kept(broker, shared_sink, version):
    got = delivered(broker, shared_sink, b"x", {**event("v"), "ce-specversion": version})
    assert got.headers["ce-specversion"] == version


def test_2018_headers_become_1_0(broker, shared_sink):
    old = {"CE-CloudEventsVersion": "0.1", "CE-EventID": '"o-1"', "CE-EventType": "dev.old", "CE-EventTypeVersion": "2", "CE-Source": "/old", "CE-X-Team-Name": "a", "Content-Type": "text/plain"}
    got = delivered(broker, shared_sink, b"old", old)
    assert got.body == b"old"
    assert got.attributes == {"specversion": "1.0", "id": "o-1", "type": "dev.old", "source": "/old", "eventtypeversion": "2", "teamname": "a"}


@pytest.mark.parametrize("type_", ["application/vnd.apache.thrift.binary", "application/xml", "application/json", "text/plain; charset=latin1"])
def test_any_content_type_passes(broker, shared_sink, type_):
    got = delivered(broker, shared_sink, b"\x00\xff{", {**event(), "Content-Type": type_})
    assert (got.headers["content-type"], got.body) == (type_, b"\x00\xff{")


# ---- bytes ----


@pytest.mark.parametrize(
    "body",
    [b"X" * 36864, b"Y" * (1 << 20), bytes(range(256)) * 64, b"\0", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\xef\xbb\xbf{ \"a\" : 1 }\n"],
    ids=["36864", "1MiB", "all-bytes", "NUL", "looks-like-http", "bom"],
)
def test_the_bytes_are_the_same(broker, shared_sink, body):
    got = delivered(broker, shared_sink, body, {**event(), "Content-Type": "application/octet-stream"})
    assert got.body == body


def test_a_chunked_body(broker, shared_sink):
    head = b"POST /channels/default/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nce-specversion: 1.0\r\nce-id: chunked\r\nce-type: t\r\nce-source: /s\r\n\r\n"
    assert exchange(broker.ingress, head + b"3\r\nab\0\r\n1;x=y\r\nc\r\n0\r\n\r\n").startswith(b"HTTP/1.1 202 ")
    assert shared_sink.wait(1)[0].body == b"ab\0c"


def test_many_requests_on_one_connection(broker, shared_sink):
    with Client(broker.ingress) as client:
        for i in range(20):
            assert client.request("POST", "/channels/default/orders", str(i).encode(), event(str(i))).status == 202
    assert {r.body for r in shared_sink.wait(20)} == {str(i).encode() for i in range(20)}


def test_expect_100_continue(broker, shared_sink):
    with dial(broker.ingress) as s:
        s.sendall(b"POST /channels/default/orders HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nce-specversion: 1.0\r\nce-id: e\r\nce-type: t\r\nce-source: /s\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"ok")
        assert s.recv(1000).startswith(b"HTTP/1.1 202 ")
    assert shared_sink.wait(1)[0].body == b"ok"


def test_no_100_continue_for_what_is_refused(broker):
    with dial(broker.ingress) as s:
        s.sendall(b"POST /channels/default/nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 404 ")


# ---- headers beside the event ----


def test_which_headers_pass(broker, shared_sink):
    passing = {"knative-foo": "bar", "Knative-History": "a; b", "x-request-id": "rid", "X-B3-TraceId": "b3", "traceparent": TRACE, "Tracestate": "a=b"}
    other = {"x-other": "no", "Authorization": "Bearer secret", "Cookie": "a=b", "x-knative": "no", "traceparents": TRACE}
    got = delivered(broker, shared_sink, b"", {**event(), **passing, **other})
    assert {k: got.headers.get(k.lower()) for k in passing} == passing
    assert not {k.lower() for k in other} & set(got.headers)


def test_trace_extensions_pass(broker, shared_sink):
    got = delivered(broker, shared_sink, b"", event(traceparent=TRACE, tracestate="a=b"))
    assert (got.headers["ce-traceparent"], got.headers["ce-tracestate"]) == (TRACE, "a=b")


def test_nothing_is_added_to_the_event(broker, shared_sink):
    got = delivered(broker, shared_sink, b"x", event("plain"))
    assert set(got.attributes) == {"specversion", "id", "type", "source"}


# ---- refusals ----

BAD_EVENTS = [
    ({}, b"", "no CloudEvent"),
    ({**event(), "ce-id": ""}, b"", "ce-id"),
    ({k: v for k, v in event().items() if k != "ce-type"}, b"", "ce-type"),
    ({k: v for k, v in event().items() if k != "ce-source"}, b"", "ce-source"),
    ({k: v for k, v in event().items() if k != "ce-specversion"}, b"", "ce-specversion"),
    ({**event(), "ce-time": "yesterday"}, b"", "ce-time"),
    ({**event(), "ce-my_ext": "1"}, b"", "letters and digits"),
    ({**event(), "ce-data": "1"}, b"", "data"),
    ({**event(), "ce-x": "%ED%A0%80"}, b"", "ce-x"),
    ({**event(), "ce-x": "a%0Ab"}, b"", "ce-x"),
    (STRUCTURED, b"", "JSON"),
    (STRUCTURED, b'{"specversion":"1.0","id":"1","type":"t"}', "source"),
    (STRUCTURED, b'{"specversion":"1.0","id":"1","type":"t","source":"/s","data":{"a":}}', "byte 67"),
    (STRUCTURED, b'{"specversion":"1.0","id":"1","id":"2","type":"t","source":"/s"}', "id"),
    (STRUCTURED, b'{"specversion":"1.0","id":"1","type":"t","source":"/s","data":1,"data_base64":"AA=="}', "data"),
    (STRUCTURED, b"[]", "object"),
    (STRUCTURED, b"\xff\xfe", ""),
    (BATCH, b"{}", "array"),
    (BATCH, b"[1]", "event 1"),
]


@pytest.mark.parametrize("headers, body, words", BAD_EVENTS)
def test_400_says_what_is_wrong(broker, shared_sink, headers, body, words):
    answer = broker.post("orders", body, headers)
    assert answer.status == 400, answer
    assert answer.headers["content-type"].startswith("text/plain") and words in answer.text and answer.text.endswith("\n"), answer.text
    assert not shared_sink.requests


@pytest.mark.parametrize("version", ["19.0", "0.2", "1", ""])
def test_unknown_versions_are_refused(broker, version):
    answer = broker.post("orders", b"", {**event(), "ce-specversion": version})
    assert answer.status in (400, 415) and "specversion" in answer.text


@pytest.mark.parametrize("headers, words", [({"Content-Type": "application/cloudevents+avro"}, "application/cloudevents+json"), ({**event(), "Content-Encoding": "gzip"}, "uncompressed")])
def test_415(broker, headers, words):
    answer = broker.post("orders", b"x", headers)
    assert answer.status == 415 and words in answer.text


@pytest.mark.parametrize("path", ["/", "/channels/default/orders/", "/channels/default/order", "/channels/other/orders", "/channels//orders", "/channels/default/orders%00", "/CHANNELS/default/orders", "/hooks/default/none"])
def test_404(broker, path):
    answer = request("POST", broker.ingress + path, b"", event())
    assert answer.status == 404 and "/channels/NAMESPACE/NAME" in answer.text and path in answer.text


EVENTING, MESSAGING, OLD = "eventing.knative.dev/v1", "messaging.knative.dev/v1", "channels.knative.dev/v1alpha1"
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nowhere", "namespace": "default"}
NATS = {"channelTemplate": {"apiVersion": "messaging.knative.dev/v1beta1", "kind": "NatsJetStreamChannel"}}
SINK_SPEC = {"topic": "t", "bootstrapServers": ["127.0.0.1:1"], "auth": {"secret": {"ref": {"name": "nowhere"}}}}
GITHUB = {"ownerAndRepository": "o/r", "eventTypes": ["push"], "sink": {"uri": "http://127.0.0.1:1/"}, **{t: {"secretKeyRef": {"name": "nowhere", "key": "k"}} for t in ("accessToken", "secretToken")}}


def not_ready(api, kind, spec, annotations=None):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "n", "namespace": "default", "annotations": annotations or {}}, "spec": spec}


# What is declared, but cannot take events: its address, perhaps a host that means it, and words of why.
NOT_READY = [
    (not_ready(EVENTING, "Broker", {"config": CONFIG}, {"eventing.knative.dev/broker.class": "Kafka"}), "/brokers/default/n", None, "ConfigMap default/nowhere is not declared"),
    (not_ready(EVENTING, "Broker", {"config": CONFIG}, {"eventing.knative.dev/broker.class": "Kafka"}), "/default/n", None, "ConfigMap default/nowhere is not declared"),
    (not_ready(EVENTING, "Broker", {}, {"eventing.knative.dev/broker.class": "Carrier"}), "/brokers/default/n", None, "class Carrier"),
    (not_ready(MESSAGING, "KafkaChannel", {}), "/channels/default/n", "n-kn-channel.default.svc.cluster.local", "no cluster is known"),
    (not_ready(MESSAGING, "Channel", NATS), "/channels/default/n", "n-kn-channel.default", "NatsJetStreamChannel"),
    (not_ready("flows.knative.dev/v1", "Sequence", {**NATS, "steps": [{"uri": "http://127.0.0.1:1/"}]}), "/sequences/default/n", None, "NatsJetStreamChannel"),
    (not_ready("eventing.knative.dev/v1alpha1", "KafkaSink", SINK_SPEC), "/kafkasinks/default/n", None, "nowhere"),
    (not_ready(OLD, "Channel", {"bus": "nowhere"}), "/channels/default/n", "n-channel.default.svc.cluster.local", "nowhere"),
    (not_ready("sources.knative.dev/v1alpha1", "GitHubSource", GITHUB), "/hooks/default/n", None, "nowhere"),
]


@pytest.mark.parametrize("object_, path, host, words", NOT_READY, ids=[f"{o['kind']} {path}" for o, path, _, _ in NOT_READY])
def test_what_is_declared_and_not_ready_says_why(serve, object_, path, host, words):
    """503, as senders try again later; 404 is for what nobody declared."""
    broker = serve([object_])
    answer = request("POST", broker.ingress + path, b"", event())
    assert answer.status == 503 and "retry-after" in answer.headers, answer
    assert words in answer.text and f"{object_['kind']} default/n is not ready" in answer.text, answer.text
    if host:
        assert exchange(broker.ingress, f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()).startswith(b"HTTP/1.1 503 ")
    assert request("POST", broker.ingress + path + "x", b"", event()).status == 404
    assert request("GET", broker.ingress + path).status == (503 if "hooks" in path else 405)
    broker.reload([])
    wait_for(lambda: request("POST", broker.ingress + path, b"", event()).status == 404, "its end")


def test_404_text_cannot_be_made_to_lie(broker):
    answer = exchange(broker.ingress, b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ") and b"a" * 201 not in answer


def test_the_query_is_not_part_of_the_path(broker, shared_sink):
    assert request("POST", broker.ingress + "/channels/default/orders?x=1", b"", event("q")).status == 202
    assert shared_sink.wait(1)[0].headers["ce-id"] == "q"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "BREW"])
def test_405(broker, method):
    answer = request(method, broker.ingress + "/channels/default/orders", None, event())
    assert answer.status == 405 and answer.headers["allow"] == "POST, OPTIONS"
    assert method == "HEAD" or "POST" in answer.text


def test_options_is_the_webhook_handshake(broker):
    answer = request("OPTIONS", broker.ingress + "/channels/default/orders", None, {"WebHook-Request-Origin": "example.org", "WebHook-Request-Rate": "100"})
    assert answer.status == 200
    assert (answer.headers["allow"], answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"]) == ("POST, OPTIONS", "*", "*")
    assert request("OPTIONS", broker.ingress + "/channels/default/nowhere").status == 404


def test_413_comes_before_the_body(broker):
    with dial(broker.ingress) as s:
        s.sendall(b"POST /channels/default/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\nce-specversion: 1.0\r\nce-id: e\r\nce-type: t\r\nce-source: /s\r\n\r\n")
        answer = s.recv(2000)  # and nothing of the body was sent
    assert answer.startswith(b"HTTP/1.1 413 ") and b"1048577" in answer and b"1048576" in answer and b"--max-event-bytes" in answer


def test_413_of_a_chunked_body(broker):
    head = b"POST /channels/default/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nce-specversion: 1.0\r\nce-id: e\r\nce-type: t\r\nce-source: /s\r\n\r\n"
    with dial(broker.ingress) as s:
        s.sendall(head)
        try:
            for _ in range(64):
                s.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        except OSError:
            pass  # it was answered and closed in the middle
        s.settimeout(20)
        assert s.recv(2000).startswith(b"HTTP/1.1 413 ")


def test_431(broker):
    answer = exchange(broker.ingress, b"POST /channels/default/orders HTTP/1.1\r\nHost: x\r\nce-x: " + b"x" * 40000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ") and b"--max-headers" in answer


def test_a_head_of_30_000_bytes_passes(broker, shared_sink):
    got = delivered(broker, shared_sink, b"", event(long="x" * 30000))
    assert got.headers["ce-long"] == "x" * 30000


def test_an_event_of_64_kib_in_headers_passes_when_allowed(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--max-headers", "80KiB")
    attributes = {f"a{i}": "x" * 1000 for i in range(63)}
    assert broker.post("c", b"", event(**attributes)).status == 202
    assert {k: v for k, v in sink.wait(1)[0].attributes.items() if k in attributes} == attributes


def test_max_event_bytes(serve, sink):
    broker = serve([channel("c"), subscription("s", "c", sink.url)], "--max-event-bytes", "2KiB")
    assert broker.post("c", b"x" * 2048).status == 202
    answer = broker.post("c", b"x" * 2049)
    assert answer.status == 413 and "2048" in answer.text


# ---- routing by Host ----

HOSTS = ["orders-kn-channel.default.svc.cluster.local", "orders-kn-channel.default.svc", "ORDERS-kn-channel.Default.svc.cluster.local:8080"]
HOSTS_2018 = ["old-channel.default.svc.cluster.local", "old-channel.default", "old.default.channels.cluster.local"]


@pytest.mark.parametrize("host", HOSTS)
def test_host_names_of_today(broker, shared_sink, host):
    answer = exchange(broker.ingress, f"POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 1\r\nce-specversion: 1.0\r\nce-id: h\r\nce-type: t\r\nce-source: /s\r\n\r\nx".encode())
    assert answer.startswith(b"HTTP/1.1 202 "), answer
    assert shared_sink.wait(1)[0].body == b"x"


@pytest.mark.parametrize("host", HOSTS_2018)
def test_host_names_of_2018(broker, host):
    before = broker.metric("leat_events_accepted_total", namespace="default", channel="old")
    answer = exchange(broker.ingress, f"POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\nce-specversion: 1.0\r\nce-id: h\r\nce-type: t\r\nce-source: /s\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 202 "), answer
    assert broker.metric("leat_events_accepted_total", namespace="default", channel="old") == before + 1


def test_a_host_means_a_channel_with_the_path_slash_only(broker):
    head = "POST /x HTTP/1.1\r\nHost: orders-kn-channel.default.svc.cluster.local\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert exchange(broker.ingress, head.encode()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("host", ["none-kn-channel.default.svc.cluster.local", "orders-kn-channel.other.svc.cluster.local", "orders", "x" * 300])
def test_other_hosts_mean_nothing(broker, host):
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert exchange(broker.ingress, head.encode()).startswith(b"HTTP/1.1 404 ")


def test_an_absolute_target_goes_before_host(broker, shared_sink):
    head = "POST http://orders-kn-channel.default.svc.cluster.local/ HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\nContent-Length: 0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in event("abs").items()) + "\r\n"
    assert exchange(broker.ingress, head.encode()).startswith(b"HTTP/1.1 202 ")
    assert shared_sink.wait(1)[0].headers["ce-id"] == "abs"


# ---- channels without subscriptions, clients that go away ----


def test_a_channel_without_subscriptions_accepts(broker):
    assert broker.post("idle", b"x", event(), "other").status == 202


def test_a_client_that_leaves_in_the_middle_of_a_body_sends_nothing(broker, shared_sink):
    with dial(broker.ingress) as s:
        s.sendall(b"POST /channels/default/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nce-specversion: 1.0\r\nce-id: half\r\nce-type: t\r\nce-source: /s\r\n\r\n12345")
    delivered(broker, shared_sink, b"", event("whole"))
    assert [r.headers["ce-id"] for r in shared_sink.requests] == ["whole"]


# ---- what may not enter ----


@pytest.fixture(scope="module")
def mesh_of_one(serve_module):
    return serve_module([mesh("shop", namespace="default"), trigger("t", "shop", "http://127.0.0.1:1/", attributes={"type": "never"})])


@pytest.mark.parametrize("path", ["/brokers/default/shop", "/default/shop"])
def test_a_broker_has_two_paths(mesh_of_one, path):
    """The second is that of Knative's own address, http://broker-ingress.knative-eventing.svc.cluster.local/NAMESPACE/NAME."""
    head = f"POST {path} HTTP/1.1\r\nHost: broker-ingress.knative-eventing.svc.cluster.local\r\nConnection: close\r\nContent-Length: 0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in event().items()) + "\r\n"
    assert exchange(mesh_of_one.ingress, head.encode()).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("ttl, status, words", [("255", 202, ""), ("2", 202, ""), ("1", 400, "loop: knativebrokerttl is 1"), ("0", 400, "loop"), ("-3", 400, "loop"), ("many", 400, "knativebrokerttl: 'many' is no whole number")])
def test_hops_into_a_broker(mesh_of_one, ttl, status, words):
    answer = send(mesh_of_one, "Broker/shop", b"", event(knativebrokerttl=ttl))
    assert answer.status == status and words in answer.text, answer


def test_spent_hops_have_a_counter_of_their_own(mesh_of_one):
    before = mesh_of_one.metric("leat_events_refused_total", reason="loop")
    assert send(mesh_of_one, "Broker/shop", b"", event(knativebrokerttl="0")).status == 400
    assert mesh_of_one.metric("leat_events_refused_total", reason="loop") == before + 1


def test_a_channel_does_not_count_hops(broker, shared_sink):
    got = delivered(broker, shared_sink, b"", event("hops", knativebrokerttl="1"))
    assert "knativebrokerttl" not in got.attributes


@pytest.mark.parametrize("where", ["Broker/shop", "Channel/orders"])
def test_a_time_of_delivery_that_is_none(broker, mesh_of_one, where):
    answer = send(mesh_of_one if where.startswith("Broker") else broker, where, b"", event(leatdeliverat="soon"))
    assert answer.status == 400 and "leatdeliverat: 'soon' is no time of RFC 3339" in answer.text


def test_a_time_of_delivery_beyond_what_the_bus_holds(serve, shared_sink):
    broker = serve([channel("orders"), subscription("all", "orders", shared_sink.url)], "--bus", "faulty,inner=memory,hold-ms-max=60000")
    answer = broker.post("orders", b"", event("far", leatdeliverat="2126-01-01T00:00:00Z"))
    assert answer.status == 400 and "too far away" in answer.text and "60 seconds" in answer.text
    assert broker.post("orders", b"", event("past", leatdeliverat="2020-01-01T00:00:00Z")).status == 202


def test_a_batch_with_one_event_that_may_not_enter_is_refused_whole(broker, shared_sink):
    good = {"specversion": "1.0", "id": "whole-2", "type": "t", "source": "/s"}
    answer = broker.post("orders", json.dumps([good, {**good, "id": "late", "leatdeliverat": "soon"}, good]).encode(), BATCH)
    assert answer.status == 400 and answer.text.startswith("event 2 of the batch: leatdeliverat")
    delivered(broker, shared_sink, b"", event("after"))
    assert [r.headers.get("ce-id") for r in shared_sink.requests] == ["after"]


def test_where_events_go_is_said(broker):
    answer = request("POST", broker.ingress + "/nowhere", b"", event())
    assert answer.status == 404
    for path in ("/channels/", "/brokers/", "/sequences/", "/parallels/", "/hooks/"):
        assert path in answer.text
