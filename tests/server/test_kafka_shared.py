# SPDX-License-Identifier: Apache-2.0
"""Two `leat serve --shared` on one set of manifests and one Kafka share the work, and each takes over from the other: killed, stopped, with parked events and replays from either."""

import json
import signal
import threading
import time

import leat as lib
import pytest
from broker import Broker, channel, event, subscription
from leat import Reply, wait_for
from real.kafka import Kafka
from recorder import Recorder

SESSION = 3  # seconds without a sign of life, after which a member's partitions go to others
COMMIT_S = 5.0  # what was settled so long before the end of a process was committed by then (200 ms, on a machine that has time); the rest of it may come twice
SLACK = 30  # seconds that a machine under load may take longer than it should


@pytest.fixture
def pair(leat_binary, tmp_path):
    """pair(objects, ...) → two processes on one manifest, one Kafka, with four partitions a topic."""
    running = []

    def run(objects, *args, count=2):
        bus = f"kafka,bootstrap.servers={Kafka.shared().address},topic.partitions=4,session={SESSION}s"
        for _ in range(count):
            running.append(Broker(tmp_path, objects, "--shared", "--bus", bus, *args))
        return running[-count:]

    yield run
    bad = []
    for process in running:
        if process.process.poll() is None and (code := process.stop()) != 0:
            bad.append(f"exit code {code}:\n{process.logs}")
    assert not bad, "\n\n".join(bad)


def objects_of(recorder, rule=lambda request, nth: Reply(), **delivery):
    endpoint = recorder.add("s", rule)
    return endpoint, [channel("c"), subscription("s", "c", endpoint.url, **delivery)]


def delivered(process):
    return process.metric("leat_deliveries_total", namespace="default", subscription="s", end="delivered")


class Load(threading.Thread):
    """Posts events with keys, one after another, to whatever process is named at the time; remembers what was acknowledged."""

    def __init__(self, name, processes):
        super().__init__(daemon=True)
        self.name_, self.processes, self.acknowledged, self.stopping = name, list(processes), {}, threading.Event()
        self.start()

    def run(self):
        n = 0
        while not self.stopping.is_set():
            for process in list(self.processes):
                id_ = f"{self.name_}-{n}"
                n += 1
                try:
                    if process.post("c", b"x" * 100, event(id_, partitionkey=f"k{n % 16}", posted=f"{time.monotonic():.6f}")).status == 202:
                        self.acknowledged[id_] = time.monotonic()
                except OSError:
                    pass  # it has been killed: nothing was acknowledged

    def end(self):
        self.stopping.set()
        self.join()
        return self.acknowledged


def arrivals(endpoint):
    """id → the times of its arrivals."""
    times = {}
    for request in list(endpoint.requests):
        times.setdefault(request.id, []).append(request.at)
    return times


def both_work(endpoint, processes):
    """Posts until each process has delivered something: the partitions are shared out, and lie still."""
    n = 0

    def shared():
        nonlocal n
        for process in processes:
            for key in range(16):
                n += 1
                assert process.post("c", b"", event(f"warm-{n}", partitionkey=f"k{key}")).status == 202
        return all(delivered(p) > 0 for p in processes)

    wait_for(shared, "both to deliver")
    wait_for(lambda: len(arrivals(endpoint)) >= n, "what was posted meanwhile")


def wait_all(endpoint, acknowledged, timeout=60):
    wait_for(lambda: acknowledged.keys() <= arrivals(endpoint).keys(), "all that was acknowledged", timeout)


def test_two_share_the_work(pair):
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        both_work(endpoint, (one, two))
        before = delivered(one), delivered(two)
        load = Load("a", (one, two))
        wait_for(lambda: len(load.acknowledged) >= 300, "the load")
        acknowledged = load.end()
        wait_all(endpoint, acknowledged)
        assert delivered(one) > before[0] and delivered(two) > before[1]
        times = arrivals(endpoint)
        assert all(len(times[id_]) == 1 for id_ in acknowledged)


def test_they_name_everything_alike_and_files_alone_change_it(pair):
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        path = "/apis/messaging.knative.dev/v1/namespaces/default/subscriptions"
        uids = [p.ask("GET", path).json()["items"][0]["metadata"]["uid"] for p in (one, two)]
        assert uids[0] == uids[1] and uids[0][14] == "8"
        answer = one.ask("DELETE", path + "/s")
        assert answer.status == 405 and answer.headers["allow"] == "GET" and "--shared" in answer.json()["message"] and "SIGHUP" in answer.json()["message"]
        assert one.ask("POST", path, subscription("t", "c", endpoint.url)).status == 405
        assert one.ask("POST", "/leat/v1/subscriptions/default/subscription/s/pause").status == 405
        assert one.ask("GET", path + "/s").status == 200
        # A pause by annotation, of one process at a time: the other goes on.
        one.reload([objects[0], subscription("s", "c", endpoint.url, annotations={"leat.dev/paused": "true"})])
        wait_for(lambda: any(c.get("reason") == "Paused" for c in one.ask("GET", path + "/s").json()["status"]["conditions"]), "the pause to be in force")
        for n in range(16):
            assert one.post("c", b"", event(f"p-{n}", partitionkey=f"k{n}")).status == 202
        wait_for(lambda: len(arrivals(endpoint)) == 16, "the other process")
        wait_for(lambda: delivered(two) >= 16, "its count of them")


