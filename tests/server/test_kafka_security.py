# SPDX-License-Identifier: Apache-2.0
"""leat and a real Kafka that wants to know who is there: TLS with a CA of its own, client certificates, every SASL mechanism; and what is said when any of it is wrong.

A Broker of the class Kafka says by its ConfigMap and Secret, in upstream's keys, how the cluster is reached. The Kafka is the one that all suites share: each test has a
namespace of its own, and with it topics of its own.
"""
import base64
import ctypes
import http.server
import json
import os
import threading
import uuid

import pytest

from broker import event
from leat import ROOT, request, wait_for
from real.kafka import PASSWORD, USER, Kafka, token

NEWER = ROOT / "build" / "librdkafka"  # tests/setup/newer-librdkafka
SCRAM_RIGHT = 0x020601FF  # librdkafka 2.6.1: those before cannot do SCRAM with Kafka 4


@pytest.fixture(scope="module")
def kafka():
    return Kafka.shared()


@pytest.fixture
def namespace():
    return "n" + uuid.uuid4().hex[:12]


def secret_of(k, listener="PLAINTEXT", mechanism=None, **changes):
    """The Secret's fields for that listener; a change to None takes one out."""
    fields = {"protocol": "SSL" if listener == "MTLS" else listener}
    if "PLAINTEXT" not in listener:
        fields["ca.crt"] = k.pem("ca.pem")
    if listener == "MTLS":
        fields |= {"user.crt": k.pem("client.pem"), "user.key": k.pem("client.key")}
    if mechanism:
        fields["sasl.mechanism"] = mechanism
        fields |= {"token": token()} if mechanism == "OAUTHBEARER" else {"user": USER, "password": PASSWORD}
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def objects(namespace, servers, secret, url):
    """A Broker on that cluster and a Trigger that sends everything to `url`."""
    meta = {"namespace": namespace}
    config = {"bootstrap.servers": servers, "auth.secret.ref.name": "auth", "default.topic.partitions": "1", "default.topic.replication.factor": "1"}
    spec = {"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "cluster", "namespace": namespace}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": "cluster"}, "data": config},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "name": "auth"}, "data": {n: base64.b64encode(v.encode()).decode() for n, v in secret.items()}},
        {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {**meta, "name": "b", "annotations": {"eventing.knative.dev/broker.class": "Kafka"}}, "spec": spec},
        {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {**meta, "name": "t"}, "spec": {"broker": "b", "subscriber": {"uri": url}}},
    ]


def send(server, namespace, id):
    return request("POST", f"{server.ingress}/brokers/{namespace}/b", b"x", event(id))


def arrives(server, namespace, sink, id):
    """Sent until it is accepted (the cluster may only just have been reached), and delivered."""
    wait_for(lambda: send(server, namespace, id).status == 202, "an event to be accepted")
    wait_for(lambda: any(r.headers.get("ce-id") == id for r in sink.requests), f"the event {id} at the sink")


def broker_ready(server, namespace):
    """The condition Ready of the Broker."""
    got = server.ask("GET", f"/apis/eventing.knative.dev/v1/namespaces/{namespace}/brokers/b").json()
    return next(c for c in got["status"]["conditions"] if c["type"] == "Ready")


@pytest.mark.parametrize(
    "listener, mechanism",
    [("SSL", None), ("MTLS", None), ("SASL_PLAINTEXT", "PLAIN"), ("SASL_PLAINTEXT", "OAUTHBEARER"), ("SASL_SSL", "PLAIN"), ("SASL_SSL", "OAUTHBEARER")],
)
def test_events_pass(kafka, serve, sink, namespace, listener, mechanism):
    server = serve(objects(namespace, kafka.server(listener), secret_of(kafka, listener, mechanism), sink.url))
    arrives(server, namespace, sink, "1")
    assert broker_ready(server, namespace)["status"] == "True"
    assert request("GET", server.api + "/readyz").status == 200
