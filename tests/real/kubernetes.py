#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes API for tests: kube-apiserver and the etcd behind it, which tests/setup/kubernetes builds, on free ports, with certificates and data for themselves alone. No controller runs,
and no node: objects are stored, checked, watched and told of, and that is all.

    from real.kubernetes import Kubernetes            tests/ is on sys.path (tests/conftest.py)
    with Kubernetes() as k: ... k.url, k.kubeconfig() one for this test alone; k.kill(), k.restart(), k.pause(), k.resume() (of the API server; etcd stays)
    Kubernetes.shared()                               the one that the suites share (LEAT_KUBERNETES*); alone, one that lives as long as this process
    k.ask("POST", "/api/v1/namespaces/default/configmaps", {...})   (status, answer), as ADMIN or token=...
    k.kubectl("apply", "-f", "-", stdin="...")        its output
    k.allow("watcher", "get,list,watch", "configmaps", "pods")      what the user WATCHER may do, as a ClusterRole
    k.compact()                                       etcd forgets all versions but the present one; the API server still has its own memory of the last ones until it is restarted

From the command line (`start` leaves it running; the others find it by its folder):

    tests/real/kubernetes.py start|restart|stop|kill|pause|resume|status FOLDER [--port N] [--set flag=value]
    tests/real/kubernetes.py kubectl FOLDER WORD ...
    tests/real/kubernetes.py run COMMAND ...          runs a command with LEAT_KUBERNETES and stops it after it

