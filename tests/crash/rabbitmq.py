#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks a real RabbitMQ and `leat serve` on it under load, as systems.py says, and proves that nothing that was acknowledged is lost. What is broken beside that:

    alarm       the node's memory is used up, as it sees it: for some seconds it takes no messages
    password    another password is set and all connections are closed: nothing goes until the Secret has it, which a running leat reads
    queue       somebody deletes a subscription's queue
    exchange    somebody deletes the channel's exchange

Duplicates: what was settled and not yet acknowledged by the node's own log, and what was in flight.
"""
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests"), str(ROOT / "tests/lib")]  # not this folder: its real.py would hide tests/real

import leat  # noqa: E402
from crash.systems import Failed, SystemCampaign, main, manifest  # noqa: E402
from forms import thing  # noqa: E402
from real.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ  # noqa: E402


class RabbitMQCampaign(SystemCampaign):
    NODE, KEEPS = RabbitMQ, "scattered"
    FAULTS = (*SystemCampaign.FAULTS, "alarm", "password")
    SILENCE = 20.0  # a queue's length, which a node that was just started may not know
    password = PASSWORD

    def bus(self):
        return "log"  # of what asks for nothing else, which nobody does

    def objects(self):
        """The Broker of Knative's form, whose credentials are in a Secret."""
        host, port = self.node.address.split(":")
        broker, *triggers = manifest(self.peer.url)
        broker["metadata"]["annotations"] = {"eventing.knative.dev/broker.class": "RabbitMQBroker"}
        broker["spec"] = {"config": {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "RabbitmqBrokerConfig", "name": "rabbit"}}
        return [
            thing("v1", "Secret", "keys", "default", stringData={"username": USER, "password": self.password, "uri": f"http://{host}:15672", "port": port}),
            thing("eventing.knative.dev/v1alpha1", "RabbitmqBrokerConfig", "rabbit", "default", {"rabbitmqClusterReference": {"connectionSecret": {"name": "keys"}}, "vhost": VHOST}),
            broker,
            *triggers,
        ]

    def told(self):
        return self.node.told()

    def start(self):
        """What the node has not written down of a queue that is a second old goes with a kill, and is not leat's to keep."""
        super().start()
        self.node.remember()

    def names(self, things, part):
        """Of exchanges or queues of the broker's channel and its subscriptions, not of parked events."""
        listed = self.node.ctl("list_" + things, "-p", VHOST, "--no-table-headers", "name").split()
        return [name for name in listed if part in name and "dead-letter" not in name]

    def break_alarm(self):
        self.node.alarm(True)
        time.sleep(self.random.uniform(1, 4))
        self.node.alarm(False)

    def break_password(self):
        """With the old one leat is refused, and says so; with the new one in its Secret it goes on, without a restart."""
        self.password += "+"
        refused = self.server.count_lines("AuthenticationFailed")
        self.node.change_password(USER, self.password)
        self.node.disconnect("another password")
        leat.wait_for(lambda: self.server.count_lines("AuthenticationFailed") > refused, "leat to say that it is refused")
        if "result=applied" not in (said := self.server.reload(self.objects())):
            raise Failed(f"the Secret was changed: {said}")

    def own(self):
        for things in ("queues", "exchanges"):
            (name, *_) = self.names(things, ".default.")
            self.gone(things, lambda: self.remove(things, name))

    def remove(self, things, name):
        """An exchange hands on to the queues that are there: what comes before leat has made one again is not for it. That an exchange is gone is seen by who writes to it."""
        if things == "queues":
            self.node.ctl("delete_queue", "-p", VHOST, name)
            leat.wait_for(lambda: name in self.names(things, name), f"{name} to be there again")
        else:
            self.node.ctl("eval", f'rabbit_exchange:delete(rabbit_misc:r(<<"{VHOST}">>, exchange, <<"{name}">>), false, <<"somebody">>).')


if __name__ == "__main__":
    sys.exit(main(RabbitMQCampaign, "rabbitmq.py", __doc__))
