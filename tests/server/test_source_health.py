# SPDX-License-Identifier: Apache-2.0
"""DeliveryHealthy of sources that send by themselves: whether their sink takes what they send, which Ready does not tell. ApiServerSource and CloudPubSubSource have theirs in
test_kubernetes_source.py and test_pubsub_source.py."""

import pytest

from broker import channel, github_source, subscription
from kubectl import NEW, Kubectl
from leat import Reply, free_port, request, wait_for
from test_container_source import FILES, WAIT
from test_container_source import source as container_source
from test_github_source import hook
from test_ping_source import ping

SOURCES = "/apis/sources.knative.dev"


def health(broker, path, type_="DeliveryHealthy"):
    conditions = broker.ask("GET", f"{SOURCES}/{path}").json().get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == type_), {})


def wait_health(broker, path, status, reason=None):
    return wait_for(lambda: (c := health(broker, path)).get("status") == status and c.get("reason") == reason and c, f"{path} to be {status} {reason}")


def events(broker, name):
    return {e["reason"]: e for e in broker.ask("GET", "/api/v1/namespaces/default/events").json()["items"] if e["involvedObject"]["name"] == name}


PING = "v1/namespaces/default/pingsources/beat"
GITHUB = "v1alpha1/namespaces/default/githubsources/gh"


def test_a_clock_whose_sink_refuses(serve, sink, tmp_path):
    sink.default = Reply(503)
    broker = serve([ping(where=sink.url)])
    bad = wait_health(broker, PING, "False", "DeliveryFailing")
    assert bad["severity"] == "Info" and bad["message"] == f"{sink.url} answered 503", bad
    assert health(broker, PING, "Ready")["status"] == "True", "Ready says nothing of the sink"
    told = wait_for(lambda: events(broker, "beat").get("DeliveryFailed"), "the Event")
    assert told["type"] == "Warning" and "answered 503" in told["message"] and told["involvedObject"]["kind"] == "PingSource"
    assert "DeliveryHealthy" in Kubectl(NEW, broker.api, tmp_path).good("describe", "pingsource/beat").out
    # A plan changes nothing of it.
    broker.reload([ping(where=sink.url), channel("new")])
    assert health(broker, PING)["lastTransitionTime"] == bad["lastTransitionTime"]
    sink.default = Reply(202)
    wait_health(broker, PING, "True")
    assert wait_for(lambda: events(broker, "beat").get("DeliveryRecovered"), "the other Event")["type"] == "Normal"
    assert health(broker, PING)["lastTransitionTime"] >= bad["lastTransitionTime"]


def test_nobody_there(serve):
    nowhere = f"http://127.0.0.1:{free_port()}/"
    broker = serve([ping(where=nowhere)])
    assert wait_health(broker, PING, "False", "DeliveryFailing")["message"].startswith(f"{nowhere} did not answer (unavailable)")


def test_by_way_of_a_channel(serve, sink):
    """What the channel takes is delivered: its subscriber's health is the Subscription's."""
    sink.default = Reply(503)
    broker = serve([channel("beats"), subscription("s", "beats", sink.url, retry=0), ping()])
    broker.may_lose = True
    wait_health(broker, PING, "True")


def test_a_webhook_whose_sink_refuses(serve, sink):
    broker = serve(github_source("gh", sink.url, events=["issues"]), "--hooks", "127.0.0.1:0")
    webhook = broker.address("hooks") + "/hooks/default/gh"
    body = b'{"action": "opened"}'
    assert health(broker, GITHUB)["status"] == "Unknown"
    sink.default = Reply(400)
    assert request("POST", webhook, body, hook(body)).status == 502
    assert f"{sink.url} answered 400" in wait_health(broker, GITHUB, "False", "DeliveryFailing")["message"]
    sink.default = Reply(202)
    assert request("POST", webhook, body, hook(body, delivery="d-2")).status == 202
    wait_health(broker, GITHUB, "True")


def test_a_command_sends_by_itself(serve, sink):
    """What became of it the command alone knows, so the condition says that."""
    broker = serve([channel("beats"), container_source(f"{WAIT}")], *FILES)
    wait_health(broker, "v1/namespaces/default/containersources/heart", "Unknown", "SentByCommand")


@pytest.mark.parametrize("loops", ["1", "3"])
def test_on_every_loop(serve, sink, loops):
    """Webhooks come in on all loops; one that fails is told from whichever it is on."""
    broker = serve(github_source("gh", sink.url, events=["issues"]), "--hooks", "127.0.0.1:0", "--loops", loops)
    webhook = broker.address("hooks") + "/hooks/default/gh"
    body = b'{"action": "opened"}'
    sink.default = Reply(400)
    for i in range(6):
        assert request("POST", webhook, body, hook(body, delivery=f"d-{i}")).status == 502
    wait_health(broker, GITHUB, "False", "DeliveryFailing")
    assert wait_for(lambda: (e := events(broker, "gh").get("DeliveryFailed")) and e["count"] == 6, "all six in one Event")
