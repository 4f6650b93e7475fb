# SPDX-License-Identifier: Apache-2.0
"""GitHub's REST API for webhooks, as far as a webhook's life needs it: list with pages, create, change, delete, for repositories and organisations, with
the checks and error texts that GitHub gives. Failures can be injected.

    with FakeGitHub(token="t", repositories=["jo/mill"]) as github:
        ... --api-url github.url ...
        github.hooks["jo/mill"]   # {id: webhook}
"""

import http.server
import json
import re
import threading
import urllib.parse

from leat import DEADLINE


class Failure:
    """An answer in place of GitHub's: status, JSON body, headers. `drop` closes the connection without an answer."""

    def __init__(self, status=500, body=None, headers=(), drop=False, raw=None, after=False):
        self.status, self.body, self.headers, self.drop, self.raw = status, body or {"message": "Server Error"}, dict(headers), drop, raw
        self.after = after  # first do what was asked, then fail: an answer that got lost


class FakeGitHub:
    def __init__(self, token="token-1", repositories=("jo/mill",), organisations=(), prefix=""):
        self.token = token
        self.prefix = prefix
        self.hooks = {name: {} for name in (*repositories, *organisations)}
        self.organisations = set(organisations)
        self.forbidden = set()  # seen by the token, but without the right to their webhooks
        self.calls = []  # (method, path with query, body or None)
        self.headers = []  # of each call, names in lower case
        self.failures = []  # a queue of Failure or None (None: answer as usual)
        self.next_id = 1000
        self._changed = threading.Condition()
        github = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self):
                text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body, headers, drop = github.handle(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, text)
                if drop:
                    self.close_connection = True
                    return
                data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Type", "application/json; charset=utf-8")
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{prefix}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    # ---- what tests do with it ----

    def add_hook(self, place, url, events=("push",), hook_id=None):
        """A webhook that is there already; its id."""
        with self._changed:
            hook_id = hook_id or self.fresh_id()
            self.hooks[place][hook_id] = self.make_hook(hook_id, {"events": list(events), "active": True, "config": {"url": url, "content_type": "form"}})
            return hook_id

    def wait_calls(self, count, method=None, timeout=DEADLINE):
        """The calls (of that method), once there are `count`."""

        def some():
            return [c for c in self.calls if method in (None, c[0])]

        with self._changed:
            if not self._changed.wait_for(lambda: len(some()) >= count, timeout):
                raise AssertionError(f"waited for {count} {method or 'calls'}; came: {self.calls}")
            return some()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- the API ----

    def fresh_id(self):
        self.next_id += 1
        return self.next_id

    @staticmethod
    def make_hook(hook_id, given):
        config = dict(given["config"])
        if "secret" in config:
            config["secret"] = "********"
        return {"type": "Repository", "id": hook_id, "name": "web", "active": given.get("active", True), "events": given.get("events", ["push"]), "config": config,
                "given_secret": given["config"].get("secret")}

    @staticmethod
    def shown(hook):
        return {k: v for k, v in hook.items() if k != "given_secret"}

    def handle(self, method, path, headers, text):
        with self._changed:
            body = json.loads(text) if text else None
            self.calls.append((method, path, body))
            self.headers.append(headers)
            failure = self.failures.pop(0) if self.failures else None
            if failure is None or failure.after:
                answer = (*self.api(method, path, headers, body), False)
            if failure is not None:
                answer = (failure.status, failure.raw if failure.raw is not None else failure.body, failure.headers, failure.drop)
            self._changed.notify_all()
            return answer

    def api(self, method, path, headers, body):
        if not headers.get("user-agent"):
            return 403, {"message": "Request forbidden by administrative rules."}, {}
        if headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"message": "Bad credentials"}, {}
        parts = urllib.parse.urlsplit(path)
        match = re.fullmatch(re.escape(self.prefix) + r"/(?:repos/([^/]+/[^/]+)|orgs/([^/]+))/hooks(?:/(\d+))?", parts.path)
        place = match and (match[1] or match[2])
        if not match or place not in self.hooks or bool(match[2]) != (place in self.organisations):
            return 404, {"message": "Not Found"}, {}
        if place in self.forbidden:
            return 403, {"message": "Resource not accessible by personal access token"}, {}
        hooks, hook_id = self.hooks[place], match[3] and int(match[3])
        if hook_id is None and method == "GET":
            return self.list(hooks, dict(urllib.parse.parse_qsl(parts.query)))
        if hook_id is None and method == "POST":
            return self.create(hooks, body)
        if hook_id not in hooks:
            return 404, {"message": "Not Found"}, {}
        if method == "PATCH":
            return self.change(hooks, hook_id, body)
        if method == "DELETE":
            del hooks[hook_id]
            return 204, None, {}
        return 405, {"message": "Method Not Allowed"}, {}

    def list(self, hooks, query):
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        some = list(hooks.values())[(page - 1) * size : page * size]
        return 200, [self.shown(h) for h in some], {}

    @staticmethod
    def invalid(text):
        return 422, {"message": "Validation Failed", "errors": [{"resource": "Hook", "code": "custom", "message": text}]}, {}

    def create(self, hooks, body):
        if body.get("name") != "web" or "url" not in body.get("config", {}):
            return self.invalid("Config must contain URL for webhooks")
        if any(h["config"]["url"] == body["config"]["url"] and sorted(h["events"]) == sorted(body["events"]) for h in hooks.values()):
            return self.invalid("Hook already exists on this repository")
        hook_id = self.fresh_id()
        hooks[hook_id] = self.make_hook(hook_id, body)
        return 201, self.shown(hooks[hook_id]), {}

    def change(self, hooks, hook_id, body):
        hooks[hook_id] = self.make_hook(hook_id, {**hooks[hook_id], **body})
        return 200, self.shown(hooks[hook_id]), {}
