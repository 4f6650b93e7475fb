# SPDX-License-Identifier: Apache-2.0
"""What the Kubernetes API costs: `kubectl apply` against leat and against a real kube-apiserver (with its etcd, which does not sync here) in turn, the start with many objects, what an object and a
watch take of memory, and how long many watches of many objects take."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from rig import BUILD, ROOT, TOOLS, cpu_seconds, end, median, memory
from scale import BROKER, TRIGGER, say, triggers

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/lib")]

APPLIED = 100
OBJECTS, WATCHES = 10000, 1000
MAPS = "/api/v1/namespaces/default/configmaps"
PATIENCE = 600  # seconds for what a bench waits for


class Kept:
    """`leat serve` with its data in a directory of its own, which goes at the end; it can be started again."""

    def __init__(self, *options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="api-", dir=TOOLS))
        self.options = options

    def start(self):
        command = [BUILD / "leat", "serve", "--data-dir", self.folder / "data", "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", "--log-level", "error", *self.options]
        began = time.monotonic()
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("api "):
                self.url = line.split()[1].rstrip("/")
            if line.strip() == "ready":
                break
        self.ready_s, self.cpu_s = time.monotonic() - began, cpu_seconds(self.process.pid)
        return self

    def ask(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()

    def stop(self):
        end(self.process)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)


# ---- kubectl apply ----


def manifest(run):
    """A Broker of this run's own and its Triggers: custom resources, checked by a schema on both sides."""
    texts = [BROKER, *(TRIGGER % (i, "bench.event", 9, i) for i in range(1, APPLIED))]
    return "".join(texts).replace("name: bench,", f"name: bench-{run},").replace("broker: bench\n", f"broker: bench-{run}\n").replace("name: t", f"name: r{run}-t")


def applied(kubectl, file, *server):
    """Seconds of `kubectl apply` of what is not there yet; the second time, with nothing to do; and of a change of each."""
    home = tempfile.mkdtemp(dir=TOOLS)
    took = []
    try:
        for text in (file.read_text(), file.read_text(), file.read_text().replace("bench.event", "other.event")):
            file.write_text(text)
            began = time.monotonic()
            subprocess.run([kubectl, *server, "apply", "-f", file], env={**os.environ, "HOME": home, "KUBECONFIG": ""}, check=True, stdout=subprocess.DEVNULL)
            took.append(time.monotonic() - began)
    finally:
        shutil.rmtree(home)
    return took


def apply(a):
    from real.kubernetes import PROGRAMS, Kubernetes
    ours, theirs = [], []
    with Kubernetes() as cluster, Kept() as leat:
        cluster.kubectl("apply", "-f", ROOT / "deploy/crds")
        cluster.kubectl("wait", "--for=condition=Established", "-f", ROOT / "deploy/crds", "--timeout=120s")
        for run in range(-1, a.repeat):  # the first warms both up
            say("apply", max(run, 0), a)
            file = pathlib.Path(leat.folder / "applied.yaml")
            for took, server in ((ours, ("--server", leat.url)), (theirs, ("--kubeconfig", cluster.kubeconfig()))):
                file.write_text(manifest(run + 1))
                took.append(applied(PROGRAMS / "kubectl", file, *server))
    rows = []
    for i, what in enumerate(("new", "as they are", "changed")):
        ratios = [o[i] / t[i] for o, t in zip(ours[1:], theirs[1:])]
        rows.append((f"kubectl apply of {APPLIED} objects, {what}: time / kube-apiserver's", f"{100 * median(ratios):.0f} %",
                     f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} %; {median(o[i] for o in ours[1:]):.2f} s, there {median(t[i] for t in theirs[1:]):.2f} s", "<= 200 %"))
    return rows


# ---- many objects ----


def write(folder, texts):
    folder.mkdir(exist_ok=True)
    for n in range(0, len(texts), 2000):  # a manifest may have 1 MiB
        (folder / f"{n:06}.yaml").write_text("".join(texts[n:n + 2000]))


def config_map(i):
    return f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: o{i:05}, namespace: default, labels: {{app: bench}}}}\ndata: {{key: {'v' * 50}}}\n"


def started(server):
    """(seconds until ready, of a processor) of a start."""
    server.start()
    server.stop()
    return server.ready_s, server.cpu_s


def from_files(count):
    """With files that are new, and once more, when the store knows them."""
    server = Kept()
    write(server.folder / "many", triggers(9, count))
    server.options = ("-f", server.folder / "many")
    try:
        return started(server), started(server)
    finally:
        shutil.rmtree(server.folder)


