# SPDX-License-Identifier: Apache-2.0
"""RabbitmqSource at work, in `leat serve` and as a pod (`leat source rabbitmq`): a message is the queue's until the sink has its event; order, retries, dead letters, parked events."""

import json

import pytest

from forms import arrived, condition, is_ready, thing
from leat import Leat, Reply, Sink, request, wait_for
from rabbitmq_plain import pika as plain
from real.rabbitmq import PASSWORD, USER, VHOST

GOOD = {"K_SINK": "http://127.0.0.1:1/", "RABBIT_URL": "amqp://127.0.0.1:1", "RABBITMQ_QUEUE_NAME": "q"}
SOURCES = ("sources.knative.dev/v1alpha1", "rabbitmqsources")


@pytest.mark.parametrize(
    "args, env, code, words",
    [
        ([], {"K_SINK": ""}, 2, ["no sink", "K_SINK", "--sink"]),
        ([], {"RABBIT_URL": ""}, 3, ["url is missing", "RABBIT_URL", "--url"]),
        ([], {"RABBIT_URL": "http://h"}, 3, ["amqp://"]),
        ([], {"RABBITMQ_QUEUE_NAME": ""}, 3, ["queueName", "RABBITMQ_QUEUE_NAME", "--queue"]),
        ([], {"RABBITMQ_CHANNEL_PARALLELISM": "1001"}, 3, ["parallelism", "1 to 1000"]),
        ([], {"RABBITMQ_CLIENT_CERT": "x"}, 3, ["ssl.certificate"]),
        ([], {"HTTP_SENDER_BACKOFF_POLICY": "sudden"}, 3, ["source rabbitmq: backoffPolicy", "sudden", "linear"]),
        (["--backoff-delay", "3"], {}, 3, ["source rabbitmq: backoffDelay: ", '"3"', "PT0.2S"]),
        (["--queue", 256 * "q"], {}, 3, ["queueName", "255"]),
        (["--sink", "ftp://x"], {}, 3, ["source rabbitmq: the sink: ", "http://"]),
        ([], {"K_SINK_TIMEOUT": "soon"}, 3, ["K_SINK_TIMEOUT", '"soon"', "seconds"]),
        ([], {"K_CE_OVERRIDES": "{"}, 3, ["K_CE_OVERRIDES"]),
        (["--listen", ":0"], {}, 2, ["--listen"]),
    ],
)
def test_what_is_wrong_is_said(run, args, env, code, words):
    got, _, said = run("source", "rabbitmq", *args, env={**GOOD, **env})
    assert got == code, said
    for word in words:
        assert word in said, said
    assert "/proc/" not in said, said


def test_help_names_the_environment(run):
    code, out, _ = run("source", "rabbitmq", "--help")
    assert code == 0
    for word in [*GOOD, "RABBITMQ_VHOST", "RABBITMQ_EXCHANGE_NAME", "RABBITMQ_PREDECLARED", "RABBITMQ_CHANNEL_PARALLELISM", "RABBITMQ_USERNAME", "RABBITMQ_PASSWORD", "RABBITMQ_CA_CERT"]:
        assert "$" + word in out
    assert "--listen" not in out  # there are no webhooks


# ---- with a RabbitMQ ----


@pytest.fixture
def queue(pika, namespace):
    """A queue that is there, and goes with the test."""
    name = namespace + ".q"
    pika.channel.queue_declare(name, durable=True)
    yield name
    pika.channel.queue_delete(name)


def write(pika, queue, *ids, body=b"x"):
    for id in ids:
        pika.write("", body, {"ce-specversion": "1.0", "ce-id": id, "ce-type": "t", "ce-source": "/s"}, routing_key=queue)


def waiting(pika, queue):
    """Messages that nobody has taken."""
    return pika.channel.queue_declare(queue, passive=True).method.message_count


def ids(sink):
    return [r.headers["ce-id"] for r in list(sink.requests)]


# ---- as a pod ----


