# SPDX-License-Identifier: Apache-2.0
"""pika and the CloudEvents SDK, which know nothing of leat, write into a channel's exchange and read from it: CloudEvents as the RabbitMQ binding has them, as Knative's Rabbit parts write
them, and messages that are none, as Knative's RabbitmqSource makes events of them."""

import datetime
import json

import pytest

from broker import channel, event, subscription
from leat import wait_for
from rabbitmq_plain import CloudEvent, JSONFormat, exchange_of, sdk
from recorder import Recorder
from topology import ready

TEXT = "caf\u00e9 100%25 \"q\" \U0001f600"  # what is written as it is in RabbitMQ's headers
CODED = "caf%C3%A9%20100%2525%20%22q%22%20%F0%9F%98%80"  # the same in HTTP's
ENVELOPE = "application/cloudevents+json"
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
FRAME = 128 << 10  # bytes of the largest frame that a node takes by default


@pytest.fixture(scope="module")
def sink():
    with Recorder() as r:
        yield r["in"]


def served(rabbitmq, serve, sink, *params):
    objects = [channel("c"), subscription("s", "c", sink.url, annotations={"leat.dev/order": "key"})]
    process = serve(objects, "--bus", ",".join(("rabbitmq", f"url={rabbitmq.url()}", *params)))
    ready(process, *objects)
    return process


@pytest.fixture(scope="module")
def broker(rabbitmq, sink, serve_module):
    return served(rabbitmq, serve_module, sink)


@pytest.fixture(scope="module")
def bare(rabbitmq, sink, serve_module):
    """One that reads what Knative's Rabbit parts write."""
    return served(rabbitmq, serve_module, sink, "bare=true")


@pytest.fixture(scope="module")
def structured(rabbitmq, sink, serve_module):
    return served(rabbitmq, serve_module, sink, "mode=structured")


def headers_of(id, prefix="ce-", **attributes):
    return {prefix + k: v for k, v in {"specversion": "1.0", "id": id, "source": "/pika", "type": "t", **attributes}.items()}


def arrived(sink, id):
    """The one request that carries the event with this id, once it is there."""
    wait_for(lambda: id in sink.ids, f"the event {id}")
    found = [r for r in list(sink.requests) if r.id == id]
    assert len(found) == 1, found
    return found[0]


def with_body(sink, body):
    wait_for(lambda: any(r.body == body for r in list(sink.requests)), f"the message {body}")
    return next(r for r in list(sink.requests) if r.body == body)


# ---- in ----


def test_a_binary_event_arrives_as_it_is(broker, pika, sink):
    """Also one of many frames."""
    body = bytes(range(256)) * 2000
    more = {"subject": TEXT, "time": "2018-04-05T17:31:00.5+02:00", "dataschema": "https://example.org/s", "myext": "", "partitionkey": "k1"}
    pika.write(exchange_of(broker, "c"), body, {**headers_of("binary", **more), "other": "no attribute"}, content_type="image/png; q=1", delivery_mode=2)
    got = arrived(sink, "binary")
    assert len(body) > 3 * FRAME and got.body == body and got.headers["content-type"] == "image/png; q=1"
    assert got.headers["ce-subject"] == CODED and got.headers["ce-myext"] == ""
    assert got.attributes == {"specversion": "1.0", "id": "binary", "source": "/pika", "type": "t", **more}


def test_a_structured_event_arrives_in_its_envelope(broker, pika, sink):
    envelope = {"specversion": "1.0", "id": "structured", "source": "/pika", "type": "t", "subject": TEXT, "seq": 42, "last": True, "data": {"a": [1, None, "\u00e9"]}}
    pika.write(exchange_of(broker, "c"), json.dumps(envelope).encode(), content_type=ENVELOPE)
    got = arrived(sink, "structured")
    assert got.headers["content-type"].startswith(ENVELOPE) and json.loads(got.body) == envelope


def test_an_event_without_data(broker, pika, sink):
    pika.write(exchange_of(broker, "c"), b"", headers_of("empty"))
    got = arrived(sink, "empty")
    assert got.body == b"" and "content-type" not in got.headers


