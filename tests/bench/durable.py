# SPDX-License-Identifier: Apache-2.0
"""What durability costs: the log beside memory and beside the bare disk in one run, and what a large backlog takes: memory, time to recover, and the producers' patience.

All rates are of one machine that client, sinks and disk share. The bare disk is `leat bench disk`: a write and an fdatasync for each batch, of the size that the log's commits had."""
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from rig import BUILD, ROOT, TOOLS, Leat, Relay, Sink, fan_out, free_ports, get, load, median, private_memory
from scale import Silent, say, spread

CONNS = 256
PACE = 5000  # events/s that producers have, whatever else goes on
SHORT = 1.0  # seconds of a load beside which a backlog lasts
PATIENCE = 300  # seconds for what a bench waits for


class Folder:
    """A directory for the log, on the disk that is measured."""

    def __init__(self, a):
        self.parent = a.dir or TOOLS
        self.path = None

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="log-", dir=self.parent))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path)


def bare_disk(a, seconds=2):
    """`leat bench disk` as it tells."""
    command = [BUILD / "leat", "bench", "disk", a.dir or TOOLS, "--seconds", str(seconds), "--size", str(a.size), "-o", "json"]
    return json.loads(subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout)


def bare_rate(disk, records):
    """Records per second in batches of so many: between two measured sizes, on a line in logarithms."""
    points = [(math.log(b["records"]), math.log(b["recordsPerSecond"])) for b in disk["batches"]]
    x = min(max(math.log(max(records, 1)), points[0][0]), points[-1][0])
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if x <= x1:
            return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    raise AssertionError("no batches were measured")


# ---- the rate: log, memory, bare disk ----


def one(a, sink, subscribers, rate, data=None):
    """One load, after a shorter one that warms it up; with the records that a commit had on the average."""
    peer = Leat(a, [o.replace("InMemoryChannel", "Channel") for o in fan_out(sink.port, subscribers)], data=data)
    try:
        load(a, peer, sink.port, subscribers, rate, 1, conns=CONNS)
        before = [peer.metric(name) for name in ("leat_bus_committed_records_total", "leat_bus_commits_total")]
        run = load(a, peer, sink.port, subscribers, rate, a.seconds, conns=CONNS)
        records, commits = (peer.metric(name) - b for name, b in zip(("leat_bus_committed_records_total", "leat_bus_commits_total"), before))
        run["batch"] = records / commits if commits else 0
        return run
    finally:
        peer.stop()


def bare_relay(a, sink):
    """What HTTP alone lets through here: no disk, no bus."""
    peer = Relay(a, sink.port, 1)
    try:
        load(a, peer, sink.port, 1, "max", 1, conns=CONNS)
        return load(a, peer, sink.port, 1, "max", a.seconds, conns=CONNS)
    finally:
        peer.stop()


def rates(a, subscribers, repeat):
    """[(log, memory, rate of the bare disk for the log's batches)], in turn."""
    out = []
    with Sink(subscribers) as sink:
        for i in range(repeat):
            say(f"log 1 -> {subscribers}", i, a)
            with Folder(a) as data:
                log = one(a, sink, subscribers, "max", data)
            out.append((log, one(a, sink, subscribers, "max"), bare_rate(bare_disk(a), log["batch"])))
    return out


def log1(a):
    runs, relays = [], []
    for _ in range(a.repeat):
        runs += rates(a, 1, 1)
        with Sink(1) as sink:
            relays.append(bare_relay(a, sink)["ingest_rate"])
    ceiling = [relay / disk for relay, (_, _, disk) in zip(relays, runs)]
    to_memory = [log["e2e_rate"] / memory["e2e_rate"] for log, memory, _ in runs]
    to_disk = [log["ingest_rate"] / disk for log, _, disk in runs]
    batch = median(log["batch"] for log, _, _ in runs)
    return [
        ("log, 1 -> 1, 256 connections, events/s", f"{median(log['e2e_rate'] for log, _, _ in runs):.0f}", f"memory {median(m['e2e_rate'] for _, m, _ in runs):.0f}", ""),
        ("log / memory", f"{100 * median(to_memory):.0f} %", spread(to_memory), ">= 50 %"),
        (f"log over HTTP / bare disk, {batch:.0f} records a commit", f"{100 * median(to_disk):.0f} %", f"{spread(to_disk)}; bare {median(d for _, _, d in runs):.0f}/s", ""),
        ("a relay over HTTP that has no disk / the same", f"{100 * median(ceiling):.0f} %", f"{spread(ceiling)}; relay {median(relays):.0f}/s", ""),
        ("log, CPU per event 1 -> 1", f"{median(log['cpu_us'] for log, _, _ in runs):.1f} us", f"memory {median(m['cpu_us'] for _, m, _ in runs):.1f} us", ""),
        ("log, accepted and lost", str(sum(log.get("lost", 0) for log, _, _ in runs)), "", "0"),
    ]


