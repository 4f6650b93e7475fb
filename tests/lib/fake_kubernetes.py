# SPDX-License-Identifier: Apache-2.0
"""An API server that says what a test tells it to: for what a real one never says (tests/real/kubernetes.py is a real one). It has ConfigMaps in one namespace, and no rights."""

import http.server
import json
import threading
import urllib.parse

from leat import DEADLINE, QuietHandler

PATH = "/api/v1/namespaces/default/configmaps"


def configmap(name, version, uid=None, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}, "data": data}


def event(kind, thing):
    return {"type": kind, "object": thing}


class FakeKubernetes:
    """`objects` and `version`: what a list answers. `watches`: for each watch that comes, what it is answered with: a list of things (bytes as they are, others as a line of JSON), after which
    the connection ends. One beyond them gets what of `history` lies behind its version, and then stays open. `asked`: the targets of all requests."""

    def __init__(self):
        self.objects, self.version, self.watches, self.history, self.asked, self.answers = [], 10, [], [], [], {}
        self.changed, self.closing = threading.Condition(), False
        fake = self

        class Handler(QuietHandler):
            def do_GET(self):
                where = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(where.query))
                watches = where.path == PATH and "watch" in query
                with fake.changed:
                    script = fake.next_script(int(query["resourceVersion"])) if watches else None
                    fake.asked.append(self.path)
                    fake.changed.notify_all()
                if where.path == "/api/v1":
                    self.whole({"kind": "APIResourceList", "resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}, {"name": "configmaps/status", "kind": "ConfigMap"}]})
                elif where.path != PATH:
                    self.whole({"kind": "Status", "message": "there is no such thing", "code": 404}, 404)
                elif not watches:
                    answer = fake.answers.pop("list", None)
                    self.whole(answer if answer is not None else fake.page(query))
                else:
                    self.watch(*script)

            def whole(self, body, status=200):
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def watch(self, script, last):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for thing in script:
                    piece = thing if isinstance(thing, bytes) else json.dumps(thing).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
                if last:
                    with fake.changed:
                        fake.changed.wait_for(lambda: fake.closing or fake.watches)
                self.wfile.write(b"0\r\n\r\n")

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def next_script(self, version):
        """What a watch from this version is answered with, and whether it stays open then."""
        return (self.watches.pop(0), False) if self.watches else ([e for e in self.history if int(e["object"]["metadata"]["resourceVersion"]) > version], True)

    def page(self, query):
        """Pages by a token that is the number of the next object."""
        first, most = int(query.get("continue", "0")), int(query["limit"])
        rest = {"continue": str(first + most)} if first + most < len(self.objects) else {}
        items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in self.objects[first:first + most]]  # as a real one has them
        return {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version), **rest}, "items": items}

    def script(self, *watches):
        """What the next watches are answered with; one that is open ends."""
        with self.changed:
            self.watches += list(watches)
            self.changed.notify_all()

    def wait_asked(self, word, count=1, timeout=DEADLINE):
        with self.changed:
            if not self.changed.wait_for(lambda: sum(word in a for a in self.asked) >= count, timeout):
                raise AssertionError(f"waited for {count} requests with {word}: {self.asked}")
            return [a for a in self.asked if word in a]

    def kubeconfig(self, folder):
        file = folder / "kubeconfig"
        file.write_text(json.dumps({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}], "clusters": [{"name": "k", "cluster": {"server": self.url}}],
                                    "users": [{"name": "u", "user": {"token": "abc"}}]}))
        return file

    def close(self):
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
