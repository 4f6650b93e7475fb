# SPDX-License-Identifier: Apache-2.0
"""`leat source github` as a pod runs it: environment, options, health, delivery to a sink over HTTP, and the end."""

import json
import signal
import subprocess
import threading

import pytest

from leat import Client, Reply, Sink, free_port, request, sign, wait_for

SECRET = "s3"
BODY = json.dumps({"action": "opened", "repository": {"name": "mill", "full_name": "jo/mill", "owner": {"login": "jo"}}, "text": "ü \U0001f680", "n": 9007199254740993}).encode()


def hook(body=BODY, event="issues", delivery="d-1", secret=SECRET):
    return {"Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": sign(secret, body)}


@pytest.fixture
def source(start, sink):
    def run(*args, env=None):
        return start("source", "github", "--listen", "127.0.0.1:0", *args, env={"K_SINK": sink.url, "GITHUB_SECRET_TOKEN": SECRET, "GITHUB_OWNER_REPO": "jo/mill", **(env or {})})

    return run


def post(process, body=BODY, **more):
    return request("POST", process.address("webhook") + "/", body, hook(body, **more))


def test_the_first_line_says_where_webhooks_go(source):
    process = source()
    process.wait_line("listening on http://127.0.0.1:", "stderr")
    said = process.wait_line("webhook", "stdout")
    assert said == process.stdout[0] and said.startswith("webhook http://127.0.0.1:") and said.endswith("/")


def test_event_in_the_sink(source, sink):
    process = source(env={"NAMESPACE": "mills", "K_CE_OVERRIDES": '{"extensions":{"team":"w\\u00e4ter","zone":"a"}}'})
    assert post(process).status == 202
    got = sink.requests[0]
    assert got.method == "POST" and got.path == "/" and got.body == BODY
    assert got.headers["content-type"] == "application/json"
    assert got.headers["kn-namespace"] == "mills"
    a = got.attributes
    assert (a["type"], a["source"], a["id"]) == ("dev.knative.source.github.issues", "https://github.com/jo/mill", "d-1")
    assert (a["team"], a["zone"], a["action"]) == ("wäter", "a", "opened")


def test_any_path_takes_webhooks(source, sink):
    assert request("POST", source().address("webhook") + "/some/where?x=1", BODY, hook()).status == 202


def test_a_sink_that_fails_and_then_accepts(source, sink):
    sink.fail(3)
    assert post(source()).status == 202
    assert [r.body for r in sink.requests] == [BODY] * 4
    assert len({r.headers["ce-id"] for r in sink.requests}) == 1


def test_a_sink_that_only_fails(source, sink):
    sink.default = Reply(500)
    process = source()
    answer = post(process)
    assert answer.status == 502 and "500" in answer.text and len(sink.requests) == 5
    line = process.wait_line("source.report", "stderr")
    assert "failed=1" in line and sink.url in line and "the sink answered 500" in line
    sink.default = Reply(202)
    assert post(process).status == 202


def test_a_sink_that_takes_no_more(source, sink):
    sink.default = Reply(503, {"Retry-After": "60"})
    answer = post(source())
    assert answer.status == 503 and answer.headers["retry-after"] == "60" and len(sink.requests) == 1


def test_a_sink_that_is_away(start):
    port = free_port()
    process = start("source", "github", "--listen", "127.0.0.1:0", "--sink", f"http://127.0.0.1:{port}/", env={"GITHUB_SECRET_TOKEN": SECRET})
    answer = post(process)
    assert answer.status == 503 and "retry-after" in answer.headers
    assert "unavailable: " in process.wait_line("source.report", "stderr")
    with Sink(port=port) as late:
        assert post(process).status == 202 and late.requests[0].body == BODY


def test_timeout_of_an_attempt(source, sink):
    gate = threading.Event()
    sink.script.append(Reply(202, hold=gate))
    process = source(env={"K_SINK_TIMEOUT": "1"})
    try:
        assert post(process).status == 202
        assert len(sink.requests) >= 2 and len({r.headers["ce-id"] for r in sink.requests}) == 1
    finally:
        gate.set()


