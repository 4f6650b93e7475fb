# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: manifests are applied whole, or not at all, and what stays in force loses nothing while others come and go."""

import threading

import pytest

from broker import channel, event, github_source, subscription, to, write_manifest
from fake_github import FakeGitHub
from leat import Client, Reply, Sink, request, sign, wait_for


def test_a_channel_comes_and_goes(serve):
    broker = serve([channel("a")])
    assert broker.post("b").status == 404
    assert "result=applied" in broker.reload([channel("a"), channel("b")])
    broker.in_force("b")
    assert broker.post("a").status == 202
    broker.reload([channel("b")])
    wait_for(lambda: broker.post("a").status == 404, "the channel's end")
    assert broker.post("b").status == 202


def settled(broker, least=0):
    """Waits until no subscription has anything left, so that sinks may go."""

    def backlogs():
        found = [v for (name, _), v in broker.metrics().items() if name == "leat_backlog_events"]
        return len(found) >= least and not any(found)

    wait_for(backlogs, "empty backlogs")


BAD = {
    "not YAML": "a: [1\n",
    "unknown field": [channel("a"), channel("b", subscriberz=[])],
    "unknown kind": [{"apiVersion": "messaging.knative.dev/v1", "kind": "Canal", "metadata": {"name": "a"}}],
    "twice the same": [channel("a"), channel("b"), channel("b")],
    "wrong type": [channel("a"), subscription("s", "a", "http://127.0.0.1:1/", retry="three")],
}


@pytest.mark.parametrize("what", BAD)
def test_bad_manifests_change_nothing(serve, sink, what):
    broker = serve([channel("a"), subscription("s", "a", sink.url)])
    line = broker.reload(BAD[what])
    assert "result=refused" in line and "ERROR" in line.upper()
    broker.wait_line(f"{broker.manifest}:", "stderr")
    assert broker.post("b").status == 404
    broker.post("a", b"still", event())
    assert sink.wait(1)[0].body == b"still"
    broker.reload([channel("a"), subscription("s", "a", sink.url), channel("mended")])
    broker.in_force("mended")


def test_a_manifest_that_is_gone_changes_nothing(serve, sink):
    broker = serve([channel("a"), subscription("s", "a", sink.url)])
    broker.manifest.rename(broker.manifest.with_suffix(".away"))
    broker.signal(1)
    assert "result=refused" in broker.wait_line("serve.reload")
    broker.post("a")
    sink.wait(1)


def test_a_changed_subscriber_counts_for_later_events(serve, sink):
    with Sink() as other:
        broker = serve([channel("a"), subscription("s", "a", sink.url)])
        broker.post("a", b"1", event("1"))
        sink.wait(1)
        broker.reload([channel("a"), channel("mark"), subscription("s", "a", other.url)])
        broker.in_force("mark")
        broker.post("a", b"2", event("2"))
        assert other.wait(1)[0].body == b"2" and len(sink.requests) == 1


def test_an_event_that_waits_is_delivered_under_the_new_terms(serve, sink):
    with Sink() as other:
        broker = serve([channel("a"), subscription("s", "a", sink.url, retry=100, backoffDelay="PT0.05S")])
        sink.default = Reply(503)
        broker.post("a", b"carried", event("w"))
        sink.wait(1)
        broker.reload([channel("a"), subscription("s", "a", other.url, retry=100, backoffDelay="PT0.05S")])
        assert other.wait(1)[0].body == b"carried"


def test_nothing_changes_when_nothing_changed(serve, sink):
    objects = [channel("a"), subscription("s", "a", sink.url)]
    broker = serve(objects)
    path = "/apis/messaging.knative.dev/v1/namespaces/default/subscriptions/s"
    before = broker.ask("GET", path).json()["metadata"]
    broker.reload(objects)
    assert broker.ask("GET", path).json()["metadata"] == before


def test_many_signals_end_in_the_last_manifest(serve):
    broker = serve([channel("c0")])
    for i in range(1, 30):
        write_manifest(broker.manifest, [channel(f"c{i}")])
        broker.signal(1)
    broker.in_force("c29")
    wait_for(lambda: broker.post("c0").status == 404, "the first channel's end")
    assert [i for i in range(29) if broker.post(f"c{i}").status != 404] == []


class Producers:
    """Threads that send numbered events to a channel until told to stop; `accepted` are the ids that were answered 202."""
    EACH = 5  # events that a plan has before the next one comes

    def __init__(self, broker, name, threads=3):
        self.accepted, self.refused = set(), []
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(broker, name, i)) for i in range(threads)]
        for t in self._threads:
            t.start()

    def _send(self, broker, name, index):
        with Client(broker.ingress) as client:
            n = 0
            while not self._enough.is_set():
                id = f"{index}-{n}"
                answer = client.request("POST", f"/channels/default/{name}", b"x", event(id))
                if answer.status == 202:
                    self.accepted.add(id)
                else:
                    self.refused.append(answer)
                n += 1

    def send_some(self):
        seen = len(self.accepted)
        wait_for(lambda: len(self.accepted) >= seen + self.EACH, "traffic")

    def stop(self):
        self._enough.set()
        for t in self._threads:
            t.join()
        return self.accepted


