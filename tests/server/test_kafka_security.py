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

import pytest

from broker import event
from leat import ROOT, request, wait_for
from real.kafka import PASSWORD, USER, token

NEWER = ROOT / "build" / "librdkafka"  # tests/setup/newer-librdkafka
SCRAM_RIGHT = 0x020601FF  # librdkafka 2.6.1: those before cannot do SCRAM with Kafka 4


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


def test_a_client_certificate_comes_with_its_chain(kafka, serve, sink, namespace):
    """The cluster knows the root only; the intermediate CA stands behind leat's certificate in `user.crt`."""
    chained = {"user.crt": kafka.pem("chain.pem"), "user.key": kafka.pem("chained.key")}
    server = serve(objects(namespace, kafka.server("MTLS"), secret_of(kafka, "MTLS", **chained), sink.url))
    arrives(server, namespace, sink, "1")
    assert broker_ready(server, namespace)["status"] == "True"


def rdkafka_version():
    """Of the library that leat is linked with, as it lies on this system."""
    return ctypes.CDLL("librdkafka.so.1").rd_kafka_version()


@pytest.mark.parametrize("listener, mechanism", [("SASL_PLAINTEXT", "SCRAM-SHA-256"), ("SASL_SSL", "SCRAM-SHA-512")])
def test_scram_passes_with_a_librdkafka_that_can(kafka, serve, sink, namespace, listener, mechanism):
    """The program as it is, with another library in place of the system's."""
    paths = [str(NEWER), os.environ.get("LD_LIBRARY_PATH", "")]
    server = serve(objects(namespace, kafka.server(listener), secret_of(kafka, listener, mechanism), sink.url), env={"LD_LIBRARY_PATH": ":".join(filter(None, paths))})
    arrives(server, namespace, sink, "1")


def test_scram_with_one_that_cannot_says_what_is_needed(kafka, serve, sink, namespace):
    if rdkafka_version() >= SCRAM_RIGHT:
        pytest.skip("this system's librdkafka can do SCRAM with Kafka 4")
    server = serve(objects(namespace, kafka.server("SASL_PLAINTEXT"), secret_of(kafka, "SASL_PLAINTEXT", "SCRAM-SHA-256"), sink.url))
    assert "Kafka 4 needs librdkafka 2.6.1 or later, and this is " in server.wait_line("code=AuthenticationFailed")


