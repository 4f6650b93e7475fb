# SPDX-License-Identifier: Apache-2.0
"""What tests/crash/kafka.py and rabbitmq.py have in common: they break a real system and `leat serve` on it under load, and prove that nothing that was acknowledged is lost.

What stands around them (16 producers, 4 sinks, the oracle) is peer.c. Each cycle gives load and breaks something in the middle of it:

    leat      kill -9 of leat, which starts again
    node      kill -9 of the system, which starts again after a while
    both      one after the other
    frozen    SIGSTOP of the system for some seconds (60 with --long), then SIGCONT

After them everything must drain: each accepted event has come to each subscription whose filter lets it pass, bytes equal, or is parked where that is its lot, and still is after one more kill.
Then comes what a system has of its own (`own`), and last a clean stop, after which nothing comes again. What leat says of one cause is at most 10 lines a minute.
"""
import argparse
import collections
import math
import pathlib
import random
import re
import shutil
import tempfile
import time

import leat
from broker import Broker
from crash.real import IN_FLIGHT, LOOPS_MAX, PARKED, Campaign, Failed, Peer, trigger

LINES_A_MINUTE = 10
RATE = 3000  # events/s of the producers together
RECOVERED = 30.0  # seconds after which events are accepted again, at latest


def manifest(sink):
    broker = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "b", "namespace": "default"}}
    return [
        broker,
        trigger("all", sink + "/all", {"leat.dev/order": "key"}),
        trigger("flaky", sink + "/flaky", {"leat.dev/order": "key"}, [{"any": [{"exact": {"type": "t0"}}, {"exact": {"type": "t1"}}]}], retry=50, backoffMax="PT0.05S"),
        trigger("paused", sink + "/paused", {}, [{"cesql": "type = 't1' OR type = 't2'"}]),
        trigger("parking", sink + "/parking", {}, [{"exact": {"type": "t3"}}]),
    ]


