#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills `leat serve` with SIGKILL at random moments under load, starts it again on the same data, and proves that nothing that was acknowledged is lost.

What stands around it (16 producers, 4 sinks, the oracle) is peer.c, which outlives the servers. A cycle is one server: it gets load for a random time (mostly 50 to 400 ms, up to
2 s with --long), and is killed; now and then it is killed while it starts. The number of loops, the size of segments, the pace of the load and whether the paused subscription is paused
change from server to server. After every 20 cycles there is a checkpoint: everything is resumed and must drain; each accepted event has come to each subscription whose filter lets it pass, or
is parked where that is its lot; the parked ones are listed, and still are after one more kill; then the server is stopped cleanly, and nothing of that run may ever come again.

Duplicates: a cursor is written down at latest after 1 s or 1,000 settlements, so that a crash may repeat what is above it, one such window while the one before is being
written, and what was in flight.

A failure keeps the folder (data, the servers' logs, the fate of each event) and prints the seed. The seed decides what is done when; where exactly the kill falls is the
machine's own chance.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

import leat  # noqa: E402
from broker import Broker  # noqa: E402

CHECK_EVERY = 20
WINDOW = 1000  # settlements between two writings of a cursor
IN_FLIGHT = 64  # of a subscription on each loop
LOOPS_MAX = 4
SMALL = ",segment=64KiB,retention-bytes=0"  # segments end, go and are joined all the time
STALLED = 20.0  # seconds without any progress
PARKED = "/leat/v1/dlq/default/trigger/parking"


class Failed(Exception):
    """The proof failed; its text says how."""


def trigger(name, url, annotations=None, filters=None, **delivery):
    spec = {"broker": "b", "subscriber": {"uri": url}, "delivery": {"backoffDelay": "PT0.01S", "backoffPolicy": "linear", **delivery}, **({"filters": filters} if filters else {})}
    return {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}}, "spec": spec}


def manifest(sink, paused):
    """One broker and four triggers, as `rules` of peer.c knows them."""
    broker = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "b", "namespace": "default", "annotations": {"leat.dev/capacity": "24MiB"}}}
    return [
        broker,
        trigger("all", sink + "/all", {"leat.dev/order": "key"}),
        trigger("flaky", sink + "/flaky", {"leat.dev/order": "key"}, [{"any": [{"exact": {"type": "t0"}}, {"exact": {"type": "t1"}}]}], retry=50, backoffMax="PT0.05S"),
        trigger("paused", sink + "/paused", {"leat.dev/paused": "true"} if paused else {}, [{"cesql": "type = 't1' OR type = 't2'"}]),
        trigger("parking", sink + "/parking", {}, [{"exact": {"type": "t3"}}]),
    ]


