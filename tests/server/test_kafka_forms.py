# SPDX-License-Identifier: Apache-2.0
"""The forms of Knative's Kafka components, of today and of 2018, on a real Kafka: events pass through them, topics and groups have the names that an existing installation has, one is
taken over where it stopped, and a mistake in a manifest costs no topic. Each test has a namespace of its own on the Kafka that the suites share."""

from kafka_plain import kafka as plain

from broker import event, prefix_of
from forms import arrived, condition, is_ready, seen, send, status, thing, trigger
from leat import request, wait_for
from real.kafka import PASSWORD, USER, Kafka

SYSTEM = "knative-eventing"


def config(name, namespace, servers, partitions=2, replication=1):
    data = {"bootstrap.servers": servers, "default.topic.partitions": str(partitions), "default.topic.replication.factor": str(replication)}
    return thing("v1", "ConfigMap", name, namespace, data=data)


def kafka_broker(name, namespace, config_name="cluster", **annotations):
    spec = {"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": config_name, "namespace": namespace}, "delivery": {"retry": 0}}
    return thing("eventing.knative.dev/v1", "Broker", name, namespace, spec, {"eventing.knative.dev/broker.class": "Kafka", **annotations})


def admin(kafka):
    return plain.admin.KafkaAdminClient(bootstrap_servers=kafka.address)


def topics(kafka):
    a = admin(kafka)
    try:
        return set(a.list_topics())
    finally:
        a.close()


def groups(kafka):
    a = admin(kafka)
    try:
        return {g["group_id"] if isinstance(g, dict) else g[0] for g in a.list_groups()}
    finally:
        a.close()


def test_an_event_passes_all_of_todays_forms(kafka, namespace, serve, sink):
    """Broker → Trigger → KafkaChannel → Subscription → KafkaSink → topic → KafkaSource → sink."""
    out = f"{namespace}-out"
    ref = lambda api, kind, name: {"ref": {"apiVersion": api, "kind": kind, "name": name}}  # noqa: E731
    channel = ("messaging.knative.dev/v1", "KafkaChannel", "parcels")
    objects = [
        config("cluster", namespace, kafka.address),
        config("kafka-channel-config", SYSTEM, kafka.address),
        kafka_broker("orders", namespace),
        thing("eventing.knative.dev/v1", "Trigger", "t", namespace, {"broker": "orders", "subscriber": ref(*channel)}),
        thing(*channel, namespace, {"numPartitions": 3}),
        thing("messaging.knative.dev/v1", "Subscription", "s", namespace, {"channel": ref(*channel)["ref"], "subscriber": ref("eventing.knative.dev/v1alpha1", "KafkaSink", "out")}),
        thing("eventing.knative.dev/v1alpha1", "KafkaSink", "out", namespace, {"topic": out, "numPartitions": 1, "replicationFactor": 1, "bootstrapServers": [kafka.address]}),
        thing("sources.knative.dev/v1", "KafkaSource", "in", namespace, {"topics": [out], "bootstrapServers": [kafka.address], "initialOffset": "earliest", "sink": {"uri": sink.url}}),
    ]
    process = serve(objects)
    is_ready(process, "sources.knative.dev/v1", "kafkasources", "in", namespace)  # its topic is made by the KafkaSink, whichever comes first
    for id in ("1", "2", "3"):
        send(process, f"/brokers/{namespace}/orders", id)
    arrived(sink, "1", "2", "3")
    assert {f"knative-broker-{namespace}-orders", f"knative-messaging-kafka.{namespace}.parcels", out} <= topics(kafka)
    group = status(process, "messaging.knative.dev/v1", "subscriptions", "s", namespace)["annotations"]["group.id"]
    assert group.startswith(f"kafka.{namespace}.parcels.")
    assert {f"knative-trigger-{namespace}-t", group, f"knative-kafka-source-{namespace}.in"} <= groups(kafka)
    assert request("POST", f"{process.ingress}/kafkasources/{namespace}/in", b"", event("x")).status == 404


def test_an_installation_is_taken_over_where_it_stopped(kafka, plain_kafka, namespace, serve, sink):
    """A topic and a group as Knative's own Broker left them: what its Trigger had not committed is delivered, and nothing else."""
    topic, group = f"knative-broker-{namespace}-b", f"knative-trigger-{namespace}-t"
    plain_kafka["python"].make_topic(topic)
    for id in range(4):
        plain_kafka["python"].write(topic, b"old", headers=[("ce_specversion", "1.0"), ("ce_id", f"old-{id}"), ("ce_type", "t"), ("ce_source", "/old")])
    consumer = plain.KafkaConsumer(bootstrap_servers=kafka.address, group_id=group, enable_auto_commit=False)
    consumer.commit({plain.TopicPartition(topic, 0): plain.OffsetAndMetadata(3, "", -1)})
    consumer.close()
    process = serve([config("cluster", namespace, kafka.address), kafka_broker("b", namespace), trigger("t", namespace, "b", sink.url)])
    is_ready(process, "eventing.knative.dev/v1", "triggers", "t", namespace)
    send(process, f"/brokers/{namespace}/b", "new")
    arrived(sink, "old-3", "new")
    assert seen(sink) == ["new", "old-3"]


