# SPDX-License-Identifier: Apache-2.0
"""Clients that take every file descriptor there is do not end the log: it keeps some for its own files."""

import os
import resource
import socket

from broker import channel, event
from leat import DEADLINE, Client


def test_connections_without_end_leave_the_log_its_files(serve, tmp_path):
    """Each event has a segment to itself, so that files are made and directories synced all the time."""
    broker = serve([channel("c")], "--bus", f"log,dir={tmp_path / 'log'},segment=64KiB")
    limit = max(map(int, os.listdir(f"/proc/{broker.pid}/fd"))) + 120
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (limit, limit))
    host, port = broker.ingress.rsplit("/", 1)[-1].rsplit(":", 1)
    body = b"x" * 60_000
    with Client(broker.ingress) as client:
        crowd = []
        try:
            for i in range(300):
                crowd.append(socket.create_connection((host, int(port)), timeout=DEADLINE))
                if i % 10 == 0:
                    answer = client.request("POST", "/channels/default/c", body, event(str(i)))
                    assert answer.status == 202, answer
        finally:
            for s in crowd:
                s.close()
        assert client.request("POST", "/channels/default/c", body, event("after")).status == 202
    assert broker.ask("GET", "/readyz").status == 200, broker.logs
