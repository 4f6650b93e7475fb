# SPDX-License-Identifier: Apache-2.0
"""The data directory: where it is, that it is made and locked, that what is not ours or newer is left alone, and what is said when it cannot be used."""

import json
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import urllib.request

import pytest

from broker import channel, event, subscription, write_manifest
from leat import Leat, binary, free_port, request, wait_for

PORTS = ["--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0"]


class Server(Leat):
    """`leat serve` without a word of where its data are, but for `args` and `env`; ready when made."""

    def __init__(self, *args, **more):
        super().__init__(["serve", *PORTS, *args], **more)
        self.wait_line(lambda line: line == "ready", "stdout")

    @property
    def data(self):
        return next((line.partition(" ")[2] for line in self.stdout if line.startswith("data ")), None)


def refused(*args, code=1, **more):
    """The line of a server that must not start."""
    process = Leat(["serve", *PORTS, *args], **more)
    assert process.wait() == code, process.logs
    assert not process.stdout, process.logs
    return "\n".join(process.stderr)


def files(folder):
    """{name: (bytes, time of last change)} of everything in it."""
    return {str(p.relative_to(folder)): (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


# ---- where it is ----


def test_the_order_of_the_places(tmp_path):
    env = {"STATE_DIRECTORY": f"{tmp_path}/state:{tmp_path}/other", "XDG_STATE_HOME": f"{tmp_path}/xdg", "HOME": f"{tmp_path}/home"}
    expected = {"--data-dir": "given", "STATE_DIRECTORY": "state", "XDG_STATE_HOME": "xdg/leat", "HOME": "home/.local/state/leat"}
    for place, path in expected.items():
        args = ["--data-dir", tmp_path / "given"] if place == "--data-dir" else []
        with Server(*args, env=env) as server:
            assert server.data == str(tmp_path / path), place
        assert (tmp_path / path / "format").read_text() == "leat data 1\n"
        env.pop(place, None)
    assert not (tmp_path / "other").exists()


def test_a_relative_directory_and_an_empty_variable(tmp_path):
    with Server("--data-dir", "a/b", cwd=tmp_path, env={"STATE_DIRECTORY": "", "XDG_STATE_HOME": "not/absolute"}) as server:
        assert server.data == str(tmp_path / "a/b")
    with Server(cwd=tmp_path, env={"STATE_DIRECTORY": "", "XDG_STATE_HOME": "not/absolute", "HOME": str(tmp_path / "home")}) as server:
        assert server.data == str(tmp_path / "home/.local/state/leat")
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("bus, said", [("log,capacity=x", "capacity"), ("log,foo=1", 'unknown parameter \\"foo\\" of a log bus'), ("log,dir=", "dir is empty"), ("memory,foo=1", "of a memory bus")])
def test_wrong_parameters_of_the_bus_are_said_before_anything_starts(tmp_path, bus, said):
    assert said in (told := refused("--bus", bus, "--data-dir", tmp_path / "d", code=3)) and f"--bus {bus.split(',')[0]}: " in told
    assert not (tmp_path / "d" / "log").exists()


@pytest.mark.parametrize("home", ["", "not/absolute"])
def test_nowhere(tmp_path, home):
    said = refused(code=2, env={"HOME": home})
    assert "--data-dir" in said and "--ephemeral" in said


@pytest.mark.parametrize("state", ["not/absolute", ":/tmp", "."])
def test_a_state_directory_that_is_no_whole_path(tmp_path, state):
    assert f"STATE_DIRECTORY is '{state}'" in refused(code=2, env={"STATE_DIRECTORY": state, "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_ephemeral_writes_nothing(tmp_path):
    env = {"STATE_DIRECTORY": f"{tmp_path}/state", "HOME": f"{tmp_path}/home"}
    manifest = write_manifest(tmp_path / "m.yaml", [channel("c")])
    with Server("--ephemeral", "-f", manifest, env=env, cwd=tmp_path) as server:
        assert server.data is None
    assert [p.name for p in tmp_path.iterdir()] == ["m.yaml"]
    assert "--data-dir" in refused("--ephemeral", "--data-dir", tmp_path / "d", code=2)


def test_only_its_owner_may_look_into_it(tmp_path):
    with Server("--data-dir", tmp_path / "a/b"):
        made = [tmp_path / "a", tmp_path / "a/b", *(tmp_path / "a/b").rglob("*")]
        assert {stat.S_IMODE(p.stat().st_mode) for p in made if p.is_dir()} == {0o700}
        assert {str(p): oct(stat.S_IMODE(p.stat().st_mode)) for p in made if p.is_file() and p.stat().st_mode & 0o077} == {}
        assert {"format", "lock", "resources.db"} <= {p.name for p in made}


# ---- one process at a time ----


def test_the_lock(tmp_path):
    with Server("--data-dir", tmp_path / "d") as server:
        said = refused("--data-dir", tmp_path / "d")
        assert f"another leat (pid {server.pid}) uses {tmp_path}/d" in said and "stop it, or give this one another --data-dir" in said, said
        assert (tmp_path / "d/lock").read_text() == f"{server.pid}\n"
        with Server("--data-dir", tmp_path / "other"):
            pass
    with Server("--data-dir", tmp_path / "d"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    server = Server("--data-dir", tmp_path / "d")
    server.signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    with Server("--data-dir", tmp_path / "d"):
        pass


# ---- what is not ours ----


def test_a_newer_format_is_left_untouched(tmp_path):
    data = tmp_path / "d"
    with Server("--data-dir", data):
        pass
    (data / "format").write_text("leat data 2\n")
    before = files(data)
    said = refused("--data-dir", data)
    assert "newer leat (format 2; this one knows up to 1)" in said and "Nothing was touched" in said, said
    assert files(data) == before


@pytest.mark.parametrize("text", ["", "leat data\n", "leat data 0\n", "leat data 1", "leat data -1\n", "leat data 1 or so\n", "\0" * 70, "something else\n"])
def test_a_format_that_is_none(tmp_path, text):
    data = tmp_path / "d"
    with Server("--data-dir", data):
        pass
    (data / "format").write_text(text)
    before = files(data)
    said = refused("--data-dir", data)
    assert f"{data}/format" in said and "leat data 1" in said, said
    assert files(data) == before


def test_somebody_elses_directory(tmp_path):
    (tmp_path / "photos").write_text("mine")
    before = files(tmp_path)
    said = refused("--data-dir", tmp_path)
    assert "is no data directory of leat" in said and "'photos'" in said and "--data-dir" in said, said
    assert files(tmp_path) == before


def test_an_empty_directory_of_a_new_disk(tmp_path):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".hidden").write_text("")
    with Server("--data-dir", tmp_path) as server:
        assert server.data == str(tmp_path)


def test_a_start_that_was_cut_off(tmp_path):
    """Killed before the format was whole: what there is is ours, and empty."""
    (tmp_path / "lock").write_text("12345\n")
    (tmp_path / ".format").write_text("leat da")
    with Server("--data-dir", tmp_path):
        assert (tmp_path / "format").read_text() == "leat data 1\n"


# ---- what cannot be used ----


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/below"):
        said = refused("--data-dir", path)
        assert str(path) in said and "no directory" in said and "--data-dir" in said, said


@pytest.fixture
def open_folder():
    """A folder that every user can enter, with the program in it: pytest's own can be entered by nobody else."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="leat-data-"))
    folder.chmod(0o755)
    shutil.copy(binary(), folder / "leat")
    yield folder
    shutil.rmtree(folder)


def run_as_nobody(folder, *args):
    user = {"user": 65534} if os.geteuid() == 0 else {}
    return subprocess.run([folder / "leat", "serve", *PORTS, *map(str, args)], capture_output=True, text=True, timeout=60, cwd="/", env={"PATH": "/usr/bin", "HOME": str(folder)}, **user)


def test_a_directory_that_may_not_be_written(open_folder):
    closed = open_folder / "closed"
    closed.mkdir(mode=0o755)
    closed.chmod(0o555)
    for args in (["--data-dir", closed], ["--data-dir", closed / "below"]):
        done = run_as_nobody(open_folder, *args)
        assert done.returncode == 1 and not done.stdout
        assert "Permission denied" in done.stderr and "--data-dir" in done.stderr and "--ephemeral" in done.stderr and str(closed) in done.stderr, done.stderr
    assert list(closed.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """mount(options) mounts a disk in memory; skips where that is not allowed."""
    mounted = []

    def mount(options):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "leat-test", folder], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_read_only(small_disk):
    disk = small_disk("size=1m,ro")
    said = refused("--data-dir", disk / "d")
    assert "Read-only file system" in said and "writable" in said and "--ephemeral" in said, said


def test_a_disk_that_is_full(small_disk):
    disk = small_disk("size=64k")
    (disk / ".filler").write_bytes(b"x" * 60000)
    said = refused("--data-dir", disk)
    assert "full" in said.lower() or "No space left" in said, said
    assert "free some space" in said.lower(), said


# ---- a database that is damaged ----


@pytest.mark.parametrize("harm", ["not one", "torn", "another's", "newer"])
def test_a_database_that_cannot_be_used(tmp_path, harm):
    data = tmp_path / "d"
    manifest = write_manifest(tmp_path / "m.yaml", [channel(f"c{i}") for i in range(200)])
    with Server("--data-dir", data, "-f", manifest):
        pass
    db = data / "resources.db"
    if harm == "not one":
        db.write_bytes(b"no database at all" * 1000)
    elif harm == "torn":
        whole = bytearray(db.read_bytes())
        for at in range(4096, len(whole), 512):  # the head stays, the pages do not
            whole[at : at + 64] = b"\xff" * 64
        db.write_bytes(whole)
    elif harm == "another's":
        subprocess.run(["python3", "-c", f"import sqlite3; d = sqlite3.connect({str(db)!r}); d.execute('PRAGMA application_id = 7'); d.commit()"], check=True)
    else:
        subprocess.run(["python3", "-c", f"import sqlite3; d = sqlite3.connect({str(db)!r}); d.execute('PRAGMA user_version = 99'); d.commit()"], check=True)
    before = db.read_bytes()
    said = refused("--data-dir", data, "-f", manifest)
    words = {"not one": "damaged", "torn": "damaged", "another's": "no database of leat", "newer": "newer leat"}
    assert words[harm] in said and str(db) in said, said
    assert db.read_bytes() == before


# ---- the log in it ----


def one_channel(tmp_path, sink_url):
    return write_manifest(tmp_path / "m.yaml", [channel("c"), subscription("s", "c", sink_url, retry=1000)])


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_events_are_there_after_a_restart(tmp_path, sink, end):
    """With no word of a bus: what was answered with 202 is on disk, and a stop with a backlog is a good end."""
    nobody = one_channel(tmp_path, f"http://127.0.0.1:{free_port()}/")
    with Server("--data-dir", tmp_path / "d", "-f", nobody) as server:
        assert [request("POST", server.address("ingress") + "/channels/default/c", b"%d" % i, event(str(i))).status for i in range(20)] == [202] * 20
        if end == "kill":
            server.signal(signal.SIGKILL)
            server.wait()
        else:
            assert server.stop() == 0
            assert "lost=0 kept=20" in server.wait_line("serve.stopped")
    with Server("--data-dir", tmp_path / "d", "-f", one_channel(tmp_path, sink.url)) as server:
        assert {r.body for r in sink.wait(20)} == {b"%d" % i for i in range(20)}
    assert (tmp_path / "d/log").is_dir()


def test_memory_beside_kept_resources(tmp_path):
    with Server("--data-dir", tmp_path / "d", "--bus", "memory", "-f", one_channel(tmp_path, "http://127.0.0.1:1/")):
        pass
    assert (tmp_path / "d/resources.db").exists() and not (tmp_path / "d/log").exists()


def test_the_log_needs_a_directory():
    said = refused("--ephemeral", "--bus", "log", code=3)
    assert "--bus log" in said and "--ephemeral" in said, said


def test_a_log_that_cannot_be_opened(tmp_path):
    """The server does not start half: the reason is said, and the code is that of a failure."""
    manifest = one_channel(tmp_path, "http://127.0.0.1:1/")
    (tmp_path / "d").mkdir()
    with Server("--data-dir", tmp_path / "d"):
        pass
    (tmp_path / "d/log").write_text("a file")
    said = refused("--data-dir", tmp_path / "d", "-f", manifest)
    assert "serve.failed" in said and f"{tmp_path}/d/log" in said, said
    said = refused("--data-dir", tmp_path / "e", "-f", manifest, "--bus", "log,segment=much", code=3)
    assert "serve.failed" in said and "segment" in said, said


def test_a_bus_of_2018_that_is_a_log(tmp_path, sink):
    """A Bus by the name of log has events of its own, on disk; without a data directory it says what is missing."""
    old = "channels.knative.dev/v1alpha1"
    objects = [
        {"apiVersion": old, "kind": "Bus", "metadata": {"name": "log"}, "spec": {"dispatcher": {"image": "example.org/buses/log/dispatcher"}}},
        {"apiVersion": old, "kind": "Channel", "metadata": {"name": "a"}, "spec": {"bus": "log"}},
        {"apiVersion": old, "kind": "Channel", "metadata": {"name": "b"}, "spec": {"clusterBus": "log"}},
        {"apiVersion": old, "kind": "Subscription", "metadata": {"name": "s"}, "spec": {"channel": "a", "subscriber": sink.url}},
    ]
    manifest = write_manifest(tmp_path / "m.yaml", objects)
    with Server("--data-dir", tmp_path / "d", "-f", manifest) as server:
        readiness = request("GET", server.address("api") + "/readyz?verbose").text
        assert "[+] bus Bus/default/log" in readiness and "[+] bus log" in readiness, readiness
        channels = request("GET", server.address("api") + f"/apis/{old}/namespaces/default/channels").json()["items"]
        assert [c["metadata"]["name"] for c in channels if any(k["type"] == "Ready" and k["status"] == "True" for k in c["status"]["conditions"])] == ["a", "b"]
    assert (tmp_path / "d/buses/default@log").is_dir() and (tmp_path / "d/log").is_dir()
    with Server("--ephemeral", "-f", manifest) as server:
        conditions = request("GET", server.address("api") + f"/apis/{old}/namespaces/default/buses/log").json()["status"]["conditions"]
        ready = next(c for c in conditions if c["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "NoDataDirectory") and "--ephemeral" in ready["message"]


def test_a_bus_that_cannot_be_opened_later(tmp_path, sink):
    """A Bus beside the default one whose log is of no use: the server runs, is not ready, and says of which channel why; with the next plan it is tried again."""
    old = "channels.knative.dev/v1alpha1"
    bad = [
        {"apiVersion": old, "kind": "Bus", "metadata": {"name": "log"}, "spec": {"dispatcher": {"image": "example.org/buses/log/dispatcher"}}},
        {"apiVersion": old, "kind": "Channel", "metadata": {"name": "a"}, "spec": {"bus": "log"}},
        {"apiVersion": old, "kind": "Subscription", "metadata": {"name": "s"}, "spec": {"channel": "a", "subscriber": sink.url}},
    ]
    with Server("--data-dir", tmp_path / "d"):
        pass
    (tmp_path / "d/buses/default@log").write_text("a file")
    manifest = write_manifest(tmp_path / "m.yaml", [channel("c"), *bad])
    with Server("--data-dir", tmp_path / "d", "-f", manifest) as server:
        api, ingress = server.address("api"), server.address("ingress")

        def provisioned():
            there = request("GET", f"{api}/apis/{old}/namespaces/default/channels/a").json()
            return next(c for c in there["status"]["conditions"] if c["type"] == "Provisioned")

        ready = request("GET", api + "/readyz")
        assert ready.status == 503 and "[-] bus Bus/default/log: " in ready.text, ready.text
        assert provisioned()["status"] == "False" and "could not be opened" in provisioned()["message"]
        assert request("POST", ingress + "/channels/default/c", b"", event()).status == 202
        assert request("GET", api + "/metrics").status == 200
        (tmp_path / "d/buses/default@log").unlink()
        server.signal(signal.SIGHUP)
        wait_for(lambda: provisioned()["status"] == "True")
        wait_for(lambda: request("GET", api + "/readyz").status == 200, "readiness")


def test_a_log_that_cannot_be_written(tmp_path, sink):
    """The first write that fails is the last that is tried: senders get no 202 any more, readiness says why and what to do, what was acknowledged is delivered, and is all there after a
    restart."""
    manifest, taken = one_channel(tmp_path, sink.url), []
    with Server("--data-dir", tmp_path / "d", "-f", manifest) as server:
        ingress, api = server.address("ingress"), server.address("api")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        for i in range(64):
            status = request("POST", ingress + "/channels/default/c", b"x" * 200000, event(str(i))).status
            if status != 202:
                break
            taken.append(str(i))
        assert status in (500, 503) and 2 < len(taken) < 64, status
        assert request("POST", ingress + "/channels/default/c", b"", event("small")).status in (500, 503)
        ready = wait_for(lambda: (r := request("GET", api + "/readyz")).status != 200 and r, "readiness to go")
        assert ready.status == 503 and "[-] bus log: " in ready.text and "restart" in ready.text, ready.text
        assert "bus=log" in server.wait_line("bus.notice")
        assert {r.headers["ce-id"] for r in sink.wait(len(taken))} == set(taken)
    sink.clear()
    with Server("--data-dir", tmp_path / "d", "-f", manifest) as server:
        assert request("GET", server.address("api") + "/readyz").status == 200
        assert request("POST", server.address("ingress") + "/channels/default/c", b"", event("after")).status == 202
        wait_for(lambda: any(r.headers["ce-id"] == "after" for r in sink.requests))
        assert {r.headers["ce-id"] for r in sink.requests} <= {*taken, "after"}


# ---- what sources keep ----


def test_what_a_source_kept_goes_a_week_after_its_object(tmp_path):
    source = '{"apiVersion": "sources.knative.dev/v1", "kind": "ApiServerSource", "metadata": {"name": "s"}, "spec": {"resources": [{"apiVersion": "v1", "kind": "Event"}], "sink": {"uri": "http://127.0.0.1:9/"}}}'
    (tmp_path / "s.json").write_text(source)
    args = ("--data-dir", tmp_path / "data", "-f", tmp_path / "s.json")
    with Server(*args) as server:
        api = next(line.partition(" ")[2] for line in server.stdout if line.startswith("api "))
        listed = json.loads(urllib.request.urlopen(f"{api}/apis/sources.knative.dev/v1/apiserversources").read())
        uid = listed["items"][0]["metadata"]["uid"]
    kept = tmp_path / "data/kubernetes"
    kept.mkdir(exist_ok=True)
    week_ago = time.time() - 7 * 24 * 3600 - 60
    for name, old in ((uid, True), ("gone", True), ("gone.new", True), ("lately", False)):
        if not (kept / name).exists():
            (kept / name).write_text("leat kubernetes 1\n")
        if old:
            os.utime(kept / name, (week_ago, week_ago))
    with Server(*args) as server:
        assert {p.name for p in kept.iterdir()} == {uid, "lately"}, server.logs
