# SPDX-License-Identifier: Apache-2.0
"""Runs the test suites, as many beside each other as the processors have room for, and ends with "N passed, N failed".

A suite is built and run by one command line. By default unit tests, servers and examples run as they should be trusted least: unit tests and the server under the
address and undefined-behaviour sanitizers, what has threads also under the thread sanitizer. T=WORD picks the suites whose name holds WORD; SAN=... builds unit tests and
servers with that sanitizer only; ALL=1 runs what takes minutes too, and every row on every bus. Suites that want Kafka, RabbitMQ or Pub/Sub share one, which runs as long as they do. A failing suite's output is printed whole, and its name once more at
the end; a passing one is a line, with the seconds that it took and that it had a processor. Few that failed are run once more, alone, when all else has ended: a crowded machine may not give them the time
that they need. What fails then has failed; what passes is named as unsteady. What a sanitizer, a fuzzer or a crash laboratory reports has failed at once. docs/internals/tests.md says what runs where.
"""
import concurrent.futures
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from real.kafka import Kafka  # noqa: E402
from real.kubernetes import Kubernetes  # noqa: E402
from real.pubsub import Emulator, PubSub  # noqa: E402
from real.rabbitmq import RabbitMQ  # noqa: E402

WORD = os.environ.get("T", "")
SAN = os.environ.get("SAN", "")
ALL = bool(os.environ.get("ALL"))
FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS", "4")
FUZZ_SAN = "address,undefined,fuzzer-no-link"
THREADED = ("base_loop", "base_timers", "base_mailbox", "base_log", "base_http_server", "base_http_client", "channels_contract_memory", "channels_contract_faulty", "channels_log_store", "channels_log_reclaim",
            "channels_contract_log", "channels_contract_log_faulty", "channels_log_bus", "channels_log_yield", "channels_log_bus_crash", "channels_contract_kafka_shared", "channels_contract_pubsub", "channels_contract_rabbitmq", "clients_kafka", "clients_rabbitmq_link", "clients_rabbitmq_hostile", "broker_engine")
THREADED_SERVERS = ("access_streams", "kubectl_watching")  # where streams of the API meet loops and the watcher of tokens
FETCHED = {"kubectl": "kubectl", "kn_client": "kn", "upstream_samples": "kn", "kafka_security": "newer-librdkafka", "github_payloads": "github-payloads", "cesql_tck": "cesql-tck", "kafka_interop": "python-clients", "kafka_expiry": "python-clients", "kafka_forms": "python-clients", "kafka_acl": "python-clients", "rabbitmq_interop": "python-clients", "rabbitmq_forms": "python-clients", "rabbitmq_source": "python-clients", "adapters (rabbitmq)": "python-clients", "container_image (rabbitmq)": "python-clients"}  # suites whose cases a script of tests/setup brings
ON_EVERY_BUS = ("knative_control", "knative_delivery", "knative_filters", "knative_ingress", "delivery_policies", "dlq", "pause", "keep_cursor")
BUSES = ("faulty,inner=memory", "log", "kafka,bootstrap.servers=$LEAT_KAFKA", "rabbitmq,host=$LEAT_RABBITMQ", "pubsub,emulator=$LEAT_PUBSUB,project=leat-tests")  # beside memory; as `serve --bus` takes them
SAMPLED = ("faulty", "kafka", "rabbitmq", "pubsub")  # of a test's rows these take one, each another one; memory and log take all, and so do these when T names them, or ALL is set
ADAPTERS = ("kafka", "rabbitmq", "pubsub", "kubernetes")  # beside those that need nothing, rows of server adapters
LARGE = 16 << 20  # bytes of a record that the Kafka of the suites takes: the largest event of theirs is 10 MiB
# Minutes each, for what other suites show in part: they run when T names them (T=kafka runs them all), or ALL is set.
LONG = ("server knative_delivery (kafka", "server knative_filters (kafka", "server knative_ingress (kafka", "server kafka_expiry", "crash of a kafka and of leat on it",
        "server knative_delivery (rabbitmq", "server knative_delivery (pubsub", "crash of a rabbitmq and of leat on it")