@pytest.fixture
def pod(leat_binary, rabbitmq, queue, sink):
    """pod(...) starts `leat source rabbitmq` on the queue."""
    running = []

    def run(*args, **env):
        process = Leat(["source", "rabbitmq", "--health", "127.0.0.1:0", *args], env={"K_SINK": sink.url, "RABBIT_URL": rabbitmq.url(), "RABBITMQ_QUEUE_NAME": queue, **env})
        running.append(process)
        process.wait_line(lambda line: line == "ready", "stdout")
        return process

    yield run
    for process in running:
        if process.process.poll() is None:
            assert process.stop() == 0, process.logs


def test_a_pod(pika, queue, pod, sink):
    write(pika, queue, *(f"e-{n}" for n in range(5)))
    process = pod(K_CE_OVERRIDES='{"extensions":{"team":"water"}}', NAMESPACE="mills", NAME="orders")
    sink.wait(5, 30)
    assert ids(sink) == [f"e-{n}" for n in range(5)]
    first = sink.requests[0]
    assert first.body == b"x" and first.attributes["team"] == "water" and first.headers["kn-namespace"] == "mills"
    health = process.address("health")
    assert request("GET", health + "/livez").status == 200 and request("GET", health + "/readyz").status == 200
    wait_for(lambda: 'leat_deliveries_total{namespace="mills",subscription="orders",end="delivered"} 5' in request("GET", health + "/metrics").text, "the count")
    assert request("GET", health + "/api/v1/namespaces/mills/secrets").status == 404  # its credentials are nobody's business
    assert process.stop() == 0, process.logs
    write(pika, queue, "between")
    pod()
    sink.wait(6, 30)
    assert ids(sink)[5:] == ["between"]


def test_an_event_is_tried_until_the_sink_has_it(pika, queue, pod, sink):
    """Also what is no good to retry elsewhere (400); and who is killed meanwhile has acknowledged nothing."""
    sink.default = Reply(400)
    write(pika, queue, "first", "second")
    process = pod()
    sink.wait(3, 30)
    assert set(ids(sink)) == {"first"}  # one after another
    process.kill()
    sink.default = Reply(202)
    pod()
    wait_for(lambda: ids(sink)[-2:] == ["first", "second"], "both", 60)
    assert ids(sink).count("second") == 1


def test_a_stop_hands_back_what_is_not_done(pika, queue, pod, sink):
    sink.default = Reply(503)
    write(pika, queue, "1", "2", "3")
    process = pod(RABBITMQ_CHANNEL_PARALLELISM="10")
    wait_for(lambda: set(ids(sink)) == {"1", "2", "3"}, "all three under way", 30)
    assert process.stop() == 0, process.logs
    wait_for(lambda: waiting(pika, queue) == 3, "all three to be in the queue again")


def test_a_pod_makes_its_queue(pika, rabbitmq, pod, namespace, sink):
    process = pod(RABBITMQ_EXCHANGE_NAME=namespace + ".x", RABBITMQ_QUEUE_NAME=namespace + ".made")
    health = process.address("health")
    wait_for(lambda: request("GET", health + "/readyz").status == 200, "the pod to be ready", 30)
    pika.write(namespace + ".x", b"x", message_id="1")
    arrived(sink, "1")


def test_a_pod_with_tls_and_a_user(pika, rabbitmq, queue, pod, sink):
    write(pika, queue, "secret")
    pod(RABBIT_URL=f"amqps://{rabbitmq.server(tls=True)}", RABBITMQ_USERNAME="guest", RABBITMQ_PASSWORD="guest", RABBITMQ_CA_CERT=(rabbitmq.certificates / "ca.pem").read_text())
    sink.wait(1, 30)
    assert ids(sink) == ["secret"]


def test_a_queue_that_is_not_there(pod, queue):
    process = pod(RABBITMQ_QUEUE_NAME=queue + "-not")
    answer = request("GET", process.address("health") + "/readyz")
    assert answer.status == 503 and queue + "-not" in answer.text, answer.text
    assert request("GET", process.address("health") + "/livez").status == 200


# ---- in serve ----


