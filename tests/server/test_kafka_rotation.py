# SPDX-License-Identifier: Apache-2.0
"""Credentials and addresses of a Kafka that change while leat runs: the bus is opened anew beside the old one, nothing is lost, and what was wrong comes right."""

import threading
import time

from broker import event
from leat import request, wait_for
from test_kafka_security import arrives, broker_ready, objects, secret_of, send
from test_kafka_shared import COMMIT_S


def test_a_password_that_is_mended(kafka, serve, sink, namespace):
    where = kafka.server("SASL_PLAINTEXT")
    server = serve(objects(namespace, where, secret_of(kafka, "SASL_PLAINTEXT", "PLAIN", password="not-this-one"), sink.url))
    wait_for(lambda: broker_ready(server, namespace)["status"] == "False", "the Broker to say so")
    assert request("GET", server.api + "/readyz").status == 503
    assert send(server, namespace, "early").status == 503
    assert "not-this-one" not in server.logs + request("GET", server.api + "/readyz").text + str(broker_ready(server, namespace))
    server.reload(objects(namespace, where, secret_of(kafka, "SASL_PLAINTEXT", "PLAIN"), sink.url))
    wait_for(lambda: broker_ready(server, namespace)["status"] == "True", "the Broker", 60)
    wait_for(lambda: request("GET", server.api + "/readyz").status == 200, "readiness")
    arrives(server, namespace, sink, "late")
    assert server.count_lines("bus.reopened") == 1


def test_another_way_to_the_cluster_under_load(kafka, serve, sink, namespace):
    server = serve(objects(namespace, kafka.server("SASL_PLAINTEXT"), secret_of(kafka, "SASL_PLAINTEXT", "PLAIN"), sink.url))
    wait_for(lambda: send(server, namespace, "0").status == 202, "the first event")
    acknowledged, stop = [], threading.Event()

    def load():
        n = 0
        while not stop.is_set():
            n += 1
            if request("POST", f"{server.ingress}/brokers/{namespace}/b", b"x", event(f"e-{n}")).status == 202:
                acknowledged.append(f"e-{n}")

    loader = threading.Thread(target=load)
    loader.start()
    try:
        wait_for(lambda: len(acknowledged) > 100, "the load")
        began = time.monotonic()
        server.reload(objects(namespace, kafka.server("PLAINTEXT"), secret_of(kafka), sink.url))
        wait_for(lambda: server.count_lines("bus.reopened") == 1, "the bus to be opened anew")
        count = len(acknowledged)
        wait_for(lambda: len(acknowledged) > count + 100, "the load on the new bus")
    finally:
        stop.set()
        loader.join()
    times = {}
    wait_for(lambda: set(acknowledged) <= {r.headers.get("ce-id") for r in list(sink.requests)}, "all that was acknowledged", 60)
    for r in list(sink.requests):
        times.setdefault(r.headers.get("ce-id"), []).append(r.at)
    repeated = {id_: at for id_, at in times.items() if len(at) > 1}
    assert all(min(at) > began - COMMIT_S for at in repeated.values()), {id_: min(at) - began for id_, at in repeated.items()}  # what was settled long before was committed
    assert broker_ready(server, namespace)["status"] == "True"
    assert request("GET", server.api + "/readyz").status == 200