# what, the listener whose Secret it is, its mechanism, the listener that is asked (with the name or address), what is wrong in the Secret, the notice, words of readiness
WRONG = {
    "password": ("SASL_SSL", "PLAIN", "localhost SASL_SSL", {"password": "not-the-password-4711"}, "AuthenticationFailed", "Invalid username or password"),
    "token": ("SASL_SSL", "OAUTHBEARER", "localhost SASL_SSL", {"token": "not.the-token-4711"}, "AuthenticationFailed", "invalid_token"),
    "expired token": ("SASL_SSL", "OAUTHBEARER", "localhost SASL_SSL", {"token": token(lasts_s=-90)}, "TokenFailed", "sasl.token has expired"),
    "CA": ("SSL", None, "localhost SSL", {"ca.crt": "other-ca.pem"}, "TlsFailed", "certificate verify failed"),
    "name": ("SSL", None, "127.0.0.1 SSL", {}, "TlsFailed", "certificate verify failed"),
    "no certificate": ("SSL", None, "localhost MTLS", {}, "TlsFailed", "alert"),
    "half a chain": ("SSL", None, "localhost MTLS", {"user.crt": "chained.pem", "user.key": "chained.key"}, "TlsFailed", "alert"),
    "no TLS there": ("SSL", None, "127.0.0.1 PLAINTEXT", {}, "TlsFailed", "handshake"),
    "TLS is wanted": ("PLAINTEXT", None, "localhost SSL", {}, "ProtocolMismatch", "security.protocol"),
    "SASL is wanted": ("PLAINTEXT", None, "127.0.0.1 SASL_PLAINTEXT", {}, "ProtocolMismatch", "security.protocol"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_without_secrets_and_not_again_and_again(kafka, serve, sink, namespace, what):
    listener, mechanism, at, changes, code, words = WRONG[what]
    host, port_of = at.split()
    changes = {name: kafka.pem(value) if value.endswith((".pem", ".key")) else value for name, value in changes.items()}
    secret = secret_of(kafka, listener, mechanism, **changes)
    server = serve(objects(namespace, f"{host}:{kafka.ports[port_of]}", secret, sink.url))
    server.wait_line(f"code={code}")

    def told():
        ready = request("GET", server.api + "/readyz")
        condition = broker_ready(server, namespace)
        return ready.status == 503 and words in ready.text and condition["status"] == "False" and words in condition["message"]

    wait_for(told, f"readiness and the Broker's condition to say {words!r}")
    refused = send(server, namespace, "1")
    assert refused.status == 503 and "retry-after" in refused.headers
    for secret_value in [value for name, value in secret.items() if name in ("password", "token", "user.key")]:
        assert secret_value not in server.logs and secret_value not in refused.text + request("GET", server.api + "/readyz").text
        assert secret_value not in server.ask("GET", "/metrics").text
    for cause in ("AuthenticationFailed", "TokenFailed", "TlsFailed", "ProtocolMismatch", "BrokersDown", "BrokerUp", "KafkaWarning", "TopicFailed"):
        assert server.count_lines(f"code={cause} ") <= 10, server.logs


def test_credentials_that_change_under_way_lose_and_repeat_nothing(kafka, serve, sink, namespace):
    where = namespace, kafka.server("SASL_SSL")
    server = serve(objects(*where, secret_of(kafka, "SASL_SSL", "PLAIN"), sink.url))
    arrives(server, namespace, sink, "before")
    server.reload(objects(*where, secret_of(kafka, "SASL_SSL", "OAUTHBEARER"), sink.url))
    arrives(server, namespace, sink, "after")
    assert [r.headers["ce-id"] for r in sink.requests] == ["before", "after"]


class TokenEndpoint:
    """Gives tokens for client credentials (RFC 6749 section 4.4): `lasts_s` long; or refuses. `asked`: the Authorization of each request."""

    def __init__(self, lasts_s):
        self.asked = []
        self.refuses = False
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                good = "grant_type=client_credentials" in form and not endpoint.refuses
                answer = {"access_token": token(lasts_s=lasts_s), "expires_in": lasts_s, "token_type": "bearer"} if good else {"error": "invalid_client"}
                endpoint.asked.append(self.headers["Authorization"])
                self.send_response(200 if good else 401)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def client_credentials(kafka, endpoint):
    return secret_of(kafka, "SASL_SSL", "OAUTHBEARER", token=None, **{"token.url": endpoint.url, "client.id": "leat", "client.secret": "client-secret-4711"})


def test_tokens_are_fetched_and_renewed(kafka, serve, sink, namespace):
    with TokenEndpoint(lasts_s=5) as endpoint:
        server = serve(objects(namespace, kafka.server("SASL_SSL"), client_credentials(kafka, endpoint), sink.url))
        arrives(server, namespace, sink, "1")
        assert endpoint.asked[0] == "Basic " + base64.b64encode(b"leat:client-secret-4711").decode()
        wait_for(lambda: len(endpoint.asked) >= 3, "the token to be fetched anew, and once more")
        arrives(server, namespace, sink, "2")


def test_a_token_endpoint_that_refuses_is_named_and_asked_again(kafka, serve, sink, namespace):
    with TokenEndpoint(lasts_s=300) as endpoint:
        endpoint.refuses = True
        server = serve(objects(namespace, kafka.server("SASL_SSL"), client_credentials(kafka, endpoint), sink.url))
        assert "the token endpoint answered 401: invalid_client" in server.wait_line("code=TokenFailed")
        wait_for(lambda: "invalid_client" in request("GET", server.api + "/readyz").text, "readiness to say so")
        endpoint.refuses = False
        wait_for(lambda: send(server, namespace, "1").status == 202, "an event to be accepted")
        assert "client-secret-4711" not in server.logs
