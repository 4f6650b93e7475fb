# SPDX-License-Identifier: Apache-2.0
"""Many writes over the API in a row: they make a few plans, not one each, and the last of them counts as the first does."""

import json

from broker import MESSAGING, channel
from leat import Client, wait_for

WRITES = 300


def test_a_burst_of_writes(serve):
    broker = serve([])
    path = f"/apis/{MESSAGING}/namespaces/default/channels"
    with Client(broker.api) as client:
        for i in range(WRITES):
            reply = client.request("POST", path, json.dumps(channel(f"c{i}")).encode(), {"Content-Type": "application/json"})
            assert reply.status == 201
    wait_for(lambda: broker.post(f"c{WRITES - 1}").status == 202, "the last channel")
    for i in (0, WRITES - 1):
        status = broker.ask("GET", f"{path}/c{i}").json()["status"]
        assert next(c["status"] for c in status["conditions"] if c["type"] == "Ready") == "True"
    assert broker.count_lines("plan.compiled") < WRITES / 2
