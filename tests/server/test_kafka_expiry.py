# SPDX-License-Identifier: Apache-2.0
"""What a broker forgets: the offsets of groups without members, here after a minute instead of 7 days. A paused subscription and parked events outlive it, and so does what was settled out of order."""

import time

import pytest
from broker import Broker, channel, event, subscription
from kafka_plain import kafka
from leat import Reply, wait_for
from real.kafka import Kafka
from test_pause import pause, post, wait_paused, wait_resumed

RETENTION_S = 60  # the least that a broker takes


@pytest.fixture
def forgetful():
    with Kafka(settings={"offsets.retention.minutes": 1, "offsets.retention.check.interval.ms": 500}) as k:
        yield k


def leave_group(address, topic, group):
    """As leat's consumers: joins, commits, leaves."""
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=address, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")
    wait_for(lambda: consumer.poll(200), "the stranger's assignment", 30)
    consumer.commit()
    consumer.close()


def test_what_is_paused_and_parked_outlives_the_offsets_retention(forgetful, recorder, tmp_path):
    admin = kafka.admin.KafkaAdminClient(bootstrap_servers=forgetful.address)
    stuck, refused = recorder.add("s", lambda request, nth: Reply(503 if request.id == "0" else 202)), recorder.add("t", lambda request, nth: Reply(400))
    objects = [channel("c"), subscription("s", "c", stuck.url, retry=1000, backoffPolicy="linear", backoffDelay="PT1S"), subscription("t", "c", refused.url)]
    args = "--bus", f"kafka,bootstrap.servers={forgetful.address},keep=10s"
    server = Broker(tmp_path, objects, *args)
    try:
        post(server, 0, 20)
        stuck.wait_ids(map(str, range(20)))
        server.wait_metric(1, "leat_backlog_events", namespace="default", subscription="s")  # the first; what is settled beyond stands in the commit's metadata
        server.wait_metric(20, "leat_parked_events", namespace="default", subscription="t")
        pause(server)
        wait_paused(server)
        (topic,) = [t for t in admin.list_topics() if "messaging-kafka" in t]
        ours = sorted(g["group_id"] for g in admin.list_groups())
        assert len(ours) >= 3, ours
        leave_group(forgetful.address, topic, "stranger")
        began = time.monotonic()
        wait_for(lambda: "stranger" not in [g["group_id"] for g in admin.list_groups()], "the broker to forget a group", 3 * RETENTION_S)
        assert time.monotonic() - began > RETENTION_S / 2
        assert sorted(g["group_id"] for g in admin.list_groups()) == ours
        post(server, 20, 5)
        assert server.stop() == 0  # what it knows by itself is of no use
        stuck.clear()
        refused.clear()
        server = Broker(tmp_path, objects, *args)
        server.wait_metric(6, "leat_backlog_events", namespace="default", subscription="s")
        server.wait_metric(25, "leat_parked_events", namespace="default", subscription="t")
        pause(server, verb="resume")
        wait_resumed(server)
        stuck.wait_ids(["0", *map(str, range(20, 25))])
        server.wait_metric(1, "leat_backlog_events", namespace="default", subscription="s")
        assert set(stuck.ids) == {"0", *map(str, range(20, 25))}  # nothing that was settled before
    finally:
        server.kill() if server.process.poll() is None else None
