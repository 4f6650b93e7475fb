# SPDX-License-Identifier: Apache-2.0
"""What the benches stand on: the load generator and the measuring sink, leat with generated manifests, the bare relay beside it."""
import http.client
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
TOOLS = BUILD / "bench"
TICK = os.sysconf("SC_CLK_TCK")


def build_tools():
    TOOLS.mkdir(parents=True, exist_ok=True)
    for name in ("ceload", "cesink", "celimit"):
        source = ROOT / "tests/bench" / f"{name}.c"
        if not (TOOLS / name).exists() or (TOOLS / name).stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-g", "-std=gnu11", "-pthread", "-o", TOOLS / name, source], check=True)


def free_ports(n):
    """A run of n ports that were free just now: the sink listens on consecutive ones."""
    while True:
        sockets = []
        try:
            first = socket.socket()
            first.bind(("127.0.0.1", 0))
            base = first.getsockname()[1]
            sockets.append(first)
            for i in range(1, n):
                s = socket.socket()
                sockets.append(s)
                s.bind(("127.0.0.1", base + i))
            return base
        except (OSError, OverflowError):
            continue
        finally:
            for s in sockets:
                s.close()


def await_port(port, process):
    for _ in range(4000):
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.002)
    raise RuntimeError(f"nothing listens on port {port}")


def end(process):
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid):
    """(RssAnon, RSS) in MiB."""
    values = {}
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(("RssAnon", "VmRSS")):
                values[line.split(":")[0]] = int(line.split()[1]) / 1024
    return values["RssAnon"], values["VmRSS"]


def private_memory(pid):
    """MiB that no other process has: what smaps_rollup calls Private."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_")) / 1024


def get(port, path):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.request("GET", path)
    body = c.getresponse().read()
    c.close()
    return body


CHANNEL = "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: bench, namespace: default}\n"
SUBSCRIPTION = """---
apiVersion: messaging.knative.dev/v1
kind: Subscription
metadata: {name: s%d, namespace: default}
spec:
  channel: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: bench}
  subscriber: {uri: "http://127.0.0.1:%d/s%d"}
"""
FILE_OBJECTS = 2000  # a manifest may have 1 MiB


def fan_out(sink_port, subscribers, ports=None):
    """A channel and its subscriptions, dealt over the sink's ports; one to each unless `ports` says otherwise."""
    return [CHANNEL] + [SUBSCRIPTION % (i, sink_port + i % (ports or subscribers), i) for i in range(subscribers)]


class Leat:
    """`leat serve` with these objects (texts of YAML), its events going to `path`: in memory, or in the log where `data` is a directory for it."""

    name = "leat"

    def __init__(self, a, objects, path="/channels/default/bench", options=(), first=True, data=None):
        """Ready when made, and with `first` the first event has been taken."""
        self.path = path
        self.folder = tempfile.TemporaryDirectory()
        self.write(objects)
        kept = ["--data-dir", str(data)] if data else ["--ephemeral"]
        command = [BUILD / "leat", "serve", "-f", self.folder.name, "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", "--log-level", "error", *kept, *options]
        if a.loops:
            command += ["--loops", a.loops]
        began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("ingress "):
                self.port = int(line.strip().rsplit(":", 1)[1])
            if line.startswith("api "):
                self.api = int(line.strip().rsplit(":", 1)[1])
            if line.strip() == "ready":
                break
        self.ready_ms = (time.monotonic() - began) * 1e3
        if first:
            post(self.port, self.path)
        self.start_ms = (time.monotonic() - began) * 1e3

    def write(self, objects):
        for n in range(0, len(objects), FILE_OBJECTS):
            (pathlib.Path(self.folder.name) / f"{n:06}.yaml").write_text("".join(objects[n:n + FILE_OBJECTS]))

    def reload(self, objects):
        """Puts other objects in force; who needs to know when asks for what they change."""
        self.write(objects)
        self.process.send_signal(signal.SIGHUP)

    def metric(self, name, *labels):
        """The sum of the series of this name that have these labels, each as name="value"."""
        total = 0
        for line in get(self.api, "/metrics").decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(label in series for label in labels):
                total += int(value)
        return total

    def stop(self):
        end(self.process)
        self.folder.cleanup()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


class Relay:
    name, path = "relay", "/"

    def __init__(self, a, sink_port, subscribers):
        self.port = free_ports(1)
        command = [TOOLS / "celimit", "--port", str(self.port), "--pool", "32"]
        for i in range(subscribers):
            command += ["--to", f"http://127.0.0.1:{sink_port + i}/s{i}"]
        self.process = subprocess.Popen(command)
        await_port(self.port, self.process)

    def stop(self):
        end(self.process)


def post(port, path):
    headers = {"Content-Type": "application/json", "ce-specversion": "1.0", "ce-type": "bench.first", "ce-source": "/bench", "ce-id": "first-0"}
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.request("POST", path, b"{}", headers)
    status = c.getresponse().status
    c.close()
    if status != 202:
        raise RuntimeError(f"the first event was answered {status}")


runs = 0


def load(a, peer, sink_port, subscribers, rate, seconds, size=None, count=None, conns=None, drain=3):
    """`count` events, or as many as the rate makes in that time; `cpu_us` is the peer's time for each, deliveries too. Without a sink's port nobody asks what arrived."""
    global runs
    runs += 1
    tag = f"b{os.getpid()}x{runs}"
    verify = []
    if sink_port:
        get(sink_port, f"/reset?run={tag}")
        verify = ["--verify", f"http://127.0.0.1:{sink_port}", "--subs", str(subscribers), "--drain", str(drain), "--drain-max", "30"]
    count = count or (8_000_000 if rate == "max" else int(rate * seconds))
    command = [TOOLS / "ceload", "--target", f"http://127.0.0.1:{peer.port}{peer.path}", "--mode", "binary", "--run", tag, "--rate", str(rate),
               "--conns", str(conns or a.conns), "--size", str(size or a.size), "--count", str(count), "--max-seconds", str(seconds + (0 if rate == "max" else 2)), "--json", *verify]
    before = cpu_seconds(peer.process.pid)
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds + 90 + drain)
    if not done.stdout:
        raise RuntimeError(done.stderr.strip() or "ceload said nothing")
    r = json.loads(done.stdout)
    r["cpu_us"] = 1e6 * (cpu_seconds(peer.process.pid) - before) / max(1, r["accepted"])
    return r


class Sink:
    """The measuring sink on `ports` consecutive ports."""

    def __init__(self, ports):
        self.port = free_ports(ports)
        self.process = subprocess.Popen([TOOLS / "cesink", "--port", str(self.port), "--ports", str(ports)], stderr=subprocess.DEVNULL)
        await_port(self.port, self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def median(values):
    return statistics.median(list(values))
