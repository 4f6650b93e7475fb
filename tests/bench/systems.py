# SPDX-License-Identifier: Apache-2.0
"""leat on a real Kafka or RabbitMQ beside a bare program of its library (bench_kafka.c, bench_rabbitmq.c) on the same one in the same run: events in by HTTP, through a topic or queue, out by
HTTP; and what it holds: memory, threads.

All of it shares one machine with that system, the load and the sink, so only the ratio means something. The bare program is run with as many unacknowledged messages as leat has connections,
each of which waits for its answer, and with as many as make it fastest. leat's bus alone (bench_bus.c: the same without HTTP) is run in turn with it, with the same windows."""
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import threading
import time
import types

from rig import BUILD, ROOT, Leat, Relay, Sink, cpu_seconds, fan_out, load, median, memory, post
from scale import say, spread

sys.path[:0] = [str(ROOT / "tests")]

CONNS = 256
WINDOWS = (CONNS, 4096)  # of appends that the bus alone has under way
CHANNELS = 1000
DRAIN_S = 15


def threads(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


class Peak:
    """The largest private memory of a process, in MiB, looked at every 50 ms."""

    def __init__(self, pid):
        self.pid, self.most, self.over = pid, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, memory(self.pid)[0])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


@contextlib.contextmanager
def processor_time(*pids):
    """Seconds of a processor that were spent within, known afterwards: by these `processes`, and by programs that were run and waited for, the `children`."""
    def now():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime, sum(cpu_seconds(pid) for pid in pids)

    spent, before = types.SimpleNamespace(), now()
    yield spent
    spent.children, spent.processes = (after - start for after, start in zip(now(), before))


class System:
    """What is behind the bus. `bus`: as --bus takes it, with names of a run's own; `bare`: the words for its bare program with that window; `most`: the window with which that is fastest."""

    one_queue = ""  # parameters with which the bus has as many queues as the bare program has: one

    def __init__(self, node):
        self.node = node


class Kafka(System):
    name, library, most, one_queue = "kafka", "librdkafka", 0, ",topic.partitions=1"
    queues_mib, private_mib = 32 + 4, 48  # what the producer may queue, and what one subscription's consumer may hold ahead: the bus's defaults; what else it may take

    def bus(self):
        return f"kafka,bootstrap.servers={self.node.address}"

    def bare(self, window):
        return ["bench_kafka", self.node.address, "linger=0.5" if window else "linger=5"]


class RabbitMQ(System):
    name, library, most = "rabbitmq", "rabbitmq-c", 4096
    queues_mib, private_mib = 0, 16

    def bus(self):
        return f"rabbitmq,host={self.node.address}"

    def bare(self, window):
        return ["bench_rabbitmq", self.node.address]


def on(system, run):
    return "--bus", f"{system.bus()},prefix={run}-"


def channels(objects):
    """Of the default bus, which is the system's here."""
    return [o.replace("InMemoryChannel", "Channel") for o in objects]


def program(a, window, name, *words):
    path = BUILD / "tests/bench" / name
    if not path.exists():
        raise SystemExit(f"{path} is not built: use make bench")
    command = [path, *words, f"seconds={a.seconds}", f"window={window}", f"size={a.size}"]
    return json.loads(subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True).stdout)


def alone(a, system, window):
    """leat's bus, which fails when an event comes twice or never."""
    return program(a, window, "bench_bus", system.bus() + system.one_queue)


def bare(a, system, window):
    with processor_time(system.node.pid) as spent:
        measured = program(a, window, *system.bare(window))
    measured["node_us"] = 1e6 * spent.processes / max(1, measured["acknowledged"])
    return measured


def by_arithmetic(own_us, relay, bare):
    """What a program could reach at the most over HTTP that spends so much of a processor's time on an event, as a part of what the bare program reaches: load and sink have to be paid for out
    of the same processors (as with the relay), and the node (as with the bare program)."""
    processors = len(os.sched_getaffinity(0))
    return processors * 1e6 / (relay["http_us"] + bare["node_us"] + own_us) / bare["rate"]


