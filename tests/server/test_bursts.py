# SPDX-License-Identifier: Apache-2.0
"""Many writes over the API in a row: they make a few plans, not one each, and the last of them counts as the first does."""

import json
import threading

from broker import MESSAGING, channel, dial, until_closed

WRITES = 300


def test_a_burst_of_writes(serve):
    broker = serve([])
    path = f"/apis/{MESSAGING}/namespaces/default/channels"
    bodies = [json.dumps(channel(f"c{i}")) for i in range(WRITES)]
    heads = [f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n" for body in bodies]
    heads[-1] += "Connection: close\r\n"
    with dial(broker.api) as s:  # one behind the other, with nobody in between who may be late
        sender = threading.Thread(target=s.sendall, args=("".join(f"{head}\r\n{body}" for head, body in zip(heads, bodies)).encode(),))
        sender.start()
        answers = until_closed(s)
        sender.join()
    assert answers.count(b"HTTP/1.1 201 ") == WRITES
    broker.in_force(f"c{WRITES - 1}")
    assert broker.post(f"c{WRITES - 1}").status == 202
    for i in (0, WRITES - 1):
        status = broker.ask("GET", f"{path}/c{i}").json()["status"]
        assert next(c["status"] for c in status["conditions"] if c["type"] == "Ready") == "True"
    assert broker.count_lines("plan.compiled") < WRITES / 2