AGAIN_MAX = 10  # suites of some 340 that are run once more: when more fail, the machine is not the reason
# In the output of a suite that failed: the report of a sanitizer, a fuzzer or a crash laboratory. That is no matter of time.
PROOF = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:|ERROR: libFuzzer|^FAILED after \d+ kills, seed \d+: (\W|\d|acknowledged|parked|the server ended)", re.M)
# Of a processor: what suites take that wait for most of their time, by the first word or words of their name. Others take a whole one.
SHARES = {"server": 0.4, "contract": 0.3, "example": 0.4, "unit broker_engine": 0.2, "unit broker_happenings": 0.2, "unit channels_kafka": 0.2, "unit clients_": 0.4}
LIMIT = 1800  # seconds for one suite: only a hanging one meets it, on whatever machine
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def build_dir(san, clang=False):
    return "build" + (f"/{san.replace(',', '-')}" if san else "") + ("/clang" if clang else "")


class Suite:
    """`command` is run in the project's root after `make TARGET` with the given SAN and compiler; `count` reads how many tests its output tells of."""

    def __init__(self, name, command, target=None, san="", clang=False, env=None):
        self.name, self.command, self.target, self.san, self.clang, self.env = name, command, target, san, clang, env or {}

    def make(self):
        words = ["make", "--no-print-directory", "-s"]
        if self.san:
            words.append(f"SAN={self.san}")
        if self.clang:
            words.append("CC=clang-14")
        return words


def unit_suites():
    for source in sorted([*(ROOT / "tests/unit").glob("*.c"), *(ROOT / "tests/fault").glob("*.c")]):
        name = source.stem
        kind = "fault" if source.parent.name == "fault" else "contract" if "_contract_" in name else "unit"
        sans = [SAN] if SAN else ["address,undefined"] + (["thread"] if name in THREADED else [])
        for san in sans:
            program = f"{build_dir(san)}/tests/{source.parent.name}/{name}"
            yield Suite(f"{kind} {name}" + (" (threads)" if san == "thread" and not SAN else ""), [program], program, san)
        if "_contract_pubsub" in name and Emulator.jar():  # Google's own, which can what its fake cannot
            program = f"{build_dir(sans[0])}/tests/unit/{name}"
            yield Suite(f"{kind} {name} (emulator)", ["tests/real/pubsub.py", "emulated", program], program, sans[0])


def crash_suites():
    """The log's crash laboratory once more without sanitizers: at full length, since it can afford ten times as many crashes."""
    for program in ("unit/channels_log_crash", "unit/channels_log_damage", "fault/channels_log_faults"):
        yield Suite(f"crash {program.partition('/')[2]}", [f"build/tests/{program}"], f"build/tests/{program}")


