# SPDX-License-Identifier: Apache-2.0
"""Many watches of many objects: each is told all that is there and each change, once and in order, also what changes while they begin; none costs a thread, and what they cost in memory has a bound.
WATCHES=1000 OBJECTS=10000 is the full size (`make bench` measures it)."""

import json
import os
import pathlib
import threading

import pytest

from leat import binary, wait_for
from watchers import Watchers

WATCHES, OBJECTS = int(os.environ.get("WATCHES", "200")), int(os.environ.get("OBJECTS", "500"))
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
CHANGED = 8  # objects that change all the time
EACH_KIB = 64 + 16  # of a watch that begins: what waits for its client (WALK_BUFFERED_MAX), and its connection
SECONDS = 120


def config(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": "v" * 50, **data}}


def private_kib(process):
    return sum(int(line.split()[1]) for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("RssAnon"))


def threads(process):
    return len(os.listdir(f"/proc/{process.pid}/task"))


@pytest.fixture
def broker(serve, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(0, OBJECTS, 2000):  # a manifest may have 1 MiB
        (folder / f"{n:06}.yaml").write_text("---\n".join(json.dumps(config(f"o{i:05}")) + "\n" for i in range(n, min(n + 2000, OBJECTS))))
    process = serve([], "-f", folder, "--log-level", "error")
    for i in range(CHANGED):
        assert process.ask("POST", MAPS, config(f"c{i}", n="0")).status == 201
    return process


class Changes:
    """Changes objects until it is told to end; `versions`: of each, in order."""

    def __init__(self, process):
        self.process, self.over = process, threading.Event()
        self.versions = {f"c{i}": [int(process.ask("GET", f"{MAPS}/c{i}").json()["metadata"]["resourceVersion"])] for i in range(CHANGED)}
        self.thread = threading.Thread(target=self.run)

    def run(self):
        n = 0
        while not self.over.wait(0.005):
            n += 1
            self.change(f"c{n % CHANGED}", n)

    def change(self, name, n):
        answer = self.process.ask("PATCH", f"{MAPS}/{name}", json.dumps({"data": {"n": str(n)}}).encode(), MERGE)
        assert answer.status == 200, answer
        self.versions[name].append(int(answer.json()["metadata"]["resourceVersion"]))


def test_each_is_told_all_and_nothing_twice(broker):
    changes = Changes(broker)
    before = private_kib(broker), threads(broker)
    changes.thread.start()
    exact = WATCHES * OBJECTS <= 1000000
    with Watchers(broker.api, MAPS + "?watch=true", WATCHES, exact) as watchers:
        watchers.until(OBJECTS + CHANGED, SECONDS)
        changes.over.set()
        changes.thread.join()
        for name in changes.versions:
            changes.change(name, -1)  # the last: who has been told it has been told all
        last = {name: versions[-1] for name, versions in changes.versions.items()}
        if exact:
            watchers.read_until(lambda: all(w.told.get(name, [0])[-1] == version for w in watchers.all for name, version in last.items()), SECONDS)
        assert not any(w.ended for w in watchers.all) and threads(broker) == before[1]
        if pathlib.Path(binary()).parent.name == "build":  # without sanitizers, whose memory says nothing
            assert private_kib(broker) - before[0] < WATCHES * EACH_KIB + (16 << 10), "beside the journal's 16 MiB"
        for w in watchers.all if exact else []:
            assert not w.repeated, w.repeated[:5]
            assert len(w.told) == OBJECTS + CHANGED
            for name, versions in changes.versions.items():
                assert w.told[name] == versions[versions.index(w.told[name][0]):], f"{name}: {w.told[name][-5:]}, and it had {versions[-5:]}"
    wait_for(lambda: broker.ask("GET", MAPS + "/c0").status == 200, "an answer after they have left")


def test_a_walk_over_large_objects_waits_for_its_client(serve):
    """More than a watch may have waiting, in one turn: it goes on as the client takes it."""
    process = serve([])
    for i in range(12):
        assert process.ask("POST", MAPS, config(f"large{i:02}", big="x" * 900000)).status == 201
    with Watchers(process.api, MAPS + "?watch=true", 3) as watchers:
        watchers.until(12, SECONDS)
        assert not any(w.ended for w in watchers.all) and all(len(w.told) == 12 for w in watchers.all)