def test_headers_that_are_no_strings(broker, pika, sink):
    """Their canonical text; void is absent. An array is no attribute's value, so that its message is no event, and arrives as one of RabbitMQ."""
    typed = {"seq": 42, "small": -1, "yes": True, "no": False, "when": datetime.datetime(2026, 1, 2, 3, 4, 5), "nothing": None, "raw": b"\xff\x00"}
    pika.write(exchange_of(broker, "c"), b"v", headers_of("typed", **typed))
    a = arrived(sink, "typed").attributes
    assert {k: a.get(k) for k in typed} == {"seq": "42", "small": "-1", "yes": "true", "no": "false", "when": "2026-01-02T03:04:05Z", "nothing": None, "raw": "/wA="}
    pika.write(exchange_of(broker, "c"), b"with an array", headers_of("array", list=[1]))
    assert with_body(sink, b"with an array").attributes["type"] == "dev.knative.rabbitmq.event"


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
def test_what_a_client_of_amqp_1_wrote(broker, pika, sink, prefix):
    """RabbitMQ hands its application properties on as headers of the same name."""
    pika.write(exchange_of(broker, "c"), b"v", headers_of(f"one{prefix[-1]}", prefix, subject="s"), content_type="text/plain")
    got = arrived(sink, f"one{prefix[-1]}")
    assert got.attributes == {"specversion": "1.0", "id": f"one{prefix[-1]}", "source": "/pika", "type": "t", "subject": "s"} and got.headers["content-type"] == "text/plain"


def test_events_keep_their_order(broker, pika, sink):
    ids = [f"order-{n}" for n in range(100)]
    for id in ids:
        pika.write(exchange_of(broker, "c"), b"v", headers_of(id, partitionkey="k"))
    arrived(sink, ids[-1])
    assert [i for i in sink.ids if i in ids] == ids


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_what_the_sdk_writes(broker, pika, sink, mode):
    attributes = {"id": f"sdk-{mode}", "source": "/sdk", "type": "t", "subject": TEXT, "datacontenttype": "application/json", "time": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)}
    m = getattr(sdk, f"to_{mode}")(CloudEvent(attributes, {"a": [1, "\u00e9"]}), JSONFormat())
    pika.write(exchange_of(broker, "c"), m.body, dict(m.headers), content_type=m.content_type)
    got = arrived(sink, f"sdk-{mode}")
    want = {"specversion": "1.0", **attributes, "time": "2026-01-02T00:00:00Z"}
    assert {k: v for k, v in got.event.items() if k in want and k != "datacontenttype"} == {k: v for k, v in want.items() if k != "datacontenttype"}
    assert json.loads(got.event["data"]) == {"a": [1, "\u00e9"]}


def test_what_is_no_event_arrives_as_one_of_rabbitmq(broker, pika, sink):
    """Its message_id is the id where it has one; its headers are no attributes, also those that Knative's Rabbit parts would take for attributes."""
    pika.write(exchange_of(broker, "c"), b"foreign", {"id": "theirs", "type": "x"}, content_type="Text/Plain", message_id="m-1", timestamp=1767323045)
    got = with_body(sink, b"foreign")
    a = got.attributes
    assert a.pop("source").startswith("/rabbitmq#") and got.headers["content-type"].lower() == "text/plain"
    assert a == {"specversion": "1.0", "id": "m-1", "type": "dev.knative.rabbitmq.event", "subject": "m-1", "time": "2026-01-02T03:04:05Z"}
    for body, kind in ((b"no envelope", ENVELOPE), (b"nothing at all", None)):
        pika.write(exchange_of(broker, "c"), body, content_type=kind)
        got = with_body(sink, body)
        assert got.attributes["type"] == "dev.knative.rabbitmq.event" and len(got.id) == 36 and "content-type" not in got.headers


def test_what_knatives_rabbit_parts_write(bare, pika, sink):
    """Attributes as headers without a prefix, the datacontenttype as one of them, the id as message_id too."""
    headers = {**headers_of("upstream", "", subject="s", myext="v"), "content-type": "application/json", "traceparent": TRACE, "x-retries": 1}
    pika.write(exchange_of(bare, "c"), b'{"a":1}', headers, message_id="upstream", delivery_mode=2)
    got = arrived(sink, "upstream")
    assert got.attributes == {"specversion": "1.0", "id": "upstream", "source": "/pika", "type": "t", "subject": "s", "myext": "v"}
    assert json.loads(got.body) == {"a": 1} and got.headers["content-type"] == "application/json"
    pika.write(exchange_of(bare, "c"), b"v", headers_of("still-ours"), content_type="text/plain")
    assert arrived(sink, "still-ours").attributes == {"specversion": "1.0", "id": "still-ours", "source": "/pika", "type": "t"}


