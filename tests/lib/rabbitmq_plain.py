# SPDX-License-Identifier: Apache-2.0
"""pika, a client of RabbitMQ that knows nothing of leat, with the CloudEvents SDK for Python beside it."""

import sys
import typing

import leat
from broker import prefix_of

sys.path.insert(0, str(leat.ROOT / "build" / "python"))  # tests/setup/python-clients

import pika  # noqa: E402
from cloudevents.core.bindings import rabbitmq as sdk  # noqa: E402, F401
from cloudevents.core.formats.json import JSONFormat  # noqa: E402, F401
from cloudevents.core.v1.event import CloudEvent  # noqa: E402, F401

Properties = pika.BasicProperties


def exchange_of(process, channel):
    """The exchange of a channel of this `leat serve` (tests/lib/broker.py)."""
    return f"{prefix_of(process.manifest.parent)}c.default.{channel}"


class Message(typing.NamedTuple):
    routing_key: str
    properties: Properties
    body: bytes


class Pika:
    """One connection. `write` ends when the message is confirmed, and fails when no queue takes it."""

    def __init__(self, url):
        self.connection = pika.BlockingConnection(pika.URLParameters(url + "?heartbeat=0"))  # nobody answers any while a test does something else
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def write(self, exchange, body=b"", headers=None, routing_key="", **properties):
        self.channel.basic_publish(exchange, routing_key, body, Properties(headers=headers, **properties), mandatory=True)

    def listen(self, exchange):
        """A queue of its own, which gets what the exchange gets from now on."""
        queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(queue, exchange)
        return queue

    def read(self, queue, count=1):
        """The next messages of a queue, which are acknowledged."""
        messages = []
        for method, properties, body in self.channel.consume(queue, auto_ack=True, inactivity_timeout=leat.DEADLINE):
            if method is None:
                break
            messages.append(Message(method.routing_key, properties, body))
            if len(messages) == count:
                break
        self.channel.cancel()
        assert len(messages) == count, f"{len(messages)} messages came, not {count}"
        return messages

    def declared(self, exchange=None, queue=None):
        """Whether it is there, asked on a channel of its own since RabbitMQ closes the one that asks for what is not."""
        channel = self.connection.channel()
        try:
            (channel.queue_declare(queue, passive=True) if queue else channel.exchange_declare(exchange, passive=True))
        except pika.exceptions.ChannelClosedByBroker:
            return False
        channel.close()
        return True

    def close(self):
        self.connection.close()
