# SPDX-License-Identifier: Apache-2.0
"""Resources survive: what was answered is there after a kill, with its identity; files own their objects; the trail of changes; the quarantine for what is stored and is not valid."""

import json
import os
import signal
import sqlite3
import subprocess

import pytest

import leat
from broker import MESSAGING, Broker, channel, subscription, write_manifest

CHANNELS = "/apis/messaging.knative.dev/v1/namespaces/default/channels"
SUBSCRIPTIONS = "/apis/messaging.knative.dev/v1/namespaces/default/subscriptions"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def start(tmp_path, leat_binary):
    """start(objects, args...): a broker with its data in `tmp_path`; the one before is stopped first."""
    running = []

    def run(objects=(), *args, **more):
        while running:
            running.pop().stop()
        running.append(Broker(tmp_path, objects, "--data-dir", tmp_path / "data", *args, **more))
        return running[-1]

    yield run
    for broker in running:
        assert broker.stop() == 0, broker.logs


def database(tmp_path):
    return sqlite3.connect(tmp_path / "data/resources.db", isolation_level=None)


def make(broker, path, thing):
    answer = broker.ask("POST", path, thing)
    assert answer.status == 201, answer
    return answer.json()


def get(broker, path, name):
    answer = broker.ask("GET", f"{path}/{name}")
    assert answer.status == 200, answer
    return answer.json()


def identity(thing):
    return {name: thing["metadata"][name] for name in ("uid", "generation", "creationTimestamp")}


def version(thing):
    return int(thing["metadata"]["resourceVersion"])


def config(name, value="v"):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}}


def condition(thing, type_="Ready"):
    return next(c for c in thing["status"]["conditions"] if c["type"] == type_)


def owner(thing):
    first = thing["metadata"].get("managedFields", [{"fieldsV1": {}}])[0]
    return "api" if "fieldsV1" in first else first["manager"]  # a file manages no fields but the whole


def kill(broker):
    broker.signal(signal.SIGKILL)
    broker.wait()


# ---- the API's objects ----


def test_what_was_answered_survives_a_kill(start, sink):
    broker = start()
    made = make(broker, CHANNELS, channel("c"))
    changed = broker.ask("PUT", f"{CHANNELS}/c", channel("c", delivery={"retry": 3})).json()
    make(broker, CHANNELS, channel("gone"))
    make(broker, SUBSCRIPTIONS, subscription("s", "c", sink.url))
    kept = make(broker, CONFIG_MAPS, config("m"))
    assert broker.ask("DELETE", f"{CHANNELS}/gone").status == 200
    kill(broker)

    broker = start()
    back = get(broker, CHANNELS, "c")
    assert identity(back) == identity(changed) and identity(back)["uid"] == made["metadata"]["uid"] and identity(back)["generation"] == 2
    assert back["spec"] == changed["spec"] and back["spec"]["delivery"]["retry"] == 3
    assert get(broker, CONFIG_MAPS, "m") == kept  # nothing about it has changed, so its version has not
    assert broker.ask("GET", f"{CHANNELS}/gone").status == 404
    assert broker.post("c", b"hello").status == 202
    assert sink.wait(1)[0].body == b"hello"


def test_versions_never_go_back(start):
    broker, highest, seen = start(), 0, set()
    for round_ in range(4):
        for n in range(3):
            v = version(make(broker, CHANNELS, channel(f"c{round_}-{n}")))
            assert v > highest and v not in seen
            seen.add(v)
        highest = max(version(c) for c in broker.ask("GET", CHANNELS).json()["items"])
        highest = max(highest, int(broker.ask("GET", CHANNELS).json()["metadata"]["resourceVersion"]))
        if round_ % 2:
            kill(broker)
        broker = start()
        assert int(broker.ask("GET", CHANNELS).json()["metadata"]["resourceVersion"]) >= highest