# ---- out ----


def test_a_binary_event_is_written_as_the_binding_says(broker, pika):
    queue, body = pika.listen(exchange_of(broker, "c")), bytes(range(256)) * 2000
    headers = {**event("out-binary", subject=CODED, empty=""), "Content-Type": "image/png", "traceparent": TRACE}
    assert broker.post("c", body, headers).status == 202
    (m,) = pika.read(queue)
    assert m.body == body and m.properties.content_type == "image/png" and m.properties.delivery_mode == 2 and m.properties.message_id == "out-binary"
    fields = m.properties.headers
    assert fields.pop("traceparent").startswith("00-" + "1" * 32)
    assert fields == {f"ce-{k}": v for k, v in {"specversion": "1.0", "id": "out-binary", "source": "/test", "type": "t", "subject": TEXT, "empty": ""}.items()}


def test_an_event_that_came_in_an_envelope_is_written_in_binary_mode_too(broker, pika):
    queue = pika.listen(exchange_of(broker, "c"))
    envelope = {"specversion": "1.0", "id": "out-envelope", "source": "/s", "type": "t", "subject": TEXT, "seq": 42, "datacontenttype": "text/plain", "data": "h\u00e9llo"}
    assert broker.post("c", json.dumps(envelope).encode(), {"Content-Type": ENVELOPE}).status == 202
    (m,) = pika.read(queue)
    assert m.body.decode() == "h\u00e9llo" and m.properties.content_type == "text/plain"
    assert {k: v for k, v in m.properties.headers.items() if k.startswith("ce-")} == {
        "ce-specversion": "1.0", "ce-id": "out-envelope", "ce-source": "/s", "ce-type": "t", "ce-subject": TEXT, "ce-seq": "42"}


def test_a_bus_may_write_envelopes(structured, pika):
    queue = pika.listen(exchange_of(structured, "c"))
    assert structured.post("c", b'{"a": 1}', {**event("out-structured", subject=CODED), "Content-Type": "application/json"}).status == 202
    (m,) = pika.read(queue)
    assert m.properties.content_type.startswith(ENVELOPE) and not any(name.startswith("ce-") for name in m.properties.headers or {})
    assert json.loads(m.body) == {"specversion": "1.0", "id": "out-structured", "source": "/test", "type": "t", "subject": TEXT, "datacontenttype": "application/json", "data": {"a": 1}}


def test_attributes_beyond_a_frame_go_in_an_envelope(broker, pika, sink):
    """All headers of a message must fit into one frame. The event comes back as it was, nevertheless."""
    queue = pika.listen(exchange_of(broker, "c"))
    envelope = {"specversion": "1.0", "id": "out-long", "source": "/s", "type": "t", "long": "x" * FRAME, "datacontenttype": "text/plain", "data": "v"}
    assert broker.post("c", json.dumps(envelope).encode(), {"Content-Type": ENVELOPE}).status == 202
    (m,) = pika.read(queue)
    assert m.properties.content_type.startswith(ENVELOPE) and json.loads(m.body) == envelope
    assert json.loads(arrived(sink, "out-long").body) == envelope


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_the_sdk_reads_what_leat_writes(request, pika, mode):
    process = request.getfixturevalue("broker" if mode == "binary" else "structured")
    queue = pika.listen(exchange_of(process, "c"))
    attributes = {"specversion": "1.0", "id": f"to-sdk-{mode}", "source": "/s", "type": "t", "subject": TEXT, "datacontenttype": "application/json"}
    time = "2018-04-05T17:31:00+00:00"
    assert process.post("c", json.dumps({**attributes, "time": time, "data": {"a": [1, "\u00e9"]}}).encode(), {"Content-Type": ENVELOPE}).status == 202
    (m,) = pika.read(queue)
    message = sdk.RabbitMQMessage(headers={k: v for k, v in (m.properties.headers or {}).items() if k.startswith("ce-")}, content_type=m.properties.content_type, body=m.body)
    got = getattr(sdk, f"from_{mode}")(message, JSONFormat())
    assert got.get_attributes() == {**attributes, "time": datetime.datetime.fromisoformat(time)} and got.get_data() == {"a": [1, "\u00e9"]}
