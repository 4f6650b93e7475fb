# SPDX-License-Identifier: Apache-2.0
"""What every adapter (`leat source NAME`, a pod) owes: Knative's environment, health and metrics, a sink that is slow, failing or away, and the end. One suite, a row an adapter.

A row says how the adapter is started and how its origin is made to have events. `waits`: the origin keeps what the sink does not take, so that nothing is lost however long that lasts;
where it cannot wait, what was lost is counted (leat_source_failed_total) and told.
"""

import concurrent.futures
import hashlib
import itertools
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import urllib.parse
import uuid

import pytest

from broker import Broker, channel, event, prefix_of
from leat import Leat, Reply, Sink, binary, free_port, request, sign, wait_for
from test_ping_source import each_second

LONG = 60  # seconds; a group of Kafka takes its time to come together again
NUMBERS = itertools.count(1)  # so that each test has origins of its own


class Row:
    """One adapter in one test: `start` runs it, `cause` makes its origin have events and returns their ids (None: it has them by itself)."""

    waits = True
    headers = True  # it sends itself, and with Knative's header Kn-Namespace
    ready = None  # the line of standard output that says that it works

    def __init__(self, folder):
        self.folder, self.number, self.running = folder, next(NUMBERS), []

    def prepare(self):
        pass

    def arguments(self):
        return []

    def environment(self):
        return {}

    def start(self, sink, *args, **env):
        env = {"K_SINK": sink, **self.environment(), **env}
        process = Leat(["source", self.name, *args, "--health", "127.0.0.1:0", *self.arguments()], env=env)
        self.running.append(process)
        if self.ready:
            process.wait_line(lambda line: line == self.ready, "stdout", LONG)
        process.address("health", LONG)
        self.process = process
        return process

    def cause(self, count):
        return None

    def close(self):
        for process in self.running:
            if process.process.poll() is None:
                assert process.stop(LONG) == 0, process.logs


class Ping(Row):
    name = "ping"

    def environment(self):
        return {"SCHEDULE": "* * * * * *", "TIMEZONE": "UTC"}


class GitHub(Row):
    name, waits = "github", False

    def environment(self):
        return {"GITHUB_SECRET_TOKEN": "s", "PORT": "0"}

    def start(self, sink, *args, **env):
        return super().start(sink, "--listen", "127.0.0.1:0", *args, **env)

    def cause(self, count):
        """GitHub waits ten seconds for each answer; so do the threads here, while the test goes on."""
        self.pool = concurrent.futures.ThreadPoolExecutor(count)
        ids = [f"hook-{next(NUMBERS)}" for _ in range(count)]
        body = b'{"repository":{"full_name":"jo/mill"}}'
        url = self.process.address("webhook") + "/"
        head = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-Hub-Signature-256": sign("s", body)}
        self.answers = [self.pool.submit(request, "POST", url, body, {**head, "X-GitHub-Delivery": id}) for id in ids]
        return ids


class Process(Row):
    """A program that has Knative's contract from its environment alone, and keeps what the sink does not take."""

    name, headers = "process", False
    PROGRAM = r"""
import json, os, signal, ssl, urllib.parse, urllib.request
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
extensions = json.loads(os.environ.get("K_CE_OVERRIDES", "{}")).get("extensions", {})
trust = ssl.create_default_context(cadata=os.environ["K_CA_CERTS"]) if os.environ.get("K_CA_CERTS") else None
wait = float(os.environ.get("K_SINK_TIMEOUT", "30"))
n = 0
while not ended:
    headers = {"ce-specversion": "1.0", "ce-id": str(n), "ce-type": "t", "ce-source": f"/{os.environ['NAMESPACE']}/{os.environ['NAME']}", **{"ce-" + k: urllib.parse.quote(v) for k, v in extensions.items()}}
    try:
        urllib.request.urlopen(urllib.request.Request(os.environ["K_SINK"], b"x", headers, method="POST"), timeout=wait, context=trust)
        n += 1
    except OSError:
        pass
    signal.sigtimedwait([signal.SIGUSR1], 0.05)
"""

    def arguments(self):
        return ["--", sys.executable, "-c", self.PROGRAM]