Who may do what is by RBAC. ADMIN is a token of system:masters; WATCHER's may do nothing until `allow`; client.pem belongs to the user CLIENT, who may nothing either.
`settings` are flags of kube-apiserver.
"""
import base64
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from real.node import BUILD, Node, alive, command_line, make_certificates, run  # noqa: E402

PROGRAMS = BUILD / "kubernetes"
SETUP = pathlib.Path(__file__).resolve().parents[1] / "setup/kubernetes"
ADMIN, WATCHER, CLIENT = "admin-token", "watcher-token", "leat client"
ANSWER_S = 30


class Kubernetes(Node):
    """`settings` are flags of kube-apiserver, without their dashes."""

    NAME, PORTS = "Kubernetes", ("API", "etcd", "etcd's peers")

    def __init__(self, folder=None, port=None, settings=None):
        super().__init__(folder, port, settings)
        self.etcd = None

    # ---- how it is reached ----

    @property
    def address(self):
        return f"localhost:{self.ports['API']}"  # its certificate is for that name

    @property
    def url(self):
        return f"https://{self.address}"

    def doors(self):
        return {"API": self.url, "kubeconfig": self.kubeconfig(), "CA": self.certificates / "ca.pem", "etcd": self.etcd_url}

    @property
    def etcd_url(self):
        return f"http://127.0.0.1:{self.ports['etcd']}"

    def kubeconfig(self, token=ADMIN, server=None, ca="ca", certificate=False, name=None):
        """A file that says how to get in: with a token, or with the certificate of CLIENT. `server`: another address than its own (a proxy)."""
        user = {"client-certificate": str(self.certificates / "client.pem"), "client-key": str(self.certificates / "client.key")} if certificate else {"token": token}
        authority = {"certificate-authority-data": base64.b64encode(self.pem(f"{ca}.pem").encode()).decode()} if ca else {}
        file = self.folder / (name or ("kubeconfig" if token == ADMIN and not (server or certificate) and ca == "ca" else f"kubeconfig-{os.urandom(4).hex()}"))
        file.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "leat", "contexts": [{"name": "leat", "context": {"cluster": "leat", "user": "leat"}}],
            "clusters": [{"name": "leat", "cluster": {"server": server or self.url, **authority}}], "users": [{"name": "leat", "user": user}],
        }, indent=1))
        return file

    # ---- its life ----

    def begin(self):
        subprocess.run([SETUP], check=True)
        self.format()
        if not alive(self.etcd):
            self.etcd = self.spawn(self.etcd_command()).pid
        self.process = self.spawn([PROGRAMS / "kube-apiserver", *(f"--{k}={v}" for k, v in {**self.flags(), **self.settings}.items())])

    def kept(self):
        return {"etcd": self.etcd}

    def format(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.certificates.exists():
            make_certificates(self.certificates)
            run(["openssl", "genrsa", "-out", self.certificates / "accounts.key", "2048"])
            (self.certificates / "tokens.csv").write_text(f'{ADMIN},admin,uid-admin,"system:masters"\n{WATCHER},watcher,uid-watcher\n')
        self.kubeconfig()

    def etcd_command(self):
        peers = f"http://127.0.0.1:{self.ports[self.PORTS[2]]}"
        return [PROGRAMS / "etcd", "--name", "leat", "--data-dir", self.folder / "etcd", "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
                "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"leat={peers}", "--log-level", "error", "--unsafe-no-fsync"]

    def flags(self):
        c = self.certificates
        return {
            "etcd-servers": self.etcd_url, "bind-address": "127.0.0.1", "secure-port": self.ports["API"], "tls-cert-file": c / "broker.pem", "tls-private-key-file": c / "broker.key",
            "client-ca-file": c / "ca.pem", "token-auth-file": c / "tokens.csv", "authorization-mode": "RBAC", "anonymous-auth": "true",
            "service-account-issuer": "https://kubernetes.default.svc", "service-account-key-file": c / "accounts.key", "service-account-signing-key-file": c / "accounts.key",
            "service-cluster-ip-range": "10.0.0.0/24", "profiling": "false", "event-ttl": "1h", "cert-dir": self.folder / "run", "v": 0,
            "disable-admission-plugins": "ServiceAccount,ValidatingAdmissionPolicy,MutatingAdmissionPolicy,PodSecurity",
        }

    def answers(self):
        try:
            return self.ask("GET", "/readyz", seconds=2) == (200, "ok") and self.ask("GET", "/api/v1/namespaces/default", seconds=2)[0] == 200
        except OSError:
            return False

    def stop_etcd(self):
        if alive(self.etcd):
            os.kill(self.etcd, signal.SIGKILL)
            try:
                os.waitpid(self.etcd, 0)
            except ChildProcessError:
                pass  # another process started it

    def close(self):
        try:
            if self.running():
                self.resume()
                self.kill()  # it would wait for its watches, and nothing of it is needed any more
            self.stop_etcd()
        finally:
            super().close()

    # ---- what one does with it ----

    def ask(self, method, path, body=None, token=ADMIN, content_type=None, seconds=ANSWER_S):
        """(status, JSON or text of the answer). Raises OSError when there is none."""
        patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode()),
                                         headers={"Content-Type": content_type or patch, "Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})})
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=ssl.create_default_context(cafile=self.certificates / "ca.pem")) as answer:
                status, text, kind = answer.status, answer.read().decode(), answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as e:
            status, text, kind = e.code, e.read().decode(), e.headers.get("Content-Type", "")
        return status, json.loads(text) if kind.startswith("application/json") else text

    def make(self, kind, name, namespace="default", **more):
        """Creates a core object ("configmaps") in a namespace; the answer, which must be good. Right after a start the API server may ask to be asked again."""
        body = {"apiVersion": "v1", "kind": {"configmaps": "ConfigMap", "secrets": "Secret", "events": "Event"}[kind], "metadata": {"name": name, "namespace": namespace}, **more}
        return self.good("POST", f"/api/v1/namespaces/{namespace}/{kind}", body)

    def good(self, method, path, body=None):
        end = time.monotonic() + ANSWER_S
        while True:
            status, answer = self.ask(method, path, body)
            if status < 300:
                return answer
            if status not in (429, 500, 503) or time.monotonic() > end:
                raise AssertionError(f"{method} {path}: {status} {answer}")
            time.sleep(0.1)

    def kubectl(self, *words, stdin="", kubeconfig=None):
        done = subprocess.run([PROGRAMS / "kubectl", "--kubeconfig", kubeconfig or self.kubeconfig(), *words], input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, "HOME": str(self.folder)})
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def allow(self, user, verbs, *resources, groups=("",), name=None):
        """A ClusterRole for `user` (its name, "watcher"), made or replaced; with `verbs` "" it may nothing any more."""
        name = name or f"{user}-role".replace(" ", "-")
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                "rules": [{"apiGroups": list(groups), "resources": list(resources), "verbs": verbs.split(",")}] if verbs else []}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]}
        for kind, body in (("clusterroles", role), ("clusterrolebindings", binding)):
            if self.ask("POST", f"{rbac}/{kind}", body)[0] == 409:
                self.good("PUT", f"{rbac}/{kind}/{name}", body)

    def etcd_ask(self, path, body):
        request = urllib.request.Request(self.etcd_url + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return json.load(answer)

    def compact(self):
        revision = self.etcd_ask("/v3/kv/range", {"key": base64.b64encode(b"none").decode()})["header"]["revision"]
        self.etcd_ask("/v3/kv/compaction", {"revision": revision, "physical": True})


def kubectl(folder, *words):
    print(Kubernetes.attach(folder).kubectl(*words), end="")
    return 0


if __name__ == "__main__":
    sys.exit(command_line(Kubernetes, __doc__, {"kubectl": kubectl}))
