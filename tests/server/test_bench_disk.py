# SPDX-License-Identifier: Apache-2.0
"""`leat bench disk`: its figures hang together, and it leaves nothing behind."""

import json
import signal

import pytest

from leat import Leat, wait_for


def test_figures(run, tmp_path):
    code, out, err = run("bench", "disk", tmp_path, "--seconds", "0.3", "--size", "512", "-o", "json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["directory"] == str(tmp_path) and told["recordBytes"] == 512 and told["fileSystem"]
    assert [b["records"] for b in told["batches"]] == [1, 8, 32, 128, 256, 1000]
    for b in told["batches"]:
        times = b["fdatasync"]
        assert b["syncs"] >= 1 and 0 < times["p50Us"] <= times["p99Us"] <= times["maxUs"]
        assert b["bytesPerSecond"] == pytest.approx(b["recordsPerSecond"] * 512, rel=1e-3)
        # A batch takes at least its sync, so no more batches fit into a second than half the syncs' median allows.
        assert b["recordsPerSecond"] / b["records"] <= 2e6 / times["p50Us"]
    assert told["fdatasync"] == told["batches"][0]["fdatasync"]
    assert list(tmp_path.iterdir()) == []


def test_table(run, tmp_path):
    code, out, err = run("bench", "disk", tmp_path, "--seconds", "0.1")
    assert (code, err) == (0, "") and out.startswith(f"{tmp_path} (")
    table = out.split("\n\n")[1].splitlines()
    assert table[0].split()[:2] == ["BATCH", "RECORDS/S"] and [line.split()[0] for line in table[1:]] == ["1", "8", "32", "128", "256", "1000"]


def test_the_data_directory_is_the_default(run, tmp_path):
    for name, path in (("STATE_DIRECTORY", tmp_path), ("XDG_STATE_HOME", tmp_path / "leat"), ("HOME", tmp_path / ".local/state/leat")):
        path.mkdir(parents=True, exist_ok=True)
        environment = {"HOME": "", name: f"{tmp_path}:/elsewhere" if name == "STATE_DIRECTORY" else str(tmp_path)}
        assert json.loads(run("bench", "disk", "--seconds", "0.01", "-o", "json", env=environment)[1])["directory"] == str(path)
    code, _, err = run("bench", "disk", env={"HOME": ""})
    assert code == 2 and "STATE_DIRECTORY" in err


@pytest.mark.parametrize(
    "words, said",
    [(["--seconds", "0"], "--seconds"), (["--seconds", "x"], "--seconds"), (["--size", "0"], "--size"), (["--size", "1MiB"], "--size"), (["-o", "yaml"], "-o")],
)
def test_wrong_options(run, tmp_path, words, said):
    code, out, err = run("bench", "disk", tmp_path, *words)
    assert code == 2 and not out and said in err


def test_no_directory(run, tmp_path):
    code, out, err = run("bench", "disk", tmp_path / "none")
    assert code == 1 and not out and str(tmp_path / "none") in err


def test_an_interrupt_leaves_nothing(leat_binary, tmp_path):
    process = Leat(["bench", "disk", tmp_path, "--seconds", "600"])
    wait_for(lambda: list(tmp_path.iterdir()), "the file")
    process.signal(signal.SIGINT)
    assert process.wait() == -signal.SIGINT
    assert list(tmp_path.iterdir()) == []
