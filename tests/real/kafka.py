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
import base64
import fcntl
import json
import pathlib
import shutil
import subprocess
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from real.node import BUILD, HERE, Node, command_line, make_certificates, run  # noqa: E402

VERSION = "4.3.1"
CACHE = BUILD / f"kafka-{VERSION}"
LISTENERS = ("PLAINTEXT", "SSL", "MTLS", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
USER, PASSWORD = "leat-user", "correct-horse-battery"
AUTHORIZER = {  # settings of a broker on which USER may do only what ACLs say, and who comes by PLAINTEXT everything
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


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


def token(subject=USER, lasts_s=3600):
    """An unsigned JWT as the broker takes it (its OAUTHBEARER listener validates nothing but the times)."""
    def part(claims):
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    now = int(time.time())
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now + min(0, lasts_s) - 60, 'exp': now + lasts_s})}."


class Kafka(Node):
    """`settings` are lines of server.properties."""

    NAME, PORTS = "Kafka", (*LISTENERS, "CONTROLLER")

    # ---- how it is reached ----

    @property
    def address(self):
        return f"127.0.0.1:{self.ports['PLAINTEXT']}"

    def server(self, listener):
        """host:port of that listener. Those with TLS go by the name that the certificate is for."""
        return f"{'127.0.0.1' if 'PLAINTEXT' in listener else 'localhost'}:{self.ports[listener]}"

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

    def doors(self):
        return {name: self.server(name) for name in LISTENERS}

    # ---- its life ----

    def begin(self, extra=(), installed=False):
        if not installed:
            install()
        if not (self.folder / "log" / "meta.properties").exists():
            self.format()
        self.process = self.spawn([*java([*extra, f"-Dkafka.logs.dir={self.folder}"], archive=not extra), "kafka.Kafka", self.folder / "server.properties"])

    def answers(self):
        """Whether it answers a client's question for metadata."""
        return subprocess.run(["kcat", "-b", self.address, "-L", "-m", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

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


if __name__ == "__main__":
    sys.exit(command_line(Kafka, __doc__, {"install": install}))
