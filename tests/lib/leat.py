# SPDX-License-Identifier: Apache-2.0
"""What black-box tests share: the program as a process, a sink that records, and webhook signatures.

Nothing here sleeps to wait: `Leat` waits for lines, `Sink` for requests, both with a deadline that only a failing test meets. Every address is on
127.0.0.1 with a port that the system picked.
"""

import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import pty
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE = 60.0  # seconds; only a failing test waits so long, and a crowded machine takes its time


def binary():
    """The program under test: $LEAT, else build/leat."""
    return os.environ.get("LEAT", str(ROOT / "build" / "leat"))


def sign(secret, body):
    """The value of X-Hub-Signature-256."""
    secret = secret.encode() if isinstance(secret, str) else secret
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


class Answer:
    """A response: status, headers (names in lower case), body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"Answer({self.status}, {self.headers}, {self.body[:200]!r})"


class Client:
    """One kept-alive connection to an origin. `headers` may be a dict, or a list of pairs where names repeat."""

    def __init__(self, url, timeout=DEADLINE):
        parts = urllib.parse.urlsplit(url)
        self.base = parts.path if parts.path != "/" else ""
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def request(self, method, path="/", body=None, headers=()):
        self.connection.putrequest(method, self.base + path, skip_accept_encoding=True)
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if body is not None:
            pairs.append(("Content-Length", str(len(body))))
        for name, value in pairs:
            self.connection.putheader(name, value)
        self.connection.endheaders(body)
        response = self.connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def request(method, url, body=None, headers=(), timeout=DEADLINE):
    """One request on a connection of its own; `url` is whole."""
    parts = urllib.parse.urlsplit(url)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    with Client(f"{parts.scheme}://{parts.netloc}", timeout) as client:
        return client.request(method, target, body, headers)


class Leat:
    """The program as a process. Its output is read as it comes; `wait_line` waits for a line of it."""

    def __init__(self, args, env=None, cwd=None, stdin=subprocess.DEVNULL, clean_env=True):
        base = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LD_LIBRARY_PATH")}
        environment = base if clean_env else dict(os.environ)
        environment.update(env or {})
        self.args = [str(a) for a in args]
        self.stdout, self.stderr = [], []
        self._changed = threading.Condition()
        self._open = 2
        self.process = subprocess.Popen([binary(), *self.args], env=environment, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for pipe, lines in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr)):
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True).start()

    def _read(self, pipe, lines):
        for line in pipe:
            with self._changed:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    @property
    def logs(self):
        """All that it wrote, for messages of failing tests."""
        return "\n".join(["$ leat " + " ".join(self.args), *self.stdout, "-- stderr --", *self.stderr])

    def wait_line(self, find, stream=None, timeout=DEADLINE):
        """The first line for which `find` (a string in it, or a function) holds; of "stdout", "stderr", or either."""
        match = find if callable(find) else lambda line: find in line
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                lines = self.stdout if stream == "stdout" else self.stderr if stream == "stderr" else self.stdout + self.stderr
                for line in lines:
                    if match(line):
                        return line
                left = deadline - time.monotonic()
                if self._open == 0 or left <= 0:
                    raise AssertionError(f"{'ended' if self._open == 0 else 'waited'} without the line {find!r}:\n{self.logs}")
                self._changed.wait(left)

    def address(self, word, timeout=DEADLINE):
        """The URL in a line of standard output that is a JSON object with the member `word`, or text `word URL`."""

        def url_of(line):
            if line.startswith("{"):
                try:
                    return json.loads(line).get(word)
                except ValueError:
                    return None
            fields = line.split()
            return fields[1] if len(fields) == 2 and fields[0].rstrip(":") == word else None

        return url_of(self.wait_line(lambda line: url_of(line) is not None, "stdout", timeout)).rstrip("/")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=DEADLINE):
        """Its exit code, once it has ended and all its output was read."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end:\n{self.logs}") from None
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, timeout)
        return code

    def stop(self, timeout=DEADLINE):
        """SIGTERM, then its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if failure:
            self.kill()
            print(self.logs)
        elif self.process.poll() is None:
            code = self.stop()
            assert code == 0, f"exit code {code}:\n{self.logs}"


class Request:
    """What a sink received. Header names are in lower case; `at` is the monotonic time of its arrival."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.body, self.at = method, path, body, time.monotonic()
        self.headers = {}
        for name, value in headers:
            self.headers.setdefault(name.lower(), value)
        self.header_list = [(name.lower(), value) for name, value in headers]

    @property
    def attributes(self):
        """The CloudEvent attributes of binary mode, percent-decoded, without the prefix."""
        return {k[3:]: urllib.parse.unquote(v.encode("latin-1").decode("utf-8", "replace")) for k, v in self.headers.items() if k.startswith("ce-")}

    def __repr__(self):
        return f"Request({self.method} {self.path} {self.headers} {self.body[:200]!r})"


