# SPDX-License-Identifier: Apache-2.0
"""The API over https as clients see it: Python's and curl's (kubectl's: test_kubectl_access.py); certificates that change under load. What TLS does to a connection is held in tests/unit/base_http_tls.c."""

import json
import os
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from broker import MESSAGING, channel
from leat import DEADLINE, wait_for
from pairs import certificate

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"


@pytest.fixture(scope="module")
def broker(serve_module, pair, tokens):
    return serve_module([channel("c")], "--api-cert", pair[0], "--api-key", pair[1], "--tokens", tokens[0])


def test_curl(broker, pair, tokens, tmp_path):
    curl = lambda *words: subprocess.run(["curl", "-sS", "--cacert", pair[0], *words], capture_output=True, text=True, timeout=DEADLINE)
    bearer = ("-H", f"Authorization: Bearer {tokens[1]['edit']}")
    assert broker.api.startswith("https://127.0.0.1:")
    assert json.loads(curl(*bearer, broker.api + CHANNELS + "/c").stdout)["metadata"]["name"] == "c"
    assert curl("-o", "/dev/null", "-w", "%{http_code} %{http_version}", broker.api + CHANNELS).stdout == "401 1.1"
    assert curl("--tls-max", "1.2", *bearer, "-o", "/dev/null", "-w", "%{http_code}", broker.api + CHANNELS).stdout == "200"
    assert subprocess.run(["curl", "-s", broker.api + "/livez"], timeout=DEADLINE).returncode == 60  # who does not know the certificate goes no further
    large = tmp_path / "large.json"
    large.write_text(json.dumps(channel("large") | {"metadata": {"name": "large", "annotations": {"text": "x" * 200_000}}}))
    answer = curl(*bearer, "-H", "Content-Type: application/json", "-d", f"@{large}", broker.api + CHANNELS)
    assert json.loads(answer.stdout)["metadata"]["annotations"]["text"] == "x" * 200_000
    assert curl(*bearer, "-X", "DELETE", broker.api + CHANNELS + "/large").returncode == 0


def dial(broker, **more):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = broker.api.removeprefix("https://").split(":")
    return context.wrap_socket(socket.create_connection((host, int(port)), DEADLINE), server_hostname="localhost", **more)


def test_what_is_no_handshake_disturbs_nobody(broker):
    host, port = broker.api.removeprefix("https://").split(":")
    with dial(broker) as good:
        for junk in (b"", b"\x00" * 5000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x01" * 70000, os.urandom(3000)):
            with socket.create_connection((host, int(port)), DEADLINE) as s:
                try:
                    s.sendall(junk)
                except OSError:
                    pass  # it was cut off in the middle
        good.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert good.recv(4096).startswith(b"HTTP/1.1 200")


def serial(broker):
    with dial(broker) as s:
        return ssl.DER_cert_to_PEM_cert(s.getpeercert(binary_form=True))


def test_certificates_change_under_load(serve, tmp_path):
    cert, key = certificate(tmp_path, "now")
    pairs = [tuple(f.read_bytes() for f in certificate(tmp_path, f"pair{i}")) for i in range(2)]
    broker = serve([channel("c")], "--api-cert", cert, "--api-key", key)
    stop, failures, count = threading.Event(), [], [0]

    def load(again):
        try:
            while not stop.is_set():
                with dial(broker) as s:
                    for _ in range(1 if again else 200):
                        s.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
                        assert s.recv(4096).startswith(b"HTTP/1.1 200")
                        count[0] += 1
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=load, args=(again,)) for again in (True, False)]
    for t in threads:
        t.start()
    try:
        for i in range(6):
            old = serial(broker)
            for file, text in zip((cert, key), pairs[i % 2]):
                part = file.with_suffix(".part")
                part.write_bytes(text)
                os.replace(part, file)
            wait_for(lambda: serial(broker) == pairs[i % 2][0].decode(), "the new certificate")
            assert serial(broker) != old
            before = count[0]
            wait_for(lambda: count[0] > before + 20, "requests")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures, failures


def test_a_bad_pair_keeps_the_old_one(serve, tmp_path):
    cert, key = certificate(tmp_path)
    good = cert.read_text()
    broker = serve([channel("c")], "--api-cert", cert, "--api-key", key)
    cert.write_text("no certificate\n")
    assert serial(broker) == good
    line = broker.wait_line("api.certificate result=refused", "stderr")
    assert str(cert) in line
    before = broker.count_lines("api.certificate result=refused")
    broker.signal(signal.SIGHUP)
    wait_for(lambda: broker.count_lines("api.certificate result=refused") > before, "SIGHUP to read it")
    assert serial(broker) == good
    cert.write_text(good)
    broker.signal(signal.SIGHUP)
    broker.wait_line("api.certificate result=applied", "stderr")


def test_wrong_options(run, tmp_path, pair):
    serve = lambda *words: run("serve", "--ephemeral", "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", *words)
    assert serve("--api-cert", pair[0])[0] == 2 and serve("--api-key", pair[1])[0] == 2
    other = certificate(tmp_path, "other")
    code, _, said = serve("--api-cert", pair[0], "--api-key", other[1])
    assert code == 3 and str(other[1]) in said
    code, _, said = serve("--api-cert", tmp_path / "none", "--api-key", pair[1])
    assert code == 3 and "holds no certificate" in said and "No such file" in said