def from_store(count):
    """With what came over the API."""
    server = Kept()
    try:
        server.start()
        put_all(server, triggers(9, count))
        server.stop()
        return started(server)
    finally:
        shutil.rmtree(server.folder)


def put_all(server, texts):
    write(server.folder / "put", texts)
    subprocess.run([BUILD / "leat", "apply", "-f", server.folder / "put"], env={**os.environ, "LEAT_SERVER": server.url}, check=True, stdout=subprocess.DEVNULL)


def loading(a):
    ways = {"from new files": [], "from files that it knows": [], "from the store": []}
    for i in range(a.repeat):
        say("loading", i, a)
        for runs, one in zip(ways.values(), (*from_files(OBJECTS), from_store(OBJECTS))):
            runs.append(one)
    return [(f"start with {OBJECTS} triggers {way}", f"{median(r[0] for r in runs):.2f} s", f"{min(r[0] for r in runs):.2f} to {max(r[0] for r in runs):.2f} s; of a processor {median(r[1] for r in runs):.2f} s", "<= 1 s")
            for way, runs in ways.items()]


def object_memory(texts, path):
    """(KiB of RSS for each object, KiB of its JSON), of what was put over the API and is loaded at a start."""
    server = Kept()
    try:
        server.start()
        put_all(server, texts[:1])
        server.stop()
        server.start()
        size = len(server.ask("GET", path)) / 1024
        before = memory(server.process.pid)[1]
        server.stop()
        server.start()
        put_all(server, texts)
        server.stop()
        server.start()
        after = memory(server.process.pid)[1]
        count = len(json.loads(server.ask("GET", path))["items"])
        size = (len(server.ask("GET", path)) / 1024 - size) / (count - 1) if count > 1 else size
        server.stop()
        return (after - before) * 1024 / count, size
    finally:
        shutil.rmtree(server.folder)


def memory_rows(a):
    rows = []
    for what, texts, path in (("ConfigMap", [config_map(i) for i in range(OBJECTS)], MAPS), ("Trigger", triggers(9, OBJECTS), "/apis/eventing.knative.dev/v1/namespaces/default/triggers")):
        takes, size = object_memory(texts, path)
        rows.append((f"RSS of each of {OBJECTS} {what}s beyond its own size", f"{takes - size:.2f} KiB", f"its JSON has {size:.2f} KiB", "<= 4 KiB"))
    return rows


# ---- many watches ----


def watches(a):
    from watchers import Watchers
    server = Kept()
    write(server.folder / "many", [config_map(i) for i in range(OBJECTS)])
    server.options = ("-f", str(server.folder / "many"))
    try:
        server.start()
        server.ask("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}})
        pid, reach, peak, looked = server.process.pid, [], [0.0], [0.0]
        before, threads = memory(pid)[1], len(os.listdir(f"/proc/{pid}/task"))

        def look():
            peak[0] = max(peak[0], memory(pid)[1])
            return True
        began = time.monotonic()
        with Watchers(server.url, MAPS + "?watch=true", WATCHES, exact=False, keep=look) as all_of_them:
            def done():
                if time.monotonic() - looked[0] < 0.2:
                    return False
                looked[0] = time.monotonic()
                return look() and all(w.count >= OBJECTS + 1 for w in all_of_them.all)
            all_of_them.read_until(done, PATIENCE)
            took = time.monotonic() - began
            after = memory(pid)[1]
            for i in range(20):
                began = time.monotonic()
                writer = threading.Thread(target=server.ask, args=("PATCH", MAPS + "/own", {"data": {"n": str(i)}}, "application/merge-patch+json"))
                writer.start()
                all_of_them.until(OBJECTS + 2 + i)
                reach.append((time.monotonic() - began) * 1e3)
                writer.join()
            more = len(os.listdir(f"/proc/{pid}/task")) - threads
        server.stop()
    finally:
        shutil.rmtree(server.folder)
    return [(f"{WATCHES} watches have all of {OBJECTS} objects", f"{took:.1f} s", f"{1e6 * took / WATCHES / OBJECTS:.1f} us an object and watch, client and all", ""),
            ("RSS of each watch: while it begins; then", f"{(peak[0] - before) * 1024 / WATCHES:.0f}; {(after - before) * 1024 / WATCHES:.1f} KiB", f"threads: {more}", ""),
            (f"a change has reached all {WATCHES}", f"{median(reach):.0f} ms", f"{min(reach):.0f} to {max(reach):.0f} ms", "")]


PARTS = {"apply": apply, "loading": loading, "objects": memory_rows, "watches": watches}
