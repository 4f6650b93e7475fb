# SPDX-License-Identifier: Apache-2.0
"""ContainerSource inside `serve`: commands of manifests, run only where that is allowed, kept running, and gone with the server."""

import re
import signal

import pytest

from broker import channel, subscription, to
from leat import binary, wait_for
from test_process_source import runs

FILES = ("--allow-commands", "files")
SEND = f'{binary()} send --to "$K_SINK" --type beat --id "$NAME"'
WAIT = "exec sleep 1000"
PATH = "/apis/sources.knative.dev/v1/namespaces/default/containersources"


def container(script, name=None, **more):
    return {**({"name": name} if name else {}), "image": "example.org/anything", "command": ["sh", "-c"], "args": [script], **more}


def source(*containers, name="heart", sink="beats", **spec):
    template = {"spec": {"containers": [c if isinstance(c, dict) else container(c) for c in containers]}}
    return {"apiVersion": "sources.knative.dev/v1", "kind": "ContainerSource", "metadata": {"name": name, "namespace": "default"},
            "spec": {"template": template, "sink": to(sink), **spec}}


def conditions(broker, name="heart"):
    status = broker.ask("GET", f"{PATH}/{name}").json()["status"]
    return {c["type"]: (c["status"], c.get("reason"), c.get("message", "")) for c in status["conditions"]}


def pids(broker):
    return [int(m[1]) for line in broker.stderr for m in [re.search(r"pid=(\d+)", line)] if m]


def wait_pids(broker, count):
    wait_for(lambda: len(pids(broker)) >= count, f"{count} starts")
    return pids(broker)


def test_its_events_arrive(serve, sink):
    broker = serve([channel("beats"), subscription("s", "beats", sink.url), source(f"{SEND}; {WAIT}", ceOverrides={"extensions": {"team": "mills"}})], *FILES)
    sink.wait(1)
    assert sink.requests[0].attributes["type"] == "beat" and sink.requests[0].attributes["id"] == "heart"
    found = conditions(broker)
    assert [found[c][0] for c in ("Ready", "SinkBindingReady", "ReceiveAdapterReady")] == ["True"] * 3
    assert broker.ask("GET", f"{PATH}/heart").json()["status"]["sinkUri"] == f"{broker.ingress}/channels/default/beats"