def first_after(endpoint, since, key):
    """When the first event of this key arrived that was posted after `since`; None: none has."""
    return min((r.at for r in list(endpoint.requests) if r.event.get("partitionkey") == key and float(r.event.get("posted", 0)) > since), default=None)


def test_killed_under_load(pair):
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        both_work(endpoint, (one, two))
        loads = [Load("a", (one,)), Load("b", (two,))]
        wait_for(lambda: all(len(load.acknowledged) >= 150 for load in loads), "the load")
        one.process.kill()
        killed = time.monotonic()
        keys = [f"k{n}" for n in range(16)]
        wait_for(lambda: all(first_after(endpoint, killed, key) for key in keys), "every key to go on")
        taken = max(first_after(endpoint, killed, key) for key in keys) - killed
        acknowledged = {k: v for load in loads for k, v in load.end().items()}
        wait_all(endpoint, acknowledged)
        times = arrivals(endpoint)
        repeated = {id_: times[id_] for id_ in acknowledged if len(times[id_]) > 1}
        print(f"taken over after {taken:.2f} s; {len(acknowledged)} acknowledged, {len(repeated)} came twice")
        assert taken < 2 * SESSION + SLACK
        assert all(min(at) > killed - COMMIT_S for at in repeated.values()), {id_: min(at) - killed for id_, at in repeated.items()}


def test_stopped_under_load(pair):
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        both_work(endpoint, (one, two))
        load = Load("a", (two,))
        wait_for(lambda: len(load.acknowledged) >= 150, "the load")
        began = time.monotonic()
        assert one.stop() == 0, one.logs
        took = time.monotonic() - began
        count = len(load.acknowledged)
        wait_for(lambda: len(load.acknowledged) >= count + 100, "the load after the stop")
        acknowledged = load.end()
        wait_all(endpoint, acknowledged)
        times = arrivals(endpoint)
        assert [id_ for id_ in acknowledged if len(times[id_]) > 1] == []
        print(f"stopped after {took:.2f} s")
        assert "serve.stopped" in one.logs and "lost=0" in one.logs


def test_one_comes_back(pair):
    """A process that starts again takes its part: nothing waits for it, nothing repeats."""
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        both_work(endpoint, (one, two))
        assert one.stop() == 0
        assert two.post("c", b"", event("between", partitionkey="k1")).status == 202
        wait_for(lambda: "between" in arrivals(endpoint), "the event between")
        (again,) = pair(objects, count=1)
        both_work(endpoint, (again, two))


def test_parked_events_from_either(pair, run):
    """What one process parked, the other lists and redrives."""
    good = threading.Event()
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder, lambda request, nth: Reply(202 if good.is_set() else 400))
        one, two = pair(objects)
        for n in range(8):
            assert one.post("c", b"", event(f"e-{n}", partitionkey=f"k{n}")).status == 202
        wait_for(lambda: len(arrivals(endpoint)) == 8, "the refusals")

        def listed(process):
            code, out, said = run("dlq", "list", "subscription/s", "-o", "json", env={"LEAT_SERVER": process.api})
            assert code == 0, said
            return {item["id"] for item in json.loads(out)["items"]}

        ids = {f"e-{n}" for n in range(8)}
        wait_for(lambda: listed(one) == ids, "all in the list of one")
        wait_for(lambda: listed(two) == ids, "all in the list of the other")
        good.set()
        since = time.monotonic()

        def redriven():
            """By as many redrives as it takes: of what the other process still has in hand, one says that it is to be tried again."""
            code, _, said = run("dlq", "redrive", "subscription/s", "--all", env={"LEAT_SERVER": two.api})
            assert code == 0, said
            return all(max(at) > since for at in arrivals(endpoint).values())

        wait_for(redriven, "the redriven ones")
        wait_for(lambda: listed(one) == set(), "none left")