def test_many_at_once_each_to_the_byte(source, sink):
    process = source()
    bodies = [json.dumps({"i": i, "pad": "x" * (i * 37 % 5000)}).encode() for i in range(200)]
    failures = []

    def run(part):
        with Client(process.address("webhook")) as client:
            for i in part:
                answer = client.request("POST", "/", bodies[i], hook(bodies[i], delivery=f"d{i}"))
                if answer.status != 202:
                    failures.append(answer)

    threads = [threading.Thread(target=run, args=(range(t, 200, 8),)) for t in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert {r.headers["ce-id"]: r.body for r in sink.requests} == {f"d{i}": b for i, b in enumerate(bodies)}


def test_size_limit(source, sink):
    process = source("--max-event-bytes", "2KiB")
    body = json.dumps({"pad": "x" * 3000}).encode()
    answer = post(process, body)
    assert answer.status == 413 and "--max-event-bytes" in answer.text
    assert post(process).status == 202 and len(sink.requests) == 1


def test_large_events_by_the_option(source, sink):
    body = json.dumps({"pad": "x" * (6 << 20)}).encode()
    assert post(source("--max-event-bytes", "25MiB"), body).status == 202
    assert sink.requests[0].body == body


def test_wrong_secret_is_told_from_a_missing_one(source, sink):
    process = source()
    assert post(process, secret="other").status == 403
    answer = request("POST", process.address("webhook") + "/", BODY, {k: v for k, v in hook().items() if "Signature" not in k})
    assert answer.status == 401
    assert not sink.requests
    assert process.stop() == 0
    assert any("refused_signature=2" in line for line in process.stderr), process.logs  # the last second's trouble is not swallowed by the end


def test_a_form_says_how_to_change_it(source):
    answer = request("POST", source().address("webhook") + "/", b"payload=%7B%7D", {**hook(b"payload=%7B%7D"), "Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 415 and "application/json" in answer.text


def test_secret_file_wins_and_its_line_break_does_not_count(source, tmp_path, sink):
    (tmp_path / "secret").write_bytes(b"from file\r\n")
    process = source("--secret-file", tmp_path / "secret")
    assert post(process, secret="from file").status == 202
    assert post(process).status == 403


def test_health_and_metrics(source, sink):
    process = source("--health", "127.0.0.1:0", "--events", "issues", env={"NAMESPACE": "mills", "NAME": 'a"b'})
    health = process.address("health")
    assert request("GET", health + "/livez").status == 200
    assert request("GET", health + "/readyz").status == 200
    assert request("GET", health + "/").status == 404
    assert request("POST", health + "/livez", b"").status == 405
    post(process)
    post(process, secret="other")
    post(process, event="fork")
    request("GET", process.address("webhook") + "/")
    text = request("GET", health + "/metrics").text
    labels = 'source="github",namespace="mills",name="a\\"b"'
    for line in (f"leat_source_received_total{{{labels}}} 4", f"leat_source_emitted_total{{{labels}}} 1", f'leat_source_refused_total{{{labels},reason="signature"}} 1',
                 f'leat_source_refused_total{{{labels},reason="invalid"}} 1', f"leat_source_ignored_total{{{labels}}} 1", f"leat_source_failed_total{{{labels}}} 0"):
        assert line in text.splitlines(), text


def test_sigterm_finishes_what_was_begun(source, sink):
    gate = threading.Event()
    sink.script.append(Reply(202, hold=gate))
    process = source("--health", "127.0.0.1:0")
    address = process.address("webhook")
    answers = []
    sender = threading.Thread(target=lambda: answers.append(request("POST", address + "/", BODY, hook())))
    sender.start()
    sink.wait(1)
    process.signal(signal.SIGTERM)
    process.wait_line("source.drain", "stderr")
    assert request("GET", process.address("health") + "/readyz").status == 503
    with pytest.raises(OSError):
        request("GET", address + "/")
    gate.set()
    sender.join()
    assert process.wait() == 0
    assert answers[0].status == 202


def test_a_second_signal_cuts(source, sink):
    gate = threading.Event()
    sink.script.append(Reply(202, hold=gate))
    process = source()
    address = process.address("webhook")

    def send():
        try:
            request("POST", address + "/", BODY, hook())
        except OSError:
            pass
        except Exception:
            pass

    sender = threading.Thread(target=send)
    sender.start()
    try:
        sink.wait(1)
        process.signal(signal.SIGTERM)
        process.wait_line("source.drain", "stderr")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        gate.set()
        sender.join()


@pytest.mark.parametrize("args,env,code,words", [
    ([], {"K_SINK": ""}, 2, "K_SINK"),
    (["--sink", "ftp://x"], {}, 3, "sink"),
    (["--nonsense"], {}, 2, "--nonsense"),
    (["stray"], {}, 2, "stray"),
    (["--listen"], {}, 2, "--listen ADDR"),
    (["--allow-unsigned=yes"], {}, 2, "takes no value"),
    (["--max-event-bytes", "0"], {}, 2, "--max-event-bytes"),
    (["--log", "xml"], {}, 2, "--log"),
    (["--secret-file", "/nonexistent/secret"], {}, 3, "/nonexistent/secret"),
    (["--secret-file", "/dev/null"], {}, 3, "empty"),
    (["--owner-repo", "a/b/c"], {}, 3, "OWNER/REPOSITORY"),
    (["--form", "1999"], {}, 3, "form"),
    ([], {"GITHUB_SECRET_TOKEN": ""}, 3, "secretToken is missing"),
    ([], {"PORT": "http"}, 3, "PORT"),
    ([], {"K_SINK_TIMEOUT": "soon"}, 3, "sinkTimeoutSeconds"),
    ([], {"K_CE_OVERRIDES": "{"}, 3, "K_CE_OVERRIDES"),
    ([], {"K_CE_OVERRIDES": "[]"}, 3, "K_CE_OVERRIDES"),
    ([], {"K_CE_OVERRIDES": '{"extensions":[]}'}, 3, "K_CE_OVERRIDES"),
    ([], {"K_CE_OVERRIDES": '{"extensions":{"a":1}}'}, 3, "must be a string"),
    ([], {"K_CE_OVERRIDES": '{"extensions":{"Not-Ok":"x"}}'}, 3, "Not-Ok"),
    ([], {"K_CE_OVERRIDES": '{"extensions":{"type":"x"}}'}, 3, "type"),
    (["--listen", "127.0.0.1:notaport"], {}, 1, "--listen"),
])
def test_what_is_wrong_is_said(start, args, env, code, words):
    base = {"K_SINK": "http://127.0.0.1:1/", "GITHUB_SECRET_TOKEN": SECRET}
    process = start("source", "github", *args, env={**base, **env})
    assert process.wait() == code, process.logs
    assert any(words in line and line.startswith("leat source github: ") for line in process.stderr), process.logs
    assert process.stdout == []


def test_a_port_in_use(source, start):
    taken = source().address("webhook").removeprefix("http://")
    process = start("source", "github", "--listen", taken, env={"K_SINK": "http://127.0.0.1:1/", "GITHUB_SECRET_TOKEN": SECRET})
    assert process.wait() == 1
    assert taken in process.logs


def test_empty_overrides_are_none(source, sink):
    assert post(source(env={"K_CE_OVERRIDES": '{"extensions":null}'})).status == 202


def test_help_names_every_option_with_examples(start):
    process = start("source", "github", "--help")
    assert process.wait() == 0
    text = "\n".join(process.stdout)
    for word in ("--secret-file FILE", "--owner-repo", "--events", "--health ADDR", "--webhook-url", "K_CE_OVERRIDES", "GITHUB_SECRET_TOKEN", "Examples:"):
        assert word in text


def test_logs_as_json(source):
    process = source("--log", "json")
    process.address("webhook")
    line = json.loads(process.wait_line("source.listen", "stderr"))
    assert line


def test_a_sink_with_a_certificate_of_its_own(start, tmp_path):
    """K_CA_CERTS holds the certificate itself, as Knative sets it."""
    import ssl

    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with Sink() as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        plain.server.socket = context.wrap_socket(plain.server.socket, server_side=True)
        env = {"K_SINK": f"https://127.0.0.1:{plain.port}/", "GITHUB_SECRET_TOKEN": SECRET}
        trusted = start("source", "github", "--listen", "127.0.0.1:0", env={**env, "K_CA_CERTS": cert.read_text()})
        assert post(trusted).status == 202 and plain.requests[0].body == BODY
        stranger = start("source", "github", "--listen", "127.0.0.1:0", env=env)
        assert post(stranger).status == 503 and len(plain.requests) == 1
        wait_for(lambda: any("failed=1" in line for line in stranger.stderr), "the report")