class SystemCampaign(Campaign):
    """As a Campaign, with a system that is broken too. `NODE`: its class in tests/real; SETTLED_S: a fault may repeat what was settled since that long ago, and what was in flight."""

    NODE, SETTLED_S = None, 0.2
    KEEPS = "shared"  # what peer.c is to expect of it
    FAULTS = ("leat", "node", "frozen", "both")

    def __init__(self, a, folder):
        self.node = self.NODE(folder / "node")
        self.node.start()
        super().__init__(a, folder, Peer(a.seed, self.KEEPS))
        self.faults = collections.Counter()
        self.down_s = []  # from the fault's end until events are accepted again

    def bus(self):
        """As `serve --bus` takes it."""
        raise NotImplementedError

    def told(self):
        """What the system has, when something failed."""
        return ""

    def own(self):
        """What is broken beside that, when all is quiet."""

    def objects(self):
        return manifest(self.peer.url)

    def start(self):
        loops = str(self.random.randint(1, LOOPS_MAX))
        began = time.monotonic()
        self.server = Broker(self.folder, self.objects(), "--loops", loops, "--bus", self.bus())
        self.started = time.monotonic()
        self.lives += 1
        self.starts.append((time.monotonic() - began) * 1e3)

    def load(self):
        self.peer.ask(f"start {self.server.ingress.rpartition(':')[2]} {RATE}")

    def accepted(self):
        return self.peer.ask("report")["accepted"]

    def flows(self):
        """Waits until events are accepted again; how long that took."""
        before, began = self.accepted(), time.monotonic()
        while self.accepted() < before + 50:
            if time.monotonic() - began > RECOVERED:
                raise Failed(f"nothing is accepted {RECOVERED:.0f} s after the fault was over:\n{self.server.logs[-4000:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    def keep_log(self):
        super().keep_log()
        self.judge_log(time.monotonic() - self.started)

    def judge_log(self, seconds):
        """At most so many lines a minute of one cause: the verb and the code, whatever they are about. Sinks that refuse are no fault of the system's."""
        causes = collections.Counter()
        for line in self.server.stderr:
            if (words := re.search(r"\b([a-z_]+\.[a-z_]+)\b", line)) and words[1] != "dispatcher.fail":
                code = re.search(r"\bcode=(\S+)", line)
                causes[words[1], code and code[1]] += 1
        self.loudest = max(getattr(self, "loudest", (0, None)), max(((n / math.ceil(seconds / 60), cause) for cause, n in causes.items()), default=(0, None)), key=lambda x: x[0])
        if self.loudest[0] > LINES_A_MINUTE:
            raise Failed(f"{self.loudest[0]:.0f} lines a minute of {self.loudest[1]}")

    def allowed(self):
        return sum(self.faults.values()) * (2 * math.ceil(self.SETTLED_S * RATE) + LOOPS_MAX * IN_FLIGHT)

    def parked(self):
        """As ever; but the list is whole only once nobody has part of it any more, such as the server that was killed."""
        listed = lambda: self.server.ask("GET", PARKED + "?limit=10000").json()  # noqa: E731
        leat.wait_for(lambda: not listed()["more"], "the list of parked events")
        return super().parked()

    # ---- what is broken ----

    def break_leat(self):
        self.kill()
        self.start()
        self.load()

    def break_node(self):
        self.node.kill()
        time.sleep(self.random.uniform(0.2, 3))
        self.node.start()

    def break_both(self):
        self.node.kill()
        self.kill()
        self.node.start()
        self.start()
        self.load()

    def break_frozen(self):
        self.node.pause()
        time.sleep(60 if self.a.long else self.random.uniform(2, 8))
        self.node.resume()

    def cycle(self, fault):
        time.sleep(self.random.uniform(0.5, 1.5))
        self.faults[fault] += 1
        getattr(self, "break_" + fault)()
        self.down_s.append(self.flows())
        self.judge()

    def quiet(self):
        self.peer.ask("quiet")
        self.drain()

    def gone(self, what, remove):
        """Somebody removes what lies on the system while nothing is left in it, so nothing is lost; what is accepted afterwards must come."""
        self.faults[what] += 1
        remove()
        self.load()
        self.down_s.append(self.flows())
        self.quiet()

    def run(self):
        self.start()
        self.load()
        self.flows()
        faults = list(self.FAULTS)
        for n in range(self.a.cycles):
            if n % len(faults) == 0:
                self.random.shuffle(faults)
            self.cycle(faults[n % len(faults)])
        self.quiet()
        before = self.parked()
        self.faults["leat"] += 1
        self.kill()
        self.start()
        self.quiet()
        if self.parked() != before:
            raise Failed(f"parked were {len(before)} events, and others after a crash")
        self.own()
        self.stop()
        report = self.judge()
        self.peer.ask("run")
        self.start()  # nothing of what the clean stop left may come again
        self.load()
        self.flows()
        self.quiet()
        self.stop()
        self.judge()
        print(f"{dict(self.faults)}: {report['accepted']} acknowledged, {report['unknown']} unknown, {report['refused']} refused; lost 0; duplicates "
              + ", ".join(f"{name} {seen['duplicates']} of {seen['deliveries']}" for name, seen in report["subscriptions"].items())
              + f" ({self.allowed()} allowed); accepted again after {max(self.down_s):.1f} s at most; loudest {self.loudest[0]:.0f} lines a minute of {self.loudest[1]}")


def arguments(doc, cycles):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cycles", type=int, default=cycles)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--long", action="store_true", help="the system is frozen for 60 s each time")
    a = p.parse_args()
    a.gently = False
    return a


def main(campaign_class, program, doc):
    a = arguments(doc, len(campaign_class.FAULTS))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="leat-crash-"))
    campaign = campaign_class(a, folder)
    failure = None
    try:
        campaign.run()
    except (Failed, AssertionError, OSError) as e:  # OSError: the server has ended while it was asked
        failure = f"{type(e).__name__}: {e}"
    if campaign.server:
        campaign.server.kill()
        Campaign.keep_log(campaign)
    if failure and campaign.peer.process.poll() is None:
        campaign.peer.ask(f"dump {folder}/events")
    campaign.peer.close()
    campaign.node.resume()
    if failure:
        (folder / "system.txt").write_text(campaign.told())
    campaign.node.kill()
    if failure:
        print(f"FAILED after {dict(campaign.faults)}, seed {a.seed}: {failure}\nkept: {folder} (servers.log, events, system.txt, node)\nagain: tests/crash/{program} --seed {a.seed} --cycles {a.cycles}")
        return 1
    shutil.rmtree(folder)
    return 0
