# SPDX-License-Identifier: Apache-2.0
"""`leat serve` for black-box tests: manifests as Python objects, requests to its listeners, its metrics, and sinks that break HTTP's rules.

Nothing here sleeps to wait. What can only be asked for (metrics, a resource's status) is polled with a deadline that only a failing test meets.
"""

import json
import os
import re
import signal
import socket
import threading
import urllib.parse
import zlib

import leat

MESSAGING = "messaging.knative.dev/v1"
ELSEWHERE = ("kafka", "rabbitmq", "pubsub")  # buses that others share: names there have a prefix
DURABLE = os.environ.get("LEAT_BUS", "").startswith(("log", *ELSEWHERE))  # what a stop leaves behind is there at the next start
PAST = DURABLE and not os.environ["LEAT_BUS"].startswith(("rabbitmq", "pubsub"))  # and what nobody subscribed to, too


# ---- manifests ----


def channel(name, namespace="default", capacity=None, kind="Channel", **spec):
    annotations = {"leat.dev/capacity": capacity} if capacity else {}
    thing = {"apiVersion": MESSAGING, "kind": kind, "metadata": {"name": name, "namespace": namespace, "annotations": annotations}}
    return {**thing, "spec": spec} if spec else thing


def to(where):
    """A Destination: a URL, or a channel by its name."""
    return {"uri": where} if "://" in where else {"ref": {"apiVersion": MESSAGING, "kind": "Channel", "name": where}}


def delivery(dead=None, **fields):
    """A DeliverySpec with short waits, unless `fields` say otherwise. Times are ISO 8601."""
    fields = {"backoffDelay": "PT0.01S", "backoffPolicy": "linear", **fields}
    return {**fields, "deadLetterSink": to(dead)} if dead else fields


def subscription(name, of, subscriber=None, reply=None, namespace="default", annotations=None, **delivery_):
    spec = {"channel": {"apiVersion": MESSAGING, "kind": "Channel", "name": of}}
    if subscriber:
        spec["subscriber"] = to(subscriber)
    if reply:
        spec["reply"] = to(reply)
    spec["delivery"] = delivery(**delivery_)
    return {"apiVersion": MESSAGING, "kind": "Subscription", "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}}, "spec": spec}


def github_source(name, sink, api="http://127.0.0.1:1/", token="token-1", secret="s3", events=("push",)):
    """A GitHubSource with its Secret; its API is nowhere unless said otherwise, so that no test ever asks GitHub."""
    key = {"name": name, "key": "secret"}
    spec = {"eventTypes": list(events), "ownerAndRepository": "jo/mill", "githubAPIURL": api, "sink": to(sink)}
    spec |= {"accessToken": {"secretKeyRef": {**key, "key": "token"}}, "secretToken": {"secretKeyRef": key}}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "stringData": {"secret": secret, "token": token}},
        {"apiVersion": "sources.knative.dev/v1alpha1", "kind": "GitHubSource", "metadata": {"name": name, "namespace": "default"}, "spec": spec},
    ]


def unversioned(thing, **members):
    """An object as the API answered it, with these members instead, to PUT: without its version, since leat writes the object's status whenever it has something to say."""
    return {**thing, "metadata": {k: v for k, v in thing["metadata"].items() if k != "resourceVersion"}, **members}


