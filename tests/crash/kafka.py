#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks a real Kafka and `leat serve` on it under load, as systems.py says, and proves that nothing that was acknowledged is lost. What is broken beside that: somebody deletes the topic.

Duplicates: a settlement is committed within 200 ms, so that a fault may repeat what was settled since, and what was in flight.
"""
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests"), str(ROOT / "tests/lib")]  # not this folder: its real.py would hide tests/real

from crash.systems import SystemCampaign, main  # noqa: E402
from kafka_admin import delete_topic, topics  # noqa: E402
from real.kafka import Kafka  # noqa: E402

TOPIC = "knative-broker-default-b"


class KafkaCampaign(SystemCampaign):
    NODE = Kafka

    def bus(self):
        partitions = random.Random(self.a.seed).choice((1, 4))  # of all lives the same: a topic keeps what it has
        return f"kafka,bootstrap.servers={self.node.address},topic.partitions={partitions},session=6s"

    def own(self):
        self.gone("topic", lambda: delete_topic(self.node.address, next(name for name in topics(self.node.address) if name.endswith(TOPIC))))


if __name__ == "__main__":
    sys.exit(main(KafkaCampaign, "kafka.py", __doc__))
