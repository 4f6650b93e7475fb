# SPDX-License-Identifier: Apache-2.0
"""The forms of Knative's RabbitMQ components, of today and of 2018, on a real RabbitMQ: events pass through them, exchanges and queues have names that people read, and a mistake in a
manifest costs no queue. Each test has a namespace of its own on the RabbitMQ that the suites share."""

import json
import pathlib
import re
import urllib.parse

from broker import event, prefix_of
from forms import arrived, condition, is_gone, is_ready, seen, send, status, thing, trigger
from leat import Reply, Sink, request, wait_for
from rabbitmq_plain import pika as plain
from real.rabbitmq import PASSWORD, USER, VHOST

BROKERS, TRIGGERS, SOURCES = ("eventing.knative.dev/v1", "brokers"), ("eventing.knative.dev/v1", "triggers"), ("sources.knative.dev/v1alpha1", "rabbitmqsources")


def keys(rabbitmq, namespace, name="keys", tls=False, **changes):
    """A connectionSecret as Knative has it: the management page's address, AMQP's port."""
    host, port = rabbitmq.server(tls).split(":")
    data = {"username": "guest", "password": "guest", "uri": f"{'https' if tls else 'http'}://{host}:15672", "port": port, **changes}
    return thing("v1", "Secret", name, namespace, stringData=data)


def config(namespace, name="rabbit", secret="keys", **spec):
    return thing("eventing.knative.dev/v1alpha1", "RabbitmqBrokerConfig", name, namespace, {"rabbitmqClusterReference": {"connectionSecret": {"name": secret}}, **spec})


def rabbit_broker(name, namespace, config_name="rabbit", **annotations):
    spec = {"config": {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "RabbitmqBrokerConfig", "name": config_name}, "delivery": {"retry": 0}}
    return thing("eventing.knative.dev/v1", "Broker", name, namespace, spec, {"eventing.knative.dev/broker.class": "RabbitMQBroker", **annotations})


def source(name, namespace, url, secret="keys", annotations=None, **resources):
    spec = {"rabbitmqClusterReference": {"connectionSecret": {"name": secret}}, "rabbitmqResourcesConfig": resources, "sink": {"uri": url}}
    return thing("sources.knative.dev/v1alpha1", "RabbitmqSource", name, namespace, spec, annotations)


def queue_of(process, plural, name, namespace):
    return status(process, *plural, name, namespace)["annotations"]["queue"]


def test_the_manifests_of_the_page(run, tmp_path):
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "rabbitmq.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
    (tmp_path / "all.yaml").write_text("\n---\n".join(blocks))
    code, out, said = run("validate", tmp_path / "all.yaml")
    assert code == 0 and "0 errors, 0 warnings" in out, out + said
    assert len(blocks) == 4


def test_an_event_passes_a_broker(rabbitmq, pika, namespace, serve, sink):
    objects = [keys(rabbitmq, namespace), config(namespace), rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url)]
    process = serve(objects)
    is_ready(process, *TRIGGERS, "t", namespace)
    for id in ("1", "2", "3"):
        send(process, f"/brokers/{namespace}/b", id)
    arrived(sink, "1", "2", "3")
    queue = queue_of(process, TRIGGERS, "t", namespace)
    assert queue.startswith(f"t.{namespace}.t.") and pika.declared(queue=queue)
    assert status(process, *BROKERS, "b", namespace)["annotations"]["exchange"] == f"b.{namespace}.b" and pika.declared(f"b.{namespace}.b")
    # The Trigger is gone: so is its queue. The Broker is gone: so is its exchange.
    assert "result=applied" in process.reload(objects[:3])
    wait_for(lambda: not pika.declared(queue=queue), "the queue to go")
    assert "result=applied" in process.reload(objects[:2])
    wait_for(lambda: not pika.declared(f"b.{namespace}.b"), "the exchange to go")