def test_a_stale_write_is_refused_after_a_restart(start):
    broker = start()
    first = make(broker, CONFIG_MAPS, config("m"))
    assert broker.ask("PUT", f"{CONFIG_MAPS}/m", {**config("m", "w"), "metadata": {"name": "m"}}).status == 200
    kill(broker)
    broker = start()
    stale = {**config("m", "x"), "metadata": {"name": "m", "resourceVersion": first["metadata"]["resourceVersion"]}}
    assert broker.ask("PUT", f"{CONFIG_MAPS}/m", stale).status == 409
    assert get(broker, CONFIG_MAPS, "m")["data"] == {"k": "w"}


def test_the_status_of_what_others_fill_is_kept(start):
    path = "/apis/serving.knative.dev/v1/namespaces/default/routes"
    route = {"apiVersion": "serving.knative.dev/v1", "kind": "Route", "metadata": {"name": "r"}, "status": {"address": {"url": "http://127.0.0.1:1/"}}}
    broker = start()
    make(broker, path, route)
    broker = start()
    assert get(broker, path, "r")["status"]["address"]["url"] == "http://127.0.0.1:1/"


def test_nothing_is_kept_in_memory(tmp_path):
    with Broker(tmp_path, []) as broker:
        make(broker, CHANNELS, channel("c"))
        assert broker.ask("GET", "/leat/v1/audit").json()["items"][0]["name"] == "c"
    with Broker(tmp_path, []) as broker:
        assert broker.ask("GET", CHANNELS).json()["items"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.yaml"]


# ---- files own theirs ----


def test_objects_of_a_file_keep_their_identity(start, sink):
    objects = [channel("c"), subscription("s", "c", sink.url)]
    broker = start(objects)
    before, first = identity(get(broker, CHANNELS, "c")), identity(get(broker, SUBSCRIPTIONS, "s"))
    broker = start(objects)
    assert identity(get(broker, CHANNELS, "c")) == before and identity(get(broker, SUBSCRIPTIONS, "s")) == first
    kill(broker)
    broker = start([channel("c"), subscription("s", "c", sink.url, retry=7)])
    then = identity(get(broker, SUBSCRIPTIONS, "s"))
    assert then == {**first, "generation": 2}


def test_writes_to_a_files_object_are_refused(start, tmp_path):
    for _ in range(2):
        broker = start([channel("c")])
        file = str(tmp_path / "manifest.yaml")
        there = get(broker, CHANNELS, "c")
        assert owner(there) == file
        attempts = {
            "AlreadyExists": broker.ask("POST", CHANNELS, channel("c")),
            "Conflict": broker.ask("PUT", f"{CHANNELS}/c", channel("c", delivery={"retry": 1})),
            "Conflict ": broker.ask("DELETE", f"{CHANNELS}/c"),
            "Conflict  ": broker.ask("PATCH", f"{CHANNELS}/c", b'{"spec": {"delivery": {"retry": 1}}}', {"Content-Type": "application/merge-patch+json"}),
        }
        for reason, answer in attempts.items():
            assert (answer.status, answer.json()["reason"]) == (409, reason.strip()), answer
            assert file in answer.json()["message"], answer
        assert get(broker, CHANNELS, "c") == there


def test_what_a_file_lost_while_nobody_ran_goes(start):
    broker = start([channel("a"), channel("b")])
    make(broker, CHANNELS, channel("mine"))
    broker = start([channel("a")])
    assert [c["metadata"]["name"] for c in broker.ask("GET", CHANNELS).json()["items"]] == ["a", "mine"]


def test_a_file_that_was_forgotten_brings_the_same_objects_back(start):
    """A start without its manifests must not make strangers of their subscriptions: cursors are named by uid."""
    was = identity(get(start([channel("a"), channel("b")]), CHANNELS, "a"))
    assert start([]).ask("GET", f"{CHANNELS}/a").status == 404
    kill(start([]))
    back = identity(get(start([channel("a", delivery={"retry": 2})]), CHANNELS, "a"))
    assert back == {**was, "generation": 2}


def test_a_file_that_a_start_lacked_may_come_while_it_runs(start, sink):
    """Who sees that the folder was the wrong one gives the right one, and need not start once more."""
    objects = [channel("a"), subscription("s", "a", sink.url)]
    broker = start(objects)
    was = [identity(get(broker, CHANNELS, "a")), identity(get(broker, SUBSCRIPTIONS, "s"))]
    broker = start([])
    assert broker.ask("GET", f"{CHANNELS}/a").status == 404
    assert "applied" in broker.reload(objects)
    assert [identity(get(broker, CHANNELS, "a")), identity(get(broker, SUBSCRIPTIONS, "s"))] == was
    assert "applied" in broker.reload([])
    assert "applied" in broker.reload(objects)
    assert identity(get(broker, CHANNELS, "a"))["uid"] != was[0]["uid"]


def test_a_file_that_was_taken_away_while_it_ran_does_not(start):
    broker = start([channel("a")])
    was = identity(get(broker, CHANNELS, "a"))
    assert "applied" in broker.reload([])
    assert "applied" in broker.reload([channel("a")])
    assert identity(get(broker, CHANNELS, "a"))["uid"] != was["uid"]


def test_an_absent_ones_place_can_be_taken(start):
    was = identity(get(start([channel("a")]), CHANNELS, "a"))
    broker = start([])
    now = identity(make(broker, CHANNELS, channel("a")))
    assert now["uid"] != was["uid"]
    assert identity(get(start([]), CHANNELS, "a")) == now


def test_an_absent_one_is_forgotten_after_a_week(start, tmp_path):
    was = identity(get(start([channel("a")]), CHANNELS, "a"))
    start([])
    start([]).stop()
    with database(tmp_path) as db:
        db.execute("UPDATE objects SET absent_since = absent_since - 7 * 24 * 3600 * 1000000000 WHERE name = 'a'")
    assert identity(get(start([channel("a")]), CHANNELS, "a"))["uid"] != was["uid"]


def test_a_file_and_the_api_do_not_share(start, tmp_path):
    broker = start([])
    make(broker, CHANNELS, channel("a"))
    broker = start([channel("a")], ready=False)
    assert broker.wait() == 3 and "made over the API already" in broker.logs
    with start([]) as broker:
        assert owner(get(broker, CHANNELS, "a")) == "api"


def test_a_renamed_file(start, tmp_path):
    was = get(start([channel("a")]), CHANNELS, "a")
    other = write_manifest(tmp_path / "other.yaml", [channel("a")])
    broker = start([], "-f", other)
    now = get(broker, CHANNELS, "a")
    assert identity(now) == identity(was) and owner(now) == str(other)


# ---- get and apply ----


def test_the_owner_in_get(start, run_leat, tmp_path):
    broker = start([channel("f")])
    make(broker, CHANNELS, channel("a"))
    rows = [line.split() for line in run_leat(broker, "get", "channels").splitlines()]
    assert rows[0][-1] == "OWNER" and {row[0]: row[-1] for row in rows[1:]} == {"a": "api", "f": str(tmp_path / "manifest.yaml")}


@pytest.fixture
def run_leat(leat_binary):
    def run(broker, *args, code=0, **more):
        done = subprocess.run([leat.binary(), *map(str, args)], env={**os.environ, "LEAT_SERVER": broker.api}, capture_output=True, text=True, timeout=60, **more)
        assert done.returncode == code, done
        return done.stdout

    return run


def test_what_get_shows_can_be_applied(start, run_leat):
    broker = start([])
    make(broker, CHANNELS, channel("a", delivery={"retry": 1}))
    for form in ("yaml", "json"):
        text = run_leat(broker, "get", "channel/a", "-o", form)
        assert "unchanged" in run_leat(broker, "apply", "-f", "-", input=text)
    shown = json.loads(text)
    assert owner(shown) == "api"
    shown["spec"]["delivery"]["retry"] = 2
    assert "configured" in run_leat(broker, "apply", "-f", "-", input=json.dumps(shown))
    there = get(broker, CHANNELS, "a")
    assert there["spec"]["delivery"]["retry"] == 2 and "leat" in [m["manager"] for m in there["metadata"]["managedFields"]]
    shown["metadata"]["name"] = "b"
    assert "created" in run_leat(broker, "apply", "-f", "-", input=json.dumps(shown))
    assert owner(get(start([]), CHANNELS, "b")) == "api"


# ---- the trail ----


def audit(broker, query=""):
    return broker.ask("GET", "/leat/v1/audit" + query).json()["items"]


def test_the_trail(start, tmp_path):
    broker = start([channel("f")])
    make(broker, CHANNELS, channel("a"))
    assert broker.ask("PUT", f"{CHANNELS}/a", channel("a", delivery={"retry": 4})).status == 200
    assert broker.ask("PUT", f"{CHANNELS}/a", channel("a", delivery={"retry": 4})).status == 200  # changes nothing
    assert broker.ask("DELETE", f"{CHANNELS}/a").status == 200
    kill(broker)
    broker = start([channel("f", delivery={"retry": 1})])
    file = str(tmp_path / "manifest.yaml")
    trail = audit(broker)
    assert [(e["who"], e["verb"], e["kind"], e["namespace"], e["name"]) for e in trail] == [
        (file, "update", "Channel", "default", "f"),
        ("127.0.0.1", "delete", "Channel", "default", "a"),
        ("127.0.0.1", "update", "Channel", "default", "a"),
        ("127.0.0.1", "create", "Channel", "default", "a"),
        (file, "create", "Channel", "default", "f"),
    ]
    update = trail[2]
    assert "delivery" not in update["before"]["spec"] and update["after"]["spec"]["delivery"]["retry"] == 4 and "status" not in update["after"]
    assert "before" not in trail[3] and "after" not in trail[1] and trail[1]["before"]["spec"] == update["after"]["spec"]
    assert [e["time"] for e in trail] == sorted((e["time"] for e in trail), reverse=True)
    assert [e["name"] for e in audit(broker, "?kind=Channel&name=f")] == ["f", "f"]
    assert len(audit(broker, "?limit=2")) == 2 and audit(broker, "?namespace=nowhere") == []
    for bad in ("limit=0", "limit=x", "limit=1001", "kind=%zz", "kind=" + "x" * 400):
        assert broker.ask("GET", f"/leat/v1/audit?{bad}").status == 400, bad


def test_a_refused_write_leaves_no_trace(start):
    broker = start([channel("f")])
    before = audit(broker)
    assert broker.ask("PUT", f"{CHANNELS}/f", channel("f", delivery={"retry": 4})).status == 409
    assert broker.ask("POST", CHANNELS, channel("Not A Name")).status == 422
    assert audit(broker) == before


def test_secrets_are_not_in_the_trail(start, tmp_path):
    broker = start([])
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": "hunter2"}, "data": {"key": "aHVudGVyMw=="}}
    make(broker, "/api/v1/namespaces/default/secrets", secret)
    assert broker.ask("DELETE", "/api/v1/namespaces/default/secrets/s").status == 200
    text = broker.ask("GET", "/leat/v1/audit").text
    assert "hunter2" not in text and "aHVudGVy" not in text and "(hidden)" in text and "token" in text
    broker.stop()
    with database(tmp_path) as db:
        rows = str(db.execute("SELECT * FROM audit").fetchall())
        assert "hunter2" not in rows and "aHVudGVy" not in rows and "(hidden)" in rows


def test_audit_for_people(start, run_leat):
    broker = start([])
    make(broker, CHANNELS, channel("a"))
    assert broker.ask("PUT", f"{CHANNELS}/a", channel("a", capacity="1MiB", delivery={"retry": 4})).status == 200
    make(broker, CONFIG_MAPS, config("m"))
    lines = run_leat(broker, "audit").splitlines()
    assert lines[0].split() == ["TIME", "WHO", "VERB", "OBJECT", "CHANGED"] and len(lines) == 4
    assert "ConfigMap default/m" in lines[1] and "create" in lines[1]
    assert "update" in lines[2] and "Channel default/a" in lines[2] and "spec" in lines[2] and "metadata.annotations" in lines[2], lines
    assert len(run_leat(broker, "audit", "channel/a").splitlines()) == 3
    assert len(run_leat(broker, "audit", "channel", "--limit", "1").splitlines()) == 2
    assert [e["verb"] for e in json.loads(run_leat(broker, "audit", "channel/a", "-o", "json"))["items"]] == ["update", "create"]
    assert run_leat(broker, "audit", "-n", "elsewhere") == ""
    run_leat(broker, "audit", "nonsense", code=2)


# ---- quarantine ----

GOOD = {"apiVersion": MESSAGING, "kind": "Channel", "metadata": {"name": "p", "namespace": "default"}, "spec": {"channelTemplate": {"apiVersion": MESSAGING, "kind": "Channel"}, "delivery": {"retry": 3}}}
POISONS = {
    "no JSON": lambda o: "{",
    "nothing": lambda o: "",
    "another type": lambda o: "[1, 2]",
    "a text": lambda o: '"text"',
    "not UTF-8": lambda o: b'{"apiVersion": "\xff\xfe"}',
    "nested": lambda o: "[" * 100000,
    "twice": lambda o: json.dumps(o)[:-1] + ', "kind": "Channel"}',
    "no kind": lambda o: json.dumps({k: v for k, v in o.items() if k != "kind"}),
    "no apiVersion": lambda o: json.dumps({k: v for k, v in o.items() if k != "apiVersion"}),
    "another kind": lambda o: json.dumps({**o, "kind": "InMemoryChannel"}),
    "an unknown version": lambda o: json.dumps({**o, "apiVersion": "messaging.knative.dev/v99"}),
    "no metadata": lambda o: json.dumps({k: v for k, v in o.items() if k != "metadata"}),
    "metadata of another type": lambda o: json.dumps({**o, "metadata": 7}),
    "no name": lambda o: json.dumps({**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "name"}}),
    "another name": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "name": "q"}}),
    "another namespace": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "namespace": "q"}}),
    "another uid": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "uid": "7"}}),
    "no uid": lambda o: json.dumps({**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "uid"}}),
    "a generation that is none": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "generation": "x"}}),
    "no generation": lambda o: json.dumps({**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "generation"}}),
    "no time": lambda o: json.dumps({**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "creationTimestamp"}}),
    "a version that is none": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "resourceVersion": "x"}}),
    "annotations of another type": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "annotations": {"leat.dev/capacity": 7}}}),
    "an annotation that is wrong": lambda o: json.dumps({**o, "metadata": {**o["metadata"], "annotations": {"leat.dev/capacity": "much"}}}),
    "a spec of another type": lambda o: json.dumps({**o, "spec": []}),
    "a field of another type": lambda o: json.dumps({**o, "spec": {"delivery": {"retry": "many"}}}),
    "an unknown field": lambda o: json.dumps({**o, "spec": {"delivery": {"retries": 3}}}),
    "a value out of range": lambda o: json.dumps({**o, "spec": {"delivery": {"retry": -1}}}),
}