def log10(a):
    runs = rates(a, 10, a.repeat)
    to_memory = [log["e2e_rate"] / memory["e2e_rate"] for log, memory, _ in runs]
    return [("log / memory, 1 -> 10", f"{100 * median(to_memory):.0f} %", f"{spread(to_memory)}; log {median(log['e2e_rate'] for log, _, _ in runs):.0f}/s to each", "")]


def store(a):
    """The log alone, without HTTP and bus, and the bare disk in turn."""
    program = BUILD / "tests/bench/bench_store"
    subprocess.run(["make", "-s", program.relative_to(ROOT)], cwd=ROOT, check=True)
    with Folder(a) as folder:
        text = subprocess.run([program, folder, "compare"], capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"batches of +(\d+) +(\d+) records/s, bare write\+fdatasync +(\d+): (\d+) %", text)
    return [(f"the log alone / bare disk, {batch} records a commit", f"{percent} %", f"{log} and {bare}/s", ">= 60 %") for batch, log, bare, percent in lines]


class PacedDisk:
    """A file of zeros that are on the disk, as a segment of the log is, and fdatasyncs of one record each at the pace of the producers."""

    def __init__(self, folder):
        self.at, self.bytes = 0, 64 << 20
        self.file = os.open(folder / "bare", os.O_RDWR | os.O_CREAT)
        for _ in range(64):
            os.write(self.file, bytes(1 << 20))
        os.fsync(self.file)

    def p99(self, a, seconds):
        """In microseconds."""
        record, times, began = os.urandom(a.size + 300), [], time.monotonic()
        for i in range(int(a.rate * seconds)):
            time.sleep(max(0, began + i / a.rate - time.monotonic()))
            os.pwrite(self.file, record, self.at)
            before = time.monotonic()
            os.fdatasync(self.file)
            times.append(1e6 * (time.monotonic() - before))
            self.at = (self.at + len(record)) % (self.bytes - len(record))
        return sorted(times)[int(0.99 * (len(times) - 1))]


def logack(a):
    """How long a producer waits for its 202, beside the disk's own fdatasync: one second of each in turn, so that both meet the same noise, at one pace."""
    ratios, acks, disks = [], [], []
    with Sink(1) as sink, Folder(a) as data, Folder(a) as beside:
        disk = PacedDisk(beside)
        peer = Leat(a, [o.replace("InMemoryChannel", "Channel") for o in fan_out(sink.port, 1)], data=data)
        try:
            load(a, peer, sink.port, 1, a.rate, 2, conns=CONNS)
            for i in range(max(a.repeat, 2 * int(a.seconds * a.repeat))):
                acks.append(load(a, peer, sink.port, 1, a.rate, SHORT, conns=CONNS)["ingest_us"]["p99"])
                disks.append(disk.p99(a, SHORT))
                ratios.append(acks[-1] / disks[-1])
        finally:
            peer.stop()
    return [(f"log, p99 of the acknowledgement at {a.rate}/s, median of {len(acks)} seconds", f"{median(acks) / 1e3:.2f} ms", f"fdatasync p99 {median(disks) / 1e3:.2f} ms", ""),
            ("that / fdatasync p99, of each pair of seconds", f"{median(ratios):.1f}", f"{min(ratios):.1f} to {max(ratios):.1f}", "<= 3")]


# ---- a large backlog ----

BACKLOG_CHANNEL = 'apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: bench, namespace: default, annotations: {leat.dev/capacity: "64GiB"}}\n'
BACKLOG_SUBSCRIPTION = """---
apiVersion: messaging.knative.dev/v1
kind: Subscription
metadata: {name: %s, namespace: default, annotations: {leat.dev/paused: "%s"}}
spec:
  channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: bench}
  subscriber: {uri: "http://127.0.0.1:%d/s%d"}
  delivery: {retry: 1000, backoffPolicy: linear, backoffDelay: PT5S, backoffMax: PT5S, timeout: PT10M}
"""
NAMES = ("refusing", "mute", "late", "later")


def backlog_objects(ports, paused):
    """Of the four subscriptions one sink refuses, one never answers, two are paused until somebody resumes them."""
    return ["".join([BACKLOG_CHANNEL, *(BACKLOG_SUBSCRIPTION % (name, "true" if name in paused else "false", port, i) for i, (name, port) in enumerate(zip(NAMES, ports)))])]


class Watcher:
    """The most private memory that a process had while it was watched."""

    def __init__(self, pid):
        self.most, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, args=(pid,), daemon=True)
        self.thread.start()

    def watch(self, pid):
        while not self.ended.wait(0.1):
            try:
                self.most = max(self.most, private_memory(pid))
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def bytes_of(folder):
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file())


