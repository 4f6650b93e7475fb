# SPDX-License-Identifier: Apache-2.0
"""What leat writes to Kafka, read by clients that know nothing of leat (kcat, kafka-python, the CloudEvents SDK): headers, keys and values to the byte, as CloudEvents' Kafka
Protocol Binding 1.0.2 has them (sections 3.1 to 3.3)."""

import datetime
import json

import pytest

from broker import channel, event, prefix_of
from kafka_plain import CODED, STRUCTURED, TEXT, sdk, topic_of
from topology import ready, send

PARTITIONS = 5
READERS = pytest.mark.parametrize("client", ["kcat", "python"])


@pytest.fixture(scope="module")
def broker(kafka, serve_module):
    objects = [channel("out"), channel("keyed", kind="KafkaChannel", numPartitions=PARTITIONS)]
    process = serve_module(objects, "--bus", f"kafka,bootstrap.servers={kafka.address}")
    ready(process, *objects)
    return process


def written(reader, where, id):
    """The one record with the event of this id that a plain client reads from a topic."""
    found = [r for r in reader.read(where) if dict(r.headers).get("ce_id") == id.encode()]
    assert len(found) == 1, found
    return found[0]


@READERS
def test_a_binary_event_is_written_as_the_binding_says(broker, plain_kafka, client):
    id, body = f"out-binary-{client}", bytes(range(256)) * 40
    assert broker.post("out", body, {**event(id, subject=CODED, partitionkey="k%201", empty=""), "Content-Type": "image/png", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}).status == 202
    record = written(plain_kafka[client], topic_of(broker, "out"), id)
    assert record.value == body and record.key == b"k 1"
    fields = record.fields
    assert fields.pop("traceparent").startswith(b"00-" + b"1" * 32)
    want = {"specversion": "1.0", "id": id, "source": "/test", "type": "t", "subject": TEXT, "partitionkey": "k 1", "empty": ""}
    assert fields == {**{f"ce_{k}": v.encode() for k, v in want.items()}, "content-type": b"image/png"}


@READERS
def test_an_event_that_came_in_an_envelope_is_written_in_binary_mode_too(broker, plain_kafka, client):
    id = f"out-structured-{client}"
    envelope = {"specversion": "1.0", "id": id, "source": "/s", "type": "t", "subject": TEXT, "seq": 42, "datacontenttype": "text/plain", "data": "h\u00e9llo"}
    assert broker.post("out", json.dumps(envelope).encode(), {"Content-Type": "application/cloudevents+json"}).status == 202
    record = written(plain_kafka[client], topic_of(broker, "out"), id)
    assert record.value == "h\u00e9llo".encode() and record.key is None
    fields = record.fields
    assert fields["content-type"] == b"text/plain" and fields["ce_seq"] == b"42" and fields["ce_subject"] == TEXT.encode()
    assert fields["leat_mode"].startswith(b"structured;")


@READERS
def test_no_data_is_written_as_null(broker, plain_kafka, client):
    id = f"out-none-{client}"
    assert broker.post("out", b"", event(id, partitionkey="k")).status == 202
    record = written(plain_kafka[client], topic_of(broker, "out"), id)
    assert record.value is None and record.key == b"k" and "content-type" not in record.fields


def test_keys_lie_where_javas_clients_put_them(broker, plain_kafka):
    keys = [f"key-{n}" for n in range(40)]
    for key in keys:
        assert broker.post("keyed", b"v", event(f"placed-{key}", partitionkey=key)).status == 202
    placed = {r.key: r.partition for r in plain_kafka["kcat"].read(topic_of(broker, "keyed")) if dict(r.headers)["ce_id"].startswith(b"placed-")}
    assert placed == {k.encode(): plain_kafka["python"].partition_of(k.encode(), PARTITIONS) for k in keys}
    assert len(set(placed.values())) == PARTITIONS


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_the_sdk_reads_what_leat_writes(kafka, serve, plain_kafka, mode):
    process = serve([channel("c")], "--bus", f"kafka,bootstrap.servers={kafka.address},mode={mode}")
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": TEXT, "partitionkey": "k", "datacontenttype": "application/json"}
    time = "2018-04-05T17:31:00+00:00"
    assert process.post("c", json.dumps({**attributes, "time": time, "data": {"a": [1, "\u00e9"]}}).encode(), {"Content-Type": "application/cloudevents+json"}).status == 202
    (record,) = plain_kafka["python"].read(topic_of(process, "c"))
    message = sdk.KafkaMessage(headers=record.fields, key=record.key, value=record.value)
    got = sdk.from_binary_event(message) if mode == "binary" else sdk.from_structured_event(message)
    assert got.get_attributes() == {**attributes, "time": datetime.datetime.fromisoformat(time)} and got.get_data() == {"a": [1, "\u00e9"]}
    if mode == "structured":
        assert record.headers[0] == ("content-type", STRUCTURED.encode()) and json.loads(record.value)["data"] == {"a": [1, "\u00e9"]}


# ---- a KafkaSink ----


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_kafka_sink_writes_nothing_of_its_own(kafka, serve, plain_kafka, tmp_path, mode):
    """Strangers read it: the binding and, for those who trace, the trace's own headers; neither what leat tells itself nor other transport headers."""
    topic = f"{prefix_of(tmp_path)}sink"
    plain_kafka["python"].make_topic(topic, 3)
    spec = {"topic": topic, "bootstrapServers": [kafka.address], "contentMode": mode}
    sink = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "KafkaSink", "metadata": {"name": "out", "namespace": "default"}, "spec": spec}
    process = serve([sink])
    ready(process, sink)
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "seq": 42, "partitionkey": "k", "data": {"a": [1, "\u00e9"]}}
    headers = {"Content-Type": "application/cloudevents+json", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "a=b", "x-request-id": "7"}
    assert send(process, "KafkaSink/out", json.dumps(envelope).encode(), headers).status == 202
    records = plain_kafka["kcat"].read(topic)
    assert records == plain_kafka["python"].read(topic)
    (record,) = records
    assert record.key == b"k" and record.partition == plain_kafka["python"].partition_of(b"k", 3)
    fields = record.fields
    assert fields.pop("traceparent").startswith(b"00-" + b"1" * 32) and fields.pop("tracestate") == b"a=b"
    if mode == "structured":
        assert fields == {"content-type": STRUCTURED.encode()} and json.loads(record.value) == envelope
    else:
        want = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/s", "ce_type": b"t", "ce_seq": b"42", "ce_partitionkey": b"k", "content-type": b"application/json"}
        assert fields == want and json.loads(record.value) == envelope["data"]