@pytest.fixture
def poisoned(start, tmp_path):
    """poisoned(poison): a broker that finds the object "p" so, beside good ones; with its identity before."""

    def run(poison, objects=()):
        broker = start(objects)
        was = identity(make(broker, CHANNELS, GOOD) if not objects else get(broker, CHANNELS, "p"))
        make(broker, CHANNELS, channel("good"))
        broker.stop()
        with database(tmp_path) as db:
            stored = json.loads(db.execute("SELECT object FROM objects WHERE name = 'p'").fetchone()[0])
            bad = poison(stored)
            value = ("CAST(? AS TEXT)" if isinstance(bad, bytes) else "?", bad)
            db.execute(f"UPDATE objects SET object = {value[0]} WHERE name = 'p'", (bad,))
        return start(objects), was

    return run


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_object_is_in_quarantine(poisoned, poison, run_leat, start):
    broker, was = poisoned(POISONS[poison])
    assert broker.ask("GET", "/readyz").status == 200
    assert "Channel.messaging.knative.dev/default/p" in broker.wait_line("resource.quarantined")
    there = get(broker, CHANNELS, "p")
    ready = condition(there)
    assert (ready["status"], ready["reason"]) == ("False", "Quarantined") and ready["message"], there
    assert identity(there) == was and there["metadata"]["name"] == "p" and there["kind"] == "Channel"
    row = next(line for line in run_leat(broker, "get", "channels").splitlines() if line.startswith("p "))
    assert "False" in row and "Quarantined" in row
    assert run_leat(broker, "get", "quarantined").splitlines()[1].split()[:3] == ["-", "Channel.messaging.knative.dev", "default/p"]
    assert broker.post("p").status == 404 and broker.post("good").status == 202
    # It can be replaced, and is itself again.
    assert broker.ask("PUT", f"{CHANNELS}/p", GOOD).status == 200
    leat.wait_for(lambda: broker.post("p").status == 202)
    now = get(start([]), CHANNELS, "p")
    assert identity(now) == {**was, "generation": was["generation"] + 1} and now["spec"] == GOOD["spec"]