class Served(Row):
    """Adapters of a broker of somebody else, whose origin is a channel of `leat serve` on it."""

    ready = "ready"

    def prepare(self):
        tested = os.environ.get("LEAT")
        os.environ["LEAT"] = os.environ.get("LEAT_ORIGIN", binary())  # the adapter may be one that sees no files of ours
        try:
            self.origin = Broker(self.folder, [channel("c")], "--shared", "--bus", self.bus())
        finally:
            os.environ.pop("LEAT")
            os.environ.update({"LEAT": tested} if tested else {})

    def cause(self, count):
        ids = [f"e-{next(NUMBERS)}" for _ in range(count)]
        for id in ids:
            assert self.origin.post("c", b"x", event(id, partitionkey="k")).status == 202
        return ids

    def close(self):
        super().close()
        self.origin.stop()


class KafkaRow(Served):
    name = "kafka"

    def bus(self):
        from real.kafka import Kafka
        self.address = Kafka.shared().address
        return f"kafka,bootstrap.servers={self.address}"

    def environment(self):
        topic = f"{prefix_of(self.folder)}knative-messaging-kafka.default.c"
        return {"KAFKA_BOOTSTRAP_SERVERS": self.address, "KAFKA_TOPICS": topic, "KAFKA_CONSUMER_GROUP": f"{topic}.g", "INITIAL_OFFSET": "earliest"}


class RabbitMQRow(Served):
    name = "rabbitmq"

    def bus(self):
        from real.rabbitmq import RabbitMQ
        self.node = RabbitMQ.shared()
        return f"rabbitmq,host={self.node.address}"

    def prepare(self):
        from rabbitmq_plain import Pika
        self.bus()
        self.pika = Pika(self.node.url())
        self.queue = f"{prefix_of(self.folder)}adapter"
        self.pika.channel.queue_declare(self.queue, durable=True)

    def cause(self, count):
        ids = [f"e-{next(NUMBERS)}" for _ in range(count)]
        for id in ids:
            self.pika.write("", b"x", {"ce-specversion": "1.0", "ce-id": id, "ce-type": "t", "ce-source": "/s"}, routing_key=self.queue)
        return ids

    def environment(self):
        return {"RABBIT_URL": self.node.url(), "RABBITMQ_QUEUE_NAME": self.queue, "RABBITMQ_PREDECLARED": "true"}

    def close(self):
        Row.close(self)
        self.pika.channel.queue_delete(self.queue)
        self.pika.close()


class Later(Row):
    """A row to be written with its adapter."""

    def prepare(self):
        pytest.skip(f"`leat source {self.name}` has no row of its own here yet")


class PubSubRow(Row):
    """Messages of one ordering key: without one, Pub/Sub promises no order."""

    name, emulator, topic = "pubsub", "127.0.0.1:1", "adapter"

    def prepare(self):
        from real.pubsub import PubSub
        self.pubsub = PubSub.shared()
        self.emulator = self.pubsub.address
        self.topic = f"{prefix_of(self.folder)}adapter".strip(".-").replace(".", "-")
        self.topic = f"t-{self.topic}"
        self.pubsub.topic(self.topic)
        self.pubsub.subscription(self.topic, self.topic, ackDeadlineSeconds=10, enableMessageOrdering=True)

    def environment(self):
        return {"PUBSUB_EMULATOR_HOST": self.emulator, "PROJECT_ID": "leat-tests", "TOPIC_ID": self.topic, "SUBSCRIPTION_ID": self.topic}

    def cause(self, count):
        return [self.pubsub.publish(self.topic, b"x", key="k") for _ in range(count)]


