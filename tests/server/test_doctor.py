# SPDX-License-Identifier: Apache-2.0
"""`leat doctor`: what is right passes; each thing that is wrong, brought about here, is said with its remedy and the exit code."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from broker import Broker, channel, event, subscription
from leat import Reply, Sink, binary, flip, free_port, in_terminal

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534


def parse(code, out, err):
    """The exit code, and {check: line}; a check that says two lines fails the test."""
    told = json.loads(out)
    lines = {line["check"]: line for line in told["checks"]}
    assert len(lines) == len(told["checks"]) and not err
    for verdict in ("pass", "warn", "fail"):
        assert told[verdict] == sum(line["verdict"] == verdict for line in told["checks"])
    assert all(line["remedy"] or line["verdict"] == "pass" for line in told["checks"]), "what is not right has a remedy"
    assert code == (1 if told["fail"] else 0)
    return code, lines


@pytest.fixture
def doctor(run):
    def ask(data_dir, *args, **more):
        return parse(*run("doctor", "--data-dir", data_dir, "-o", "json", *args, **more))

    return ask


@pytest.fixture
def data(leat_binary, tmp_path):
    """A data directory with a log and some events in it, of a server that has stopped."""
    with Broker(tmp_path, [channel("orders")], "--data-dir", tmp_path / "data") as server:
        for n in range(20):
            assert server.post("orders", b"x" * 1000, event(id=str(n))).status == 202
    return tmp_path / "data"


def segments(data):
    return sorted((data / "log").glob("*.seg"))


# ---- all is well ----


def test_a_running_server(doctor, tmp_path, leat_binary):
    with Broker(tmp_path, [channel("orders")], "--data-dir", tmp_path / "data") as server:
        assert server.post("orders", b"{}").status == 202
        code, lines = doctor(tmp_path / "data", "--server", server.api)
        assert code == 0
        names = "data directory, permissions, lock, disk space, file system, fdatasync, resources, log, lost events, cursors, clock, open files, memory, listeners, server, ready, version, backlog, parked"
        assert list(lines) == names.split(", ")
        for name in names.split(", "):
            if name not in ("clock", "file system", "memory", "open files", "fdatasync"):  # those are this machine's affair
                assert lines[name]["verdict"] == "pass", lines[name]
        assert str(server.pid) in lines["lock"]["text"]
        for url in (server.ingress, server.api):
            assert url.removeprefix("http://") in lines["listeners"]["text"]


def test_a_stopped_server(doctor, data):
    code, lines = doctor(data, env={"LEAT_SERVER": ""})
    assert code == 0 and lines["lock"]["text"] == "no server uses it now"
    assert lines["log"]["verdict"] == lines["resources"]["verdict"] == lines["lost events"]["verdict"] == "pass"
    assert sorted(p.name for p in data.iterdir() if "probe" in p.name) == []


def test_one_page(run, data):
    code, out, err = run("doctor", "--data-dir", data)
    assert (code, err) == (0, "")
    *lines, empty, sums = out.splitlines()
    assert not empty and re.fullmatch(r"\d+ pass, \d+ warn, 0 fail", sums)
    assert all(re.match(r"(pass|warn|fail)  [a-z.]+( [a-z]+)* |  +-> [A-Z`]", line) for line in lines) and len(lines) < 50
    for line, remedy in zip(lines, lines[1:]):
        if line.startswith(("warn", "fail")):
            assert remedy.strip().startswith("-> ")
    assert "\033" not in out


def test_colours_only_on_a_terminal_that_wants_them(data, leat_binary):
    for more, wanted in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        seen = in_terminal(["doctor", "--data-dir", data], {"TERM": "xterm", **more})
        assert ("\033[32mpass\033[0m" in seen) == wanted and ("\033[" in seen) == wanted


# ---- the data directory ----


def test_no_data_directory(doctor, tmp_path):
    code, lines = doctor(tmp_path / "none")
    assert code == 0 and lines["data directory"]["verdict"] == "warn" and "leat serve" in lines["data directory"]["remedy"]
    assert "resources" not in lines and "log" not in lines


def test_a_file_in_its_place(doctor, tmp_path):
    (tmp_path / "file").write_text("")
    code, lines = doctor(tmp_path / "file")
    assert code == 1 and "no directory" in lines["data directory"]["text"]


def test_somebody_elses_directory(doctor, tmp_path):
    (tmp_path / "letters").write_text("")
    code, lines = doctor(tmp_path)
    assert code == 0 and lines["data directory"]["verdict"] == "warn" and "format" in lines["data directory"]["text"]
    assert "permissions" not in lines


@pytest.mark.parametrize("text, said", [("leat data 99\n", "format 99"), ("rubbish", "does not say which format"), ("", "does not say which format")])
def test_a_wrong_format(doctor, data, text, said):
    (data / "format").write_text(text)
    code, lines = doctor(data)
    assert code == 1 and lines["data directory"]["verdict"] == "fail" and said in lines["data directory"]["text"]
    assert "resources" not in lines


def test_others_may_look_into_it(doctor, data):
    data.chmod(0o755)
    code, lines = doctor(data)
    assert code == 0 and lines["permissions"]["verdict"] == "warn" and "0755" in lines["permissions"]["text"] and "chmod 700" in lines["permissions"]["remedy"]


def test_the_owner_cannot_write(data):
    root = pathlib.Path(tempfile.mkdtemp(prefix="leat-doctor-"))  # where anybody may look
    try:
        root.chmod(0o755)
        shutil.copytree(data, root / "data")
        user = {}
        if os.geteuid() == 0:
            for path in [root / "data", *(root / "data").rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        (root / "data").chmod(0o500)
        done = subprocess.run([binary(), "doctor", "--data-dir", root / "data", "-o", "json"], capture_output=True, text=True, **user)
        code, lines = parse(done.returncode, done.stdout, done.stderr)
        assert code == 1 and lines["permissions"]["verdict"] == "fail" and "cannot write there" in lines["permissions"]["text"]
        assert lines["fdatasync"]["verdict"] == "warn" and "not measured" in lines["fdatasync"]["text"]
    finally:
        (root / "data").chmod(0o700)
        shutil.rmtree(root)


@ROOT_ONLY
def test_a_disk_without_room(doctor, data, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "leat-test", disk], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        os.chmod(disk, 0o700)
        shutil.copytree(data, disk, dirs_exist_ok=True, ignore=lambda *_: ["log"])
        code, lines = doctor(disk)
        assert lines["disk space"]["verdict"] == "pass" and lines["file system"]["verdict"] == "warn"
        assert "tmpfs" in lines["file system"]["text"] and "in memory" in lines["file system"]["text"]
        with open(disk / "filler", "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 97 << 20)
        code, lines = doctor(disk)
        assert code == 1 and lines["disk space"]["verdict"] == "fail" and "503" in lines["disk space"]["text"]
        with open(disk / "filler", "r+b") as f:
            f.truncate(92 << 20)
        code, lines = doctor(disk)
        assert lines["disk space"]["verdict"] == "warn" and "503" in lines["disk space"]["text"]
    finally:
        subprocess.run(["umount", disk], check=True)


# ---- what is in it ----


def test_a_damaged_database(doctor, data):
    db = data / "resources.db"
    size = db.stat().st_size
    with open(db, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(size - 4096))
    code, lines = doctor(data)
    assert code == 1 and lines["resources"]["verdict"] == "fail" and "backup" in lines["resources"]["remedy"]


def test_no_database_at_all(doctor, data):
    for path in data.glob("resources.db*"):
        path.unlink()
    assert doctor(data)[1]["resources"]["verdict"] == "warn"
    (data / "resources.db").write_bytes(b"this is no database" * 500)
    code, lines = doctor(data)
    assert code == 1 and "not a database" in lines["resources"]["text"]


def test_a_damaged_log(doctor, data):
    newest = segments(data)[-1]
    at = newest.read_bytes().rindex(b"x" * 1000)  # the data of the last event
    flip(newest, at + 500)
    code, lines = doctor(data)
    assert code == 1 and lines["log"]["verdict"] == "fail" and newest.name in lines["log"]["text"] and "leat log verify" in lines["log"]["remedy"]
    assert lines["lost events"]["verdict"] == "fail" and "1 sequences are lost" in lines["lost events"]["text"]


def test_a_damaged_head_of_a_segment(doctor, data):
    flip(segments(data)[0], 20)
    code, lines = doctor(data)
    assert code == 1 and lines["log"]["verdict"] == "fail" and "checksum" in lines["log"]["text"]


def test_a_log_of_a_later_format(doctor, data):
    (data / "log" / "format").write_text("leat log 7\n")  # and no more, as if all else were new
    for path in segments(data):
        path.unlink()
    code, lines = doctor(data)
    assert code == 1 and lines["log"]["verdict"] == "fail"


def test_the_log_of_a_declared_bus(doctor, tmp_path, leat_binary):
    bus = {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Bus", "metadata": {"name": "log", "namespace": "default"}, "spec": {"dispatcher": {"name": "log", "image": "example.org/buses/log/dispatcher:v1"}}}
    of = {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Channel", "metadata": {"name": "old", "namespace": "default"}, "spec": {"bus": "log"}}
    with Broker(tmp_path, [bus, of, channel("orders")], "--data-dir", tmp_path / "data"):
        pass
    code, lines = doctor(tmp_path / "data")
    assert code == 0 and lines["log"]["verdict"] == lines["log default@log"]["verdict"] == lines["cursors default@log"]["verdict"] == "pass"
    flip(next((tmp_path / "data" / "buses" / "default@log").glob("*.seg")), 20)
    code, lines = doctor(tmp_path / "data")
    assert code == 1 and lines["log"]["verdict"] == "pass" and lines["log default@log"]["verdict"] == "fail"


def test_no_log(doctor, data):
    shutil.rmtree(data / "log")
    code, lines = doctor(data)
    assert code == 0 and lines["log"]["verdict"] == "warn" and "lost events" not in lines


# ---- limits ----


def test_few_files(data):
    done = subprocess.run(["sh", "-c", 'ulimit -n 300; exec "$0" doctor --data-dir "$1" -o json', binary(), data], capture_output=True, text=True)
    code, lines = parse(done.returncode, done.stdout, done.stderr)
    assert code == 0 and lines["open files"]["verdict"] == "warn" and "300" in lines["open files"]["text"] and "LimitNOFILE" in lines["open files"]["remedy"]


# ---- the server ----


def test_the_server_is_down(doctor, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    code, lines = doctor(tmp_path / "none", "--server", url)
    assert code == 1 and lines["server"]["verdict"] == "fail" and url in lines["server"]["text"] and "ready" not in lines
    assert doctor(tmp_path / "none", env={"LEAT_SERVER": url})[0] == 1


def test_the_server_is_elsewhere(doctor, tmp_path, leat_binary):
    """The lock says that one runs, and the address that was asked is another's."""
    with Broker(tmp_path, [], "--data-dir", tmp_path / "data"):
        code, lines = doctor(tmp_path / "data", "--server", f"http://127.0.0.1:{free_port()}")
        assert code == 1 and lines["server"]["verdict"] == "fail" and "--server" in lines["server"]["remedy"]


