# SPDX-License-Identifier: Apache-2.0
"""What many subscriptions, dead sinks, filters and the trace cost. Each figure is a ratio to the same load without them, in the same run."""
import re
import socket
import subprocess
import sys
import threading

from rig import BUILD, SUBSCRIPTION, Leat, Sink, fan_out, free_ports, load, median, memory

BROKER = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: bench, namespace: default}\n"
TRIGGER = """---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t%d, namespace: default}
spec:
  broker: bench
  filter: {attributes: {type: %s}}
  subscriber: {uri: "http://127.0.0.1:%d/s%d"}
"""
BROKER_PATH = "/brokers/default/bench"


def say(what, i, a):
    print(f"{what}: {i + 1} of {a.repeat}", file=sys.stderr)


def measured(a, objects, path, sink_port, subscribers, options=(), **more):
    """One load of leat with these objects, after a shorter one that warms it up."""
    peer = Leat(a, objects, path, options)
    try:
        load(a, peer, sink_port, subscribers, "max", 1, **{**more, "count": 200 if "count" in more else None})
        return load(a, peer, sink_port, subscribers, "max", a.seconds, **more)
    finally:
        peer.stop()


def spread(ratios):
    return f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} %"


# ---- many triggers, ten of which match ----


def triggers(sink_port, count, matching=10):
    return [BROKER] + [TRIGGER % (i, "bench.event" if i < matching else f"other.{i}", sink_port + i % matching, i) for i in range(count)]


def triggers10k(a):
    ratios, starts = [], []
    with Sink(10) as sink:
        for i in range(a.repeat):
            say("triggers10k", i, a)
            many = measured(a, triggers(sink.port, 10000), BROKER_PATH, sink.port, 10)
            few = measured(a, triggers(sink.port, 10), BROKER_PATH, sink.port, 10)
            ratios.append(many["e2e_rate"] / few["e2e_rate"])
        peer = Leat(a, triggers(sink.port, 10000), BROKER_PATH)
        starts.append(peer.start_ms)
        peer.stop()
    return [("10,000 triggers, 10 match / 10 triggers", f"{100 * median(ratios):.0f} %", spread(ratios), ">= 50 %"),
            ("start with 10,000 triggers", f"{median(starts) / 1e3:.2f} s", "", "<= 2 s")]


# ---- many subscriptions that do nothing ----


def subs1000(a):
    anons = []
    with Sink(1) as sink:
        for i in range(a.repeat):
            say("subs1000", i, a)
            peer = Leat(a, fan_out(sink.port, 1000, ports=1), first=False)
            anons.append(memory(peer.process.pid)[0])
            peer.stop()
    return [("private memory, 1,000 subscriptions idle", f"{median(anons):.1f} MiB", "", "<= 24 MiB")]


# ---- one dead sink among a hundred ----

LIVE, PORTS = 99, 33
DEAD_EVENTS = 4000


class Silent:
    """Accepts connections, reads nothing, never answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.taken = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for s in self.taken:
            s.close()


def dead_sink_objects(kind, sink_port, dead_port):
    if kind == "subscriptions":
        return fan_out(sink_port, LIVE, PORTS) + [SUBSCRIPTION % (LIVE, dead_port, LIVE)]
    return [BROKER] + [TRIGGER % (i, "bench.event", dead_port if i == LIVE else sink_port + i % PORTS, i) for i in range(LIVE + 1)]


def dead_sink(a, kind, path):
    """The others' throughput beside a sink that refuses, and beside one that never answers, to that with all alive. So many events that the dead sink's backlog
    stays within its channel's bound; what it costs is also told as CPU time, which a busy machine bends less."""
    ways = {"refuses": [], "never answers": [], "alive": []}
    with Sink(PORTS) as sink, Sink(1) as last, Silent() as mute:
        for i in range(a.repeat):
            say(f"deadsink {kind}", i, a)
            for way, port in (("alive", last.port), ("refuses", free_ports(1)), ("never answers", mute.port)):
                ways[way].append(measured(a, dead_sink_objects(kind, sink.port, port), path, sink.port, LIVE, ("--drain", "1s"), size=100, count=DEAD_EVENTS))
    rows, cpu = [], {way: median(r["cpu_us"] for r in runs) for way, runs in ways.items()}
    for way in ("refuses", "never answers"):
        ratios = [r["e2e_rate"] / alive["e2e_rate"] for r, alive in zip(ways[way], ways["alive"])]
        rows.append((f"100 {kind}, one sink {way}: the others", f"{100 * median(ratios):.0f} %",
                     f"{spread(ratios)}; CPU {cpu[way]:.0f} us, else {cpu['alive']:.0f} us", ">= 95 %"))
    return rows


def deadsink(a):
    return dead_sink(a, "subscriptions", "/channels/default/bench") + dead_sink(a, "triggers", BROKER_PATH)


# ---- the trace ----


def trace(a):
    ways = {"with": ((), []), "without": (("--trace-bytes", "0"), [])}
    with Sink(1) as sink:
        for i in range(a.repeat):
            say("trace", i, a)
            for options, runs in ways.values():
                runs.append(measured(a, fan_out(sink.port, 1), "/channels/default/bench", sink.port, 1, options))
    (_, traced), (_, bare) = ways.values()
    ratios = [t["e2e_rate"] / b["e2e_rate"] for t, b in zip(traced, bare)]
    cpu = [median(r["cpu_us"] for r in runs) for runs in (traced, bare)]
    return [("1 -> 1 with the trace / without", f"{100 * median(ratios):.0f} %", f"{spread(ratios)}; CPU {cpu[0]:.1f} us, without {cpu[1]:.1f} us", ">= 97 %")]


# ---- filters on one core ----

FILTER_GOALS = {"exact": ">= 20 M/s", "five terms": ">= 3 M/s"}


def filters(a):
    """Lines of bench_filter: what, M/s, ns; the figures of a mix of events that match and events that do not."""
    program = BUILD / "tests/bench/bench_filter"
    if not program.exists():
        raise SystemExit(f"{program} is not built: use make bench")
    rows = []
    for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines():
        found = re.fullmatch(r"(.*?)\s+([0-9.]+ M/s)\s+([0-9.]+ ns).*", line)
        if found:
            goal = next((goal for word, goal in FILTER_GOALS.items() if word in found[1]), "")
            rows.append((f"filter: {found[1]}", found[2], found[3], goal))
    return rows


PARTS = {"filters": filters, "triggers10k": triggers10k, "subs1000": subs1000, "deadsink": deadsink, "trace": trace}
