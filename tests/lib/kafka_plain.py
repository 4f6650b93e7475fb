# SPDX-License-Identifier: Apache-2.0
"""Clients of Kafka that know nothing of leat: kcat (librdkafka) and kafka-python (a client of its own), with the CloudEvents SDK for Python beside the latter.

Both write one record and read all that a topic holds, as `Record`s: bytes, None where Kafka has null.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import typing
import warnings

import leat
from broker import prefix_of

sys.path.insert(0, str(leat.ROOT / "build" / "python"))  # tests/setup/python-clients

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its own affair
    import kafka
    import kafka.admin

from cloudevents.core.bindings import kafka as sdk  # noqa: E402, F401
from cloudevents.core.v1.event import CloudEvent  # noqa: E402, F401

TEXT = "caf\u00e9 100%25 \"q\" \U0001f600"  # what is written as it is in Kafka's headers
CODED = "caf%C3%A9%20100%2525%20%22q%22%20%F0%9F%98%80"  # the same in HTTP's
STRUCTURED = "application/cloudevents+json; charset=UTF-8"


def topic_of(process, channel):
    """The topic of a channel of this `leat serve` (tests/lib/broker.py)."""
    return f"{prefix_of(process.manifest.parent)}knative-messaging-kafka.default.{channel}"


class Record(typing.NamedTuple):
    partition: int
    offset: int
    time: int  # ms since 1970
    key: bytes | None
    headers: list  # of (str, bytes or None), in their order
    value: bytes | None

    @property
    def fields(self):
        """The headers by name; one that is there twice fails."""
        assert len({n for n, _ in self.headers}) == len(self.headers), self.headers
        return dict(self.headers)


def run(words, data=None):
    done = subprocess.run([str(w) for w in words], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')}"
    return done.stdout


class Kcat:
    """kcat. Keys and header values that it writes are what a command line can hold: text without NUL."""

    def __init__(self, address):
        self.address = address

    def write(self, topic, value=None, key=None, headers=(), partition=None, compression="none"):
        words = ["kcat", "-b", self.address, "-P", "-t", topic, "-z", compression, *(["-p", partition] if partition is not None else [])]
        for name, text in headers:
            words += ["-H", name if text is None else f"{name}={text if isinstance(text, str) else text.decode()}"]
        if not value:  # kcat passes an empty file over; of a line with key and value it takes what is empty, with -Z as null
            assert value is None or key is not None, "a line cannot say: no key, and an empty value"
            run([*words, "-K", "\x01", *(["-Z"] if value is None else [])], (key or b"") + b"\x01\n")
            return
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "value"
            file.write_bytes(value)
            run([*words, *(["-k", key.decode()] if key is not None else []), file])

    def read(self, topic):
        """Twice: the fields as JSON, and keys and values by their lengths, since JSON holds only text."""
        words = ["kcat", "-b", self.address, "-C", "-t", topic, "-o", "beginning", "-e", "-q"]
        envelopes = {(e["partition"], e["offset"]): e for e in map(json.loads, run([*words, "-J"]).decode(errors="replace").strip("\n").split("\n"))}
        records, rest = [], run([*words, "-f", "%p %o %K %S\\n%k%s"])
        while rest:
            line, _, rest = rest.partition(b"\n")
            partition, offset, *lengths = map(int, line.split())
            pieces = []
            for n in lengths:
                pieces.append(None if n < 0 else rest[:n])
                rest = rest[max(n, 0):]
            e = envelopes.pop((partition, offset))
            headers = list(zip(e.get("headers", [])[::2], (None if v is None else v.encode() for v in e.get("headers", [])[1::2])))
            records.append(Record(partition, offset, e["ts"], pieces[0], headers, pieces[1]))
        assert not envelopes
        return records


class Python:
    """kafka-python. It writes no header without a value, and no record without key and value."""

    def __init__(self, address):
        self.address = address
        self.producer = kafka.KafkaProducer(bootstrap_servers=address)

    def write(self, topic, value=None, key=None, headers=(), partition=None):
        headers = [(name, text.encode() if isinstance(text, str) else text) for name, text in headers]
        self.producer.send(topic, value=value, key=key, headers=headers, partition=partition).get(leat.DEADLINE)

    def write_in_transaction(self, topic, records, commit):
        """Records as keywords of `write`, in one transaction, which is committed or aborted."""
        producer = kafka.KafkaProducer(bootstrap_servers=self.address, transactional_id=f"plain-{topic}-{commit}")
        try:
            producer.init_transactions()
            producer.begin_transaction()
            for r in records:
                producer.send(topic, **{**r, "headers": [(n, v.encode()) for n, v in r["headers"]]}).get(leat.DEADLINE)
            (producer.commit_transaction if commit else producer.abort_transaction)()
        finally:
            producer.close()

    def read(self, topic):
        consumer = kafka.KafkaConsumer(bootstrap_servers=self.address, enable_auto_commit=False)
        try:
            parts = [kafka.TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends, records = consumer.end_offsets(parts), []
            while any(consumer.position(p) < ends[p] for p in parts):
                for batch in consumer.poll(timeout_ms=1000).values():
                    records += [Record(r.partition, r.offset, r.timestamp, r.key, list(r.headers), r.value) for r in batch]
            return records
        finally:
            consumer.close()

    def partition_of(self, key, count):
        """Where Java's clients put this key, and those that follow them."""
        from kafka.partitioner.default import murmur2

        return (murmur2(key) & 0x7FFFFFFF) % count

    def lags(self, topic):
        """What each group that has read the topic has left of it, as Kafka's own tools tell it: end minus committed offset, of all partitions."""
        admin, consumer = kafka.admin.KafkaAdminClient(bootstrap_servers=self.address), kafka.KafkaConsumer(bootstrap_servers=self.address)
        try:
            ends = consumer.end_offsets([kafka.TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)])
            groups = admin.list_group_offsets([g["group_id"] for g in admin.list_groups()])
            return {g: sum(end - at[p].offset for p, end in ends.items() if p in at) for g, at in groups.items() if set(at) & set(ends)}
        finally:
            consumer.close()
            admin.close()

    def make_topic(self, name, partitions=1):
        admin = kafka.admin.KafkaAdminClient(bootstrap_servers=self.address)
        try:
            admin.create_topics([kafka.admin.NewTopic(name, num_partitions=partitions, replication_factor=1)])
        finally:
            admin.close()

    def close(self):
        self.producer.close()