def test_nothing_is_lost_while_subscriptions_come_and_go(serve, sink):
    """The subscription that stays gets every accepted event, whatever happens beside it; those that come get all from some moment on."""
    with Sink() as other:
        stays = [channel("a"), subscription("stays", "a", sink.url)]
        broker = serve(stays)
        producers = Producers(broker, "a")
        for round in range(12):
            beside = [subscription(f"beside-{round}", "a", other.url), subscription("same-name", "a", other.url)] if round % 2 == 0 else []
            assert "applied" in broker.reload([*stays, *beside, channel(f"mark-{round}")])
            broker.in_force(f"mark-{round}")
            producers.send_some()
        accepted = producers.stop()
        assert not producers.refused
        wait_for(lambda: {r.headers["ce-id"] for r in list(sink.requests)} >= accepted, "all that was accepted")
        ids = [r.headers["ce-id"] for r in sink.requests]
        assert sorted(ids) == sorted(accepted), "each exactly once: no subscriber failed"
        assert other.requests
        settled(broker, 1)


def test_nothing_is_lost_while_a_subscription_is_updated(serve, sink):
    with Sink() as other:
        broker = serve([channel("a"), subscription("s", "a", sink.url, retry=10)])
        producers = Producers(broker, "a")
        for round in range(12):
            broker.reload([channel("a"), channel(f"mark-{round}"), subscription("s", "a", (other, sink)[round % 2].url, retry=10 + round)])
            broker.in_force(f"mark-{round}")
            producers.send_some()
        accepted = producers.stop()
        assert not producers.refused

        def ids():
            return [r.headers["ce-id"] for r in [*list(sink.requests), *list(other.requests)]]

        wait_for(lambda: set(ids()) >= accepted, "all that was accepted")
        assert sorted(ids()) == sorted(accepted)
        assert sink.requests and other.requests
        settled(broker, 1)


def test_a_removed_subscription_gets_no_more(serve, sink):
    with Sink() as other:
        broker = serve([channel("a"), subscription("s", "a", sink.url), subscription("o", "a", other.url)])
        broker.reload([channel("a"), channel("mark"), subscription("o", "a", other.url)])
        broker.in_force("mark")
        broker.post("a")
        other.wait(1)
        assert not sink.requests
        wait_for(lambda: ("leat_backlog_events", frozenset({"namespace": "default", "subscription": "s"}.items())) not in broker.metrics(), "the end of its numbers")
        settled(broker, 1)


def test_a_channel_that_is_removed_under_traffic_refuses_and_breaks_nothing(serve, sink):
    broker = serve([channel("a"), subscription("s", "a", sink.url), channel("b")])
    producers = Producers(broker, "a")
    for round in range(6):
        broker.reload([channel("b")] if round % 2 == 0 else [channel("a"), subscription("s", "a", sink.url), channel("b")])
        wait_for(lambda: broker.post("a").status == (404 if round % 2 == 0 else 202), "the plan")
    producers.stop()
    assert {a.status for a in producers.refused} <= {404, 503}
    settled(broker)
    assert broker.post("b").status == 202


def test_a_reply_address_that_turns_into_a_channel(serve, sink):
    """Targets change kind in an update: from nowhere to a URL to a channel."""
    with Sink(Reply(200, event("r", "reply"), b"")) as service:
        broker = serve([channel("a"), channel("b"), subscription("s", "a", service.url), subscription("t", "b", sink.url)])
        changed = subscription("s", "a", service.url)
        changed["spec"]["reply"] = to("b")
        broker.reload([channel("a"), channel("b"), channel("mark"), changed, subscription("t", "b", sink.url)])
        broker.in_force("mark")
        broker.post("a")
        assert sink.wait(1)[0].headers["ce-type"] == "reply"


def test_a_source_that_is_removed_takes_its_webhook_along(serve):
    with FakeGitHub() as github:
        broker = serve([channel("c"), *github_source("gh", "c", github.url)], "--hooks-url", "http://hooks.example.org")
        wait_for(lambda: github.hooks["jo/mill"], "the registration")
        broker.reload([channel("c")])
        wait_for(lambda: not github.hooks["jo/mill"], "the end of the registration")
        wait_for(lambda: broker.ask("GET", "/metrics").text.count("leat_source_events_total{") == 0, "the source's end")
        assert [call[0] for call in github.calls].count("POST") == 1, "it is not registered again"
        broker.reload([channel("c"), *github_source("gh", "c", github.url)])
        wait_for(lambda: github.hooks["jo/mill"], "the registration of the new one")


def test_a_source_that_stays_keeps_its_webhook(serve):
    with FakeGitHub() as github:
        objects = [channel("c"), *github_source("gh", "c", github.url)]
        broker = serve(objects, "--hooks-url", "http://hooks.example.org")
        wait_for(lambda: github.hooks["jo/mill"], "the registration")
        before = [call for call in github.calls if call[0] != "GET"]
        for i in range(3):
            broker.reload([*objects, channel(f"mark-{i}")])
            broker.in_force(f"mark-{i}")
        assert [call for call in github.calls if call[0] != "GET"] == before


def test_a_moved_sink_counts_for_later_webhooks(serve, sink):
    body = b'{"repository":{"full_name":"jo/mill"}}'
    broker = serve([channel("a"), channel("b"), subscription("s", "b", sink.url), *github_source("gh", "a")])
    broker.reload([channel("a"), channel("b"), channel("mark"), subscription("s", "b", sink.url), *github_source("gh", "b")])
    broker.in_force("mark")
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": "d", "X-Hub-Signature-256": sign("s3", body)}
    assert request("POST", broker.ingress + "/hooks/default/gh", body, headers).status == 202
    assert sink.wait(1)[0].body == body
