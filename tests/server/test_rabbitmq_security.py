# SPDX-License-Identifier: Apache-2.0
"""leat and a real RabbitMQ that wants to know who is there: TLS with a CA of its own, client certificates, users and vhosts; and what is said when any of it is wrong.

The node is the one that all suites share, but for what needs other settings; each test has names of its own there, since `serve` gives its bus a prefix.
"""
import pytest

from broker import event
from leat import free_port, request, wait_for
from real.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ
from topology import hear, resource


class Strict(RabbitMQ):
    """Asks for a client's certificate, and takes its name from it when it is given no other."""

    def format(self):
        super().format()
        (self.folder / "enabled_plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n")


@pytest.fixture(scope="module")
def strict():
    settings = {"ssl_options.fail_if_no_peer_cert": "true", "auth_mechanisms.1": "PLAIN", "auth_mechanisms.2": "EXTERNAL", "ssl_cert_login_from": "common_name"}
    with Strict(settings=settings) as r:
        yield r


@pytest.fixture
def bus(serve, sink):
    """bus(url, name=value ...): `leat serve` with that bus, a channel x on it and a subscription that `sink` hears."""

    def run(url, **params):
        words = "".join(f",{name.replace('_', '.')}={value}" for name, value in params.items())
        return serve([resource("Channel", "x", {}), hear("t", "x", sink.url)], "--bus", f"rabbitmq,url={url}{words}")

    return run


def file(r, name):
    return f"@{r.certificates / name}"


def certificate(r, name="client"):
    return {"ssl_certificate": file(r, f"{name}.pem"), "ssl_key": file(r, f"{name}.key")}


def send(server, id):
    return server.post("x", b"x", event(id))


def passes(server, sink):
    wait_for(lambda: send(server, "1").status == 202, "an event to be accepted")
    wait_for(lambda: any(r.headers.get("ce-id") == "1" for r in sink.requests), "the event at the sink")
    wait_for(lambda: request("GET", server.api + "/readyz").status == 200, "readiness")


def test_events_pass_over_tls(rabbitmq, bus, sink):
    passes(bus(rabbitmq.url(USER, PASSWORD, VHOST, tls=True), ssl_ca=file(rabbitmq, "ca.pem")), sink)


def test_a_name_that_is_not_checked(rabbitmq, bus, sink):
    url = rabbitmq.url(tls=True).replace("localhost", "127.0.0.1")
    passes(bus(url, ssl_ca=file(rabbitmq, "ca.pem"), ssl_verify="false"), sink)


def test_the_parameters_one_by_one(rabbitmq, serve, sink):
    where = f"host=localhost,port={rabbitmq.ports['AMQPS']},vhost={VHOST},username={USER},password={PASSWORD},ssl=true,ssl.ca={file(rabbitmq, 'ca.pem')},heartbeat=3"
    passes(serve([resource("Channel", "x", {}), hear("t", "x", sink.url)], "--bus", f"rabbitmq,{where}"), sink)


@pytest.mark.parametrize("name", ["client", "chained"])
def test_a_node_that_asks_for_a_certificate(strict, bus, sink, name):
    """The node knows the root only; behind the chained one stands the intermediate CA."""
    shown = {"ssl_certificate": file(strict, "chain.pem"), "ssl_key": file(strict, "chained.key")} if name == "chained" else certificate(strict)
    passes(bus(strict.url(tls=True), ssl_ca=file(strict, "ca.pem"), **shown), sink)


def test_the_name_comes_from_the_certificate(strict, bus, sink):
    server = bus(strict.url(tls=True).replace("guest:guest@", ""), ssl_ca=file(strict, "ca.pem"), **certificate(strict))
    assert "refuses the login by certificate: " in server.wait_line("code=AuthenticationFailed")
    strict.add_user("leat client", "unknown to leat", "/")
    passes(server, sink)


def at(r, listener, **who):
    """The URL of what listens there, with TLS or not, whatever it speaks."""
    scheme, host, port = listener
    _, _, rest = r.url(**who).partition("://")
    user, _, rest = rest.partition("@")
    return f"{scheme}://{user}@{host}:{r.ports.get(port, port)}/{rest.partition('/')[2]}"