class Reply:
    """What a sink answers: status, headers, body, after `delay` seconds. With `hold` it waits for that threading.Event instead."""

    def __init__(self, status=202, headers=(), body=b"", delay=0.0, hold=None):
        self.status, self.headers, self.body, self.delay, self.hold = status, dict(headers), body, delay, hold


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """What test servers have in common: HTTP/1.1, no log, and no word of a client that has gone."""
    protocol_version = "HTTP/1.1"

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass

    def log_message(self, *_):
        pass


class Sink:
    """An HTTP server that records every request and answers by script: the queue `script` first, then `default`."""

    def __init__(self, default=None, script=(), port=0):
        self.default = default or Reply()
        self.script = list(script)
        self.requests = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        sink = self

        class Handler(QuietHandler):
            disable_nagle_algorithm = True
            wbufsize = -1

            def answer(self):
                body = self.read_body()
                reply = sink.received(Request(self.command, self.path, self.headers.items(), body))
                if reply.hold is not None:
                    reply.hold.wait(DEADLINE)
                elif reply.delay:
                    sink._stopping.wait(reply.delay)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                try:
                    self.wfile.write(reply.body)
                    self.wfile.flush()
                except OSError:
                    self.close_connection = True

            def read_body(self):
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = b""
                    while True:
                        size = int(self.rfile.readline().split(b";")[0], 16)
                        piece = self.rfile.read(size)
                        self.rfile.readline()
                        if size == 0:
                            return body
                        body += piece
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            do_POST = do_GET = do_PUT = do_PATCH = do_DELETE = answer

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def received(self, request_):
        with self._changed:
            self.requests.append(request_)
            reply = self.script.pop(0) if self.script else self.default
            self._changed.notify_all()
        return reply

    def fail(self, times, status=500, **more):
        """The next `times` requests fail."""
        self.script += [Reply(status, **more)] * times

    def wait(self, count=1, timeout=DEADLINE):
        """The requests, once there are at least `count`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"waited for {count} requests, {len(self.requests)} came: {self.requests}")
            return list(self.requests)

    def clear(self):
        with self._changed:
            self.requests.clear()

    def close(self):
        self._stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def in_terminal(args, env):
    """What the program writes to a terminal, until it ends with 0."""
    parent, child = pty.openpty()
    process = subprocess.Popen([binary(), *args], stdin=subprocess.DEVNULL, stdout=child, stderr=child, env={k: v for k, v in os.environ.items() if k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS")} | env)
    os.close(child)
    out = b""
    try:
        while piece := os.read(parent, 65536):
            out += piece
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(parent)
    assert process.wait(DEADLINE) == 0
    return out.decode()


def flip(path, offset):
    """Turns every bit of one byte of a file."""
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0xFF]))


KEPT_PORTS = []  # bound and never listening, as long as the tests run


def free_port():
    """A port on which nobody listens: for addresses that must refuse. The system gives it to nobody else, but who asks for it by its number, as servers do, may listen there."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    KEPT_PORTS.append(s)
    return s.getsockname()[1]


def wait_for(fact, what="the fact", timeout=DEADLINE):
    """Polls `fact` until it is true, and returns it: for what can only be asked for (an HTTP page, a file)."""
    deadline = time.monotonic() + timeout
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}; last: {value!r}")
        threading.Event().wait(0.01)
