# SPDX-License-Identifier: Apache-2.0
"""leat's own verbs at a server that asks for a token and speaks https: where the token and the certificates come from, and to whom the token is shown."""

import json

import pytest

from broker import channel, subscription
from leat import Sink
from pairs import certificate


@pytest.fixture(scope="module")
def broker(serve_module, pair, tokens):
    return serve_module([channel("c"), subscription("s", "c", "http://127.0.0.1:1/")], "--api-cert", pair[0], "--api-key", pair[1], "--tokens", tokens[0])


@pytest.fixture
def verb(run, broker, pair, tokens, tmp_path):
    """verb(role, words...): the verb with the token of that role in the environment (None: without one)."""

    def call(role, *words, **env):
        return run(*words, "--ca", pair[0], env={"LEAT_SERVER": broker.api, **({"LEAT_TOKEN": tokens[1][role]} if role else {}), **env})

    return call


def test_where_a_token_comes_from(verb, tokens, tmp_path):
    file = tmp_path / "token"
    file.write_text(tokens[1]["view"] + "\n")
    for code, out, said in (verb("view", "get", "channels"), verb(None, "get", "channels", "--token", tokens[1]["view"]), verb(None, "get", "channels", "--token-file", file)):
        assert code == 0 and "c " in out, said
    code, _, said = verb(None, "get", "channels")
    assert code == 1 and "Unauthorized: no token" in said
    code, _, said = verb(None, "get", "channels", "--token", "leat_guess")
    assert code == 1 and "unknown token" in said and "leat_guess" not in said
    code, _, said = verb("view", "delete", "channel/c")
    assert code == 1 and 'User "view" cannot delete resource "channels"' in said
    assert "give one of them" in verb(None, "get", "channels", "--token", "x", "--token-file", file)[2]
    for bad in ("two words", "new\nline", "\x01"):
        code, _, said = verb(None, "get", "channels", "--token", bad)
        assert code == 1 and "--token holds no token" in said and bad not in said
    file.write_text("")
    assert verb(None, "get", "channels", "--token-file", file)[0] == 1
    assert verb(None, "get", "channels", "--token-file", tmp_path / "none")[0] == 1


def test_whom_it_trusts(run, broker, tokens, tmp_path):
    env = {"LEAT_SERVER": broker.api, "LEAT_TOKEN": tokens[1]["view"]}
    code, _, said = run("get", "channels", env=env)
    assert code == 1 and "certificate" in said.lower() and "--ca FILE" in said and "Is `leat serve` running" not in said
    code, _, said = run("get", "channels", "--ca", certificate(tmp_path, "other")[0], env=env)
    assert code == 1 and "certificate" in said.lower()


def test_each_client_verb_shows_its_token(verb, tmp_path):
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps(channel("made")))
    for words in (["apply", "-f", manifest], ["delete", "channel/made"], ["pause", "subscription/s"], ["resume", "subscription/s"], ["dlq", "list"], ["task", "list"], ["doctor", "--data-dir", tmp_path / "none"]):
        code, out, said = verb("admin", *words)
        assert code == 0 or words[0] == "doctor", (words, said)
        assert "metrics" not in out or words[0] != "doctor", out  # it could read them
    assert "/metrics answers 401" in verb(None, "doctor", "--data-dir", tmp_path / "none")[1]
    code, _, said = verb("view", "tail", "channel/none")
    assert code == 1 and "no events pass" in said
    code, _, said = verb(None, "tail", "channel/c")
    assert code == 1 and "Unauthorized" in said


def test_the_token_is_for_the_api_alone(verb):
    with Sink() as sink:
        code, _, said = verb("admin", "send", "--to", sink.url, "--type", "t", "--data", "x")
        assert code == 0, said
        assert "authorization" not in sink.wait(1)[0].headers


def test_kubeconfig(verb, run, broker, pair, tokens):
    code, out, said = verb("view", "kubeconfig", "-n", "shop", "--name", "mine")
    assert code == 0 and said == ""
    for line in ("apiVersion: v1", "kind: Config", "current-context: mine", f"server: {broker.api}", f"token: {tokens[1]['view']}", "namespace: shop", "certificate-authority-data: "):
        assert line in out.replace('"', ""), out
    code, out, said = run("kubeconfig", "--server", "http://127.0.0.1:8001/", "--token", tokens[1]["view"])
    assert code == 0 and "server: http://127.0.0.1:8001\n" in out.replace('"', "") and "no token to an http address" in said
    assert run("kubeconfig", "--server", "nowhere")[0] == 2
    assert run("kubeconfig", "--ca", tokens[0])[0] == 3