def test_a_filter_and_a_reply(rabbitmq, namespace, serve, sink):
    """Filters stay in leat, all of their dialects, and what a subscriber answers goes back to the Broker."""
    wanted = thing("eventing.knative.dev/v1", "Trigger", "t", namespace, {"broker": "b", "filters": [{"prefix": {"type": "order."}}, {"not": {"exact": {"type": "order.lost"}}}], "subscriber": {"uri": sink.url}})
    process = serve([keys(rabbitmq, namespace), config(namespace, queueType="classic"), rabbit_broker("b", namespace), wanted])
    is_ready(process, *TRIGGERS, "t", namespace)
    for id, type in (("1", "order.lost"), ("2", "parcel.sent"), ("3", "order.sent")):
        assert request("POST", f"{process.ingress}/brokers/{namespace}/b", b"x", event(id, type=type)).status == 202
    arrived(sink, "3")
    assert seen(sink) == ["3"]


def test_a_mistake_costs_no_queue(rabbitmq, pika, namespace, serve, sink):
    parts = [rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url)]
    whole = [keys(rabbitmq, namespace), config(namespace), *parts]
    process = serve(whole)
    is_ready(process, *TRIGGERS, "t", namespace)
    queue = queue_of(process, TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    assert "result=applied" in process.reload(whole[1:])
    wait_for(lambda: condition(process, *BROKERS, "b", namespace, "SecretReady")[1] == "SecretNotFound", "the condition")
    send(process, f"/brokers/{namespace}/b", "2")  # what the exchange can take, it takes
    assert "result=applied" in process.reload(whole)
    is_ready(process, *TRIGGERS, "t", namespace)
    arrived(sink, "2")
    assert seen(sink) == ["1", "2"] and pika.declared(queue=queue)


def test_a_vhost_with_a_user_of_its_own(rabbitmq, namespace, serve, sink):
    user = {"username": USER, "password": PASSWORD}
    process = serve([keys(rabbitmq, namespace, **user), config(namespace, vhost=VHOST), rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url), config(namespace, "elsewhere"), rabbit_broker("refused", namespace, "elsewhere")])
    is_ready(process, *TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    # The user may not do anything in "/": the condition says so, and not with which password.
    wait_for(lambda: condition(process, *BROKERS, "refused", namespace)[0] == "False", "the condition", 30)
    said = condition(process, *BROKERS, "refused", namespace)[2]
    assert "/" in said and PASSWORD not in str(status(process, *BROKERS, "refused", namespace)), said


def test_tls_with_an_authority_from_a_secret(rabbitmq, namespace, serve, sink):
    authority = thing("v1", "Secret", "ca", namespace, stringData={"ca.crt": (rabbitmq.certificates / "ca.pem").read_text()})
    process = serve([authority, keys(rabbitmq, namespace, tls=True, caSecretName="ca"), config(namespace), rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url)])
    is_ready(process, *TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")


def test_a_password_is_changed(rabbitmq, namespace, serve, sink):
    """The Secret changes while events pass: the exchange and its queues stay, nothing is lost."""
    user = "u" + namespace
    rabbitmq.add_user(user, "first", "/")

    def objects(password):
        return [keys(rabbitmq, namespace, username=user, password=password), config(namespace), rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url)]

    process = serve(objects("first"))
    is_ready(process, *TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    rabbitmq.change_password(user, "second")
    assert "result=applied" in process.reload(objects("second"))
    wait_for(lambda: request("POST", f"{process.ingress}/brokers/{namespace}/b", b"x", event("2")).status == 202, "an event to be taken with the new password", 30)
    arrived(sink, "2")
    assert "result=applied" in process.reload(objects("mistaken"))
    wait_for(lambda: condition(process, *BROKERS, "b", namespace)[0] == "False", "the condition to say that the password is wrong", 40)
    assert "mistaken" not in str(status(process, *BROKERS, "b", namespace))
    assert "result=applied" in process.reload(objects("second"))
    wait_for(lambda: request("POST", f"{process.ingress}/brokers/{namespace}/b", b"x", event("3")).status == 202, "an event to be taken again", 40)
    arrived(sink, "3")
    assert set(seen(sink)) == {"1", "2", "3"}


def test_an_exchange_of_knative_is_read(rabbitmq, pika, namespace, serve, sink):
    """What Knative's own Broker left: a headers exchange, into which its ingress goes on writing events with bare attributes."""
    theirs = f"b.{namespace}.b.0123"
    pika.channel.exchange_declare(theirs, "headers", durable=True)
    annotations = {"leat.dev/rabbitmq-external-exchange": theirs, "leat.dev/rabbitmq-bare-headers": "true"}
    objects = [keys(rabbitmq, namespace), config(namespace), rabbit_broker("b", namespace, **annotations), trigger("t", namespace, "b", sink.url)]
    process = serve(objects)
    is_ready(process, *TRIGGERS, "t", namespace)
    pika.write(theirs, b"old", {"specversion": "1.0", "id": "theirs", "type": "t", "source": "/old", "color": "red"}, content_type="text/plain")
    send(process, f"/brokers/{namespace}/b", "ours")
    arrived(sink, "theirs", "ours")
    first = next(r for r in sink.requests if r.headers["ce-id"] == "theirs")
    assert first.body == b"old" and first.headers["content-type"] == "text/plain" and first.headers["ce-color"] == "red"
    assert "result=applied" in process.reload(objects[:2])
    is_gone(process, *BROKERS, "b", namespace)
    assert pika.declared(theirs)


def test_structured_by_annotation(rabbitmq, pika, namespace, serve):
    process = serve([keys(rabbitmq, namespace), config(namespace), rabbit_broker("b", namespace, **{"leat.dev/rabbitmq-mode": "structured"})])
    is_ready(process, *BROKERS, "b", namespace)
    queue = pika.listen(f"b.{namespace}.b")
    send(process, f"/brokers/{namespace}/b", "1", b"x")
    message = pika.read(queue)[0]
    assert message.properties.content_type.startswith("application/cloudevents+json") and b'"id":"1"' in message.body.replace(b" ", b"")


# ---- where Knative's own RabbitMQ Broker fails ----


def test_what_a_subscriber_refuses_goes_to_the_dead_letter_sink(rabbitmq, namespace, serve, sink):
    """There, an answer of 4xx is no failure, and the event is gone."""
    sink.default = Reply(400)
    with Sink() as dead:
        broker = rabbit_broker("b", namespace)
        broker["spec"]["delivery"] = {"retry": 0, "deadLetterSink": {"uri": dead.url}}
        process = serve([keys(rabbitmq, namespace), config(namespace), broker, trigger("t", namespace, "b", sink.url)])
        is_ready(process, *TRIGGERS, "t", namespace)
        send(process, f"/brokers/{namespace}/b", "1")
        dead.wait(1, 30)
        assert (dead.requests[0].headers["ce-id"], dead.requests[0].headers["ce-knativeerrorcode"]) == ("1", "400")


def test_an_event_that_is_tried_again_holds_nobody_up(rabbitmq, namespace, serve, recorder):
    """There, parallelism 1 is the default, and one event that fails blocks its queue."""
    at = recorder.add("sub", lambda request, nth: Reply(503) if request.id == "slow" else Reply(202))
    broker = rabbit_broker("b", namespace)
    broker["spec"]["delivery"] = {"retry": 1000, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"}
    process = serve([keys(rabbitmq, namespace), config(namespace), broker, trigger("t", namespace, "b", at.url)])
    is_ready(process, *TRIGGERS, "t", namespace)
    for id in ("slow", *(str(n) for n in range(50))):
        send(process, f"/brokers/{namespace}/b", id)
    wait_for(lambda: {r.id for r in at.requests} >= {str(n) for n in range(50)}, "all others", 30)
    at.rule = lambda request, nth: Reply(202)
    wait_for(lambda: process.metric("leat_deliveries_total", namespace=namespace, subscription="t", end="delivered") == 51, "the slow one, too", 30)


def test_while_the_dead_letter_sink_is_down_the_event_is_kept(rabbitmq, namespace, serve, run, tmp_path, sink):
    """There, it is lost. Here it is parked on RabbitMQ, and there after a kill -9."""
    sink.default = Reply(400)
    broker = rabbit_broker("b", namespace)
    broker["spec"]["delivery"] = {"retry": 0, "deadLetterSink": {"uri": "http://127.0.0.1:1/"}}
    objects = [keys(rabbitmq, namespace), config(namespace), broker, trigger("t", namespace, "b", sink.url)]
    process = serve(objects, "--data-dir", tmp_path / "data")
    is_ready(process, *TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")

    def listed(process):
        code, out, said = run("dlq", "list", "trigger/t", "-n", namespace, "-o", "json", env={"LEAT_SERVER": process.api})
        assert code == 0, said
        return [item["id"] for item in json.loads(out)["items"]]

    wait_for(lambda: listed(process) == ["1"], "the parked event", 30)
    process.kill()
    process = serve(objects, "--data-dir", tmp_path / "data")
    is_ready(process, *TRIGGERS, "t", namespace)
    wait_for(lambda: listed(process) == ["1"], "the parked event after the restart", 30)
    sink.default = Reply(202)
    code, _, said = run("dlq", "redrive", "trigger/t", "-n", namespace, "--all", env={"LEAT_SERVER": process.api})
    assert code == 0, said
    wait_for(lambda: len(sink.requests) >= 2 and listed(process) == [], "the event at its subscriber, and none left", 30)


def test_2018(rabbitmq, pika, namespace, serve, sink):
    env = [
        {"name": "RABBITMQ_URL", "valueFrom": {"configMapKeyRef": {"name": "rabbitmq-bus-config", "key": "RABBITMQ_URL"}}},
        {"name": "RABBITMQ_USERNAME", "value": "guest"},
        {"name": "RABBITMQ_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "rabbitmq-bus-key", "key": "password"}}},
    ]
    bus = {
        "parameters": {"channel": [{"name": "QueueType", "default": "quorum"}], "subscription": [{"name": "Parallelism", "default": "1"}]},
        "dispatcher": {"name": "d", "image": "x/buses/rabbitmq/dispatcher", "env": env},
    }
    api = "channels.knative.dev/v1alpha1"
    subscribe = lambda name, **more: thing(api, "Subscription", name, namespace, {"channel": "a", "subscriber": f"{sink.url}/{name}", **more})  # noqa: E731
    process = serve([
        thing("v1", "ConfigMap", "rabbitmq-bus-config", namespace, data={"RABBITMQ_URL": f"amqp://{rabbitmq.address}"}),
        thing("v1", "Secret", "rabbitmq-bus-key", namespace, stringData={"password": "guest"}),
        thing(api, "Bus", "pipe", namespace, bus),
        thing(api, "Channel", "a", namespace, {"bus": "pipe", "arguments": [{"name": "QueueType", "value": "classic"}]}),
        subscribe("one"),
        subscribe("many", arguments=[{"name": "Parallelism", "value": "20"}]),
    ])
    is_ready(process, api, "subscriptions", "one", namespace)
    is_ready(process, api, "subscriptions", "many", namespace)
    send(process, f"/channels/{namespace}/a", "1")
    wait_for(lambda: len(sink.requests) >= 2, "two deliveries", 30)
    assert sorted((r.path.rsplit("/", 1)[-1], r.headers["ce-id"]) for r in sink.requests) == [("many", "1"), ("one", "1")]
    assert pika.declared(f"{namespace}.a")


def test_the_default_bus(rabbitmq, pika, namespace, serve, sink):
    channel = ("messaging.knative.dev/v1", "Channel", "c")
    objects = [
        thing(*channel, namespace, {}),
        thing("messaging.knative.dev/v1", "Subscription", "s", namespace, {"channel": {"apiVersion": channel[0], "kind": "Channel", "name": "c"}, "subscriber": {"uri": sink.url}}),
        thing("eventing.knative.dev/v1", "Broker", "b", namespace, {}, {"eventing.knative.dev/broker.class": "RabbitMQBroker"}),
        thing("eventing.knative.dev/v1", "Trigger", "t", namespace, {"broker": "b", "subscriber": {"ref": {"apiVersion": channel[0], "kind": "Channel", "name": "c"}}}),
    ]
    process = serve(objects, "--bus", f"rabbitmq,url=amqp://{rabbitmq.address}")
    is_ready(process, *TRIGGERS, "t", namespace)
    is_ready(process, "messaging.knative.dev/v1", "subscriptions", "s", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    prefix = prefix_of(process.manifest.parent)
    assert pika.declared(f"{prefix}c.{namespace}.c") and pika.declared(f"{prefix}b.{namespace}.b")
    queue = status(process, "messaging.knative.dev/v1", "subscriptions", "s", namespace)["annotations"]["queue"]
    assert pika.declared(queue=prefix + queue)


# ---- RabbitmqSource ----


def test_a_source_makes_its_queue(rabbitmq, pika, namespace, serve, sink):
    exchange, queue = f"{namespace}.x", f"{namespace}.q"
    objects = [keys(rabbitmq, namespace), source("in", namespace, sink.url, exchangeName=exchange, queueName=queue, parallelism=5)]
    process = serve(objects)
    is_ready(process, *SOURCES, "in", namespace)
    pika.write(exchange, b"{}", {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s", "ce-color": "red"}, content_type="application/json")
    pika.write(exchange, b"{}", {"specversion": "1.0", "id": "2", "type": "t", "source": "/s"}, content_type="application/json")
    pika.write(exchange, b"plain", {"anything": 7}, content_type="text/plain", message_id="m-3")
    arrived(sink, "1", "2", "m-3")
    of = {r.headers["ce-id"]: r for r in sink.requests}
    assert of["1"].headers["ce-color"] == "red" and of["1"].headers["content-type"] == "application/json"
    wrapped = of["m-3"].headers
    assert (wrapped["ce-type"], wrapped["ce-source"], wrapped["ce-subject"]) == ("dev.knative.rabbitmq.event", f"/apis/v1/namespaces/{namespace}/rabbitmqsources/in#{queue}", "m-3")
    assert of["m-3"].body == b"plain" and wrapped["content-type"] == "text/plain"
    assert request("POST", f"{process.ingress}/rabbitmqsources/{namespace}/in", b"", event("x")).status == 404
    # The object goes, and what others write into stays, with what it holds.
    assert "result=applied" in process.reload(objects[:1])
    is_gone(process, *SOURCES, "in", namespace)
    pika.write(exchange, b"later", message_id="m-4")
    assert "result=applied" in process.reload(objects)
    arrived(sink, "m-4")


def test_a_source_of_what_is_there(rabbitmq, pika, namespace, serve, sink):
    """predeclared: whatever kind of queue it is; nothing is made, and what is missing is said until it is there."""
    queue = f"{namespace}.theirs"
    process = serve([keys(rabbitmq, namespace), source("in", namespace, sink.url, queueName=queue, predeclared=True)])
    wait_for(lambda: queue in (condition(process, *SOURCES, "in", namespace)[2] or ""), "the condition to say what is missing", 30)
    assert not pika.declared(queue=queue)
    pika.channel.queue_declare(queue, durable=True, arguments={"x-max-length": 1000})
    is_ready(process, *SOURCES, "in", namespace)
    pika.write("", b"x", routing_key=queue, message_id="1")
    arrived(sink, "1")


def test_extensions_of_a_source(rabbitmq, pika, namespace, serve, sink):
    one = source("in", namespace, sink.url, exchangeName=f"{namespace}.x", queueName=f"{namespace}.q")
    one["spec"]["ceOverrides"] = {"extensions": {"site": "north", "color": "blue"}}
    process = serve([keys(rabbitmq, namespace), one])
    is_ready(process, *SOURCES, "in", namespace)
    pika.write(f"{namespace}.x", b"", {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s", "ce-color": "red"})
    arrived(sink, "1")
    assert sink.requests[0].headers["ce-site"] == "north" and sink.requests[0].headers["ce-color"] == "blue"


def test_a_url_with_its_user_in_it(rabbitmq, pika, namespace, serve, sink):
    """leat's own: a connectionSecret whose uri is AMQP's."""
    secret = thing("v1", "Secret", "keys", namespace, stringData={"uri": rabbitmq.url(USER, PASSWORD, VHOST)})
    process = serve([secret, config(namespace), rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url)])
    is_ready(process, *TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    inside = plain.BlockingConnection(plain.URLParameters(f"amqp://guest:guest@{rabbitmq.address}/{urllib.parse.quote(VHOST, safe='')}"))
    inside.channel().exchange_declare(f"b.{namespace}.b", passive=True)
    inside.close()


# ---- several processes ----


def test_two_processes_run_the_same_manifests(rabbitmq, pika, namespace, serve, sink):
    """One of them delivers a Trigger's events, in order; it is killed, and the other goes on. An object that leaves the files of one stays for the other."""
    ordered = trigger("t", namespace, "b", sink.url)
    ordered["metadata"]["annotations"] = {"leat.dev/max-in-flight": "1"}
    objects = [keys(rabbitmq, namespace), config(namespace), rabbit_broker("b", namespace), ordered]
    shared = ("--shared", "--bus", f"rabbitmq,url=amqp://{rabbitmq.address}")
    one, other = serve(objects, *shared), serve(objects, *shared)
    for process in (one, other):
        is_ready(process, *TRIGGERS, "t", namespace)
    queue = queue_of(one, TRIGGERS, "t", namespace)
    assert queue == queue_of(other, TRIGGERS, "t", namespace)
    for n in range(0, 40, 2):
        send(one, f"/brokers/{namespace}/b", f"{n:02}")
        send(other, f"/brokers/{namespace}/b", f"{n + 1:02}")
    arrived(sink, *(f"{n:02}" for n in range(40)))
    order = [r.headers["ce-id"] for r in sink.requests]
    assert order == sorted(order) and len(order) == 40
    one.kill()
    for n in range(40, 60):
        send(other, f"/brokers/{namespace}/b", f"{n:02}")
    arrived(sink, *(f"{n:02}" for n in range(60)))
    order = [r.headers["ce-id"] for n, r in enumerate(sink.requests) if r.headers["ce-id"] not in {q.headers["ce-id"] for q in sink.requests[:n]}]
    assert order == sorted(order)
    assert "result=applied" in other.reload(objects[:3])
    is_gone(other, *TRIGGERS, "t", namespace)
    assert pika.declared(queue=queue)
    pika.channel.queue_delete(queue)


def test_two_processes_share_the_work(rabbitmq, namespace, serve, sink):
    """leat.dev/rabbitmq-shared: work. Both deliver, each event once."""
    together = trigger("t", namespace, "b", sink.url)
    together["metadata"]["annotations"] = {"leat.dev/rabbitmq-shared": "work", "leat.dev/max-in-flight": "2"}
    objects = [keys(rabbitmq, namespace), config(namespace), rabbit_broker("b", namespace), together]
    shared = ("--shared", "--bus", f"rabbitmq,url=amqp://{rabbitmq.address}")
    processes = [serve(objects, *shared) for _ in range(2)]
    for process in processes:
        is_ready(process, *TRIGGERS, "t", namespace)
    sink.default = Reply(202, delay=0.01)
    for n in range(100):
        send(processes[0], f"/brokers/{namespace}/b", str(n))
    arrived(sink, *map(str, range(100)))
    assert len(sink.requests) == 100
    delivered = [process.metric("leat_deliveries_total", namespace=namespace, subscription="t", end="delivered") for process in processes]
    assert min(delivered) > 10, delivered


# ---- rights ----


def test_a_user_with_no_more_rights_than_the_page_says(rabbitmq, namespace, serve, run, sink):
    """For a Broker, its Trigger, and what is parked of it."""
    user = "u" + namespace
    rabbitmq.add_user(user, "secret")
    rabbitmq.permit(user, "/", *[r"^([bcst]\.|leat).*"] * 3)
    sink.default = Reply(400)
    process = serve([keys(rabbitmq, namespace, username=user, password="secret"), config(namespace), rabbit_broker("b", namespace), trigger("t", namespace, "b", sink.url)])
    process.may_lose = True
    is_ready(process, *TRIGGERS, "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")

    def listed():
        code, out, said = run("dlq", "list", "trigger/t", "-n", namespace, "-o", "json", env={"LEAT_SERVER": process.api})
        assert code == 0, said
        return [item["id"] for item in json.loads(out)["items"]]

    wait_for(lambda: listed() == ["1"], "the parked event", 30)


def test_a_source_that_may_only_read(rabbitmq, pika, namespace, serve, sink):
    user, queue = "u" + namespace, namespace + ".q"
    pika.channel.queue_declare(queue, durable=True)
    rabbitmq.add_user(user, "secret")
    rabbitmq.permit(user, "/", "^$", "^$", f"^{namespace}")
    process = serve([keys(rabbitmq, namespace, username=user, password="secret"), source("in", namespace, sink.url, queueName=queue, predeclared=True), source("makes", namespace, sink.url, queueName=namespace + ".made", exchangeName=namespace + ".x")])
    is_ready(process, *SOURCES, "in", namespace)
    pika.write("", b"x", routing_key=queue, message_id="1")
    arrived(sink, "1")
    wait_for(lambda: condition(process, *SOURCES, "makes", namespace)[0] == "False", "the condition of the one that may make nothing", 30)
    said = condition(process, *SOURCES, "makes", namespace)[2]
    assert "ACCESS_REFUSED" in said and namespace + ".x" in said and "secret" not in said, said
    pika.channel.queue_delete(queue)
