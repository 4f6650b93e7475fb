# SPDX-License-Identifier: Apache-2.0
"""Feedlets: programs of 2018's EventSources, given as commands, that start and stop what brings a Feed's events."""

import base64
import json

import pytest

from broker import Broker
from leat import binary, wait_for
from test_process_source import runs

FILES = ("--allow-commands", "files")
PROGRAM = f"""#!/bin/sh
printf '%s\\n' "$FEED_OPERATION|$FEED_TARGET|$FEED_NAMESPACE|$FEED_SERVICE_ACCOUNT|$FEED_TRIGGER|$FEED_CONTEXT|$EVENT_SOURCE_PARAMETERS" >> "$1"
if [ "$FEED_OPERATION" = START ]; then
    printf '%s' '{{"Context":{{"id":7}}}}' | base64 > "$TERMINATION_LOG"
    exec {binary()} send --to "$K_SINK" --type fed
fi
"""
CONTEXT = base64.b64encode(b'{"Context":{"id":7}}').decode()
NOTHING = base64.b64encode(b'{"Context":{}}').decode()


@pytest.fixture
def feedlet(tmp_path):
    """feedlet.journal: a list of what each run was given; feedlet(text) is another program."""

    class Feedlet:
        program, written = tmp_path / "feedlet", tmp_path / "journal"

        def __init__(self):
            self.write(PROGRAM)

        def write(self, text):
            fresh = tmp_path / "fresh"
            fresh.write_text(text)
            fresh.chmod(0o755)
            fresh.rename(self.program)

        @property
        def journal(self):
            return [line.split("|") for line in self.written.read_text().splitlines()] if self.written.exists() else []

        @property
        def operations(self):
            return [line[0] for line in self.journal]

    return Feedlet()


