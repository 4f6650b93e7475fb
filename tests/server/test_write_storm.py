# SPDX-License-Identifier: Apache-2.0
"""kill -9 during a storm of writes over the API. Several writers create, replace, patch and delete, each its own objects, one write at a time; the server is killed at a random moment and started again
on the same data. Then each object is as its last acknowledged write left it, or as the one under way would have; versions have grown beyond all that was ever said; and a watch has told each change
once, in order, with no gap before the last one that it told. KILLS=... makes a campaign of it, SEED=... repeats one as far as the machine's own chance allows."""

import http.client
import json
import os
import random
import shutil
import threading
import time

import pytest

from broker import MESSAGING, Broker, channel
from leat import wait_for

KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
WRITERS, NAMES = 4, 6  # names of each writer
SECONDS = 60  # for an answer: only a hanging server meets it
CONFIG_MAPS, CHANNELS = "/api/v1/namespaces/default/configmaps", f"/apis/{MESSAGING}/namespaces/default/channels"
MERGE = "application/merge-patch+json"


class Lost(AssertionError):
    """The proof failed; its text says how."""


def thing(path, name, number):
    made = channel(name) if path == CHANNELS else {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    made["metadata"]["annotations"] = {"number": str(number)}
    return made


def version(answer):
    return int(answer["metadata"]["resourceVersion"])


def number_of(answer):
    return int(answer["metadata"]["annotations"]["number"])


class Object:
    """What one name must be: the number of the last write that was acknowledged (None: gone), and that of the write under way (False: none is)."""

    def __init__(self, path, name):
        self.path, self.name, self.number, self.uid, self.pending = path, name, None, None, False


class Writer:
    """A connection and its objects; it writes until the server is gone."""

    def __init__(self, index, seed):
        self.random = random.Random(seed)
        self.objects = [Object(CHANNELS if n % 3 == 0 else CONFIG_MAPS, f"w{index}-{n}") for n in range(NAMES)]
        self.numbers = 0
        self.acknowledged = []  # versions that this life has said, of writes that a watch tells: (version, path)
        self.failure = None

    def start(self, api):
        self.acknowledged.clear()
        self.connection = http.client.HTTPConnection(api.removeprefix("http://"), timeout=SECONDS)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def ask(self, method, path, body=None, kind="application/json"):
        self.connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text)

    def run(self):
        try:
            while True:
                self.write(self.random.choice(self.objects))
        except (OSError, http.client.HTTPException):
            pass  # killed: what was under way stays pending
        except Exception as e:
            self.failure = e

    def write(self, o):
        self.numbers += 1
        where = f"{o.path}/{o.name}"
        how = "create" if o.number is None else self.random.choice(("put", "patch", "patch", "delete"))
        o.pending = None if how == "delete" else self.numbers
        if how == "create":
            status, answer = self.ask("POST", o.path, thing(o.path, o.name, self.numbers))
        elif how == "put":
            status, answer = self.ask("PUT", where, thing(o.path, o.name, self.numbers))
        elif how == "patch":
            status, answer = self.ask("PATCH", where, {"metadata": {"annotations": {"number": str(self.numbers)}}}, MERGE)
        else:
            status, answer = self.ask("DELETE", where)
        if status not in (200, 201):
            raise AssertionError(f"{how} {where}: {status} {answer}")
        if how == "create":
            o.uid = answer["metadata"]["uid"]
        if how != "delete":
            self.acknowledged.append((version(answer), o.path))
        o.number, o.pending = o.pending, False


class Watch:
    """A watch of one kind, from what a list has said, until the server is gone: the versions in the order in which they came."""

    def __init__(self, api, path):
        self.path, self.versions = path, []
        self.began = version(ask(api, path))
        self.connection = http.client.HTTPConnection(api.removeprefix("http://"), timeout=SECONDS)
        self.connection.request("GET", f"{path}?watch=true&resourceVersion={self.began}")
        self.answer = self.connection.getresponse()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while line := self.answer.readline():
                event = json.loads(line)
                if event["type"] != "BOOKMARK":
                    self.versions.append(version(event["object"]))
        except (OSError, http.client.HTTPException, ValueError):
            pass  # killed, perhaps within a line