@pytest.fixture
def running(rabbitmq, namespace, serve, queue, sink):
    """running(parallelism, delivery) is a `leat serve` with a source of the queue."""

    def run(parallelism=1, delivery=None, **more):
        host, port = rabbitmq.address.split(":")
        objects = [
            thing("v1", "Secret", "keys", namespace, stringData={"username": "guest", "password": "guest", "uri": host, "port": port}),
            thing("sources.knative.dev/v1alpha1", "RabbitmqSource", "in", namespace, {
                "rabbitmqClusterReference": {"connectionSecret": {"name": "keys"}},
                "rabbitmqResourcesConfig": {"queueName": queue, "predeclared": True, "parallelism": parallelism},
                "sink": {"uri": sink.url},
                **({"delivery": delivery} if delivery else {}),
            }),
        ]
        process = serve(objects, **more)
        is_ready(process, *SOURCES, "in", namespace)
        return process

    return run


def test_one_after_another(pika, queue, running, sink):
    """parallelism: 1 keeps the order of the queue, whatever one message needs."""
    sink.script += [Reply(503), Reply(503)]
    write(pika, queue, *(str(n) for n in range(20)))
    running()
    wait_for(lambda: ids(sink)[-1:] == ["19"], "the last one", 30)
    order = [id for n, id in enumerate(ids(sink)) if id not in ids(sink)[:n]]
    assert order == [str(n) for n in range(20)]


def test_many_at_once_and_no_more(pika, queue, running, sink):
    sink.default = Reply(503)
    write(pika, queue, *(str(n) for n in range(20)))
    process = running(7, {"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"})
    wait_for(lambda: len(set(ids(sink))) == 7 and len(ids(sink)) > 20, "seven under way, again and again", 30)
    wait_for(lambda: waiting(pika, queue) == 13, "the others in the queue, which counts late")
    sink.default = Reply(202)
    wait_for(lambda: set(ids(sink)) == {str(n) for n in range(20)}, "all", 30)
    wait_for(lambda: process.metric("leat_backlog_events", namespace=queue.partition(".")[0], subscription="in") == 0, "none left")


def test_what_nobody_takes_goes_to_the_dead_letter_sink(pika, queue, running, sink):
    """Upstream's source throws away what a sink refuses."""
    sink.default = Reply(400)
    write(pika, queue, "bad")
    with Sink() as dead:
        running(1, {"retry": 1, "backoffDelay": "PT0.1S", "deadLetterSink": {"uri": dead.url}})
        dead.wait(1, 30)
        letter = dead.requests[0].headers
        assert letter["ce-id"] == "bad" and letter["ce-knativeerrorcode"] == "400"
        sink.default = Reply(202)
        write(pika, queue, "good")
        arrived(sink, "good")


def test_while_the_dead_letter_sink_is_down_it_is_kept(pika, queue, running, run, namespace, sink):
    sink.default = Reply(400)
    write(pika, queue, "bad")
    process = running(1, {"retry": 0, "deadLetterSink": {"uri": "http://127.0.0.1:1/"}})
    process.may_lose = True  # what is parked lies in memory here

    def listed():
        code, out, said = run("dlq", "list", "rabbitmqsource/in", "-n", namespace, "-o", "json", env={"LEAT_SERVER": process.api})
        assert code == 0, said
        return [item["id"] for item in json.loads(out)["items"]]

    wait_for(lambda: listed() == ["bad"], "the parked event", 30)
    code, out, _ = run("explain", "bad", env={"LEAT_SERVER": process.api})
    assert code == 0 and "read from RabbitMQ" in out, out
    code, _, said = run("tail", "rabbitmqsource/in", "-n", namespace, env={"LEAT_SERVER": process.api})
    assert code == 1 and "lies in its queue already" in said, said
    sink.default = Reply(202)
    code, _, said = run("dlq", "redrive", "rabbitmqsource/in", "-n", namespace, "--all", env={"LEAT_SERVER": process.api})
    assert code == 0, said
    wait_for(lambda: ids(sink) == ["bad", "bad"] and listed() == [], "the event at the sink, and none left")


