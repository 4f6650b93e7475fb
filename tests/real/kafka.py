#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Apache Kafka for tests: one broker in KRaft mode, from Maven Central, on free ports, with its data in a folder of its own.

    from real.kafka import Kafka                      tests/ is on sys.path (tests/conftest.py)
    with Kafka() as k: ... k.address ...              one for this test alone; k.kill(), k.restart(), k.pause(), k.resume()
    Kafka.shared()                                    the one that the suites share (LEAT_KAFKA*); alone, one that lives as long as this process
    k.params("SASL_SSL", "SCRAM-SHA-256")             a client's settings for that listener, as include/kafka_client.h names them

From the command line (`start` leaves it running; the others find it by its folder):

    tests/real/kafka.py install                       fetches the jars; `start` does it too
    tests/real/kafka.py start|restart|stop|kill|pause|resume|status FOLDER [--port N] [--set name=value]
    tests/real/kafka.py run COMMAND ...               runs a command with LEAT_KAFKA and stops the broker after it

Every broker serves five listeners: PLAINTEXT, SSL, MTLS (SSL that wants the client's certificate), SASL_PLAINTEXT and SASL_SSL, the last two with PLAIN,
SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER (unsigned tokens: `token()`). Its certificate is good for the name localhost only, its CA is made for it.
Topics are not made by being asked for (auto.create.topics.enable=false) unless `settings` says so.
"""
import argparse
import atexit
import base64
import ctypes
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

VERSION = "4.3.1"
HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / f"kafka-{VERSION}"
LISTENERS = ("PLAINTEXT", "SSL", "MTLS", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
USER, PASSWORD = "leat-user", "correct-horse-battery"
AUTHORIZER = {  # settings of a broker on which USER may do only what ACLs say, and who comes by PLAINTEXT everything
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
START_S, STOP_S = 60, 30
PR_SET_PDEATHSIG = 1


def free_ports(count):
    """Ports that nobody has just now; all are held at once, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def run(command, **more):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def java(extra=(), archive=True):
    """The JVM as all starts use it: small, and with the archive of its classes where there is one (a third of the start's time)."""
    jsa = CACHE / "kafka.jsa"
    shared = [f"-XX:SharedArchiveFile={jsa}"] if archive and jsa.exists() else []
    return ["java", *shared, "-Xshare:auto", "-XX:+UseSerialGC", "-Xms64m", "-Xmx512m", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *extra, "-cp", f"{CACHE}/*"]


def install():
    """Brings the jars and makes the archive, once; several processes may ask at the same time."""
    CACHE.parent.mkdir(exist_ok=True)
    with open(CACHE.parent / "kafka.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (CACHE / "installed").exists():
            return
        shutil.rmtree(CACHE, ignore_errors=True)
        print(f"fetching Kafka {VERSION}", file=sys.stderr, flush=True)
        run(["mvn", "-q", "-B", "-f", HERE / "pom.xml", f"-Dkafka.version={VERSION}", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={CACHE}"])
        first = Kafka()
        try:
            first.start(extra=[f"-XX:ArchiveClassesAtExit={CACHE}/kafka.jsa"], installed=True)
        finally:
            first.close()
        (CACHE / "installed").touch()


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


def token(subject=USER, lasts_s=3600):
    """An unsigned JWT as the broker takes it (its OAUTHBEARER listener validates nothing but the times)."""
    def part(claims):
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    now = int(time.time())
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now + min(0, lasts_s) - 60, 'exp': now + lasts_s})}."


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Kafka:
    """A broker. `settings`: more lines of server.properties, they win; `folder`: its data, kept; without one, a temporary one that `close` removes."""

    def __init__(self, folder=None, port=None, settings=None):
        self.temporary = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="leat-kafka-")).resolve()
        self.certificates = self.folder / "certificates"
        self.ports = dict(zip((*LISTENERS, "CONTROLLER"), range(port, port + 6) if port else free_ports(6)))
        self.settings = dict(settings or {})
        self.process = self.pid = None

    @classmethod
    def attach(cls, folder):
        """The broker that somebody else started there."""
        k = cls(folder, port=1)
        k.__dict__.update(json.loads((k.folder / "kafka.json").read_text()))
        return k

    @classmethod
    def shared(cls):
        if os.environ.get("LEAT_KAFKA_FOLDER"):
            return cls.attach(os.environ["LEAT_KAFKA_FOLDER"])
        if not hasattr(cls, "own"):
            cls.own = cls()
            atexit.register(cls.own.close)
            cls.own.start()
        return cls.own

    def environment(self):
        """What tells other programs of it."""
        return {"LEAT_KAFKA": self.address, "LEAT_KAFKA_FOLDER": str(self.folder)}

    # ---- how it is reached ----

    @property
    def address(self):
        return f"127.0.0.1:{self.ports['PLAINTEXT']}"

    def server(self, listener):
        """host:port of that listener. Those with TLS go by the name that the certificate is for."""
        return f"{'127.0.0.1' if 'PLAINTEXT' in listener else 'localhost'}:{self.ports[listener]}"

    def pem(self, name):
        """The text of ca.pem, client.pem, client.key, other-ca.pem ..."""
        return (self.certificates / name).read_text()

    def params(self, listener="PLAINTEXT", mechanism=None):
        """Settings of a client that this listener lets in, by the names of include/kafka_client.h."""
        p = {"bootstrap.servers": self.server(listener), "security.protocol": "SSL" if listener == "MTLS" else listener}
        if "PLAINTEXT" not in listener:
            p["ssl.ca"] = self.pem("ca.pem")
        if listener == "MTLS":
            p.update({"ssl.certificate": self.pem("client.pem"), "ssl.key": self.pem("client.key")})
        if mechanism:
            p["sasl.mechanism"] = mechanism
            p.update({"sasl.token": token()} if mechanism == "OAUTHBEARER" else {"sasl.username": USER, "sasl.password": PASSWORD})
        return p

    def another(self, id=2):
        """One more broker of its cluster, which has this one's controller."""
        k = Kafka()
        k.certificates = self.certificates
        listeners = ",".join(f"{name}://127.0.0.1:{k.ports[name]}" for name in LISTENERS)
        k.settings = {**self.settings, "process.roles": "broker", "node.id": id, "controller.quorum.voters": f"1@127.0.0.1:{self.ports['CONTROLLER']}", "listeners": listeners}
        return k

    # ---- its life ----

    def start(self, extra=(), installed=False):
        """Starts it, on the same ports and data as before, and waits until it answers."""
        if not installed:
            install()
        if not (self.folder / "log" / "meta.properties").exists():
            self.format()
        with open(self.folder / "out.log", "ab") as out:
            self.process = subprocess.Popen([*java([*extra, f"-Dkafka.logs.dir={self.folder}"], archive=not extra), "kafka.Kafka", self.folder / "server.properties"],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, preexec_fn=None if self.keeps else die_with_parent)
        self.pid = self.process.pid
        (self.folder / "kafka.json").write_text(json.dumps({"pid": self.pid, "ports": self.ports, "settings": self.settings, "temporary": False}))
        self.wait()
        return self

    keeps = False  # whether it outlives this process

    def wait(self):
        """Until it answers a client's question for metadata."""
        end = time.monotonic() + START_S
        while subprocess.run(["kcat", "-b", self.address, "-L", "-m", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            if not self.running() or time.monotonic() > end:
                raise RuntimeError(f"Kafka {'does not answer' if self.running() else 'has ended'}:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def running(self):
        if self.process:
            return self.process.poll() is None
        try:
            return self.pid is not None and pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def output(self):
        return (self.folder / "out.log").read_text(errors="replace")

    def end(self, how, seconds):
        if not self.running():
            return
        os.kill(self.pid, how)
        end = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > end:
                raise RuntimeError(f"Kafka does not end:\n{self.output()[-4000:]}")
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

    # ---- its settings ----

    def format(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.certificates.exists():
            make_certificates(self.certificates)
        (self.folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in {**self.properties(), **self.settings}.items()))
        users = [w for m in ("SCRAM-SHA-256", "SCRAM-SHA-512") for w in ("--add-scram", f"{m}=[name={USER},password={PASSWORD}]")]
        run([*java(), "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", self.folder / "server.properties", *users])

    def properties(self):
        p = {
            "process.roles": "broker,controller", "node.id": 1, "controller.quorum.voters": f"1@127.0.0.1:{self.ports['CONTROLLER']}",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()),
            "advertised.listeners": ",".join(f"{name}://{self.server(name)}" for name in LISTENERS),
            "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,MTLS:SSL," + ",".join(f"{n}:{n}" for n in LISTENERS if n != "MTLS"),
            "log.dirs": self.folder / "log", "auto.create.topics.enable": "false", "num.partitions": 1,
            "broker.session.timeout.ms": 1500, "broker.heartbeat.interval.ms": 300,  # it is back at once after a kill
            "group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 1000, "log.retention.check.interval.ms": 1000,
            "num.network.threads": 2, "num.io.threads": 2, "background.threads": 2, "log.segment.bytes": 64 << 20,
        }
        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            p.update({f"{topic}.num.partitions": 1, f"{topic}.replication.factor": 1})
        p.update({"transaction.state.log.min.isr": 1, "share.coordinator.state.topic.min.isr": 1})
        p.update({"ssl.keystore.type": "PEM", "ssl.keystore.location": self.certificates / "store.pem", "ssl.truststore.type": "PEM",
                  "ssl.truststore.location": self.certificates / "ca.pem", "ssl.client.auth": "none", "listener.name.mtls.ssl.client.auth": "required"})
        login = "org.apache.kafka.common.security"
        for listener in ("sasl_plaintext", "sasl_ssl"):
            p[f"listener.name.{listener}.sasl.enabled.mechanisms"] = ",".join(MECHANISMS)
            p[f"listener.name.{listener}.plain.sasl.jaas.config"] = f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            for bits in (256, 512):
                p[f"listener.name.{listener}.scram-sha-{bits}.sasl.jaas.config"] = f"{login}.scram.ScramLoginModule required;"
            p[f"listener.name.{listener}.oauthbearer.sasl.jaas.config"] = f"{login}.oauthbearer.OAuthBearerLoginModule required;"
        return p


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("install", "start", "restart", "stop", "kill", "pause", "resume", "status", "run"))
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    o = parser.parse_args()
    if o.verb == "install":
        install()
        return 0
    if o.verb == "run":
        with Kafka() as k:
            return subprocess.run(o.rest, env={**os.environ, **k.environment()}).returncode
    more = argparse.ArgumentParser(prog=f"kafka.py {o.verb}")
    more.add_argument("folder")
    more.add_argument("--port", type=int, help="the first of six")
    more.add_argument("--set", action="append", default=[], metavar="name=value")
    m = more.parse_args(o.rest)
    Kafka.keeps = True
    if o.verb == "start":
        k = Kafka(m.folder, m.port, dict(s.split("=", 1) for s in m.set))
    else:
        k = Kafka.attach(m.folder)
    if o.verb != "status":
        getattr(k, o.verb)()
    for name in LISTENERS:
        print(f"{name:15} {k.server(name)}")
    print(f"{'pid':15} {k.pid if k.running() else 'not running'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