def test_a_poisoned_object_can_be_deleted(poisoned, start):
    broker, _ = poisoned(POISONS["no JSON"])
    assert broker.ask("DELETE", f"{CHANNELS}/p").status == 200
    broker = start([])
    assert broker.ask("GET", f"{CHANNELS}/p").status == 404 and "quarantined=0" in broker.wait_line("serve.data")


def test_a_files_poisoned_object_is_what_its_file_says(poisoned, tmp_path):
    broker, was = poisoned(POISONS["no JSON"], [GOOD])
    there = get(broker, CHANNELS, "p")
    assert condition(there)["status"] == "True" and identity(there) == {**was, "generation": 2} and owner(there) == str(tmp_path / "manifest.yaml")


COLUMNS = {
    "kind": "Chanel",
    "api_group": "nobody.example.org",
    "name": "",
    "namespace": b"\xff\xfe",
    "uid": "",
    "generation": -5,
    "created": "yesterday",
    "origin": b"\xff",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_poisoned_row(start, tmp_path, run_leat, column):
    broker = start([])
    make(broker, CHANNELS, channel("good"))
    make(broker, CHANNELS, GOOD)
    broker.stop()
    value = COLUMNS[column]
    with database(tmp_path) as db:
        db.execute(f"UPDATE objects SET {column} = {'CAST(? AS TEXT)' if isinstance(value, bytes) else '?'} WHERE name = 'p'", (value,))
    broker = start([])
    assert broker.post("good").status == 202
    listed = broker.ask("GET", "/leat/v1/quarantine").json()["items"]
    if column == "origin":  # who it belongs to, the file no longer has it
        assert listed == [] and broker.ask("GET", f"{CHANNELS}/p").status == 404
        return
    assert len(listed) == 1 and listed[0]["reason"], listed
    assert broker.wait_line("resource.quarantined", "stderr") and broker.post("p").status == 404
    if column in ("uid", "generation", "created"):
        there = get(broker, CHANNELS, "p")
        assert condition(there)["reason"] == "Quarantined" and there["metadata"]["uid"] and there["metadata"]["generation"] >= 1
        assert broker.ask("DELETE", f"{CHANNELS}/p").status == 200
    else:
        number = listed[0]["id"]
        assert str(number) in run_leat(broker, "get", "quarantined")
        run_leat(broker, "delete", f"quarantined/{number}x", code=1)
        assert "deleted" in run_leat(broker, "delete", f"quarantined/{number}")
        assert broker.ask("DELETE", f"/leat/v1/quarantine/{number}").status == 404
        assert audit(broker)[0]["verb"] == "delete"
    assert broker.ask("GET", "/leat/v1/quarantine").json()["items"] == []
    assert start([]).ask("GET", "/leat/v1/quarantine").json()["items"] == []


def test_a_stranger_waits_for_a_leat_that_knows_it(start, tmp_path):
    """Stored by a newer one: nothing is lost by running an older one for a while."""
    start([]).stop()
    with database(tmp_path) as db:
        db.execute("INSERT INTO objects (api_group, kind, namespace, name, uid, generation, created, object) VALUES ('x.org', 'New', 'default', 'n', 'u', 1, 't', '{}')")
    assert start([]).ask("GET", "/leat/v1/quarantine").json()["items"][0]["kind"] == "New"
    start([]).stop()
    with database(tmp_path) as db:
        assert db.execute("SELECT object FROM objects WHERE kind = 'New'").fetchone() == ("{}",)


# ---- the disk refuses ----


def test_a_full_disk(start, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "leat-test", folder], capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        broker = start([channel("f")], "--bus", "memory")
        kept = make(broker, CONFIG_MAPS, config("m"))
        (folder / ".filler").write_bytes(b"x" * (os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize))
        answer = broker.ask("POST", CONFIG_MAPS, config("big", "x" * 100000))
        assert answer.status == 503 and "full" in answer.json()["message"], answer
        assert broker.ask("GET", f"{CONFIG_MAPS}/big").status == 404
        answer = broker.ask("PUT", f"{CONFIG_MAPS}/m", config("m", "x" * 100000))
        assert answer.status == 503 and "full" in answer.json()["message"], answer
        assert get(broker, CONFIG_MAPS, "m") == kept
        assert broker.post("f").status == 202
        (folder / ".filler").unlink()
        make(broker, CONFIG_MAPS, config("big", "x" * 100000))
        kill(broker)
        broker = start([channel("f")], "--bus", "memory")
        assert get(broker, CONFIG_MAPS, "big")["data"] == {"k": "x" * 100000} and get(broker, CONFIG_MAPS, "m") == kept
        broker.stop()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_another_program_that_holds_the_file(start, tmp_path):
    broker = start([])
    holder = database(tmp_path)
    holder.execute("BEGIN IMMEDIATE")
    answer = broker.ask("POST", CHANNELS, channel("a"))
    assert answer.status == 503 and "another program" in answer.json()["message"], answer
    said = broker.reload([channel("b")])
    assert "refused" in said and "could not be kept" in said and broker.wait_line("another program", "stderr"), said
    assert broker.ask("GET", f"{CHANNELS}/b").status == 404
    holder.execute("ROLLBACK")
    holder.close()
    make(broker, CHANNELS, channel("a"))
    assert "applied" in broker.reload([channel("b")])
    assert get(broker, CHANNELS, "b")


# ---- what earlier releases wrote ----


@pytest.mark.parametrize("release", sorted((leat.ROOT / "tests/data/kept").glob("*.sql")), ids=lambda path: path.stem)
def test_what_a_release_has_written(start, tmp_path, release):
    """Each is read by all that come after it: objects with their identity, owners, pauses, the trail."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/format").write_text("leat data 1\n")
    with database(tmp_path) as db:
        db.executescript(release.read_text())
        uids = dict(db.execute("SELECT name, uid FROM objects"))
        highest = db.execute("SELECT value FROM numbers WHERE name = 'version'").fetchone()[0]
    broker = start([channel("of-a-file")])
    assert {name: get(broker, CHANNELS, name)["metadata"]["uid"] for name in ("of-a-file", "of-the-api")} == {name: uids[name] for name in ("of-a-file", "of-the-api")}
    there = get(broker, SUBSCRIPTIONS, "s")
    assert there["metadata"]["uid"] == uids["s"] and condition(there, "Delivering")["reason"] == "Paused"
    assert get(broker, CHANNELS, "of-the-api")["spec"]["delivery"]["retry"] == 3 and owner(get(broker, CHANNELS, "of-a-file")).endswith("manifest.yaml")
    assert "quarantined=0" in broker.wait_line("serve.data")
    assert [e["name"] for e in audit(broker)][-5:] == ["s", "secret", "s", "of-the-api", "of-a-file"]
    assert version(make(broker, CONFIG_MAPS, config("m"))) > highest