def loaded(a, peer, sink):
    """A load after a shorter one that warms up; each ends when all that was accepted has been delivered, or nothing has come for DRAIN_S."""
    for seconds in (1, a.seconds):
        with processor_time(sink.process.pid) as spent:
            measured = load(a, peer, sink.port, 1, "max", seconds, conns=CONNS, drain=DRAIN_S)
        measured["http_us"] = 1e6 * (spent.children + spent.processes) / max(1, measured["accepted"])
        if measured["lost"]:
            print(f"{peer.name}: {measured['lost']} of {measured['accepted']} accepted events were not delivered within {DRAIN_S} s of the last that was", file=sys.stderr)
    return measured


def through_leat(a, system, sink, run):
    peer = Leat(a, channels(fan_out(sink.port, 1)), options=on(system, run))
    try:
        with Peak(peer.process.pid) as peak:
            measured = loaded(a, peer, sink)
        measured["peak_mib"] = peak.most
        return measured
    finally:
        peer.stop()


def http_alone(a, sink, peer):
    """What the same load costs without the system."""
    try:
        return loaded(a, peer, sink)
    finally:
        peer.stop()


def rates(a, system):
    most = f"{system.most} unacknowledged" if system.most else "without bound"
    runs = []
    with Sink(1) as sink:
        for i in range(a.repeat):
            say(f"{system.name} 1 -> 1", i, a)
            runs.append((through_leat(a, system, sink, f"r{i}"), bare(a, system, CONNS), bare(a, system, system.most),
                         http_alone(a, sink, Leat(a, fan_out(sink.port, 1))), http_alone(a, sink, Relay(a, sink.port, 1))))
    leat, waiting, free, memory_bus, relay = zip(*runs)
    rows = [(f"{system.name} 1 -> 1 events/s", f"{median(r['e2e_rate'] for r in leat):.0f}",
             f"bare, {CONNS} unacknowledged {median(r['rate'] for r in waiting):.0f}, {most} {median(r['rate'] for r in free):.0f}", ""),
            (f"the same HTTP load, {CONNS} connections, without {system.name}", f"in memory {median(r['e2e_rate'] for r in memory_bus):.0f}", f"relay {median(r['e2e_rate'] for r in relay):.0f}", "")]
    for name, others, key, goal in ((f"bare program, {CONNS} unacknowledged", waiting, "rate", ">= 60 %"), (f"bare program, {most}", free, "rate", ">= 60 %"),
                                    ("leat in memory", memory_bus, "e2e_rate", ""), ("relay", relay, "e2e_rate", "")):
        ratios = [l["e2e_rate"] / o[key] for l, o in zip(leat, others)]
        rows.append((f"{system.name} 1 -> 1 / {name}", f"{100 * median(ratios):.0f} %", spread(ratios), goal))
    for name, own in (("nothing", lambda r, w: 0), ("what the relay and the bare program spend", lambda r, w: r["cpu_us"] + w["cpu_us"])):
        shares = [by_arithmetic(own(r, w), r, w) for r, w in zip(relay, waiting)]
        rows.append((f"{system.name}: by arithmetic the most that a program could reach over HTTP here that spent {name}", f"{100 * median(shares):.0f} %", spread(shares), ""))
    return rows + [
        (f"{system.name}: CPU of an event without leat", f"load and sink {median(r['http_us'] for r in relay):.1f} us", f"the node {median(r['node_us'] for r in waiting):.1f} us", ""),
        (f"{system.name} 1 -> 1 CPU per event", f"{median(r['cpu_us'] for r in leat):.1f} us",
         f"bare {median(r['cpu_us'] for r in waiting):.1f} us, in memory {median(r['cpu_us'] for r in memory_bus):.1f} us, relay {median(r['cpu_us'] for r in relay):.1f} us", ""),
        (f"{system.name} 1 -> 1 accepted and lost", str(sum(r["lost"] for r in leat)), "", "0"),
        (f"{system.name}: private memory under load beyond queues of {system.queues_mib} MiB", f"{max(0, max(r['peak_mib'] for r in leat) - system.queues_mib):.1f} MiB",
         f"{max(r['peak_mib'] for r in leat):.1f} MiB in all", f"<= {system.private_mib} MiB"),
    ]


