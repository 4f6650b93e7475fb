# SPDX-License-Identifier: Apache-2.0
"""`leat run`: a command with the environment of a SinkBinding, which takes the place of leat."""

import signal

import pytest

from broker import channel, event, subscription
from leat import binary

SHOW = 'echo "$K_SINK|$K_CE_OVERRIDES|$K_CA_CERTS|$NAMESPACE|$NAME"'


def shown(start, *args, env=None):
    process = start("run", *args, "--", "sh", "-c", SHOW, env=env)
    assert process.wait() == 0, process.logs
    assert len(process.stdout) == 1, process.logs
    return process.stdout[0].split("|")


def test_the_environment(start, tmp_path):
    (tmp_path / "ca.pem").write_text("certificates")
    got = shown(start, "--sink", "http://127.0.0.1:1/x", "--ce-override", "team=mills=a", "--ce-override", 'zone="z"', "--ca-file", tmp_path / "ca.pem", "-n", "shop", "--name", "heart",
                env={"K_SINK": "http://127.0.0.1:2/", "NAME": "other"})
    assert got == ["http://127.0.0.1:1/x", '{"extensions":{"team":"mills=a","zone":"\\"z\\""}}', "certificates", "shop", "heart"]


def test_what_is_not_given_stays(start):
    assert shown(start, env={"K_SINK": "http://127.0.0.1:2/", "K_CE_OVERRIDES": "{}", "NAME": "other"}) == ["http://127.0.0.1:2/", "{}", "", "", "other"]


def test_the_sink_by_its_name(start, serve, sink):
    broker = serve([channel("beats", namespace="shop"), subscription("s", "beats", sink.url, namespace="shop")])
    assert shown(start, "--sink", "channel/beats", "-n", "shop", env={"LEAT_SERVER": broker.api})[0] == f"{broker.ingress}/channels/shop/beats"
    process = start("run", "--server", broker.api, "-n", "shop", "--sink", "channel/beats", "--", "sh", "-c", f'{binary()} send --to "$K_SINK" --type beat --id 7')
    assert process.wait() == 0, process.logs
    sink.wait(1)
    assert sink.requests[0].attributes["id"] == "7"


def test_exit_code_and_signals_are_the_command_s(start):
    assert start("run", "--sink", "http://127.0.0.1:1/", "--", "sh", "-c", "exit 7").wait() == 7
    process = start("run", "--sink", "http://127.0.0.1:1/", "--", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    process.wait_line("ready", "stdout")
    process.signal(signal.SIGTERM)
    assert process.wait() == 9


@pytest.mark.parametrize("args,code,words", [
    ([], 2, "there is no command"),
    (["--sink", "http://127.0.0.1:1/"], 2, "there is no command"),
    (["--", "true"], 2, "there is no sink"),
    (["--sink", "ftp://x/", "--", "true"], 2, "--sink"),
    (["--sink", "nothing/x", "--", "true"], 1, "there is no kind 'nothing'"),
    (["--sink", "channel", "--", "true"], 1, "channel/NAME"),
    (["--sink", "http://127.0.0.1:1/", "--ce-override", "team", "--", "true"], 2, "write NAME=VALUE"),
    (["--sink", "http://127.0.0.1:1/", "--ce-override", "Team=x", "--", "true"], 2, "--ce-override"),
    (["--sink", "http://127.0.0.1:1/", "--ce-override", "type=x", "--", "true"], 2, "only extensions"),
    (["--sink", "http://127.0.0.1:1/", "--ca-file", "/nonexistent", "--", "true"], 3, "/nonexistent"),
    (["--sink", "http://127.0.0.1:1/", "--", "/nonexistent/program"], 1, "/nonexistent/program cannot be run: No such file or directory"),
])
def test_what_is_wrong_is_said(start, args, code, words):
    process = start("run", *args)
    assert process.wait() == code, process.logs
    assert any(words in line and line.startswith("leat run: ") for line in process.stderr), process.logs


def test_an_object_without_an_address(start, serve):
    broker = serve([channel("beats")])
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"a": "b"}}
    assert broker.ask("POST", "/api/v1/namespaces/default/secrets", secret).status == 201
    for word, says in (("channel/none", "there is no channel/none in the namespace default"), ("secret/key", "secret/key has no address")):
        process = start("run", "--server", broker.api, "--sink", word, "--", "true")
        assert process.wait() == 1 and any(says in line for line in process.stderr), process.logs
    assert broker.post("beats", b"", event()).status == 202
    broker.may_lose = True