def test_a_mistake_costs_no_topic(kafka, namespace, serve, sink):
    parts = [kafka_broker("b", namespace), trigger("t", namespace, "b", sink.url)]
    whole = [config("cluster", namespace, kafka.address), *parts]
    process = serve(whole)
    is_ready(process, "eventing.knative.dev/v1", "triggers", "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    assert "result=applied" in process.reload(parts)
    wait_for(lambda: condition(process, "eventing.knative.dev/v1", "brokers", "b", namespace)[1] == "ConfigMapNotFound", "the condition")
    send(process, f"/brokers/{namespace}/b", "2")  # what the topic can take, it takes
    assert "result=applied" in process.reload(whole)
    is_ready(process, "eventing.knative.dev/v1", "triggers", "t", namespace)
    arrived(sink, "2")
    assert seen(sink) == ["1", "2"]
    assert f"knative-broker-{namespace}-b" in topics(kafka)
    # The object itself is gone: so is its topic.
    assert "result=applied" in process.reload([whole[0]])
    wait_for(lambda: f"knative-broker-{namespace}-b" not in topics(kafka), "the topic to go")


def test_another_address_or_password_is_the_same_bus(kafka, namespace, serve, sink):
    """What describes the cluster changes while events pass: topics and groups stay, nothing is lost."""
    listener = "SASL_PLAINTEXT"

    def objects(**changes):
        fields = {"protocol": listener, "sasl.mechanism": "PLAIN", "user": USER, "password": PASSWORD, **changes}
        named = config("cluster", namespace, kafka.server(listener))
        named["data"]["auth.secret.ref.name"] = "keys"
        return [named, thing("v1", "Secret", "keys", namespace, stringData=fields), kafka_broker("b", namespace), trigger("t", namespace, "b", sink.url)]

    process = serve([config("cluster", namespace, kafka.address), *objects()[1:]])
    is_ready(process, "eventing.knative.dev/v1", "triggers", "t", namespace)
    send(process, f"/brokers/{namespace}/b", "plain")
    arrived(sink, "plain")
    assert "result=applied" in process.reload(objects())
    wait_for(lambda: request("POST", f"{process.ingress}/brokers/{namespace}/b", b"x", event("sasl")).status == 202, "an event to be taken over the other listener")
    arrived(sink, "sasl")
    assert "result=applied" in process.reload(objects(password="wrong"))
    wait_for(lambda: condition(process, "eventing.knative.dev/v1", "brokers", "b", namespace)[0] == "False", "the condition to say that the password is wrong")
    assert "wrong" not in str(status(process, "eventing.knative.dev/v1", "brokers", "b", namespace))
    assert "result=applied" in process.reload(objects())
    wait_for(lambda: request("POST", f"{process.ingress}/brokers/{namespace}/b", b"x", event("again")).status == 202, "an event to be taken again")
    arrived(sink, "again")
    assert set(seen(sink)) == {"plain", "sasl", "again"}


def test_what_kafka_refuses_is_in_the_condition(kafka, namespace, serve):
    process = serve([config("cluster", namespace, kafka.address, replication=3), kafka_broker("b", namespace)])

    def said():
        value, _, message = condition(process, "eventing.knative.dev/v1", "brokers", "b", namespace, "TopicReady")
        return value == "False" and "eplication" in (message or "")

    wait_for(said, "TopicReady to say that there are too few brokers")
    assert condition(process, "eventing.knative.dev/v1", "brokers", "b", namespace)[0] == "False"
    assert request("GET", process.api + "/readyz").status == 200  # what others are sent is taken
    assert process.logs.count("eplication factor") == 1


def test_a_cluster_that_begins_is_asked_again(namespace, serve):
    """It has one broker so far, and a topic is to lie on two: nobody's mistake, and said so; it is made when the second has come."""
    broker = ("eventing.knative.dev/v1", "brokers", "b", namespace)
    with Kafka() as first:
        process = serve([config("cluster", namespace, first.address, replication=2), kafka_broker("b", namespace)])
        wait_for(lambda: "the cluster has 1 now" in (condition(process, *broker, "TopicReady")[2] or ""), "TopicReady to say that there is one broker now")
        assert request("POST", f"{process.ingress}/brokers/{namespace}/b", b"x", event("early")).status == 503
        with first.another():
            is_ready(process, *broker)
            send(process, f"/brokers/{namespace}/b", "1")


def test_a_source_waits_for_its_topic(kafka, plain_kafka, namespace, serve, sink):
    spec = {"bootstrapServers": [kafka.address], "topics": [f"{namespace}.later"], "consumerGroup": f"{namespace}.group", "sink": {"uri": sink.url}}
    source = ("sources.knative.dev/v1", "kafkasources", "s", namespace)
    process = serve([thing("sources.knative.dev/v1", "KafkaSource", "s", namespace, spec)])
    wait_for(lambda: "no such topic" in (condition(process, *source)[2] or ""), "the condition to say what is missing")
    assert condition(process, *source)[1] == "NotFoundOnBus"
    plain_kafka["python"].make_topic(f"{namespace}.later", 1)
    is_ready(process, *source)
    assert condition(process, *source, "ConnectionEstablished") == ("True", None, None)


def test_a_sink_and_a_source_of_one_topic(kafka, plain_kafka, namespace, serve, sink):
    plain_kafka["python"].make_topic(f"{namespace}.both", 1)
    both = {"bootstrapServers": [kafka.address]}
    process = serve([
        thing("eventing.knative.dev/v1alpha1", "KafkaSink", "out", namespace, {**both, "topic": f"{namespace}.both"}),
        thing("sources.knative.dev/v1", "KafkaSource", "in", namespace, {**both, "topics": [f"{namespace}.both"], "consumerGroup": f"{namespace}.g", "sink": {"uri": sink.url}}),
    ])
    is_ready(process, "sources.knative.dev/v1", "kafkasources", "in", namespace)
    send(process, f"/kafkasinks/{namespace}/out", "1")
    arrived(sink, "1")
    assert "bus.notice" not in process.logs


def test_a_topic_of_somebody_else_stays(kafka, plain_kafka, namespace, serve, sink):
    plain_kafka["python"].make_topic(f"{namespace}.theirs", 2)
    objects = [config("cluster", namespace, kafka.address), kafka_broker("stays", namespace), kafka_broker("b", namespace, **{"kafka.eventing.knative.dev/external.topic": f"{namespace}.theirs"}), trigger("t", namespace, "b", sink.url)]
    process = serve(objects)
    is_ready(process, "eventing.knative.dev/v1", "triggers", "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    assert "result=applied" in process.reload(objects[:2])
    wait_for(lambda: f"knative-trigger-{namespace}-t" not in groups(kafka), "the group to go, with which the topic would go")
    assert f"{namespace}.theirs" in topics(kafka) and f"knative-broker-{namespace}-b" not in topics(kafka)


def test_2018(kafka, namespace, serve, sink):
    bus = {
        "parameters": {"channel": [{"name": "NumPartitions", "default": "1"}], "subscription": [{"name": "initialOffset", "default": "Newest"}]},
        "dispatcher": {"name": "d", "image": "x/buses/kafka/dispatcher", "env": [{"name": "KAFKA_BOOTSTRAP_SERVERS", "valueFrom": {"configMapKeyRef": {"name": "kafka-bus-config", "key": "KAFKA_BOOTSTRAP_SERVERS"}}}]},
    }
    api = "channels.knative.dev/v1alpha1"
    channel = [thing("v1", "ConfigMap", "kafka-bus-config", namespace, data={"KAFKA_BOOTSTRAP_SERVERS": kafka.address}), thing(api, "Bus", "pipe", namespace, bus), thing(api, "Channel", "a", namespace, {"bus": "pipe"})]
    process = serve(channel)
    is_ready(process, api, "channels", "a", namespace)
    send(process, f"/channels/{namespace}/a", "before")
    subscribe = lambda name, **more: thing(api, "Subscription", name, namespace, {"channel": "a", "subscriber": f"{sink.url}/{name}", **more})  # noqa: E731
    oldest = subscribe("oldest", arguments=[{"name": "initialOffset", "value": "Oldest"}])
    assert "result=applied" in process.reload([*channel, oldest, subscribe("newest")])
    is_ready(process, api, "subscriptions", "oldest", namespace)
    is_ready(process, api, "subscriptions", "newest", namespace)
    send(process, f"/channels/{namespace}/a", "after")
    wait_for(lambda: len(sink.requests) >= 3, "three deliveries")
    got = sorted((r.path.rsplit("/", 1)[-1], r.headers["ce-id"]) for r in sink.requests)
    assert got == [("newest", "after"), ("oldest", "after"), ("oldest", "before")]
    assert f"{namespace}.a" in topics(kafka) and {f"pipe.{namespace}.oldest", f"pipe.{namespace}.newest"} <= groups(kafka)


def test_the_default_bus(kafka, namespace, serve, sink, tmp_path):
    objects = [thing("messaging.knative.dev/v1", "KafkaChannel", "k", namespace, {}), thing("messaging.knative.dev/v1", "Channel", "c", namespace, {}), thing("eventing.knative.dev/v1", "Broker", "b", namespace, {}), trigger("t", namespace, "b", sink.url)]
    process = serve(objects, "--bus", f"kafka,bootstrap.servers={kafka.address}")
    is_ready(process, "eventing.knative.dev/v1", "triggers", "t", namespace)
    send(process, f"/brokers/{namespace}/b", "1")
    arrived(sink, "1")
    prefix = prefix_of(process.manifest.parent)
    assert {f"{prefix}knative-messaging-kafka.{namespace}.k", f"{prefix}knative-messaging-kafka.{namespace}.c", f"{prefix}knative-broker-{namespace}-b"} <= topics(kafka)
    assert f"{prefix}knative-trigger-{namespace}-t" in groups(kafka)