WRONG_PASSWORD = "not-the-password-4711"
# what: the user, the listener, further parameters, the notice, words of it and of readiness
WRONG = {
    "password": ({"user": USER, "password": WRONG_PASSWORD, "vhost": VHOST}, ("amqp", "127.0.0.1", "AMQP"), {}, "AuthenticationFailed", f"refuses the login of '{USER}'"),
    "user": ({"user": "nobody", "password": WRONG_PASSWORD}, ("amqp", "127.0.0.1", "AMQP"), {}, "AuthenticationFailed", "refuses the login of 'nobody'"),
    "vhost": ({"vhost": "nowhere"}, ("amqp", "127.0.0.1", "AMQP"), {}, "VhostNotFound", "has no vhost 'nowhere'"),
    "rights": ({"user": USER, "password": PASSWORD}, ("amqp", "127.0.0.1", "AMQP"), {}, "AccessRefused", "refuses vhost '/'"),
    "CA": ({}, ("amqps", "localhost", "AMQPS"), {"ssl_ca": "other-ca.pem"}, "TlsFailed", "check ssl.ca"),
    "system's CAs": ({}, ("amqps", "localhost", "AMQPS"), {}, "TlsFailed", "check ssl.ca"),
    "name": ({}, ("amqps", "127.0.0.1", "AMQPS"), {"ssl_ca": "ca.pem"}, "TlsFailed", "has a certificate for another name"),
    "no TLS there": ({}, ("amqps", "127.0.0.1", "AMQP"), {"ssl_ca": "ca.pem"}, "TlsFailed", "whether it speaks TLS"),
    "TLS is wanted": ({}, ("amqp", "127.0.0.1", "AMQPS"), {}, "ProtocolMismatch", "speaks TLS: take amqps://"),
    "no login by certificate": (None, ("amqps", "localhost", "AMQPS"), {"ssl_ca": "ca.pem", "ssl_certificate": "client.pem", "ssl_key": "client.key"}, "AuthenticationFailed", "does not take logins by EXTERNAL"),
    "nothing there": ({}, ("amqp", "127.0.0.1", free_port()), {}, "BrokerDown", "nothing listens there"),
    "no such host": ({}, ("amqp", "nowhere.invalid", "AMQP"), {}, "BrokerAddressUnknown", "is not found"),
}


def is_told(server, code, words, *secrets):
    server.wait_line(f"code={code}")

    def told():
        ready = request("GET", server.api + "/readyz")
        return ready.status == 503 and words in ready.text

    wait_for(told, f"readiness to say {words!r}")
    refused = send(server, "1")
    assert refused.status == 503 and "retry-after" in refused.headers
    said = server.logs.partition("\n")[2]  # behind the command line
    everything = said + refused.text + request("GET", server.api + "/readyz").text + server.ask("GET", "/metrics").text
    assert words in everything
    for secret in secrets:
        assert secret not in everything
    for cause in ("AuthenticationFailed", "AccessRefused", "VhostNotFound", "TlsFailed", "ProtocolMismatch", "BrokerDown", "BrokerUp", "BrokerAddressUnknown"):
        assert server.count_lines(f"code={cause} ") <= 10, server.logs


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_without_secrets_and_not_again_and_again(rabbitmq, bus, what):
    who, listener, params, code, words = WRONG[what]
    params = {name: file(rabbitmq, value) for name, value in params.items()}
    url = at(rabbitmq, listener, **(who or {}))
    if who is None:
        url = url.replace("guest:guest@", "")
    is_told(bus(url, **params), code, words, *([who["password"]] if who and "password" in who else []))


def test_no_certificate_where_one_is_wanted(strict, bus):
    is_told(bus(strict.url(tls=True), ssl_ca=file(strict, "ca.pem")), "TlsFailed", "ssl.certificate")


def test_half_a_chain(strict, bus):
    server = bus(strict.url(tls=True), ssl_ca=file(strict, "ca.pem"), ssl_certificate=file(strict, "chained.pem"), ssl_key=file(strict, "chained.key"))
    is_told(server, "TlsFailed", "it does not take ssl.certificate")


def test_rights_that_are_given_later_are_enough(rabbitmq, bus, sink, namespace):
    rabbitmq.add_user(namespace, "a-password-4711")
    server = bus(rabbitmq.url(namespace, "a-password-4711"))
    server.wait_line("code=AccessRefused")
    rabbitmq.permit(namespace)
    passes(server, sink)
    server.wait_line("code=BrokerUp")


@pytest.mark.parametrize("params, words", [
    ("url=amqp://u:hunter2@h:x", "the port of 'h:x' is no number"),
    ("host=h,ssl=maybe", "ssl is 'maybe'; it is true or false"),
    ("url=amqp://h,ssl.ca=@/dev/null", "ssl.ca is given, but not ssl"),
    ("url=amqps://h,ssl.ca=nonsense", "ssl.ca is not a certificate"),
    ("vhost=x", "url is missing"),
    ("url=amqp://h,heartbeat=often", "heartbeat is 'often'"),
])
def test_parameters_that_cannot_be_are_refused_at_the_start(run, params, words):
    code, out, err = run("serve", "--bus", f"rabbitmq,{params}")
    assert code != 0 and words in err and "hunter2" not in out + err, err