def ask(api, path):
    connection = http.client.HTTPConnection(api.removeprefix("http://"), timeout=SECONDS)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = json.loads(answer.read())
    connection.close()
    return text


def check(api, writers, highest):
    """What is there against what was acknowledged; then that is what is known."""
    found = {}
    for path in (CONFIG_MAPS, CHANNELS):
        listed = ask(api, path)
        if version(listed) < highest:
            raise Lost(f"the version of a list is {version(listed)}, and {highest} was said before")
        found |= {(path, item["metadata"]["name"]): item for item in listed["items"]}
    for o in (o for w in writers for o in w.objects):
        item = found.pop((o.path, o.name), None)
        number = number_of(item) if item else None
        if number not in ([o.number] if o.pending is False else [o.number, o.pending]):
            raise Lost(f"acknowledged and lost: {o.name} is {number}, acknowledged was {o.number}, under way {o.pending}")
        if item and o.uid and o.number is not None and item["metadata"]["uid"] != o.uid:
            raise Lost(f"{o.name} has another uid than what was acknowledged")
        o.number, o.uid, o.pending = number, item and item["metadata"]["uid"], False
    if found:
        raise Lost(f"nobody wrote these: {sorted(found)}")


def check_watch(watch, writers, highest):
    versions = watch.versions
    if versions != sorted(set(versions)):
        raise Lost(f"a watch of {watch.path} has told a change twice, or out of order")
    if versions and versions[0] <= max(watch.began, highest):
        raise Lost(f"a watch of {watch.path} from {watch.began} has told {versions[0]} again")
    told = set(versions)
    missed = [v for w in writers for v, path in w.acknowledged if path == watch.path and versions and v <= versions[-1] and v not in told]
    if missed:
        raise Lost(f"a watch of {watch.path} has not told {missed}, but {versions[-1]}")
    return len(versions)


def storm(folder, kills, forget=False):
    """`forget`: the data are gone after each kill."""
    chance = random.Random(SEED)
    writers = [Writer(i, SEED + i) for i in range(WRITERS)]
    highest = writes = told = 0
    for life in range(kills + 1):
        server = Broker(folder, [], "--data-dir", folder / "data")
        try:
            check(server.api, writers, highest)
            watches = [Watch(server.api, path) for path in (CONFIG_MAPS, CHANNELS)]
            for w in writers:
                w.start(server.api)
            wait_for(lambda: any(w.acknowledged for w in writers) and any(w.versions for w in watches), "a write, and a watch to tell of one")
            time.sleep(chance.uniform(0.02, 0.5))  # not for a fact: when the kill falls is the chance that the proof is about
        finally:
            if server.process.poll() is not None:
                raise AssertionError(f"the server ended by itself:\n{server.logs}")
            server.kill()
        for one in (*writers, *watches):
            one.thread.join(SECONDS)
        for w in writers:
            if w.failure:
                raise w.failure
        told += sum(check_watch(watch, writers, highest) for watch in watches)
        writes += sum(len(w.acknowledged) for w in writers)
        highest = max([highest, *(v for w in writers for v, _ in w.acknowledged), *(v for watch in watches for v in watch.versions)])
        if forget:
            shutil.rmtree(folder / "data")
    return writes, told


def test_what_was_acknowledged_is_there_after_a_kill(leat_binary, tmp_path):
    try:
        writes, told = storm(tmp_path, KILLS)
    except AssertionError as e:
        raise AssertionError(f"{e} (SEED={SEED})") from None
    print(f"{KILLS} kills, {writes} writes acknowledged, {told} changes watched")
    assert writes > KILLS and told > KILLS


def test_that_the_proof_can_fail(leat_binary, tmp_path):
    with pytest.raises(Lost, match="acknowledged and lost|the version of a list"):
        storm(tmp_path, 5, forget=True)
