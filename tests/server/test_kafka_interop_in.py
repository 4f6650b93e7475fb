# SPDX-License-Identifier: Apache-2.0
"""What clients that know nothing of leat (kcat, kafka-python, the CloudEvents SDK) write to Kafka arrives right at an HTTP subscriber: CloudEvents in both modes of CloudEvents' Kafka
Protocol Binding 1.0.2 (sections 3.1 to 3.3), with and without data and keys, and records that are none, as Knative's KafkaSource makes events of them."""

import datetime
import json
import struct

import pytest

from broker import channel, prefix_of, subscription
from kafka_plain import CODED, STRUCTURED, TEXT, CloudEvent, sdk, topic_of
from leat import wait_for
from recorder import Recorder
from topology import ready

PARTITIONS = 5
WRITERS = pytest.mark.parametrize("client", ["kcat", "python"])


@pytest.fixture(scope="module")
def sink():
    with Recorder() as r:
        yield r["in"]


@pytest.fixture(scope="module")
def broker(kafka, sink, serve_module):
    keyed = channel("keyed", kind="KafkaChannel", numPartitions=PARTITIONS)
    of_keyed = subscription("s-keyed", "keyed", sink.url)
    of_keyed["spec"]["channel"]["kind"] = "KafkaChannel"
    objects = [channel("one"), keyed, subscription("s-one", "one", sink.url), of_keyed]
    process = serve_module(objects, "--bus", f"kafka,bootstrap.servers={kafka.address}")
    ready(process, *objects)
    return process


def headers_of(id, **attributes):
    """A record's headers in binary mode."""
    return [("ce_specversion", "1.0"), ("ce_id", id), ("ce_source", "/plain"), ("ce_type", "t"), *((f"ce_{k}", v) for k, v in attributes.items())]


def arrived(sink, id):
    """The one request that carries the event with this id, once it is there."""
    wait_for(lambda: id in sink.ids, f"the event {id}")
    found = [r for r in list(sink.requests) if r.id == id]
    assert len(found) == 1, found
    return found[0]


@WRITERS
def test_a_binary_event_arrives_as_it_is(broker, plain_kafka, sink, client):
    id, value = f"binary-{client}", bytes(range(256)) * 300
    more = {"subject": TEXT, "time": "2018-04-05T17:31:00.5+02:00", "dataschema": "https://example.org/s", "myext": "", "partitionkey": "k1"}
    plain_kafka[client].write(topic_of(broker, "one"), value, b"k1", [*headers_of(id, **more), ("content-type", "image/png; q=1"), ("other", "no attribute")])
    got = arrived(sink, id)
    assert got.body == value and got.headers["content-type"] == "image/png; q=1"
    assert got.headers["ce-subject"] == CODED and got.headers["ce-myext"] == ""
    assert got.attributes == {"specversion": "1.0", "id": id, "source": "/plain", "type": "t", **more}


@WRITERS
def test_a_structured_event_arrives_in_its_envelope(broker, plain_kafka, sink, client):
    id = f"structured-{client}"
    envelope = {"specversion": "1.0", "id": id, "source": "/plain", "type": "t", "subject": TEXT, "seq": 42, "last": True, "data": {"a": [1, None, "\u00e9"]}}
    plain_kafka[client].write(topic_of(broker, "one"), json.dumps(envelope).encode(), b"k", [("content-type", "application/cloudevents+json")])
    got = arrived(sink, id)
    assert got.headers["content-type"] == STRUCTURED and json.loads(got.body) == envelope


@WRITERS
def test_an_event_without_data_and_one_with_empty_data(broker, plain_kafka, sink, client):
    """A null value is no data and an empty one empty data; over HTTP both have no body, and both are events."""
    for kind, value in (("none", None), ("empty", b"")):
        id = f"{kind}-{client}"
        plain_kafka[client].write(topic_of(broker, "one"), value, b"k", headers_of(id))
        got = arrived(sink, id)
        assert got.body == b"" and "content-type" not in got.headers


@WRITERS
def test_a_key_is_no_attribute(broker, plain_kafka, sink, client):
    id = f"key-{client}"
    plain_kafka[client].write(topic_of(broker, "one"), b"v", b"somebody's", headers_of(id))
    assert set(arrived(sink, id).attributes) == {"specversion", "id", "source", "type"}