def fuzz_suites():
    for source in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")):
        name = source.stem
        program = f"{build_dir(FUZZ_SAN, True)}/tests/fuzz/{name}"
        corpus = ROOT / "tests/fuzz/corpus" / name.removeprefix("fuzz_")
        found = ROOT / "build/fuzz" / name
        found.mkdir(parents=True, exist_ok=True)
        command = [program, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1", f"-artifact_prefix={found}/", found]
        yield Suite(f"fuzz {name.removeprefix('fuzz_')}", command + ([corpus] if corpus.is_dir() else []), program, FUZZ_SAN, True)


def server_suites():
    san = SAN or "address,undefined"
    program = f"{build_dir(san)}/leat"
    for source in sorted((ROOT / "tests/server").glob("test_*.py")):
        name = source.stem.removeprefix("test_")
        if name in ("adapters", "container_image"):
            yield from adapter_suites(source, program, san)
            continue
        for n, bus in enumerate([None, *(BUSES if name in ON_EVERY_BUS else [])]):
            system = bus and bus.partition(",")[0]
            some = system in SAMPLED and not WORD and not ALL
            env = {"LEAT": str(ROOT / program), **({"LEAT_BUS": bus} if bus else {}), **({"LEAT_ROWS": str(n)} if some else {})}
            title = f"server {name}" + (f" ({system}{', a row of each' if some else ''})" if bus else "")
            yield Suite(title, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", source], program, san, env=env)
        if name in THREADED_SERVERS and not SAN:
            threads = f"{build_dir('thread')}/leat"
            yield Suite(f"server {name} (threads)", [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", source], threads, "thread", env={"LEAT": str(ROOT / threads)})


def adapter_suites(source, program, san):
    """A suite for each row, so that only those on Kafka and the like want one."""
    others = "not " + " and not ".join(ADAPTERS)
    for rows in (others, *(a for a in ADAPTERS if f'"{a}"' in source.read_text())):
        title = f"server {source.stem.removeprefix('test_')}" + (f" ({rows})" if rows in ADAPTERS else "")
        yield Suite(title, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", rows, source], program, san, env={"LEAT": str(ROOT / program)})


def example_suites():
    for run in sorted((ROOT / "examples").glob("*/run")):
        yield Suite(f"example {run.parent.name}", [run], "all")


def real_crash_suites():
    """The real process killed under load. The first two show that the proof can fail."""
    proof = [sys.executable, "tests/crash/real.py"]
    yield Suite("crash real: lost events are found", [*proof, "--cycles", "2", "--bus", "memory", "--must-fail", "acknowledged and lost"], "crash-tools")
    yield Suite("crash real: repeated events are found", [*proof, "--cycles", "2", "--gently", "--bus", "faulty,inner=memory,duplicate=0.1", "--must-fail", "twice_in_a_life"], "crash-tools")
    yield Suite("crash real: killed 60 times", [*proof, "--cycles", "60"], "crash-tools")
    yield Suite("crash real: stopped under load 20 times", [*proof, "--cycles", "20", "--gently"], "crash-tools")
    for system in ("kafka", "rabbitmq"):
        yield Suite(f"crash of a {system} and of leat on it", [sys.executable, f"tests/crash/{system}.py"], "crash-tools")


def all_suites():
    yield Suite("lint", [sys.executable, "tests/lib/lint.py"])
    yield Suite("lint what runs the suites", [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/lib/test_suites.py"])
    yield Suite("build clang", ["true"], "all", clang=True)
    yield from unit_suites()
    yield from crash_suites()
    yield from server_suites()
    yield from example_suites()
    yield from real_crash_suites()
    yield from fuzz_suites()


COUNTS = (
    (re.compile(r"^\[  PASSED  \] (\d+) test", re.M), re.compile(r"^\[  FAILED  \] (\d+) test", re.M)),
    (re.compile(r"(\d+) passed(?=.* in [\d.]+s)"), re.compile(r"(\d+) (?:failed|error)(?=.* in [\d.]+s)")), # pytest's last line
)


def counts(output, good):
    """(passed, failed) as the output tells; one test where it tells nothing."""
    for passed, failed in COUNTS:
        p, f = passed.findall(output), failed.findall(output)
        if p or f:
            n, m = sum(map(int, p)), sum(map(int, f))
            return (n, m) if good or m else (n, 1)
    return (1, 0) if good else (0, 1)


def environment(suite):
    env = dict(os.environ, **{name: os.path.expandvars(value) for name, value in suite.env.items()})
    # Strict checks want a NUL behind what strndup copies, which its contract (POSIX) does not: librdkafka copies a broker's refusal of a token out of the bytes it received.
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1:intercept_strndup=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1")
    for name in ("T", "SAN", "ALL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        env.pop(name, None)
    return env


class Ended:
    """How a suite ended: whether it is good, its output, how long it took, and how much of the processors it and all that it waited for had."""

    def __init__(self, good, output, seconds, cpu):
        self.good, self.output, self.seconds, self.cpu = good, output, seconds, cpu
        self.passed, self.failed = counts(output, good)


def run(suite):
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([str(w) for w in suite.command], cwd=ROOT, env=environment(suite), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        late = threading.Timer(LIMIT, process.kill)
        late.start()
        _, status, used = os.wait4(process.pid, 0)
        late.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        out.seek(0)
        output = out.read().decode("utf-8", "replace")
    if seconds >= LIMIT:
        output += f"\nnot done after {LIMIT} s\n"
    return Ended(process.returncode == 0, output, seconds, used.ru_utime + used.ru_stime)


def build(suites):
    """Builds everything first, one make a build directory, so that suites do not build beside each other. False when one failed."""
    groups = {}
    for s in suites:
        if s.target:
            groups.setdefault(tuple(s.make()), set()).add(s.target)
    for words, targets in groups.items():
        print(f"building {' '.join(words[3:]) or 'release'} ({len(targets)})", flush=True)
        if subprocess.run([*words, f"-j{os.cpu_count()}", *sorted(targets)], cwd=ROOT, env=environment(suites[0])).returncode != 0:
            return False
    return True


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


# One for all; who stops or kills one starts its own. The Kafka stays, however late a busy machine lets its signs of life be: without them it has no leaders, and takes no topics.
NODES = {"kafka": lambda: Kafka(settings={"message.max.bytes": LARGE, "broker.session.timeout.ms": 60000}), "rabbitmq": RabbitMQ, "pubsub": PubSub, "kubernetes": Kubernetes}


def wants(suite, node):
    """Whether it needs a real one: by its name, but for those that test what needs none."""
    return node in suite.name and suite.name.partition(" ")[0] not in ("unit", "fault", "fuzz")


def main():
    suites = [s for s in all_suites() if WORD in s.name and (WORD or ALL or not s.name.startswith(LONG))]
    if not suites:
        print(f"no suite's name holds '{WORD}'; they are:\n  " + "\n  ".join(s.name for s in all_suites()))
        return 2
    for word, script in FETCHED.items():
        if any(word in s.name for s in suites) and subprocess.run([ROOT / "tests/setup" / script]).returncode != 0:
            return 1
    if not build(suites):
        print("0 passed, 1 failed")
        return 1
    with contextlib.ExitStack() as running:
        for name, node in NODES.items():
            if any(wants(s, name) for s in suites):
                os.environ.update(running.enter_context(node()).environment())
        return run_all(suites)


def queues(suites):
    """What runs one after the other: the servers on one Kafka (RabbitMQ, ...), whose members and brokers a crowd of them would keep from giving signs of life; what tests the clients and buses of it, most of it
    on mocks; each other suite by itself. The long queues come first."""
    shared, alone = {}, []
    for s in suites:
        node = next((n for n in NODES if n in s.name), None)
        kind = s.name.partition(" ")[0]
        if node and kind != "fuzz":
            shared.setdefault((node, kind in ("unit", "fault", "contract")), []).append(s)
        else:
            alone.append([s])
    return sorted(shared.values(), key=len, reverse=True) + alone


def share(suite):
    """Of a processor, that it takes while it runs: as measured, and rounded up."""
    return next((part for words, part in SHARES.items() if suite.name.startswith(words)), 1.0)


def next_one(waiting, left):
    """Takes the first queue out whose first suite the processors have room for."""
    for i, queue in enumerate(waiting):
        if share(queue[0]) <= left:
            return waiting.pop(i)
    return None


def run_beside(suites, ended):
    """Runs all of them, as many beside each other as the processors have room for."""
    waiting, running, left = queues(suites), {}, float(os.cpu_count())
    with concurrent.futures.ThreadPoolExecutor(len(waiting)) as pool:
        while waiting or running:
            while queue := next_one(waiting, left + 0.01):
                running[pool.submit(run, queue[0])] = queue
                left -= share(queue[0])
            for done in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                suite, *rest = running.pop(done)
                left += share(suite)
                tell(suite, done.result(), ended)
                if rest:
                    waiting.insert(0, rest)


def tell(suite, end, ended):
    ended[suite] = end
    print(f"{paint('ok    ', 32) if end.good else paint('FAILED', 31)} {suite.name} ({end.passed} passed, {end.failed} failed, {end.seconds:.1f} s, {end.cpu:.1f} s of a processor)", flush=True)
    if not end.good:
        print(end.output, flush=True)


def again(suites, ended):
    """Those that are run once more."""
    bad = [s for s in suites if not ended[s].good]
    return [s for s in bad if not PROOF.search(ended[s].output)] if len(bad) <= AGAIN_MAX else []


def run_all(suites):
    ended = {}  # suite -> Ended, of its last run
    run_beside(suites, ended)
    unsteady = []
    for suite in again(suites, ended):
        tell(suite, run(suite), ended)
        if ended[suite].good:
            unsteady.append(suite)
    for suite in unsteady:
        print(f"{paint('unsteady', 33)}: {suite.name} failed, and passed when it ran alone")
    for suite in suites:
        if not ended[suite].good:
            print(f"{paint('failed', 31)}: {suite.name}")
    print(f"{sum(e.passed for e in ended.values())} passed, {sum(e.failed for e in ended.values())} failed")
    return 0 if all(e.good for e in ended.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
