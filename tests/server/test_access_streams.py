# SPDX-License-Identifier: Apache-2.0
"""Answers that go on (watches, tails) end with the token they were asked with, whatever takes it away, and tell nothing after that."""

import datetime
import http.client
import json
import urllib.parse

import pytest

from broker import MESSAGING, channel, event
from leat import DEADLINE, Leat, wait_for
from token_file import Tokens

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
SECRETS = "/api/v1/namespaces/default/secrets"
LOST = {  # how a token goes: words of its line in the file, or none; what the stream says then
    "revoked": (None, 401, "unknown token"),
    "expired": (("edit", "*", "2020-01-01T00:00:00Z"), 401, "expired token"),
    "without the role": (("publish", "*", "-"), 403, "cannot watch resource"),
    "for another namespace": (("edit", "other", "-"), 403, "its role is edit in the namespace other"),
}


class Stream:
    """An answer that goes on, by its lines; None at its end. Made when its head is there."""

    def __init__(self, broker, token, path, **query):
        self.connection = http.client.HTTPConnection(broker.api.removeprefix("http://"), timeout=DEADLINE)
        self.connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}", headers={"Authorization": f"Bearer {token}"})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()

    def line(self):
        line = self.answer.readline()
        return json.loads(line) if line else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer.close()
        self.connection.close()


class Guarded:
    def __init__(self, serve, folder):
        self.tokens = Tokens(folder / "tokens")
        self.tokens.put("root", "admin")
        self.broker = serve([channel("c")], "--tokens", self.tokens.file)

    def ask(self, method, path, body=None, **headers):
        return self.broker.ask(method, path, body, {"Authorization": f"Bearer {self.tokens.text('root')}", **headers})

    def watch(self, name, path=CHANNELS, **query):
        """From now on."""
        version = self.ask("GET", path).json()["metadata"]["resourceVersion"]
        return Stream(self.broker, self.tokens.text(name), path, watch="true", resourceVersion=version, **query)

    def tail(self, name):
        return Stream(self.broker, self.tokens.text(name), "/leat/v1/tail", kind="channel", name="c", namespace="default")

    def lose(self, name, how):
        words = LOST[how][0]
        if words:
            self.tokens.put(name, *words)
        else:
            self.tokens.take(name)


@pytest.fixture(scope="module")
def guarded(serve_module, tmp_path_factory):
    return Guarded(serve_module, tmp_path_factory.mktemp("tokens"))


@pytest.mark.parametrize("how", LOST)
def test_a_watch_ends_with_its_token(guarded, how):
    _, code, says = LOST[how]
    guarded.tokens.put("ci")
    with guarded.watch("ci") as watch, guarded.watch("root") as other:
        guarded.lose("ci", how)
        told = watch.line()
        assert told["type"] == "ERROR" and told["object"]["kind"] == "Status" and told["object"]["status"] == "Failure"
        assert (told["object"]["code"], told["object"]["reason"]) == (code, "Unauthorized" if code == 401 else "Forbidden") and says in told["object"]["message"]
        assert watch.line() is None
        assert guarded.ask("POST", CHANNELS, channel("n")).status == 201  # whose token counts reads on
        assert other.line()["object"]["metadata"]["name"] == "n"
    assert guarded.ask("DELETE", f"{CHANNELS}/n").status == 200


