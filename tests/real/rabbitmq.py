#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real RabbitMQ for tests: one node of Debian's rabbitmq-server, as whoever calls it, on free ports, with an epmd and its data for itself alone.

    from real.rabbitmq import RabbitMQ                tests/ is on sys.path (tests/conftest.py)
    with RabbitMQ() as r: ... r.address, r.url() ...  one for this test alone; r.kill(), r.restart(), r.pause(), r.resume()
    RabbitMQ.shared()                                 the one that the suites share (LEAT_RABBITMQ*); alone, one that lives as long as this process
    r.ctl("list_queues")                              rabbitmqctl's output (a second or two: it is an Erlang of its own)
    r.alarm(True)                                     no memory is left, as the node sees it: it blocks all who publish, until r.alarm(False)

From the command line (`start` leaves it running; the others find it by its folder):

    tests/real/rabbitmq.py start|restart|stop|kill|pause|resume|status FOLDER [--port N] [--set name=value]
    tests/real/rabbitmq.py ctl FOLDER WORD ...        rabbitmqctl
    tests/real/rabbitmq.py run COMMAND ...            runs a command with LEAT_RABBITMQ and stops the node after it

Every node has the vhosts / and VHOST, the user guest who may do all in both, and USER who may do all in VHOST only. It serves AMQP, and AMQPS with a certificate that is
good for the name localhost only; a client's own is checked where it shows one (with the setting ssl_options.fail_if_no_peer_cert=true it must).
`settings` are lines of rabbitmq.conf; `management=True` adds its page (Management in `ports`) and costs a second more to start.
"""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

if __name__ == "__main__":
    import pathlib
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from real.node import Node, alive, command_line, die_with_parent, make_certificates, run  # noqa: E402

PROGRAMS = "/usr/lib/rabbitmq/bin"  # those in /usr/sbin change to the user of the system's own service
USER, PASSWORD, VHOST = "leat-user", "correct-horse-battery", "leat-tests"
HELLO = b"AMQP\x00\x00\x09\x01"
MEMORY = "1GiB"  # of the node's process, above which it blocks who publishes


class RabbitMQ(Node):
    """`settings` are lines of rabbitmq.conf."""

    NAME, PORTS = "RabbitMQ", ("AMQP", "AMQPS", "Management", "distribution", "epmd")

    def __init__(self, folder=None, port=None, settings=None, management=False):
        super().__init__(folder, port, settings)
        self.management = management
        self.epmd = None

    # ---- how it is reached ----

    @property
    def address(self):
        return f"127.0.0.1:{self.ports['AMQP']}"

    def server(self, tls=False):
        """host:port. With TLS it goes by the name that the certificate is for."""
        return f"localhost:{self.ports['AMQPS']}" if tls else self.address

    def url(self, user="guest", password="guest", vhost="/", tls=False):
        user, password, vhost = (urllib.parse.quote(word, safe="") for word in (user, password, vhost))
        return f"amqp{'s' if tls else ''}://{user}:{password}@{self.server(tls)}/{vhost}"

    def doors(self):
        page = {"management": f"http://127.0.0.1:{self.ports['Management']}"} if self.management else {}
        return {"AMQP": self.url(), "AMQPS": self.url(tls=True), "CA": self.certificates / "ca.pem", **page}

    # ---- its life ----

    def surroundings(self):
        """What keeps it apart from every other node on the machine."""
        f = self.folder
        return {
            **os.environ, "HOME": str(f), "LANG": "C.UTF-8", "ERL_EPMD_PORT": str(self.ports["epmd"]), "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_NODENAME": "leat@localhost",
            "RABBITMQ_NODE_PORT": str(self.ports["AMQP"]), "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_DIST_PORT": str(self.ports["distribution"]),
            "RABBITMQ_BASE": str(f), "RABBITMQ_MNESIA_BASE": str(f / "mnesia"), "RABBITMQ_LOG_BASE": str(f / "log"), "RABBITMQ_PID_FILE": str(f / "pid"),
            "RABBITMQ_CONFIG_FILE": str(f / "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(f / "enabled_plugins"), "RABBITMQ_CONF_ENV_FILE": str(f / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(f / "none"), "RABBITMQ_SERVER_ERL_ARGS": "+P 131072 +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            "ERL_CRASH_DUMP": str(f / "erl_crash.dump"),
            "detached": "1",  # rabbitmq-server becomes the node, instead of standing beside it
        }

    def begin(self):
        self.format()
        self.process = None
        if not alive(self.epmd):
            self.epmd = self.spawn(["epmd", "-address", "127.0.0.1", "-port", self.ports["epmd"]]).pid
            self.wait_for_epmd()
        self.process = self.spawn([f"{PROGRAMS}/rabbitmq-server"], env=self.surroundings())

    def kept(self):
        return {"epmd": self.epmd, "management": self.management}

    def wait_for_epmd(self):
        """A node that finds none starts one itself, which would stay."""
        while alive(self.epmd):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.ports["epmd"])) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"epmd has ended:\n{self.output()[-4000:]}")

    def answers(self):
        """Whether a client's hello is answered by AMQP's first frame (a method's, so its first byte is 1)."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports["AMQP"]), 2) as s:
                s.settimeout(2)
                s.sendall(HELLO)
                return s.recv(1) == b"\x01"
        except OSError:
            return False

    def end(self, how, seconds):
        super().end(how, seconds)
        if alive(self.epmd):
            os.kill(self.epmd, signal.SIGKILL)
            try:
                os.waitpid(self.epmd, 0)
            except ChildProcessError:
                pass  # another process started it

    # ---- what an operator does to it ----

    def remember(self, tables="[ra_log_meta, ra_directory_reverse]"):
        """Writes down what RabbitMQ 3.10 keeps in memory for a while, such as which log is a new quorum queue's. Killed before, it begins that queue anew, empty and for ever without a leader
        (docs/internals/rabbitmq.md)."""
        self.ctl("eval", f"[dets:sync(T) || T <- {tables}].")

    def told(self):
        """What it has: queues with what lies in them, who consumes them, bindings, and whether quorum queues have a leader."""
        asked = [("list_queues", "-p", vhost, "name", "type", "state", "messages_ready", "messages_unacknowledged", "consumers", "leader") for vhost in ("/", VHOST)]
        asked += [(words, "-p", vhost) for words in ("list_consumers", "list_bindings") for vhost in ("/", VHOST)]
        asked += [("eval", "[{N, maps:with([state, uid], S)} || {N, S} <- maps:to_list(ra_directory:overview(quorum_queues))].")]
        said = []
        for words in asked:
            try:
                said.append(f"$ rabbitmqctl {' '.join(words)}\n{self.ctl(*words)}")
            except RuntimeError as e:
                said.append(str(e))
        return "\n".join(said)

    @contextlib.contextmanager
    def telling(self):
        """What fails in here says what the node has, too."""
        try:
            yield
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.told()}") from None

    def ctl(self, *words):
        return run([f"{PROGRAMS}/rabbitmqctl", "--quiet", *words], env={**self.surroundings(), "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none"})

    def alarm(self, on):
        self.ctl("set_vm_memory_high_watermark", "absolute", "1" if on else MEMORY)

    def add_vhost(self, name, *users):
        self.ctl("add_vhost", name)
        for user in ("guest", *users):
            self.permit(user, name)

    def add_user(self, name, password, *vhosts):
        self.ctl("add_user", name, password)
        for vhost in vhosts:
            self.permit(name, vhost)

    def permit(self, user, vhost="/", configure=".*", write=".*", read=".*"):
        self.ctl("set_permissions", "-p", vhost, user, configure, write, read)

    def change_password(self, user, password):
        """Connections that are open stay so."""
        self.ctl("change_password", user, password)

    def disconnect(self, why):
        """Closes all clients' connections."""
        self.ctl("close_all_connections", "--global", why)

    # ---- its settings ----

    def format(self):
        first = not (self.folder / "mnesia").exists()
        for name in ("mnesia", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if first:
            make_certificates(self.certificates)
            cookie = self.folder / ".erlang.cookie"
            cookie.write_text(os.urandom(16).hex().upper())
            cookie.chmod(0o400)
            (self.folder / "definitions.json").write_text(json.dumps(self.definitions()))
        (self.folder / "enabled_plugins").write_text(f"[{'rabbitmq_management' if self.management else ''}].\n")
        # what is defined at the first start and changed since must not come back with the next
        lines = {**self.properties(), **({"load_definitions": self.folder / "definitions.json"} if first else {}), **self.settings}
        (self.folder / "rabbitmq.conf").write_text("".join(f"{k} = {v}\n" for k, v in lines.items()))

    def definitions(self):
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        return {
            "vhosts": [{"name": "/"}, {"name": VHOST}],
            "users": [{"name": "guest", "password": "guest", "tags": ["administrator"]}, {"name": USER, "password": PASSWORD, "tags": []}],
            "permissions": [{"user": user, "vhost": vhost, **everything} for user, vhost in (("guest", "/"), ("guest", VHOST), (USER, VHOST))],
        }

    def properties(self):
        p = {
            "log.console": "true", "log.console.level": "warning", "log.console.use_colors": "off", "log.file": "false", "vm_memory_high_watermark.absolute": MEMORY, "disk_free_limit.absolute": "50MB",
            "listeners.ssl.1": f"127.0.0.1:{self.ports['AMQPS']}", "ssl_options.cacertfile": self.certificates / "ca.pem",
            "ssl_options.certfile": self.certificates / "broker.pem", "ssl_options.keyfile": self.certificates / "broker.key",
            "ssl_options.verify": "verify_peer", "ssl_options.fail_if_no_peer_cert": "false",
        }
        if self.management:
            p.update({"management.tcp.ip": "127.0.0.1", "management.tcp.port": self.ports["Management"]})
        return p


def ctl(folder, *words):
    print(RabbitMQ.attach(folder).ctl(*words), end="")
    return 0


if __name__ == "__main__":
    sys.exit(command_line(RabbitMQ, __doc__, {"ctl": ctl}))