@WRITERS
def test_keyed_events_keep_their_order(broker, plain_kafka, sink, client):
    ids = {key: [f"{client}-{key}-{n}" for n in range(5)] for key in ("a", "b", "c")}
    for n in range(5):
        for key in ids:
            plain_kafka[client].write(topic_of(broker, "keyed"), b"v", key.encode(), headers_of(ids[key][n], partitionkey=key))
    for key in ids:
        arrived(sink, ids[key][-1])
    for key in ids:
        assert [i for i in sink.ids if i in ids[key]] == ids[key]


@WRITERS
def test_the_last_of_two_headers_counts(broker, plain_kafka, sink, client):
    id = f"twice-{client}"
    plain_kafka[client].write(topic_of(broker, "one"), b"v", b"k", [("ce_x", "first"), ("content-type", "a/a"), *headers_of(id, x="last"), ("content-type", "b/b")])
    got = arrived(sink, id)
    assert got.headers["ce-x"] == "last" and got.headers["content-type"] == "b/b"


@WRITERS
def test_what_is_no_event_arrives_as_one_of_kafka(broker, plain_kafka, sink, client):
    where = topic_of(broker, "one")
    cases = [
        (f"foreign-{client}".encode(), b"a key", [("X-Trace_Id", TEXT), ("content-type", "Text/Plain")], "text/plain"),
        (f"{{\"specversion\":\"1.0\",\"client\":\"{client}\"}}".encode(), None, [("content-type", "application/json")], "application/json"),
        (f"no-envelope-{client}".encode(), b"k", [("content-type", "application/cloudevents+json")], None),  # it says so, and is none
        (f"no-source-{client}".encode(), b"k", [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_type", "t")], None),
    ]
    for value, key, headers, kind in cases:
        plain_kafka[client].write(where, value, key, headers)
        wait_for(lambda: any(r.body == value for r in list(sink.requests)), f"the record {value}")
        (got,) = [r for r in list(sink.requests) if r.body == value]
        (record,) = [r for r in plain_kafka["python"].read(where) if r.value == value]
        a = got.attributes
        assert a["type"] == "dev.knative.kafka.event" and a["source"] == f"/kafka#{where}"
        assert a["id"] == f"partition:{record.partition}/offset:{record.offset}" and a["subject"] == f"partition:{record.partition}#{record.offset}"
        assert got.headers.get("content-type") == kind and "time" in a
        assert (a.get("key"), a.get("partitionkey")) == ((key.decode(),) * 2 if key else (None, None))
    assert [r.attributes["kafkaheaderxtraceid"] for r in list(sink.requests) if r.body == cases[0][0]] == [TEXT]


def test_a_tombstone_is_an_event_without_data(broker, plain_kafka, sink):
    """Nothing but a key that is deleted; and a record of nothing at all."""
    where = topic_of(broker, "one")
    for key in (b"deleted", None):
        plain_kafka["kcat"].write(where, None, key, [("why", None)])
    offsets = [r.offset for r in plain_kafka["kcat"].read(where)][-2:]
    for key, offset in zip(("deleted", None), offsets):
        got = arrived(sink, f"partition:0/offset:{offset}")
        assert got.body == b"" and got.attributes.get("key") == key and "kafkaheaderwhy" not in got.attributes


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_what_the_sdk_writes(broker, plain_kafka, sink, mode):
    id = f"sdk-{mode}"
    made = CloudEvent({"id": id, "source": "/sdk", "type": "t", "subject": TEXT, "partitionkey": "k", "datacontenttype": "application/json"}, {"a": [1, "\u00e9"]})
    message = sdk.to_binary_event(made) if mode == "binary" else sdk.to_structured_event(made)
    plain_kafka["python"].write(topic_of(broker, "one"), message.value, message.key.encode(), list(message.headers.items()))
    got = arrived(sink, id)
    assert got.headers["content-type"] == ("application/json" if mode == "binary" else STRUCTURED)
    want = {"specversion": "1.0", "id": id, "source": "/sdk", "type": "t", "subject": TEXT, "partitionkey": "k"}
    assert {k: v for k, v in got.event.items() if k in want} == want and json.loads(got.event["data"]) == {"a": [1, "\u00e9"]}


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_records(broker, plain_kafka, sink, compression):
    id, value = f"compressed-{compression}", b"a line of text\n" * 5000
    plain_kafka["kcat"].write(topic_of(broker, "one"), value, b"k", headers_of(id), compression=compression)
    assert arrived(sink, id).body == value


def test_transactions_arrive_when_they_are_committed(broker, plain_kafka, sink):
    """What was aborted is never seen; the marks that a transaction leaves in a partition are no events, and nothing waits for them: neither leat nor Kafka's own tools see a backlog."""
    where = topic_of(broker, "one")

    def write(name, commit):
        ids = [f"{name}-{n}" for n in range(3)]
        plain_kafka["python"].write_in_transaction(where, [{"value": b"v", "headers": headers_of(id)} for id in ids], commit)
        return ids

    aborted, committed = write("aborted", False), write("committed", True)
    for id in committed:
        arrived(sink, id)
    aborted += write("aborted-too", False)
    wait_for(lambda: list(plain_kafka["python"].lags(where).values()) == [0], "the group's lag to be 0")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s-one")
    assert not set(aborted) & set(sink.ids)


# ---- a KafkaSource ----


def kafka_source(name, topics, kafka, sink, key_type=None, **spec):
    labels = {"kafkasources.sources.knative.dev/key-type": key_type} if key_type else {}
    spec = {"bootstrapServers": [kafka.address], "topics": topics, "sink": {"uri": sink.url}, "initialOffset": "earliest", **spec}
    return {"apiVersion": "sources.knative.dev/v1", "kind": "KafkaSource", "metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec}


def source_topic(process_folder, name):
    return f"{prefix_of(process_folder)}{name}"


@WRITERS
def test_a_kafka_source(kafka, serve, plain_kafka, recorder, tmp_path, client):
    """Events as they are, with where they stood; records as upstream's KafkaSource makes them; from two topics, from their beginning; ceOverrides over all."""
    topics = [source_topic(tmp_path, t) for t in ("first", "second")]
    for t in topics:
        plain_kafka["python"].make_topic(t, 2)
    plain_kafka[client].write(topics[0], b"event", b"k", [*headers_of("e-1", myext="v", team="theirs"), ("content-type", "text/plain")], partition=1)
    plain_kafka[client].write(topics[1], b'{"a":1}', b"caf\xc3\xa9", [("X-Trace_Id", TEXT), ("content-type", "Application/JSON")], partition=1)
    plain_kafka[client].write(topics[1], None, b"deleted", (), partition=0)
    (record,) = [r for r in plain_kafka["python"].read(topics[1]) if r.partition == 1]
    source = kafka_source("ks", topics, kafka, recorder["in"], ceOverrides={"extensions": {"team": "ours"}})
    process = serve([source])
    ready(process, source)
    got = {r.id: r for r in recorder["in"].wait(3)}
    assert len(got) == 3
    where = {"knativekafkapartition": "1", "knativekafkaoffset": "0", "team": "ours"}
    assert got["e-1"].attributes == {"specversion": "1.0", "id": "e-1", "source": "/plain", "type": "t", "myext": "v", **where}
    assert got["e-1"].body == b"event" and got["e-1"].headers["content-type"] == "text/plain"
    base = f"/apis/v1/namespaces/default/kafkasources/ks#{topics[1]}"
    foreign = got["partition:1/offset:0"]
    a = foreign.attributes
    assert datetime.datetime.fromisoformat(a.pop("time")).timestamp() == pytest.approx(record.time / 1000, abs=0.0005)
    assert a == {"specversion": "1.0", "id": "partition:1/offset:0", "source": base, "type": "dev.knative.kafka.event", "subject": "partition:1#0",
                 "key": "caf\u00e9", "partitionkey": "caf\u00e9", "kafkaheaderxtraceid": TEXT, **where}
    assert foreign.body == b'{"a":1}' and foreign.headers["content-type"] == "application/json"
    tombstone = got["partition:0/offset:0"]
    assert tombstone.body == b"" and tombstone.attributes["key"] == "deleted" and tombstone.attributes["source"] == base


@pytest.mark.parametrize("key_type, key, text", [
    ("int", struct.pack(">i", -2), "-2"), ("float", struct.pack(">d", 1e21), "1.0E21"), ("float", struct.pack(">f", 0.1), "0.1"),
    ("byte-array", b"\x00\xff", "AP8="), ("string", b"\x00\xff", "AP8="), ("string", b"plain", "plain"), ("int", b"no int", "no int"),
])
def test_a_kafka_source_reads_keys_by_their_type(kafka, serve, plain_kafka, recorder, tmp_path, key_type, key, text):
    topic = source_topic(tmp_path, "keys")
    plain_kafka["python"].make_topic(topic)
    plain_kafka["python"].write(topic, b"v", key)
    source = kafka_source("ks", [topic], kafka, recorder["in"], key_type)
    serve([source])
    (got,) = recorder["in"].wait()
    assert got.attributes["key"] == got.attributes["partitionkey"] == text
