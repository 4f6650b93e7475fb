# SPDX-License-Identifier: Apache-2.0
"""What the real brokers of the tests have in common: one process of somebody else's program on free ports, with its data in a folder of its own and certificates made for it."""
import argparse
import atexit
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
START_S, STOP_S = 120, 120  # on a machine that builds meanwhile; Kafka writes its archive of classes as it ends
PR_SET_PDEATHSIG = 1


KEPT_PORTS = []  # bound and never listening, as long as the process lives


def free_ports(count):
    """Ports that nobody has. They stay bound here, so that the system gives them to nobody else, before the server has started or between its death and its restart; servers ask for them by number and with
    SO_REUSEADDR, and so may listen there."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
    KEPT_PORTS.extend(sockets)
    return [s.getsockname()[1] for s in sockets]


def run(command, **more):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def make_certificates(folder):
    """A CA, the broker's certificate for localhost, a client's, one more client's that an intermediate CA has signed (chain.pem: it and the intermediate), and another CA that has signed nothing.
    Keys are unencrypted PKCS#8."""
    folder.mkdir(parents=True, exist_ok=True)

    def key(name):
        run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / f"{name}.key"])

    for ca in ("ca", "other-ca"):
        key(ca)
        run(["openssl", "req", "-x509", "-new", "-key", folder / f"{ca}.key", "-days", "30", "-subj", f"/CN=leat test {ca}", "-out", folder / f"{ca}.pem"])
    for name, signer, more in (("broker", "ca", "subjectAltName=DNS:localhost"), ("client", "ca", "extendedKeyUsage=clientAuth"), ("intermediate", "ca", "basicConstraints=critical,CA:TRUE"),
                               ("chained", "intermediate", "extendedKeyUsage=clientAuth")):
        key(name)
        run(["openssl", "req", "-new", "-key", folder / f"{name}.key", "-subj", f"/CN=leat {name}", "-out", folder / f"{name}.csr"])
        (folder / f"{name}.ext").write_text(more + "\n")
        run(["openssl", "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{signer}.pem", "-CAkey", folder / f"{signer}.key", "-CAcreateserial", "-days", "30",
             "-extfile", folder / f"{name}.ext", "-out", folder / f"{name}.pem"])
    for name, parts in (("store.pem", ("broker.key", "broker.pem")), ("chain.pem", ("chained.pem", "intermediate.pem"))):
        (folder / name).write_text("".join([(folder / part).read_text() for part in parts]))


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def alive(pid):
    try:
        return pid is not None and pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Node:
    """A broker. `settings`: more lines of its configuration, they win; `folder`: its data, kept; without one, a temporary one that `close` removes.

    Who is one says its NAME and the names of its PORTS, and how it is begun (`begin` leaves `process`) and asked whether it is ready (`answers`)."""

    NAME, PORTS = None, ()
    keeps = False  # whether it outlives this process

    def __init__(self, folder=None, port=None, settings=None):
        self.temporary = folder is None
        if self.temporary:
            BUILD.mkdir(exist_ok=True)
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix=f"{self.NAME.lower()}-", dir=BUILD)).resolve()
        self.certificates = self.folder / "certificates"
        self.ports = dict(zip(self.PORTS, range(port, port + len(self.PORTS)) if port else free_ports(len(self.PORTS))))
        self.settings = dict(settings or {})
        self.process = self.pid = None

    @classmethod
    def attach(cls, folder):
        """The broker that somebody else started there."""
        node = cls(folder, port=1)
        node.__dict__.update(json.loads((node.folder / "node.json").read_text()))
        return node

    @classmethod
    def shared(cls):
        if folder := os.environ.get(f"LEAT_{cls.NAME.upper()}_FOLDER"):
            return cls.attach(folder)
        if not hasattr(cls, "own"):
            cls.own = cls()
            atexit.register(cls.own.close)
            cls.own.start()
        return cls.own

    def environment(self):
        """What tells other programs of it."""
        return {f"LEAT_{self.NAME.upper()}": self.address, f"LEAT_{self.NAME.upper()}_FOLDER": str(self.folder)}

    def pem(self, name):
        """The text of ca.pem, client.pem, client.key, other-ca.pem ..."""
        return (self.certificates / name).read_text()

    # ---- its life ----

    def start(self, **how):
        """Starts it, on the same ports and data as before, and waits until it answers."""
        self.begin(**how)
        self.pid = self.process.pid
        (self.folder / "node.json").write_text(json.dumps({"pid": self.pid, "ports": self.ports, "settings": self.settings, "temporary": False, **self.kept()}))
        self.wait()
        return self

    def kept(self):
        """What `attach` must know beside that."""
        return {}

    def spawn(self, command, **more):
        with open(self.folder / "out.log", "ab") as out:
            return subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                                    preexec_fn=None if self.keeps else die_with_parent, **more)

    def wait(self):
        end = time.monotonic() + START_S
        while not self.answers():
            if not self.running() or time.monotonic() > end:
                raise RuntimeError(f"{self.NAME} {'does not answer' if self.running() else 'has ended'}:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def running(self):
        return self.process.poll() is None if self.process else alive(self.pid)

    def output(self):
        return (self.folder / "out.log").read_text(errors="replace")

    def end(self, how, seconds):
        if not self.running():
            return
        os.kill(self.pid, how)
        end = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.NAME} does not end:\n{self.output()[-4000:]}")
            time.sleep(0.02)

    def stop(self):
        """As an operator stops it: it hands over, writes, ends."""
        self.resume()
        self.end(signal.SIGTERM, STOP_S)

    def kill(self):
        self.end(signal.SIGKILL, 10)

    def restart(self):
        self.stop()
        return self.start()

    def pause(self):
        """Connections stay, nothing is answered: what a stopped machine or a lost network looks like."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        if self.running():
            os.kill(self.pid, signal.SIGCONT)

    def close(self):
        """Ends it for good; its folder goes if it was a temporary one."""
        try:
            self.stop()
        except RuntimeError:
            self.kill()
            raise
        finally:
            if self.temporary:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_):
        self.close()


VERBS = ("start", "restart", "stop", "kill", "pause", "resume", "status")


def command_line(cls, doc, more=None):
    """What a node's own program does: the verbs above for a folder, `run COMMAND ...`, and what `more` has by name: it is called with the rest of the line."""
    more = more or {}
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=(*VERBS, *more, "run"))
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    o = parser.parse_args()
    if o.verb == "run":
        with cls() as node:
            return subprocess.run(o.rest, env={**os.environ, **node.environment()}).returncode
    if o.verb in more:
        return more[o.verb](*o.rest)
    words = argparse.ArgumentParser(prog=f"{cls.NAME.lower()}.py {o.verb}")
    words.add_argument("folder")
    words.add_argument("--port", type=int, help=f"the first of {len(cls.PORTS)}")
    words.add_argument("--set", action="append", default=[], metavar="name=value")
    m = words.parse_args(o.rest)
    cls.keeps = True
    node = cls(m.folder, m.port, dict(s.split("=", 1) for s in m.set)) if o.verb == "start" else cls.attach(m.folder)
    if o.verb != "status":
        getattr(node, "close" if o.verb == "stop" else o.verb)()  # with all that was started beside it
    for name, where in node.doors().items():
        print(f"{name:15} {where}")
    print(f"{'pid':15} {node.pid if node.running() else 'not running'}")
    return 0