def test_parked_events_that_another_process_has_in_hand(pair, run):
    """While one is looked at again and again, the other says who has them; afterwards it has them itself."""
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder, lambda request, nth: Reply(400))
        one, two = pair(objects)
        for n in range(4):
            assert one.post("c", b"", event(f"e-{n}", partitionkey=f"k{n}")).status == 202
        wait_for(lambda: len(arrivals(endpoint)) == 4, "the refusals")

        def asked(process, *words):
            return run("dlq", *words, env={"LEAT_SERVER": process.api})

        wait_for(lambda: len(json.loads(asked(one, "list", "subscription/s", "-o", "json")[1])["items"]) == 4, "all in the list of one")
        stop = threading.Event()

        def look():
            while not stop.is_set():
                one.ask("GET", "/leat/v1/dlq/default/subscription/s")

        looker = threading.Thread(target=look)
        looker.start()
        try:
            code, _, said = asked(two, "list", "subscription/s")
            assert code == 0 and "another leat on the same bus has events in hand" in said and "No events are parked" not in said, said
            code, _, said = asked(two, "redrive", "subscription/s", "e-1")
            assert code == 1 and "no event parked for" in said and "another leat on the same bus" in said, said
        finally:
            stop.set()
            looker.join()
        code, out, said = asked(two, "discard", "subscription/s", "--all", "--yes")
        assert code == 0, said
        wait_for(lambda: json.loads(asked(one, "list", "subscription/s", "-o", "json")[1])["items"] == [], "none left")


def test_a_replay_from_either(pair, run):
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        two.metrics()  # it looks how much there is: what comes right after is not to be missed by the replay
        for n in range(20):
            assert one.post("c", b"", event(f"e-{n}", partitionkey=f"k{n}")).status == 202
        wait_for(lambda: len(arrivals(endpoint)) == 20, "the events")
        since = time.monotonic()
        code, _, said = run("replay", "subscription/s", "--from", "earliest", env={"LEAT_SERVER": two.api})
        assert code == 0, said
        wait_for(lambda: all(max(at) > since for at in arrivals(endpoint).values()), "all of them again")


def test_what_leaves_the_files_stays_on_kafka(pair):
    """One process no longer has a channel: the other goes on with it as if nothing had been."""
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder)
        one, two = pair(objects)
        both_work(endpoint, (one, two))
        one.reload([channel("other")])
        wait_for(lambda: one.post("c", b"", event("x")).status == 404, "the channel to go")
        for n in range(32):
            assert two.post("c", b"", event(f"after-{n}", partitionkey=f"k{n}")).status == 202
        wait_for(lambda: {f"after-{n}" for n in range(32)} <= arrivals(endpoint).keys(), "what came afterwards")


def test_a_bus_that_is_not_there_at_the_start(leat_binary, tmp_path):
    """Kafka is away when the processes start, and comes: they become ready by themselves."""
    with Recorder() as recorder, Kafka() as kafka:
        endpoint, objects = objects_of(recorder)
        address = kafka.address
        kafka.kill()
        bus = f"kafka,bootstrap.servers={address},session={SESSION}s"
        process = Broker(tmp_path, objects, "--shared", "--bus", bus)
        try:
            answer = lib.request("GET", process.api + "/readyz?verbose")
            assert answer.status == 503 and "[-] bus kafka" in answer.text, answer.text
            path = "/apis/messaging.knative.dev/v1/namespaces/default/"

            def ready(what):
                conditions = process.ask("GET", path + what).json()["status"]["conditions"]
                return next(c for c in conditions if c["type"] == "Ready")

            for what in ("channels/c", "subscriptions/s"):
                assert ready(what)["status"] == "False" and ready(what)["reason"] == "BusUnavailable", ready(what)
            refused = process.post("c", b"", event("early"))
            assert refused.status == 503, refused
            kafka.restart()
            wait_for(lambda: ready("channels/c")["status"] == "True" and ready("subscriptions/s")["status"] == "True", "both", 90)
            wait_for(lambda: lib.request("GET", process.api + "/readyz").status == 200, "readiness")
            assert process.post("c", b"", event("late")).status == 202
            wait_for(lambda: "late" in arrivals(endpoint), "the event")
        finally:
            assert process.stop() == 0, process.logs


def test_a_second_signal_is_not_needed(pair):
    """A stop with partitions in hand ends within the drain time, and says what is left."""
    with Recorder() as recorder:
        endpoint, objects = objects_of(recorder, lambda request, nth: Reply(503), retry=100, backoffDelay="PT60S")
        one, two = pair(objects, "--drain", "2s")
        assert one.post("c", b"", event("stuck", partitionkey="k1")).status == 202
        endpoint.wait(1)
        for process in (one, two):
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            assert process.wait() == 0, process.logs
            assert time.monotonic() - began < 40  # the event's next try comes after 60 s