def test_its_environment_is_its_own(start, serve, monkeypatch):
    """Variables of the manifest, from a Secret and a ConfigMap too, $(NAME) in all of them; of leat's own environment only what is harmless."""
    monkeypatch.setenv("LANG", "C.UTF-8")
    objects = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hidden"}},
               {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "plain"}}]
    env = [{"name": "A", "value": "one"}, {"name": "B", "value": "$(A)-$(NAMESPACE)-$$(A)-$(NONE)"}, {"name": "EMPTY"},
           {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
           {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
           {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "K_SINK", "value": "http://wrong/"}, {"name": "NAME", "value": "mine"}]
    one = {"image": "i", "command": ["sh"], "args": ["-c", 'pwd; env | grep -v ^PATH=; echo "args=$0 $1"; exec sleep 1000', "$(K_SINK)", "$(S)"], "env": env, "workingDir": "/"}
    broker = serve([*objects, channel("beats"), source(one, ceOverrides={"extensions": {"team": "mills"}})], *FILES)
    broker.wait_line("args=", "stderr")
    said = [line.partition(" text=")[2].strip('"').replace('\\"', '"') for line in broker.stderr if " process.stdout " in line]
    url = f"{broker.ingress}/channels/default/beats"
    assert [line for line in said[1:] if "=" not in line] == []
    values = dict(line.split("=", 1) for line in said[1:])
    assert said[0] == "/"
    assert values.pop("args") == f"{url} hidden"
    for name in ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"):
        values.pop(name, None)
    assert values == {"A": "one", "B": "one-default-$(A)-$(NONE)", "EMPTY": "", "S": "hidden", "C": "plain", "POD": "heart", "K_SINK": url,
                      "NAMESPACE": "default", "NAME": "mine", "K_CE_OVERRIDES": '{"extensions":{"team":"mills"}}'}, values


def test_lines_are_labelled(serve):
    broker = serve([channel("beats"), source(container(f"echo out; {WAIT}"), container(f"echo err >&2; {WAIT}", name="second"))], *FILES)
    first, second = broker.wait_line("process.stdout", "stderr"), broker.wait_line("process.stderr", "stderr")
    assert "source=ContainerSource.sources.knative.dev/default/heart text=out" in first
    assert "source=ContainerSource.sources.knative.dev/default/heart/containers/1 text=err" in second
    names = {key for (name, key), _ in broker.metrics().items() if name == "leat_source_restarts_total"}
    assert {dict(key)["source"] for key in names} == {"heart", "heart/second"}


def test_the_certificates_of_sinks(serve, tmp_path):
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    broker = serve([channel("beats"), source(f'echo "certs=$K_CA_CERTS"; {WAIT}')], *FILES, "--ca-file", tmp_path / "ca.pem")
    assert "certs=-----BEGIN CERTIFICATE-----" in broker.wait_line("certs=", "stderr")


@pytest.mark.parametrize("args,word", [((), "--allow-commands files"), (FILES, "over the API")])
def test_nothing_runs_that_is_not_allowed(serve, args, word):
    mine = source("echo IT-RUNS", name="mine")
    broker = serve([channel("beats")] + ([] if args else [mine]), *args)
    theirs = source("echo IT-RUNS", name="theirs")
    assert broker.ask("POST", PATH, theirs).status == 201
    for name in ["theirs"] + ([] if args else ["mine"]):
        wait_for(lambda: "conditions" in broker.ask("GET", f"{PATH}/{name}").json().get("status", {}), "conditions")
        found = conditions(broker, name)
        assert found["ReceiveAdapterReady"][:2] == ("False", "CommandsNotAllowed") and word in found["Ready"][2], found
        assert found["SinkBindingReady"][0] == "True"
    assert broker.count_lines("IT-RUNS") == 0


def test_over_the_api_where_all_are_allowed(serve):
    broker = serve([channel("beats")], "--allow-commands", "all")
    assert broker.ask("POST", PATH, source(f"echo pid=$$$$; {WAIT}")).status == 201
    pid = wait_pids(broker, 1)[0]
    assert broker.ask("DELETE", f"{PATH}/heart").status == 200
    wait_for(lambda: not runs(pid), "the end of the command")


def test_a_wrong_word_is_refused(start):
    process = start("serve", "--ephemeral", "--allow-commands", "some")
    assert process.wait() == 2 and "neither files nor all" in process.logs


def test_who_ends_is_started_again_and_the_condition_says_so(serve, tmp_path):
    gate = tmp_path / "gate"
    broker = serve([channel("beats"), source(f"echo pid=$$$$; test -e {gate} || exit 5; {WAIT}")], *FILES)
    found = wait_for(lambda: (c := conditions(broker))["ReceiveAdapterReady"][:2] == ("False", "CommandEnded") and c, "the condition")
    assert "ended with exit code 5" in found["Ready"][2]
    gate.touch()
    wait_for(lambda: conditions(broker)["Ready"][0] == "True", "that it is well")
    assert broker.count_lines("process.ended") >= 1
    assert any(name == "leat_source_restarts_total" and value >= 1 for (name, _), value in broker.metrics().items())


def test_what_cannot_be_run(serve):
    broker = serve([channel("beats"), source({"image": "i", "command": ["/nonexistent/program"]})], *FILES)
    found = wait_for(lambda: (c := conditions(broker))["Ready"][0] == "False" and c, "the condition")
    assert "/nonexistent/program cannot be run: No such file or directory" in found["ReceiveAdapterReady"][2]


@pytest.mark.parametrize("one,reason,word", [
    ({"image": "i"}, "NoContainers", "leat runs no images"),
    ({"image": "i", "command": "sh"}, "NoContainers", "leat runs no images"),
    ({"image": "i", "command": ["sh"], "args": [1]}, "InvalidParameters", "lists of texts"),
    ({"image": "i", "command": [""]}, "InvalidParameters", "there is no command"),
    ({"image": "i", "command": ["sh"], "envFrom": [{"secretRef": {"name": "s"}}]}, "InvalidParameters", "envFrom"),
    ({"image": "i", "command": ["sh"], "env": [{"name": "A=B"}]}, "InvalidParameters", "no name"),
    ({"image": "i", "command": ["sh"], "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}, "SecretNotFound", "variable A: Secret none"),
    ({"image": "i", "command": ["sh", "x" * 200000]}, "InvalidParameters", "more than 131072 bytes"),
])
def test_what_is_wrong_is_said(serve, one, reason, word):
    """The second container is right, and does not run all the same: a Pod is not started in part."""
    broker = serve([channel("beats"), source(container("echo IT-RUNS"), one)], *FILES)
    found = conditions(broker)
    assert found["ReceiveAdapterReady"][:2] == ("False", reason) and word in found["Ready"][2], found
    assert broker.count_lines("IT-RUNS") == 0


def test_other_plans_leave_the_command_alone(serve):
    """It goes on through ten plans; a changed one is started anew, when the old one has ended."""
    script = f"echo pid=$$$$; {WAIT}"
    broker = serve([channel("beats"), source(script)], *FILES)
    first = wait_pids(broker, 1)[0]
    for n in range(10):
        broker.reload([channel("beats"), source(script), *[channel(f"c{i}") for i in range(n)]])
    assert pids(broker) == [first] and runs(first)
    broker.reload([channel("beats"), source(script + " # another")])
    second = wait_pids(broker, 2)[1]
    wait_for(lambda: not runs(first), "the end of the first")
    broker.reload([channel("beats"), channel("others"), source(script + " # another", sink="others")])  # the sink is in its environment
    third = wait_pids(broker, 3)[2]
    wait_for(lambda: not runs(second), "the end of the second")
    broker.reload([channel("beats")])
    wait_for(lambda: not runs(third), "the end of the third")
    assert broker.count_lines("process.ended") == 0


def test_at_the_end_it_may_send_what_it_has(serve, sink):
    """SIGTERM of the server: the command gets it first, and its last event is taken and delivered."""
    script = f"trap '{SEND}; exit 0' TERM; echo pid=$$$$; while :; do sleep 0.05; done"
    broker = serve([channel("beats"), subscription("s", "beats", sink.url), source(script)], *FILES)
    pid = wait_pids(broker, 1)[0]
    assert broker.stop() == 0
    assert len(sink.requests) == 1 and not runs(pid)


def test_who_ignores_the_end_is_killed(serve):
    broker = serve([channel("beats"), source("trap '' TERM; echo pid=$$$$; while :; do sleep 0.05; done")], *FILES)
    pid = wait_pids(broker, 1)[0]
    broker.signal(signal.SIGTERM)
    broker.wait_line("process.killed", "stderr", timeout=60)
    assert broker.wait() == 0 and not runs(pid)


@pytest.mark.parametrize("script", ["echo pid=$$$$; exec sleep 1000", "trap '' TERM HUP INT; echo pid=$$$$; while :; do sleep 0.05; done"])
def test_a_kill_leaves_no_orphan(serve, script):
    broker = serve([channel("beats"), source(script)], *FILES)
    pid = wait_pids(broker, 1)[0]
    broker.kill()
    wait_for(lambda: not runs(pid), "the end of the command")


def test_it_gets_no_descriptor_of_ours(serve):
    broker = serve([channel("beats"), source(f"echo fds: $(ls /proc/self/fd); {WAIT}")], *FILES)
    fds = set(broker.wait_line("fds:", "stderr").partition("fds:")[2].strip(' "').split())
    assert fds <= {"0", "1", "2", "3"}, fds  # the last one is of ls itself


def test_with_sources_no_another_process_runs_it(serve):
    broker = serve([channel("beats"), source("echo IT-RUNS")], *FILES, "--sources", "no")
    assert conditions(broker)["ReceiveAdapterReady"][:2] == ("True", "Elsewhere")
    assert broker.count_lines("IT-RUNS") == 0