class KubernetesRow(Row):
    """Changes of one object, which come in order; where it begins is in its state, as after an earlier start."""

    name, namespace, kubeconfig = "kubernetes", "none", "/none"

    def prepare(self):
        from real.kubernetes import Kubernetes
        self.cluster = Kubernetes.shared()
        self.kubeconfig = self.cluster.kubeconfig()
        self.namespace = f"adapter-{os.getpid()}-{self.number}"
        self.path = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.cluster.good("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        version = self.cluster.make("configmaps", "a", self.namespace)["metadata"]["resourceVersion"]
        (self.folder / "state").write_text(f"leat kubernetes 1\nP 0 {urllib.parse.quote(self.path + ' ', safe='')}\nV 0 {version}\n")

    def arguments(self):
        return ["--resource", "v1/ConfigMap", "--kubeconfig", str(self.kubeconfig), "--watch-namespace", self.namespace, "--state", str(self.folder / "state")]

    def cause(self, count):
        """An event's id is a UUID (RFC 9562, version 8) of the object's uid and version, in a space of the source's."""
        ids = []
        for _ in range(count):
            m = self.cluster.good("PATCH", f"{self.path}/a", {"data": {"n": str(next(NUMBERS))}})["metadata"]
            digest = bytearray(hashlib.sha256(bytes.fromhex("9d41c80e772b4af6b01563d98c3fe254") + f"{m['uid']} {m['resourceVersion']} is".encode()).digest()[:16])
            digest[6], digest[8] = digest[6] & 0x0f | 0x80, digest[8] & 0x3f | 0x80
            ids.append(str(uuid.UUID(bytes=bytes(digest))))
        return ids


ROWS = (Ping, GitHub, Process, KafkaRow, RabbitMQRow, PubSubRow, KubernetesRow)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def adapter(request, leat_binary, tmp_path_factory):  # noqa: F811
    row = request.param(tmp_path_factory.mktemp("adapter"))
    row.prepare()
    yield row
    row.close()


def ids(sink):
    return [r.headers["ce-id"] for r in list(sink.requests)]


def in_order(requests):
    """Their ids, each once, in the order in which they came first."""
    return list(dict.fromkeys(requests))


def metrics(process):
    return request("GET", process.address("health") + "/metrics").text


def counted(process, name):
    return sum(int(m[1]) for m in re.finditer(rf"^{name}{{.*}} (\d+)$", metrics(process), re.M))


def test_every_adapter_has_a_row(start):
    process = start("source", "--help")
    assert process.wait() == 0
    listed = next(line.split()[1:] for line in process.stdout if line.startswith("Sources: "))
    assert {"ping", "github", "process", "kafka", "rabbitmq"} <= set(listed) <= {row.name for row in ROWS if not issubclass(row, Later)}


def test_the_environment(adapter, sink):
    """Knative's contract; and what its controllers set beside it does no harm."""
    noise = {name: '{"zap-logger-config": "{}", "loglevel.adapter": "info"}' for name in ("K_LOGGING_CONFIG", "K_METRICS_CONFIG", "K_OBSERVABILITY_CONFIG", "K_LEADER_ELECTION_CONFIG", "K_TRACING_CONFIG")}
    adapter.start(sink.url, NAMESPACE="mills", NAME="one", K_CE_OVERRIDES='{"extensions":{"team":"w\\u00e4ter","zone":"a"}}', K_COMPONENT="x", K_RESOURCE_GROUP="y", **noise)
    want = adapter.cause(2)
    sink.wait(2, LONG)
    for r in sink.requests[:2]:
        a = r.attributes
        assert r.method == "POST" and a["specversion"] == "1.0" and a["team"] == "wäter" and a["zone"] == "a", r
        assert not adapter.headers or r.headers["kn-namespace"] == "mills"
    assert want is None or in_order(ids(sink)) == want or sorted(ids(sink)) == sorted(want)


def test_health(adapter, sink):
    process = adapter.start(sink.url)
    health = process.address("health")
    assert request("GET", health + "/livez").status == request("GET", health + "/healthz").status == 200
    wait_for(lambda: request("GET", health + "/readyz").status == 200, "readiness", LONG)
    answer = request("GET", health + "/metrics")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain") and "# TYPE leat_" in answer.text
    assert request("GET", health + "/other").status == 404 and request("POST", health + "/livez", b"").status in (404, 405)
    assert request("GET", health + "/api/v1/namespaces/default/secrets").status == 404


def test_a_sink_that_fails_gets_it_again(adapter, sink):
    sink.fail(3, 503)
    adapter.start(sink.url)
    want = adapter.cause(1)
    sink.wait(4, LONG)
    assert len(set(ids(sink)[:4])) == 1 and (want is None or ids(sink)[:4] == want * 4)


def test_a_sink_that_is_away(adapter):
    """Nothing is lost where the origin can wait; else what was, is counted."""
    port = free_port()
    process = adapter.start(f"http://127.0.0.1:{port}/")
    want = adapter.cause(3)
    if not adapter.waits:
        answers = [a.result() for a in adapter.answers]
        assert all(a.status in (502, 503, 504) for a in answers)
        wait_for(lambda: counted(process, "leat_source_failed_total") == len(want), "the count of what failed")
        said = process.wait_line("source.report", "stderr")
        assert "failed=" in said and "refused" in said.partition("last_failure=")[2]
    elif adapter.name != "process":
        process.wait_line(lambda line: "refused" in line, "stderr", LONG)
    with Sink(port=port) as late:
        if not adapter.waits:
            want = adapter.cause(1)
        late.wait(3 if adapter.waits else 1, LONG)
        wait_for(lambda: want is None or set(want) <= set(ids(late)), "all of them", LONG)
        assert want is None or in_order(ids(late)) == want
        if adapter.name == "ping":
            each_second(process, late, 3)
        if adapter.name == "process":
            assert in_order(ids(late))[:3] == ["0", "1", "2"]
        assert process.stop(LONG) == 0, process.logs


def test_a_sink_that_is_slow(adapter, sink):
    """K_SINK_TIMEOUT bounds each attempt."""
    gate = threading.Event()
    sink.script.append(Reply(202, hold=gate))
    adapter.start(sink.url, K_SINK_TIMEOUT="1")
    adapter.cause(1)
    wait_for(lambda: len(ids(sink)) >= 2 and ids(sink).count(ids(sink)[0]) >= 2, "the second attempt", LONG)
    gate.set()


def test_the_end(adapter, sink):
    """What is at the sink when SIGTERM comes is finished, and told as lost nowhere; what the origin still has comes after the next start, and none of it twice."""
    gate = threading.Event()
    process = adapter.start(sink.url)
    sink.script.append(Reply(202, hold=gate))
    want = adapter.cause(3 if adapter.waits else 1)
    sink.wait(1, LONG)
    process.signal(signal.SIGTERM)
    wait_for(lambda: adapter.name in ("process",) or "drain" in process.logs or "serve.stop" in process.logs, "the end's beginning")
    gate.set()
    assert process.wait(LONG) == 0, process.logs
    assert "lost" not in process.logs.replace("lost=0", ""), process.logs
    if adapter.name == "ping" or not adapter.waits:
        assert len(sink.requests) == (1 if not adapter.waits else len(set(ids(sink))))
        return
    adapter.start(sink.url)
    if want:
        wait_for(lambda: set(want) <= set(ids(sink)), "the rest", LONG)
        assert sorted(ids(sink)) == sorted(want)


def test_an_https_sink(adapter, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with Sink() as secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        secure.server.socket = context.wrap_socket(secure.server.socket, server_side=True)
        process = adapter.start(f"https://127.0.0.1:{secure.port}/", K_CA_CERTS=cert.read_text())
        want = adapter.cause(1)
        secure.wait(1, LONG)
        assert want is None or ids(secure)[:1] == want
        assert process.stop(LONG) == 0, process.logs


@pytest.mark.parametrize("env,code,words", [
    ({"K_SINK": ""}, 2, "K_SINK"),
    ({"K_SINK": "ftp://x"}, 3, "the sink: "),
    ({"K_CE_OVERRIDES": "{"}, 3, "K_CE_OVERRIDES"),
    ({"K_CE_OVERRIDES": '{"extensions":{"time":"x"}}'}, 3, "time"),
    ({"K_SINK_TIMEOUT": "soon"}, 3, "seconds"),
    ({"K_CA_CERTS": "ca.pem"}, 3, "K_CA_CERTS"),
])
@pytest.mark.parametrize("row", [r for r in ROWS if not issubclass(r, Later)], ids=lambda r: r.name)
def test_what_is_wrong_is_said(leat_binary, tmp_path, row, env, code, words):
    made = row(tmp_path)
    made.address, made.node, made.queue, made.folder = "127.0.0.1:1", type("", (), {"url": lambda self: "amqp://127.0.0.1:1"})(), "q", tmp_path
    process = Leat(["source", row.name, *made.arguments()], env={"K_SINK": "http://127.0.0.1:1/", **made.environment(), **env})
    assert process.wait() == code, process.logs
    said = [line for line in process.stderr if words in line]
    assert said and said[0].startswith(f"leat source {row.name}: "), process.logs


def test_help_has_the_contract(start):
    for row in ROWS:
        if issubclass(row, Later):
            continue
        process = start("source", row.name, "--help")
        assert process.wait() == 0
        for word in ("$K_SINK", "K_CE_OVERRIDES", "K_CA_CERTS", "K_SINK_TIMEOUT", "$NAMESPACE", "$NAME", "--health ADDR", "SIGTERM"):
            assert word in "\n".join(process.stdout), (row.name, word)
