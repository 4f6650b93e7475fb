# SPDX-License-Identifier: Apache-2.0
"""`leat source process`: a command that sends events by itself, kept running, as a pod does it."""

import json
import os
import re
import signal

import pytest

from leat import binary, request, wait_for
from pairs import certificate

SEND = f'{binary()} send --to "$K_SINK" --type beat --id "$NAME" --data hello'


@pytest.fixture
def source(start, sink):
    def run(script, *args, env=None):
        return start("source", "process", *args, "--", "sh", "-c", script, env={"K_SINK": sink.url, **(env or {})})

    return run


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pid_of(process):
    return int(re.search(r"pid=(\d+)", process.wait_line("pid=", "stderr"))[1])


def test_the_command_sends_events(source, sink):
    process = source(f"{SEND}; exec sleep 1000", env={"NAMESPACE": "mills", "NAME": "one"})
    sink.wait(1)
    assert sink.requests[0].attributes["type"] == "beat" and sink.requests[0].attributes["id"] == "one" and sink.requests[0].body == b"hello"
    assert process.stop() == 0


def test_options_win_over_the_environment(start, sink, tmp_path):
    pem = certificate(tmp_path)[0].read_text()
    process = start("source", "process", "--sink", sink.url, "--namespace", "here", "--name", "this", "--", "sh", "-c", 'echo "$K_SINK|$NAMESPACE|$NAME|$K_CE_OVERRIDES|$K_CA_CERTS"; exec sleep 1000',
                    env={"K_SINK": "http://127.0.0.1:1/", "NAMESPACE": "there", "NAME": "that", "K_CE_OVERRIDES": '{"extensions":{"team":"m\\u00e4"}}', "K_CA_CERTS": pem})
    said = process.wait_line("process.stdout", "stderr")
    assert f'{sink.url}|here|this|{{\\"extensions\\":{{\\"team\\":\\"mä\\"}}}}|{pem.splitlines()[0]}' in said, said
    assert process.wait_line(pem.splitlines()[-1], "stderr")


def test_lines_are_labelled(source):
    process = source("echo out; echo err >&2; exec sleep 1000", "--log", "json")
    assert json.loads(process.wait_line("process.stdout", "stderr"))["message"] == "out"
    assert json.loads(process.wait_line("process.stderr", "stderr"))["message"] == "err"


def test_it_is_started_again(source):
    process = source("echo pid=$$; exec sleep 1000", "--health", "127.0.0.1:0")
    first = pid_of(process)
    os.kill(first, signal.SIGKILL)
    assert "was killed by signal 9" in process.wait_line("process.ended", "stderr")
    process.wait_line("process.started", "stderr")
    text = request("GET", process.address("health") + "/metrics").text
    assert 'leat_source_restarts_total{source="process",namespace="default",name="process"} 1' in text.splitlines(), text
    wait_for(lambda: sum("pid=" in line for line in process.stderr) == 2, "the second start")


def test_it_ends_with_the_command(source):
    process = source("trap 'echo ending; exit 5' TERM; echo pid=$$; while :; do sleep 0.05; done")
    pid = pid_of(process)
    assert process.stop() == 0
    assert "message=ending" in process.logs and not runs(pid) and "process.ended" not in process.logs


def test_a_kill_takes_the_command_along(source):
    process = source("echo pid=$$; exec sleep 1000")
    pid = pid_of(process)
    process.kill()
    wait_for(lambda: not runs(pid), "the end of the command")


@pytest.mark.parametrize("args,env,code,words", [
    (["--", "true"], {"K_SINK": ""}, 2, "K_SINK"),
    ([], {}, 3, "there is no command"),
    (["--"], {}, 3, "there is no command"),
    (["--", "/nonexistent/program"], {}, 1, "/nonexistent/program cannot be run: No such file or directory"),
    (["stray", "--", "true"], {}, 2, "stray"),
    (["--listen", ":0", "--", "true"], {}, 2, "--listen"),
    (["--", *["x"] * 300], {}, 2, "more than 256 words"),
    (["--", "true"], {"K_CE_OVERRIDES": '{"extensions":{"type":"x"}}'}, 3, "type"),
])
def test_what_is_wrong_is_said(start, args, env, code, words):
    process = start("source", "process", *args, env={"K_SINK": "http://127.0.0.1:1/", **env})
    assert process.wait() == code, process.logs
    assert any(words in line and line.startswith("leat source process: ") for line in process.stderr), process.logs


def test_help(start):
    process = start("source", "process", "--help")
    assert process.wait() == 0
    text = "\n".join(process.stdout)
    for word in ("-- COMMAND [ARGUMENTS]", "--health ADDR", "K_CE_OVERRIDES", "Examples:"):
        assert word in text