class Peer:
    """peer.c as a process: `ask(command)` is its answer."""

    def __init__(self, seed, *mode):
        program = ROOT / "build/tests/crash/peer"
        self.process = subprocess.Popen([program, str(seed), *mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.url = f"http://127.0.0.1:{self.answer()['port']}"

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the peer has ended; what it said is above")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class Campaign:
    SILENCE = 3.0  # seconds of a server that has nothing to deliver, as it says

    def __init__(self, a, folder, peer=None):
        self.a, self.folder = a, folder
        self.random = random.Random(a.seed)
        self.peer = peer or Peer(a.seed)
        self.lives = self.crashes = self.crashes_in_run = 0
        self.duplicates = {}
        self.starts = []
        self.server = None

    # ---- servers ----

    def start(self, ready=True, paused=False):
        loops = str(self.random.randint(1, LOOPS_MAX))
        bus = self.a.bus + (self.random.choice(("", SMALL)) if self.a.bus == "log" else "")
        began = time.monotonic()
        self.server = Broker(self.folder, manifest(self.peer.url, paused), "--loops", loops, "--bus", bus, ready=ready)
        self.lives += 1
        if ready:
            self.starts.append((time.monotonic() - began) * 1e3)

    def keep_log(self):
        with open(self.folder / "servers.log", "a") as f:
            f.write(f"==== life {self.lives}, exit {self.server.process.returncode}\n{self.server.logs}\n")

    def ended(self):
        """The server is gone; what it had sent is read to the end, and what it did is judged."""
        self.keep_log()
        self.server = None
        self.peer.ask("died")
        self.judge()

    def kill(self):
        if self.server.process.poll() is not None:
            raise Failed(f"the server ended by itself with {self.server.process.returncode}")
        if self.a.gently:
            return self.stop()
        self.server.kill()
        self.crashes += 1
        self.crashes_in_run += 1
        self.ended()

    def stop(self):
        code = self.server.stop()
        self.ended()
        if code != 0:
            raise Failed(f"a clean stop ended with {code}")

    def allowed(self):
        """Duplicates of one subscription since the last clean stop."""
        return self.crashes_in_run * (2 * WINDOW + LOOPS_MAX * IN_FLIGHT)

    def judge(self):
        report = self.peer.ask("report")
        if report["breaches"]:
            raise Failed(f"{report['breaches']}\n  " + "\n  ".join(report["said"]))
        for name, seen in report["subscriptions"].items():
            here = seen["duplicates"] - self.duplicates.get(name, 0)
            if here > self.allowed():
                raise Failed(f"{name}: {here} duplicates after {self.crashes_in_run} crashes; {self.allowed()} are allowed")
        return report

    # ---- what is done with them ----

    def cycle(self):
        if self.random.random() < 0.15 and not self.a.gently:  # killed while it starts, and perhaps while it mends what the last one left
            self.start(ready=False)
            time.sleep(self.random.uniform(0, 0.03))
            self.kill()
        longest = 2.0 if self.a.long or self.random.random() < 0.05 else 0.4
        window = self.random.uniform(0.05, longest)
        paused = self.random.random() < 0.6 and not self.a.gently
        self.start(paused=paused)
        self.peer.ask(f"start {self.server.ingress.rpartition(':')[2]} {self.random.choice((0, 0, 300, 3000))}")
        if self.random.random() < 0.3:
            time.sleep(window / 2)
            self.server.reload(manifest(self.peer.url, not paused and not self.a.gently))
            window /= 2
        time.sleep(window)
        self.kill()

    def backlog(self):
        return sum(value for (name, _), value in self.server.metrics().items() if name == "leat_backlog_events")

    def drain(self):
        """Until each subscription has all that it must get, and nothing is left; progress is what is waited for."""
        left, since = None, time.monotonic()
        while True:
            now = self.backlog(), {name: missing for name, missing in self.peer.ask("missing").items() if missing[0]}
            if now == (0, {}):
                return
            if now != left:
                left, since = now, time.monotonic()
            elif time.monotonic() - since > (self.SILENCE if now[0] == 0 else STALLED):
                raise Failed(f"acknowledged and lost: {now[1]}, each with the first of them; the backlog is {now[0]}")
            time.sleep(0.02)

    def parked(self):
        """Listed and compared with what must be there."""
        answer = self.server.ask("GET", PARKED + "?limit=10000")
        if answer.status != 200 or answer.json()["more"]:
            raise Failed(f"the list of parked events: {answer}")
        listed = [item["id"] for item in answer.json()["items"]]
        due = self.peer.ask("parked")
        lost, strange = set(due["must"]) - set(listed), set(listed) - set(due["must"]) - set(due["may"])
        if lost or strange:
            raise Failed(f"parked events: {len(lost)} are lost ({sorted(lost)[:5]}), {len(strange)} should not be there ({sorted(strange)[:5]})")
        if len(listed) - len(set(listed)) > self.allowed():
            raise Failed(f"{len(listed)} parked events are {len(set(listed))}")
        return set(listed)

    def checkpoint(self):
        self.start()
        self.drain()
        before = self.parked()
        self.kill()
        self.start()
        self.drain()
        if self.parked() != before:
            raise Failed(f"parked were {len(before)} events, and others after a crash")
        task = self.server.ask("POST", PARKED + "/discard", {"all": True}).json()["id"]
        leat.wait_for(lambda: self.server.ask("GET", f"/leat/v1/tasks/{task}").json()["state"] != "running", "the parked events' end")
        self.stop()
        report = self.judge()
        self.duplicates = {name: seen["duplicates"] for name, seen in report["subscriptions"].items()}
        self.crashes_in_run = 0
        self.peer.ask("run")
        return report

    def run(self):
        for n in range(1, self.a.cycles + 1):
            self.cycle()
            if n % CHECK_EVERY == 0 or n == self.a.cycles:
                report = self.checkpoint()
                print(f"{n} cycles, {self.crashes} kills: {report['accepted']} acknowledged, {report['unknown']} unknown, {report['refused']} refused; lost 0; duplicates "
                      + ", ".join(f"{name} {seen['duplicates']} of {seen['deliveries']}" for name, seen in report["subscriptions"].items()), flush=True)
        self.starts.sort()
        print(f"start to ready: median {self.starts[len(self.starts) // 2]:.0f} ms, longest {self.starts[-1]:.0f} ms")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cycles", type=int, default=200)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--long", action="store_true", help="load for up to 2 s before each kill")
    p.add_argument("--bus", default="log", help="as serve takes it. Default: %(default)s")
    p.add_argument("--gently", action="store_true", help="stop the servers with SIGTERM and pause nothing: what every bus must bear, since each drains")
    p.add_argument("--must-fail", metavar="WORDS", help="the proof must fail and say this: that it can is shown on buses that lose or repeat events")
    a = p.parse_args()
    return a


def main():
    a = arguments()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="leat-crash-"))
    campaign = Campaign(a, folder)
    try:
        campaign.run()
        failure = None
    except (Failed, AssertionError) as e:
        failure = str(e)
    if campaign.server:
        campaign.server.kill()
        campaign.keep_log()
    if failure and not a.must_fail and campaign.peer.process.poll() is None:
        campaign.peer.ask(f"dump {folder}/events")
    campaign.peer.close()
    if a.must_fail:
        found = failure is not None and a.must_fail in failure
        print(f"it must fail with '{a.must_fail}': {failure}")
        failure = None if found else "it did not: so it proves nothing"
    if failure:
        print(f"FAILED after {campaign.crashes} kills, seed {a.seed}: {failure}\nkept: {folder} (data, servers.log, events)\nagain: tests/crash/real.py --seed {a.seed} --cycles {a.cycles} --bus {a.bus}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