@pytest.mark.parametrize("how", LOST)
def test_what_changes_after_it_is_not_told(guarded, how):
    """Without a moment between: the change itself makes the server look."""
    guarded.tokens.put("ci")
    with guarded.watch("ci") as watch, guarded.watch("ci", timeoutSeconds=600, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true") as walked:
        while walked.line()["type"] != "BOOKMARK":
            pass
        guarded.lose("ci", how)
        assert guarded.ask("POST", CHANNELS, channel("unseen")).status == 201
        for each in (watch, walked):
            assert each.line()["type"] == "ERROR" and each.line() is None
    assert guarded.ask("DELETE", f"{CHANNELS}/unseen").status == 200


@pytest.mark.parametrize("how", LOST)
def test_a_tail_ends_with_its_token(guarded, how):
    _, code, says = LOST[how]
    guarded.tokens.put("ci")
    with guarded.tail("ci") as tail:
        assert guarded.broker.post("c", b"", event("seen")).status == 202
        assert tail.line()["event"]["id"] == "seen"
        guarded.lose("ci", how)
        assert guarded.broker.post("c", b"", event("unseen")).status == 202
        assert tail.line() == {"end": f"access has ended ({code}): {says if code == 401 else 'its token may not do this any more'}"}
        assert tail.line() is None


def test_a_quiet_stream_ends_when_its_token_expires(guarded):
    for seconds in (6, 60):  # a crowded machine may not have begun both within six
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        guarded.tokens.put("brief", until=until.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        try:
            watch, tail = guarded.watch("brief"), guarded.tail("brief")
            break
        except AssertionError:
            assert seconds == 6
    with watch, tail:
        assert "expired token" in watch.line()["object"]["message"] and "expired token" in tail.line()["end"]
        assert datetime.datetime.now(datetime.timezone.utc) >= until
        assert watch.line() is None and tail.line() is None


def test_a_lower_role_ends_what_it_may_not_and_nothing_else(guarded):
    guarded.tokens.put("ci")
    with guarded.watch("ci") as channels, guarded.watch("ci", SECRETS) as secrets, guarded.tail("ci") as tail:
        guarded.tokens.put("ci", "view", "default")
        assert secrets.line()["object"]["code"] == 403 and secrets.line() is None
        assert guarded.ask("POST", CHANNELS, channel("n")).status == 201
        assert channels.line()["object"]["metadata"]["name"] == "n"
        assert guarded.broker.post("c", b"", event("e")).status == 202
        assert tail.line()["event"]["id"] == "e"
    assert guarded.ask("DELETE", f"{CHANNELS}/n").status == 200


def test_other_tokens_and_a_bad_file_end_nothing(guarded):
    guarded.tokens.put("ci")
    with guarded.watch("ci") as watch, guarded.tail("ci") as tail:
        for i in range(5):
            guarded.tokens.put("more", "view")
            guarded.tokens.take("more")
            assert guarded.ask("POST", CHANNELS, channel(f"n-{i}")).status == 201
            assert watch.line()["object"]["metadata"]["name"] == f"n-{i}"
            assert guarded.ask("DELETE", f"{CHANNELS}/n-{i}").status == 200
            while watch.line()["type"] != "DELETED":
                pass
        guarded.tokens.lines["bad"] = "what is this\n"
        guarded.tokens.write()
        assert guarded.broker.post("c", b"", event("still")).status == 202
        assert tail.line()["event"]["id"] == "still"
        del guarded.tokens.lines["bad"]
        guarded.tokens.write()


def test_many_watches_of_many_tokens(guarded):
    """Those of one token end, the others are told what follows."""
    names = [f"many-{i}" for i in range(20)]
    for name in names:
        guarded.tokens.put(name, "view")
    watches = {name: [guarded.watch(name) for _ in range(5)] for name in names}
    try:
        for name in names[::2]:
            guarded.tokens.take(name)
        assert guarded.ask("POST", CHANNELS, channel("n")).status == 201
        for i, name in enumerate(names):
            for watch in watches[name]:
                assert watch.line()["type"] == ("ADDED" if i % 2 else "ERROR")
    finally:
        for watch in sum(watches.values(), []):
            watch.__exit__()
    assert guarded.ask("DELETE", f"{CHANNELS}/n").status == 200


def test_leat_tail_says_why(guarded):
    guarded.tokens.put("ci")
    process = Leat(["tail", "channel/c", "--token", guarded.tokens.text("ci")], env={"LEAT_SERVER": guarded.broker.api})
    sent = iter(range(10000))
    wait_for(lambda: guarded.broker.post("c", b"", event(f"x-{next(sent)}")).status == 202 and process.stdout, "an event seen")
    guarded.tokens.take("ci")
    assert process.wait() == 1
    assert any("access has ended (401): unknown token" in line for line in process.stderr), process.stderr
