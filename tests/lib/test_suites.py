# SPDX-License-Identifier: Apache-2.0
"""What tests/lib/suites.py makes of suites that fail: which are run once more, what their end is called, and who never runs beside whom."""

import os
import pathlib
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import suites  # noqa: E402


def shell(name, text):
    return suites.Suite(name, ["sh", "-c", text])


def at_second_try(name, folder, words=""):
    """Fails, having said `words`, and passes from then on."""
    mark = folder / name.replace(" ", "-")
    return shell(name, f"test -e '{mark}' || {{ touch '{mark}'; echo '{words}'; echo run; exit 1; }}; echo run")


def runs(all_of_them, capsys):
    """The exit code, and what was printed."""
    return suites.run_all(all_of_them), capsys.readouterr().out


@pytest.mark.parametrize("kind", ["unit", "server", "lint", "contract"])
def test_what_passes_alone_is_unsteady(tmp_path, capsys, kind):
    code, said = runs([shell("unit good", "true"), at_second_try(f"{kind} shaky", tmp_path, "the first words")], capsys)
    assert code == 0 and said.splitlines()[-1] == "2 passed, 0 failed", said
    assert f"unsteady: {kind} shaky failed, and passed when it ran alone" in said and said.count("failed:") == 0
    assert said.count("the first words") == 1, "what it said when it failed is there, whole"


def test_what_fails_twice_has_failed(capsys):
    code, said = runs([shell("unit bad", "echo why; exit 3"), shell("unit good", "true")], capsys)
    assert code == 1 and "failed: unit bad" in said and said.count("why\n") == 2 and "unsteady" not in said
    assert said.splitlines()[-1] == "1 passed, 1 failed"


@pytest.mark.parametrize("words", [
    "==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
    "ERROR: LeakSanitizer: detected memory leaks",
    "WARNING: ThreadSanitizer: data race (pid=1)",
    "base/buf.c:3:4: runtime error: signed integer overflow",
    "==7== ERROR: libFuzzer: deadly signal",
    "FAILED after 7 kills, seed 3: acknowledged and lost: [4], each with the first of them; the backlog is 0",
    "FAILED after 7 kills, seed 3: 1\n  lost: e-7",
])
def test_a_report_is_no_matter_of_time(tmp_path, capsys, words):
    code, said = runs([at_second_try("server reported", tmp_path, words)], capsys)
    assert code == 1 and "failed: server reported" in said and "unsteady" not in said and said.count("run\n") == 1
    assert words in said


def test_a_campaign_that_waited_in_vain_is_run_once_more(tmp_path, capsys):
    code, said = runs([at_second_try("crash real", tmp_path, "FAILED after 7 kills, seed 3: waited without the line ready")], capsys)
    assert code == 0 and "unsteady: crash real" in said


def test_when_many_fail_the_machine_is_not_the_reason(tmp_path, capsys):
    shaky = [at_second_try(f"unit {i}", tmp_path) for i in range(suites.AGAIN_MAX + 1)]
    code, said = runs(shaky, capsys)
    assert code == 1 and said.count("failed: ") == len(shaky) and "unsteady" not in said and said.count("run\n") == len(shaky)
    again, said = runs(shaky, capsys)
    assert again == 0, said


def test_a_suite_that_hangs_is_ended_and_said(monkeypatch, capsys):
    monkeypatch.setattr(suites, "LIMIT", 0.2)
    code, said = runs([suites.Suite("unit hangs", ["sleep", "1000"])], capsys)
    assert code == 1 and "not done after 0.2 s" in said


def test_who_shares_a_system_is_alone_on_it_and_all_stay_within_the_processors(monkeypatch, capsys):
    lock, now, most = threading.Lock(), [], []

    def noted(suite):
        with lock:
            now.append(suite)
            most.append(list(now))
        end = run(suite)
        with lock:
            now.remove(suite)
        return end

    run = suites.run
    monkeypatch.setattr(suites, "run", noted)
    monkeypatch.setattr(suites.os, "cpu_count", lambda: 2)
    names = [f"server {n} ({node})" for n in range(4) for node in ("kafka", "rabbitmq")] + [f"server {n}" for n in range(6)] + [f"unit {n}" for n in range(6)]
    assert suites.run_all([shell(name, "sleep 0.1") for name in names]) == 0
    for running in most:
        assert sum(map(suites.share, running)) <= 2.02
        assert sum("kafka" in s.name for s in running) <= 1 and sum("rabbitmq" in s.name for s in running) <= 1
    assert len(most) == len(names) and max(map(len, most)) > 2
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(names)} passed, 0 failed"


def test_a_suite_says_how_long_it_had_a_processor(capsys):
    busy = suites.run(suites.Suite("unit busy", [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]))
    idle = suites.run(suites.Suite("unit idle", ["sleep", "0.2"]))
    assert busy.good and busy.cpu >= 0.3 and idle.good and idle.cpu < 0.2 <= idle.seconds


def test_a_sampled_suite_runs_every_test_with_one_row_and_together_they_run_many():
    file = pathlib.Path(suites.__file__).resolve().parents[1] / "server/test_knative_ingress.py"

    def rows(**env):
        out = subprocess.run([sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", file], env={**os.environ, **env}, capture_output=True, text=True).stdout
        return {line.partition("::")[2] for line in out.splitlines() if "::" in line}

    every = rows()
    some = [rows(LEAT_ROWS=str(n)) for n in (1, 3, 4, 5)]
    tests = {row.partition("[")[0] for row in every}
    assert len(every) > len(tests) > 5
    assert all(one <= every and sorted(row.partition("[")[0] for row in one) == sorted(tests) for one in some)
    assert len(set.union(*some)) > 2 * len(tests)


def test_every_kind_of_suite_is_there():
    names = [s.name for s in suites.all_suites()]
    assert len(names) == len(set(names)) and {n.partition(" ")[0] for n in names} >= {"lint", "build", "unit", "fault", "contract", "crash", "server", "example", "fuzz"}
    some = set(names)
    listed = "import suites; print(*(s.name for s in suites.all_suites()), sep='\\n')"
    said = subprocess.run([sys.executable, "-c", listed], cwd=pathlib.Path(suites.__file__).parent, env={**os.environ, "ALL": "1"}, capture_output=True, text=True).stdout
    assert {"server dlq (kafka)", "server dlq (log)"} <= set(said.splitlines()) and "a row of each" not in said
    assert {"server dlq (kafka, a row of each)", "server dlq (log)"} <= some
    made = subprocess.run([sys.executable, suites.__file__], env={"T": "no such word", "PATH": "/usr/bin"}, capture_output=True, text=True)
    assert made.returncode == 2 and "no suite's name holds" in made.stdout