def write_manifest(path, objects):
    """Objects (or text, as it is) to a file, whole at once: a reader sees the old one or the new one. JSON is YAML."""
    text = objects if isinstance(objects, str) else "\n---\n".join(json.dumps(o, indent=1) for o in objects) + "\n"
    part = path.with_name("." + path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
    return path


# ---- events ----


def event(id="1", type="t", source="/test", **attributes):
    """The headers of a binary event."""
    return {"ce-specversion": "1.0", "ce-id": id, "ce-type": type, "ce-source": source, **{"ce-" + k: v for k, v in attributes.items()}}


# ---- the process ----


def prefix_of(folder):
    """Of the topics and groups, exchanges and queues of what runs in this folder, in this run of the tests."""
    return f"t{os.getpid()}-{zlib.crc32(str(folder).encode()):08x}-"


class Broker(leat.Leat):
    """`leat serve` on ports that the system picked, with one manifest in `folder` (a fresh pathlib.Path). Ready when made. $LEAT_BUS, as --bus takes it, is where channels are unless
    the test says otherwise; else they are in memory, as everything is unless `args` name a --data-dir. The bus `log` has its data in `folder`; on `kafka`, `rabbitmq` and `pubsub` what a folder has
    there has a prefix of its own."""

    def __init__(self, folder, objects=(), *args, ready=True, **more):
        self.manifest = folder / "manifest.yaml"
        write_manifest(self.manifest, objects)
        words = [*(["--bus", os.environ["LEAT_BUS"]] if "LEAT_BUS" in os.environ and "--bus" not in args else []), *args]
        args = [f"{word},prefix={prefix_of(folder)}" if flag == "--bus" and str(word).partition(",")[0] in ELSEWHERE else word for flag, word in zip([None, *words], words)]
        kept = any(re.match(r"log|kafka|rabbitmq|pubsub|.*\binner=log", str(word)) for flag, word in zip(args, args[1:]) if flag == "--bus")
        data = [] if {"--data-dir", "--shared"} & set(args) else ["--data-dir", folder / "data"] if kept else ["--ephemeral"]
        super().__init__(["serve", "-f", self.manifest, "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", *data, *args], **more)
        if ready:
            self.wait_line(lambda line: line == "ready", "stdout")
            self.ingress, self.api = self.address("ingress"), self.address("api")

    def post(self, channel_, body=b"", headers=None, namespace="default"):
        return leat.request("POST", f"{self.ingress}/channels/{namespace}/{channel_}", body, event() if headers is None else headers)

    def ask(self, method, path, body=None, headers=()):
        """A request to the API; `body` that is not bytes goes as JSON."""
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **dict(headers)}
        return leat.request(method, self.api + path, body, headers)

    def metrics(self):
        """{(name, frozenset of (label, value)): number}; a line that is none, or a series that comes twice, fails."""
        series = {}
        for line in self.ask("GET", "/metrics").text.splitlines():
            if line.startswith("#"):
                continue
            parts = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? ([0-9]+)', line)
            assert parts, f"no line of the exposition format: {line!r}"
            key = parts[1], frozenset(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', parts[2] or ""))
            assert key not in series, f"the series is there twice: {line}"
            series[key] = int(parts[3])
        return series

    def metric(self, name, **labels):
        """One number; KeyError when there is no such series."""
        return self.metrics()[name, frozenset(labels.items())]

    def wait_metric(self, value, name, **labels):
        """Polls until the series has this value."""
        key = name, frozenset(labels.items())
        seen = [None]

        def there():
            seen[:] = [self.metrics().get(key)]
            return seen[0] == value

        try:
            leat.wait_for(there, f"{name}{labels} == {value}")
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {seen[0]}") from None

    def reload(self, objects):
        """SIGHUP with other manifests; the "serve.reload" line that tells how it went."""
        before = self.count_lines("serve.reload")
        write_manifest(self.manifest, objects)
        self.signal(signal.SIGHUP)
        leat.wait_for(lambda: self.count_lines("serve.reload") > before, "the reload")
        return [line for line in self.stderr if "serve.reload" in line][-1]

    def in_force(self, mark):
        """Waits until the plan that has this channel, which no plan before had, is in force on every loop: then its statuses are shown. An event that is taken says so of one loop alone."""

        def ready():
            conditions = self.ask("GET", f"/apis/{MESSAGING}/namespaces/default/channels/{mark}").json().get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        leat.wait_for(ready, f"the plan of {mark}")

    def ends_with(self, left):
        """It has been told to stop, or is now: with so many events left, which are kept on a durable bus and lost on another, and said."""
        code, said = self.stop(), self.wait_line("serve.stopped", "stderr")
        if DURABLE:
            assert code == 0 and f"lost=0 kept={left}" in said, self.logs
        else:
            assert code == 4 and f"lost={left} kept=0" in said and f"events={left}" in self.wait_line("serve.lost", "stderr"), self.logs

    def count_lines(self, word):
        return sum(word in line for line in list(self.stderr))


# ---- bytes on the wire ----


def dial(url):
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), leat.DEADLINE)


def exchange(url, data):
    """Sends raw bytes, and returns all that comes until the server closes."""
    with dial(url) as s:
        s.sendall(data)
        return until_closed(s)


def until_closed(s):
    got = b""
    try:
        while piece := s.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


class RawSink:
    """A server that does to each connection what `behaviour(socket, stop)` does after one whole request was read; `stop` is a threading.Event that is set at the end.
    `arrived` counts the requests."""

    def __init__(self, behaviour):
        self.arrived = 0
        self.stop = threading.Event()
        self._behaviour = behaviour
        self._open = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s = self._listener.accept()[0]
            except OSError:
                return
            with self._lock:
                self._open.append(s)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            with s, s.makefile("rb") as reader:
                length = 0
                while (line := reader.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                reader.read(length)
                self.arrived += 1
                self._behaviour(s, self.stop)
        except OSError:
            pass

    def close(self):
        self.stop.set()
        self._listener.close()
        with self._lock:
            for s in self._open:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