def forget_cached(folder):
    """What is read next comes from the disk, as after a power loss."""
    for path in folder.rglob("*.seg"):
        with open(path, "rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def received(sink):
    return json.loads(get(sink.port, "/stats"))["received"]


def wait_received(sink, goal):
    """Until the sink has got so many since it was last reset; seconds that it took."""
    began = time.monotonic()
    while received(sink) < goal:
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError("the backlog does not come")
        time.sleep(0.01)
    return time.monotonic() - began


def backlog(a):
    """Fills it, kills the server, starts it on cold files, lets one subscription catch up, then appends beside another that does."""
    size = 8192
    count = int(a.gib * 2**30 / (size + 300))
    rows = []
    with Folder(a) as data, Sink(2) as sink, Silent() as mute:
        ports = (free_ports(1), mute.port, sink.port, sink.port + 1)
        say_gib = f"backlog of {a.gib:g} GiB, 4 subscriptions"
        print(f"{say_gib}: filling", file=sys.stderr)
        peer = Leat(a, backlog_objects(ports, ("late", "later")), data=data, first=False)
        with Watcher(peer.process.pid) as filling:
            run = load(a, peer, None, 0, "max", PATIENCE, size=size, count=count, conns=64)
        if run["accepted"] < count:
            raise RuntimeError(f"{run['accepted']} of {count} events were accepted: {run['status']}")
        gib = bytes_of(data) / 2**30
        rows.append((f"{say_gib}: private memory while it grows", f"{filling.most:.1f} MiB", f"{run['ingest_rate'] * size / 2**20:.0f} MiB/s in", "<= 32 MiB"))
        peer.kill()
        forget_cached(data)

        print(f"{say_gib}: recovery", file=sys.stderr)
        peer = Leat(a, backlog_objects(ports, ("late", "later")), data=data, first=False)
        rows.append((f"recovery after kill -9, {gib:.1f} GiB, cold", f"{peer.ready_ms / 1e3:.2f} s", "", f"<= {1 + gib:.1f} s"))
        rows.append(("private memory after it", f"{private_memory(peer.process.pid):.1f} MiB", "", "<= 32 MiB"))

        print(f"{say_gib}: catching up", file=sys.stderr)
        get(sink.port, "/reset?run=")
        with Watcher(peer.process.pid) as reading:
            peer.reload(backlog_objects(ports, ("later",)))
            seconds = wait_received(sink, count)
        rows.append(("one subscription catches up", f"{count / seconds:.0f}/s", f"{count * size / 2**20 / seconds:.0f} MiB/s; memory {reading.most:.1f} MiB", "<= 32 MiB"))

        paced = [load(a, peer, None, 0, PACE, SHORT)]
        peer.reload(backlog_objects(ports, ("late",)))
        wait_received(sink, received(sink) + 1000)
        paced.append(load(a, peer, None, 0, PACE, SHORT))
        peer.reload(backlog_objects(ports, ("later",)))
        rows.append((f"appends at {PACE}/s beside a reader of old events / of new ones", f"{100 * paced[1]['ingest_rate'] / paced[0]['ingest_rate']:.0f} %",
                     f"acknowledged in {paced[1]['ingest_us']['p50'] / 1e3:.2f} and {paced[0]['ingest_us']['p50'] / 1e3:.2f} ms (median)", ">= 80 %"))

        ratios, alone, beside = [], [], []  # as often as the backlog lasts
        for i in range(a.repeat):
            say("appends beside a reader", i, a)
            # "late" is at the end and gets what comes; then it pauses, and "later" works on its backlog instead.
            of_new = load(a, peer, None, 0, "max", SHORT)["ingest_rate"]
            peer.reload(backlog_objects(ports, ("late",)))
            wait_received(sink, received(sink) + 1000)
            of_old = load(a, peer, None, 0, "max", SHORT)["ingest_rate"]
            if peer.metric("leat_backlog_events", 'subscription="later"') < 1000:
                break  # it was read before the load ended
            peer.reload(backlog_objects(ports, ("later",)))
            alone.append(of_new), beside.append(of_old), ratios.append(of_old / of_new)
        if not ratios:
            raise RuntimeError("the old backlog was read too soon: use a larger --gib")
        rows.append(("the same with all the load there can be, deliveries taking their part of the processors", f"{100 * median(ratios):.0f} %", f"{spread(ratios)}; {median(beside):.0f} and {median(alone):.0f}/s", ">= 80 %"))
        peer.kill()
    return rows


PARTS = {"log1": log1, "store": store, "log10": log10, "logack": logack, "backlog": backlog}
