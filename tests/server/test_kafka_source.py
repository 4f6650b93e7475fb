# SPDX-License-Identifier: Apache-2.0
"""`leat source kafka` as a pod runs it."""

import json

import pytest
from broker import Broker, channel, event, prefix_of
from leat import Leat, Reply, request, wait_for
from real.kafka import Kafka

GOOD = {"K_SINK": "http://127.0.0.1:1/", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_TOPICS": "a,b", "KAFKA_CONSUMER_GROUP": "g"}


@pytest.mark.parametrize(
    "args, env, code, words",
    [
        ([], {"K_SINK": ""}, 2, ["no sink", "K_SINK", "--sink"]),
        ([], {"KAFKA_BOOTSTRAP_SERVERS": ""}, 3, ["bootstrapServers", "KAFKA_BOOTSTRAP_SERVERS", "--bootstrap-servers"]),
        ([], {"KAFKA_TOPICS": ""}, 3, ["topics", "KAFKA_TOPICS"]),
        ([], {"KAFKA_CONSUMER_GROUP": ""}, 3, ["consumerGroup", "KAFKA_CONSUMER_GROUP"]),
        ([], {"KAFKA_NET_SASL_ENABLE": "true"}, 3, ["KAFKA_NET_SASL_USER"]),
        ([], {"KAFKA_NET_TLS_ENABLE": "true", "KAFKA_NET_TLS_CERT": "x"}, 3, ["certificate and its key"]),
        ([], {"K_CE_OVERRIDES": "{"}, 3, ["K_CE_OVERRIDES"]),
        (["--listen", ":0"], {}, 2, ["--listen"]),
    ],
)
def test_what_is_wrong_is_said(run, args, env, code, words):
    got, _, said = run("source", "kafka", *args, env={**GOOD, **env})
    assert got == code, said
    for word in words:
        assert word in said, said


def test_help_names_the_environment(run):
    code, out, _ = run("source", "kafka", "--help")
    assert code == 0
    for word in [*GOOD, "INITIAL_OFFSET", "KEY_TYPE", "KAFKA_NET_SASL_ENABLE", "KAFKA_NET_SASL_TYPE", "KAFKA_NET_SASL_USER", "KAFKA_NET_SASL_PASSWORD", "KAFKA_NET_TLS_ENABLE", "KAFKA_NET_TLS_CERT", "KAFKA_NET_TLS_KEY", "KAFKA_NET_TLS_CA_CERT"]:
        assert "$" + word in out
    assert "--listen" not in out  # there are no webhooks


# ---- with a Kafka ----


@pytest.fixture
def topic(leat_binary, tmp_path):
    """topic.process posts into the channel "c", topic.name is where it lies on Kafka."""
    with Broker(tmp_path, [channel("c")], "--shared", "--bus", f"kafka,bootstrap.servers={Kafka.shared().address}") as process:
        process.name = f"{prefix_of(tmp_path)}knative-messaging-kafka.default.c"
        yield process


@pytest.fixture
def pod(leat_binary, topic, sink):
    """pod(...) starts `leat source kafka` on the topic."""
    running = []

    def run(*args, **env):
        group = {"K_SINK": sink.url, "KAFKA_BOOTSTRAP_SERVERS": Kafka.shared().address, "KAFKA_TOPICS": topic.name, "KAFKA_CONSUMER_GROUP": topic.name + ".g", "INITIAL_OFFSET": "earliest"}
        process = Leat(["source", "kafka", "--health", "127.0.0.1:0", *args], env={**group, **env})
        running.append(process)
        process.wait_line(lambda line: line == "ready", "stdout")
        return process

    yield run
    for process in running:
        if process.process.poll() is None:
            assert process.stop() == 0, process.logs


def ids(sink):
    return [r.headers["ce-id"] for r in list(sink.requests)]


def test_a_pod(topic, pod, sink):
    for n in range(5):
        assert topic.post("c", b"x%d" % n, event(f"e-{n}", partitionkey="k")).status == 202
    process = pod(K_CE_OVERRIDES='{"extensions":{"team":"water"}}', NAMESPACE="mills", NAME="orders")
    sink.wait(5)
    assert ids(sink) == [f"e-{n}" for n in range(5)]
    first = sink.requests[0]
    assert first.body == b"x0" and first.attributes["team"] == "water" and first.headers["kn-namespace"] == "mills"
    health = process.address("health")
    assert request("GET", health + "/livez").status == 200 and request("GET", health + "/readyz").status == 200
    wait_for(lambda: 'leat_deliveries_total{namespace="mills",subscription="orders",end="delivered"} 5' in request("GET", health + "/metrics").text, "the count")
    assert request("GET", health + "/api/v1/namespaces/mills/secrets").status == 404  # its credentials are nobody's business
    assert request("GET", health + "/leat/v1/dlq").status == 404
    # It stops; another of its group goes on where it was.
    assert process.stop() == 0, process.logs
    assert topic.post("c", b"", event("between", partitionkey="k")).status == 202
    pod()
    sink.wait(6)
    assert ids(sink)[5:] == ["between"]


def test_an_event_is_tried_until_the_sink_has_it(topic, pod, sink):
    """Also what is no good to retry elsewhere (400); and whoever is killed meanwhile has not moved the offset."""
    sink.default = Reply(400)
    assert topic.post("c", b"", event("first", partitionkey="k")).status == 202
    assert topic.post("c", b"", event("second", partitionkey="k")).status == 202
    process = pod()
    sink.wait(3)
    assert set(ids(sink)) == {"first"}  # of one partition, one after another
    process.kill()
    sink.default = Reply(202)
    pod()
    wait_for(lambda: ids(sink)[-2:] == ["first", "second"], "both")
    assert ids(sink).count("second") == 1


def test_with_tls_and_sasl(topic, pod, sink):
    kafka = Kafka.shared()
    params = dict(kafka.params("SASL_SSL", "PLAIN"))
    assert topic.post("c", b"", event("secret", partitionkey="k")).status == 202
    pod(
        KAFKA_BOOTSTRAP_SERVERS=kafka.server("SASL_SSL"),
        KAFKA_NET_SASL_ENABLE="true",
        KAFKA_NET_SASL_USER=params["sasl.username"],
        KAFKA_NET_SASL_PASSWORD=params["sasl.password"],
        KAFKA_NET_TLS_ENABLE="true",
        KAFKA_NET_TLS_CA_CERT=params["ssl.ca"],
    )
    sink.wait(1)
    assert ids(sink) == ["secret"]


def test_a_topic_that_is_not_there(topic, pod, sink):
    process = pod(KAFKA_TOPICS=topic.name + "-not")
    answer = request("GET", process.address("health") + "/readyz")
    assert answer.status == 503 and topic.name + "-not" in answer.text, answer.text
    assert request("GET", process.address("health") + "/livez").status == 200


def test_what_a_source_in_serve_parks_is_not_on_its_kafka(topic, serve, run, sink):
    """Nobody takes the event: it is parked on the default bus of this process (memory here), from where it is redriven; the topic's cluster gets no topic for it."""
    spec = {
        "bootstrapServers": [Kafka.shared().address],
        "topics": [topic.name],
        "consumerGroup": topic.name + ".parked",
        "initialOffset": "earliest",
        "delivery": {"retry": 0},
        "sink": {"uri": sink.url},
    }
    sink.default = Reply(400)
    broker = serve([{"apiVersion": "sources.knative.dev/v1", "kind": "KafkaSource", "metadata": {"name": "orders"}, "spec": spec}])
    broker.may_lose = True
    assert topic.post("c", b"x", event("lost", partitionkey="k")).status == 202
    sink.wait(1)

    def listed():
        code, out, said = run("dlq", "list", "kafkasource/orders", "-o", "json", env={"LEAT_SERVER": broker.api})
        assert code == 0, said
        return [item["id"] for item in json.loads(out)["items"]]

    wait_for(lambda: listed() == ["lost"], "the parked event")
    code, out, _ = run("explain", "lost", env={"LEAT_SERVER": broker.api})
    assert code == 0 and "read from Kafka" in out and "forgotten" not in out, out
    code, _, said = run("tail", "kafkasource/orders", env={"LEAT_SERVER": broker.api})
    assert code == 1 and "lies on Kafka already" in said, said
    sink.default = Reply(202)
    code, _, said = run("dlq", "redrive", "kafkasource/orders", "--all", env={"LEAT_SERVER": broker.api})
    assert code == 0, said
    sink.wait(2)
    wait_for(lambda: listed() == [], "none left")
    code, out, said = run("replay", "kafkasource/orders", "--from", "earliest", env={"LEAT_SERVER": broker.api})
    assert code == 0, said
    sink.wait(3)
    assert ids(sink) == ["lost"] * 3