def thing(kind, name, spec, group="feeds", **metadata):
    return {"apiVersion": f"{group}.knative.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "default", **metadata}, "spec": spec}


def declared(feedlet, command=None):
    words = command or [str(feedlet.program), str(feedlet.written)]
    return [thing("EventSource", "mill", {"source": "mill.example", "image": "example.org/mill/feedlet", "parameters": {"image": "example.org/mill/adapter"}},
                  annotations={"leat.dev/command": json.dumps(words)}),
            thing("EventType", "grain", {"eventSource": "mill"})]


def feed(sink, resource="wheat", name="f", **spec):
    return thing("Feed", name, {"action": {"dnsName": sink.url}, "trigger": {"eventType": "grain", "resource": resource, "service": "mill", "parameters": {"speed": 3}}, **spec})


def conditions(broker, kind="feeds", name="f", group="feeds"):
    status = broker.ask("GET", f"/apis/{group}.knative.dev/v1alpha1/namespaces/default/{kind}/{name}").json()["status"]
    return {c["type"]: (c["status"], c.get("reason"), c.get("message", "")) for c in status["conditions"]}


def is_ready(broker, **of):
    wait_for(lambda: conditions(broker, **of)["Ready"][0] == "True", "that the feed is ready")


def test_start_and_stop(serve, sink, feedlet):
    broker = serve([*declared(feedlet), feed(sink, serviceAccountName="feeder")], *FILES)
    is_ready(broker)
    sink.wait(1)
    operation, target, ns, account, trigger, context, parameters = feedlet.journal[0]
    assert (operation, "http://" + target, ns, account, context) == ("START", sink.url, "default", "feeder", NOTHING)
    assert json.loads(base64.b64decode(trigger)) == {"eventType": "grain", "resource": "wheat", "service": "mill", "params": {"speed": 3}}
    assert json.loads(base64.b64decode(parameters)) == {"image": "example.org/mill/adapter"}
    assert "WebhookConfigured" not in conditions(broker) and conditions(broker, "eventsources", "mill")["Complete"][0] == "True"
    broker.reload(declared(feedlet))
    wait_for(lambda: feedlet.operations == ["START", "STOP"], "the stop")
    assert feedlet.journal[1][5] == CONTEXT and feedlet.journal[1][4] == trigger
    broker.reload([*declared(feedlet), feed(sink)])
    wait_for(lambda: feedlet.operations == ["START", "STOP", "START"], "another start")


def test_other_plans_start_nothing(serve, sink, feedlet):
    broker = serve([*declared(feedlet), feed(sink)], *FILES)
    is_ready(broker)
    for n in range(3):
        broker.reload([*declared(feedlet), feed(sink), *[thing("EventType", f"t{i}", {"eventSource": "mill"}) for i in range(n)]])
    assert feedlet.operations == ["START"]


def test_a_changed_feed_is_stopped_and_started(serve, sink, feedlet, tmp_path):
    broker = serve([*declared(feedlet), feed(sink)], *FILES)
    is_ready(broker)
    broker.reload([*declared(feedlet), feed(sink, resource="rye")])
    wait_for(lambda: feedlet.operations == ["START", "STOP", "START"], "stop and start")
    resources = [json.loads(base64.b64decode(line[4]))["resource"] for line in feedlet.journal]
    assert resources == ["wheat", "wheat", "rye"] and feedlet.journal[1][5] == CONTEXT
    is_ready(broker)


@pytest.mark.parametrize("kill", [False, True])
def test_over_a_restart(leat_binary, sink, feedlet, tmp_path, kill):
    """With a data directory a feed stays started over a restart, and what it left is known to its stop."""
    data, objects = ("--data-dir", tmp_path / "data", *FILES), [*declared(feedlet), feed(sink)]
    with Broker(tmp_path, objects, *data) as broker:
        is_ready(broker)
        broker.kill() if kill else broker.stop()
    assert feedlet.operations == ["START"]
    with Broker(tmp_path, objects, *data) as broker:
        is_ready(broker)
        assert feedlet.operations == ["START"]
        broker.reload(declared(feedlet))
        wait_for(lambda: feedlet.operations == ["START", "STOP"], "the stop")
        assert feedlet.journal[1][5] == CONTEXT
        broker.stop()
    with Broker(tmp_path, [*declared(feedlet), feed(sink, resource="oats")], *data) as broker:
        is_ready(broker)
        broker.stop()
    with Broker(tmp_path, [*declared(feedlet), feed(sink, resource="corn")], *data) as broker:  # changed while nothing ran
        wait_for(lambda: feedlet.operations == ["START", "STOP", "START", "STOP", "START"], "the old one's stop, the new one's start")
        is_ready(broker)
        broker.stop()


@pytest.mark.parametrize("kill", [False, True])
def test_one_that_went_while_nothing_ran_is_stopped_at_the_next_start(leat_binary, sink, feedlet, tmp_path, kill):
    """By what its file says alone: with the command, the variables and the context of its own; and not where no commands may be run."""
    data = "--data-dir", tmp_path / "data"
    feeds = tmp_path / "data" / "feeds"
    with Broker(tmp_path, [*declared(feedlet), feed(sink), feed(sink, "rye", "stays")], *data, *FILES) as broker:
        is_ready(broker)
        is_ready(broker, name="stays")
        broker.kill() if kill else broker.stop()
    if kill:  # while it was being stopped
        [gone] = [f for f in feeds.iterdir() if b"wheat" in base64.b64decode(trigger_of(f))]
        gone.rename(gone.with_name(gone.name + ".stopping"))
    left = [feed(sink, "rye", "stays")]
    with Broker(tmp_path, left, *data) as broker:  # its EventSource went with it, and stays "stays"
        broker.stop()
    assert sorted(feedlet.operations) == ["START", "START"]
    with Broker(tmp_path, left, *data, *FILES) as broker:
        wait_for(lambda: "STOP" in feedlet.operations and len(list(feeds.iterdir())) == 1, "the stop")
        broker.stop()
    assert sorted(feedlet.operations) == ["START", "START", "STOP"]
    stop = feedlet.journal[2]
    assert json.loads(base64.b64decode(stop[4]))["resource"] == "wheat" and stop[5] == CONTEXT


def trigger_of(file):
    """What the file of a feed says of FEED_TRIGGER."""
    values = [base64.b64decode(line.split(b" ")[1]) for line in file.read_bytes().splitlines() if line.startswith(b"env ")]
    return next(v.partition(b"=")[2] for v in values if v.startswith(b"FEED_TRIGGER="))


def test_without_a_data_directory_it_is_stopped_at_the_end(serve, sink, feedlet):
    broker = serve([*declared(feedlet), feed(sink)], *FILES)
    is_ready(broker)
    assert broker.stop() == 0
    assert feedlet.operations == ["START", "STOP"]


def test_an_adapter_that_it_leaves_running(serve, sink, feedlet):
    """What START leaves behind stays, also with the feedlet's own group; STOP knows it by the context."""
    feedlet.write("""#!/bin/sh
if [ "$FEED_OPERATION" = START ]; then
    sleep 1000 < /dev/null > /dev/null 2>&1 &
    echo $! > "$1"
    printf '{"Context":{"pid":%d}}' $! | base64 > "$TERMINATION_LOG"
else
    kill $(printf %s "$FEED_CONTEXT" | base64 -d | sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
fi
""")
    broker = serve([*declared(feedlet), feed(sink)], *FILES)
    is_ready(broker)
    pid = int(feedlet.written.read_text())
    assert runs(pid)
    broker.reload(declared(feedlet))
    wait_for(lambda: not runs(pid), "the adapter's end")


def test_a_start_that_fails_is_tried_again(serve, sink, feedlet):
    feedlet.write('#!/bin/sh\necho "no mill here" >&2\nexit 3\n')
    broker = serve([*declared(feedlet), feed(sink)], *FILES)
    said = wait_for(lambda: (c := conditions(broker))["DependenciesSatisfied"][:2] == ("False", "FeedletFailed") and c, "the condition")["Ready"][2]
    assert "START" in said and "exit code 3" in said and "no mill here" in said, said
    feedlet.write(PROGRAM)
    is_ready(broker)


def test_a_stop_that_fails_is_tried_three_times(serve, sink, feedlet):
    feedlet.write('#!/bin/sh\nprintf "%s\\n" "$FEED_OPERATION" >> "$1"\n[ "$FEED_OPERATION" = START ]\n')
    broker = serve([*declared(feedlet), feed(sink)], *FILES)
    is_ready(broker)
    broker.reload(declared(feedlet))
    wait_for(lambda: feedlet.operations == ["START"] + ["STOP"] * 3, "three tries")
    assert broker.stop() == 0 and feedlet.operations == ["START"] + ["STOP"] * 3


def test_of_a_flow(serve, sink, feedlet):
    feedlet.write("#!/bin/sh\nexit 4\n")
    flow = thing("Flow", "w", {"action": {"targetURI": sink.url}, "trigger": {"eventType": "grain", "resource": "wheat", "service": "mill"}}, group="flows")
    broker = serve([*declared(feedlet), flow], *FILES)
    of = {"kind": "flows", "name": "w", "group": "flows"}
    wait_for(lambda: conditions(broker, **of)["FeedReady"][:2] == ("False", "FeedletFailed"), "the condition")
    assert conditions(broker, **of)["ChannelReady"][0] == "True"
    feedlet.write(PROGRAM)
    is_ready(broker, **of)
    sink.wait(1)
    assert feedlet.journal[0][1].endswith("/channels/default/w") or "127.0.0.1" in feedlet.journal[0][1]


@pytest.mark.parametrize("args,word", [((), "--allow-commands files"), (FILES, "over the API")])
def test_nothing_runs_that_is_not_allowed(serve, sink, feedlet, args, word):
    source, kind = declared(feedlet)
    broker = serve([kind, feed(sink)] + ([] if args else [source]), *args)
    if args:
        assert broker.ask("POST", "/apis/feeds.knative.dev/v1alpha1/namespaces/default/eventsources", source).status == 201
        wait_for(lambda: conditions(broker)["Ready"][1] == "CommandsNotAllowed", "the condition")
    assert conditions(broker)["DependenciesSatisfied"][:2] == ("False", "CommandsNotAllowed") and word in conditions(broker)["Ready"][2]
    assert feedlet.journal == []


@pytest.mark.parametrize("value", ["sh -c true", '{"a": 1}', "[]", '["sh", 1]'])
def test_a_command_that_is_no_list(start, tmp_path, value):
    (tmp_path / "m.json").write_text(json.dumps(thing("EventSource", "mill", {"source": "x", "image": "i"}, annotations={"leat.dev/command": value})))
    process = start("validate", tmp_path / "m.json")
    process.wait()
    assert "must be a JSON list of texts" in process.logs, process.logs