def test_something_else_answers(doctor, tmp_path):
    with Sink(default=Reply(404)) as other:
        code, lines = doctor(tmp_path / "none", "--server", other.url)
        assert code == 1 and "404" in lines["server"]["text"]


def test_not_ready_another_version_and_hot_spots(doctor, tmp_path):
    metrics = "".join(f'leat_backlog_events{{namespace="default",subscription="s{n}"}} {n * 10000}\n' for n in range(6))
    metrics += 'leat_parked_events{namespace="default",subscription="s1"} 0\nleat_parked_events{namespace="shop",subscription="big"} 7\n'
    script = [
        Reply(200, body=b"ok\n"),
        Reply(503, body=b"[+] plan: in force\n[-] bus log: the disk failed: replace it\n[-] bus x: gone\nnot ready\n"),
        Reply(200, body=b'{"gitVersion":"v1.31.0+leat-9.9.9"}'),
        Reply(200, body=metrics.encode()),
    ]
    with Sink(script=script) as server:
        code, lines = doctor(tmp_path / "none", "--server", server.url)
    assert code == 1
    assert lines["ready"]["verdict"] == "fail" and lines["ready"]["text"] == "bus log: the disk failed: replace it; bus x: gone"
    assert lines["version"]["verdict"] == "warn" and "9.9.9" in lines["version"]["text"]
    assert lines["backlog"]["verdict"] == "warn" and lines["backlog"]["text"] == "5 subscriptions have a long backlog: default/s5 50000, default/s4 40000, default/s3 30000 ..."
    assert lines["parked"]["verdict"] == "warn" and lines["parked"]["text"] == "1 subscriptions have parked events: shop/big 7" and "leat dlq" in lines["parked"]["remedy"]


def test_parked_events_of_a_real_server(doctor, tmp_path, leat_binary):
    nowhere = f"http://127.0.0.1:{free_port()}/"
    with Broker(tmp_path, [channel("orders"), subscription("billing", "orders", nowhere, retry=0)], "--data-dir", tmp_path / "data") as server:
        assert server.post("orders", b"{}").status == 202
        server.wait_metric(1, "leat_parked_events", namespace="default", subscription="billing")
        code, lines = doctor(tmp_path / "data", "--server", server.api)
        assert code == 0 and "default/billing 1" in lines["parked"]["text"]


def test_a_listener_that_everybody_reaches(doctor, tmp_path, leat_binary):
    with Broker(tmp_path, [], "--data-dir", tmp_path / "data", "--hooks", "0.0.0.0:0") as server:
        code, lines = doctor(tmp_path / "data", "--server", server.api)
        assert code == 0 and lines["listeners"]["verdict"] == "warn" and "0.0.0.0:" in lines["listeners"]["text"]


# ---- the command line ----


def test_wrong_options(run):
    assert run("doctor", "-o", "xml")[0] == 2
    assert run("doctor", env={"HOME": ""})[0] == 2
