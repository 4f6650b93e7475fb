#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Google Pub/Sub for tests, on a free port: Google's own fake behind its REST interface (tests/real/pstest, built by tests/setup/pstest), or Google's emulator where it is installed.

    from real.pubsub import PubSub, Emulator          tests/ is on sys.path (tests/conftest.py)
    with PubSub() as p: ... p.address ...             one for this test alone; p.kill(), p.restart(), p.pause(), p.resume(); what it holds ends with its process
    PubSub.shared()                                   the one that the suites share (LEAT_PUBSUB*); alone, one that lives as long as this process
    p.publish("orders", b"data", attributes={...})    and p.topic, p.subscription, p.pull ...: what a test says beside leat
    Emulator.jar()                                    None: it is not installed (Google Cloud CLI's package google-cloud-cli-pubsub-emulator, and a Java)

From the command line (`start` leaves it running; the others find it by its folder):

    tests/real/pubsub.py start|restart|stop|kill|pause|resume|status FOLDER [--port N]
    tests/real/pubsub.py run COMMAND ...              runs a command with LEAT_PUBSUB=HOST:PORT and stops it after it
    tests/real/pubsub.py emulated COMMAND ...         the same with the emulator

Neither asks for credentials, and every project exists.
"""
import base64
import http.client
import json
import os
import pathlib
import subprocess
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from real.node import BUILD, HERE, Node, command_line  # noqa: E402

PROJECT = "leat-tests"
JARS = pathlib.Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib")


class Refused(RuntimeError):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


class PubSub(Node):
    NAME, PORTS = "PubSub", ("REST",)

    @property
    def address(self):
        return f"127.0.0.1:{self.ports['REST']}"

    def doors(self):
        return {"PUBSUB_EMULATOR_HOST": self.address}

    # ---- its life ----

    def begin(self):
        subprocess.run([HERE.parent / "setup/pstest"], check=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = self.spawn([BUILD / "pstest/pstest", self.address])

    def answers(self):
        try:
            self.ask("GET", f"projects/{PROJECT}/topics", seconds=5)
            return True
        except (OSError, http.client.HTTPException, Refused):
            return False

    # ---- what is asked of it beside leat ----

    def ask(self, method, path, body=None, seconds=100):
        c = http.client.HTTPConnection("127.0.0.1", self.ports["REST"], timeout=seconds)
        try:
            c.request(method, f"/v1/{path}", None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = c.getresponse()
            text = answer.read().decode()
        finally:
            c.close()
        if answer.status != 200:
            raise Refused(answer.status, text)
        return json.loads(text)

    @staticmethod
    def name(kind, name, project=PROJECT):
        return name if "/" in name else f"projects/{project}/{kind}/{name}"

    def topic(self, name, **more):
        return self.ask("PUT", self.name("topics", name), more)

    def subscription(self, name, topic, **more):
        return self.ask("PUT", self.name("subscriptions", name), {"topic": self.name("topics", topic), **more})

    def look(self, kind, name):
        """The topic or subscription; None: there is none."""
        try:
            return self.ask("GET", self.name(kind, name))
        except Refused as e:
            if e.status == 404:
                return None
            raise

    def remove(self, kind, name):
        self.ask("DELETE", self.name(kind, name))

    def names(self, kind, project=PROJECT):
        return [one["name"] for one in self.ask("GET", f"projects/{project}/{kind}").get(kind, [])]

    def publish(self, topic, data=b"", attributes=None, key=None):
        message = {"data": base64.b64encode(data).decode(), "attributes": attributes or {}, **({"orderingKey": key} if key else {})}
        return self.ask("POST", self.name("topics", topic) + ":publish", {"messages": [message]})["messageIds"][0]

    def pull(self, subscription, most=100, ack=True):
        """What is there now, as (data, attributes, message)."""
        name = self.name("subscriptions", subscription)
        got = self.ask("POST", name + ":pull", {"maxMessages": most, "returnImmediately": True}).get("receivedMessages", [])
        if ack and got:
            self.ask("POST", name + ":acknowledge", {"ackIds": [one["ackId"] for one in got]})
        return [(base64.b64decode(one["message"].get("data", "")), one["message"].get("attributes", {}), one["message"]) for one in got]


class Emulator(PubSub):
    NAME = "PubSubEmulator"

    @staticmethod
    def jar():
        return next(iter(sorted(JARS.glob("cloud-pubsub-emulator-*-all.jar"))), None)

    def begin(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = self.spawn(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms32m", "-Xmx256m", "-jar", self.jar(), "--host=127.0.0.1", f"--port={self.ports['REST']}"])


def emulated(*command):
    with Emulator() as e:
        return subprocess.run(command, env={**os.environ, "LEAT_PUBSUB": e.address, "LEAT_PUBSUB_IS": "emulator"}).returncode


if __name__ == "__main__":
    sys.exit(command_line(PubSub, __doc__, {"emulated": emulated}))