def test_a_killed_process_has_acknowledged_nothing_too_early(pika, queue, running, sink):
    sink.default = Reply(503)
    write(pika, queue, *(str(n) for n in range(10)))
    process = running(4)
    wait_for(lambda: len(set(ids(sink))) == 4, "four under way", 30)
    process.kill()
    wait_for(lambda: waiting(pika, queue) == 10, "all in the queue again")
    sink.default = Reply(202)
    running(4)
    wait_for(lambda: set(ids(sink)) == {str(n) for n in range(10)}, "all", 30)


def test_killed_under_load(pika, queue, running, sink):
    """kill -9, again and again: none of what the queue had is missing, and what came twice was under way when its process died."""
    wanted = {str(n) for n in range(1000)}
    write(pika, queue, *wanted)
    lives = 0
    while not wanted <= set(ids(sink)):
        process, before = running(20), len(ids(sink))
        wait_for(lambda: len(ids(sink)) >= before + 250 or wanted <= set(ids(sink)), "a quarter of them", 30)
        process.kill()
        lives += 1
    assert lives > 1 and len(ids(sink)) <= 1000 + 20 * lives * 2  # the last acknowledgements may be on their way
    assert waiting(pika, queue) <= 40


def test_two_processes_share_a_queue(pika, queue, running, sink):
    running(5)
    running(5)
    write(pika, queue, *(str(n) for n in range(200)))
    wait_for(lambda: len(set(ids(sink))) == 200, "all", 30)
    assert len(ids(sink)) == 200  # each once


def test_a_queue_that_goes_and_comes(pika, queue, namespace, running, sink):
    """Somebody deletes what was predeclared: the condition says so until it is there again."""
    process = running()
    write(pika, queue, "1")
    arrived(sink, "1")
    pika.channel.queue_delete(queue)
    wait_for(lambda: queue in (condition(process, *SOURCES, "in", namespace)[2] or ""), "the condition to say that it is gone", 30)
    assert condition(process, *SOURCES, "in", namespace)[0] == "False"
    pika.channel.queue_declare(queue, durable=True)
    is_ready(process, *SOURCES, "in", namespace)
    write(pika, queue, "2")
    arrived(sink, "2")


def test_a_queue_of_its_own_that_is_deleted(rabbitmq, pika, namespace, serve, sink):
    host, port = rabbitmq.address.split(":")
    secret = thing("v1", "Secret", "keys", namespace, stringData={"username": "guest", "password": "guest", "uri": host, "port": port})
    spec = {"rabbitmqClusterReference": {"connectionSecret": {"name": "keys"}}, "rabbitmqResourcesConfig": {"queueName": namespace + ".q", "exchangeName": namespace + ".x"}, "sink": {"uri": sink.url}}
    process = serve([secret, thing("sources.knative.dev/v1alpha1", "RabbitmqSource", "in", namespace, spec)])
    is_ready(process, *SOURCES, "in", namespace)
    pika.channel.queue_delete(namespace + ".q")
    wait_for(lambda: pika.declared(queue=namespace + ".q"), "the queue to be made again", 30)
    is_ready(process, *SOURCES, "in", namespace)

    def delivered():
        pika.write(namespace + ".x", b"x", message_id="1")
        return any(r.headers["ce-id"] == "1" for r in sink.requests)

    wait_for(lambda: bound(delivered), "an event by way of the exchange", 30)


def bound(write):
    """What write() says once some queue takes what it writes."""
    try:
        return write()
    except plain.exceptions.UnroutableError:
        return False


def test_with_a_user_of_a_vhost(rabbitmq, namespace, serve, sink):
    host, port = rabbitmq.address.split(":")
    secret = thing("v1", "Secret", "keys", namespace, stringData={"username": USER, "password": PASSWORD, "uri": host, "port": port})
    spec = {"rabbitmqClusterReference": {"connectionSecret": {"name": "keys"}}, "rabbitmqResourcesConfig": {"queueName": namespace, "exchangeName": namespace, "vhost": VHOST}, "sink": {"uri": sink.url}}
    process = serve([secret, thing("sources.knative.dev/v1alpha1", "RabbitmqSource", "in", namespace, spec)])
    is_ready(process, *SOURCES, "in", namespace)
