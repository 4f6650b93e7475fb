# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of `leat serve`; Broker and what it is fed with are in tests/lib/broker.py."""

import os
import subprocess
import uuid

import pytest

from broker import Broker
from leat import Leat
from pairs import certificate
from recorder import Recorder


def pytest_collection_modifyitems(config, items):
    """$LEAT_ROWS=N takes one row of each test that has several: the N-th, counted from another one each time, so that other numbers take others."""
    if "LEAT_ROWS" not in os.environ:
        return
    tests = {}
    for item in items:
        tests.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
    kept = {rows[(int(os.environ["LEAT_ROWS"]) + i) % len(rows)] for i, rows in enumerate(tests.values())}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.fixture
def serve(leat_binary, tmp_path_factory, sink):
    """serve(objects, args...) runs `leat serve` until the end of the test, where it must stop with 0, or with 4 when the test has set its `may_lose`.
    The test's sink outlives it, for what is still under way then."""
    running = []

    def run(objects=(), *args, **more):
        process = Broker(tmp_path_factory.mktemp("serve"), objects, *args, **more)
        process.may_lose = False
        running.append(process)
        return process

    yield run
    bad = []
    for process in reversed(running):
        if process.process.poll() is not None:
            continue
        try:
            code = process.stop()
        except AssertionError:
            process.kill()
            code = "none: it had to be killed"
        if code != 0 and not (process.may_lose and code == 4):
            bad.append(f"exit code {code}:\n{process.logs}")
    assert not bad, "\n\n".join(bad)


@pytest.fixture(scope="module")
def serve_module(leat_binary, tmp_path_factory):
    """As `serve`, for one process that a whole module shares. A fixture that asks for it asks for its sinks first: they outlive it then, for what is still under way."""
    running = []

    def run(objects=(), *args, **more):
        process = Broker(tmp_path_factory.mktemp("serve"), objects, *args, **more)
        running.append(process)
        return process

    yield run
    for process in running:
        code = process.stop()
        assert code == 0, f"exit code {code}:\n{process.logs}"


@pytest.fixture
def recorder():
    with Recorder() as r:
        yield r


@pytest.fixture
def run(leat_binary):
    """run(args...) runs a command to its end: exit code, standard output, standard error."""

    def once(*args, **more):
        process = Leat(args, **more)
        code = process.wait()
        return code, "\n".join(process.stdout), "\n".join(process.stderr)

    return once


@pytest.fixture
def leat(run):
    """leat(broker, args...) runs a client verb against the broker."""
    return lambda broker, *args: run(*args, env={"LEAT_SERVER": broker.api})


@pytest.fixture(scope="module")
def kafka():
    """The real Kafka that the suites share."""
    from real.kafka import Kafka

    return Kafka.shared()


@pytest.fixture
def namespace():
    """Of this test alone, and with it its topics and groups on the Kafka that is shared."""
    return "n" + uuid.uuid4().hex[:12]


@pytest.fixture(scope="module")
def plain_kafka(kafka):
    """Clients of it that know nothing of leat, by name."""
    import kafka_plain

    python = kafka_plain.Python(kafka.address)
    yield {"kcat": kafka_plain.Kcat(kafka.address), "python": python}
    python.close()


@pytest.fixture(scope="module")
def rabbitmq():
    """The real RabbitMQ that the suites share."""
    from real.rabbitmq import RabbitMQ

    return RabbitMQ.shared()


@pytest.fixture(scope="module")
def pika(rabbitmq):
    """A client of it that knows nothing of leat."""
    from rabbitmq_plain import Pika

    client = Pika(rabbitmq.url())
    yield client
    client.close()


@pytest.fixture(scope="module")
def pubsub():
    """The Pub/Sub that the suites share."""
    from real.pubsub import PubSub

    return PubSub.shared()


@pytest.fixture
def pubsub_topic(pubsub):
    """A topic of it that is there, and goes with the test."""
    name = "t-" + uuid.uuid4().hex[:12]
    pubsub.topic(name)
    yield name
    if pubsub.look("topics", name):
        pubsub.remove("topics", name)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, leat_binary):
    """The file, and a token of each role."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    make = lambda role: subprocess.run([leat_binary, "token", "create", "--role", role, "--tokens", file], check=True, capture_output=True, text=True).stdout.strip()
    return file, {role: make(role) for role in ("view", "edit", "admin")}