def bus_alone(a, system):
    """The two begin in turn, after a run that is not counted: a broker that was just started is slow."""
    bare(a, system, WINDOWS[-1])
    rows = []
    for window in WINDOWS:
        runs = []
        for i in range(a.repeat):
            say(f"{system.name} bus, {window} unacknowledged", i, a)
            pair = [one(a, system, window) for one in ((alone, bare), (bare, alone))[i % 2]]
            runs.append(pair[::-1] if i % 2 else pair)
        ratios = [bus["rate"] / other["rate"] for bus, other in runs]
        buses, others = zip(*runs)
        rows += [(f"the {system.name} bus alone / bare {system.library}, {window} unacknowledged", f"{100 * median(ratios):.0f} %", spread(ratios), ">= 60 %"),
                 ("the same, events/s; CPU per event", f"{median(r['rate'] for r in buses):.0f}; {median(r['cpu_us'] for r in buses):.1f} us",
                  f"bare {median(r['rate'] for r in others):.0f}; {median(r['cpu_us'] for r in others):.1f} us", ""),
                 ("the same, private memory of the bus, with the events under way", f"{max(r['private_mib'] for r in buses):.1f} MiB", "", f"<= {system.queues_mib + system.private_mib} MiB")]
    return rows


def await_all(peer, paths):
    """Nothing is counted before every channel takes events."""
    end = time.monotonic() + 60
    for path in paths:
        while True:
            try:
                post(peer.port, path)
                break
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def held(a, system):
    """Threads and memory of what does nothing."""
    seen = {}
    with Sink(1) as sink:
        many = [o.replace("bench", f"c{i}") for i in range(CHANNELS) for o in ("---\n" + channels(fan_out(sink.port, 0))[0],)]
        for name, objects, path in (("1 channel", fan_out(sink.port, 0), "/channels/default/bench"), (f"{CHANNELS} channels", many, "/channels/default/c0"),
                                    ("1 subscription", fan_out(sink.port, 1, 1), "/channels/default/bench"), ("11 subscriptions", fan_out(sink.port, 11, 1), "/channels/default/bench")):
            peer = Leat(a, channels(objects), path, on(system, name.replace(" ", "")))
            await_all(peer, [f"/channels/default/c{i}" for i in range(CHANNELS)] if objects is many else [path])
            seen[name] = threads(peer.process.pid), memory(peer.process.pid)[0]
            peer.stop()
    (one, one_mib), (many, many_mib), (sub, sub_mib), (subs, subs_mib) = seen.values()
    return [
        (f"{system.name}: threads of {CHANNELS} channels nobody subscribes to", f"{many - one} more than of one", f"{many} in all; {many_mib - one_mib:.1f} MiB more", "0"),
        (f"{system.name}: threads of a subscription", f"{(subs - sub) / 10:.1f}", f"the first {sub - one}; {(subs_mib - sub_mib) / 10:.2f} MiB each", ""),
    ]


def measure(a, system, node):
    with node as running:
        s = system(running)
        return bus_alone(a, s) + rates(a, s) + held(a, s)


def kafka(a):
    from real.kafka import Kafka as Node

    return measure(a, Kafka, Node())


def rabbitmq(a):
    from real.rabbitmq import RabbitMQ as Node

    return measure(a, RabbitMQ, Node())


PARTS = {"kafka": kafka, "rabbitmq": rabbitmq}
