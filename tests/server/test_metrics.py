# SPDX-License-Identifier: Apache-2.0
"""/metrics, /livez, /readyz, /version. Names and labels are an interface: the list here is changed only together with docs and dashboards, and nothing is ever taken off it lightly."""

import re

import pytest

from broker import RawSink, channel, dial, event, exchange, github_source, subscription
from leat import Sink, request, sign, wait_for

SUBSCRIPTION = ("namespace", "subscription")
FAMILIES = {  # name: type, labels of each series
    "leat_events_refused_total": ("counter", ("reason",)),
    "leat_ingress_connections": ("gauge", ()),
    "leat_requests_total": ("counter", ()),
    "leat_events_accepted_total": ("counter", ("channel", "namespace")),
    "leat_events_dropped_total": ("counter", ("channel", "namespace")),
    "leat_events_unmatched_total": ("counter", ("channel", "namespace")),
    "leat_channel_bytes": ("gauge", ("channel", "namespace")),
    "leat_deliveries_total": ("counter", ("end", *SUBSCRIPTION)),
    "leat_delivery_attempts_total": ("counter", SUBSCRIPTION),
    "leat_delivery_retries_total": ("counter", SUBSCRIPTION),
    "leat_delivery_failures_total": ("counter", SUBSCRIPTION),
    "leat_replies_total": ("counter", SUBSCRIPTION),
    "leat_replies_ignored_total": ("counter", SUBSCRIPTION),
    "leat_delivery_batches_total": ("counter", SUBSCRIPTION),
    "leat_delivery_loops_total": ("counter", SUBSCRIPTION),
    "leat_deliveries_held": ("gauge", SUBSCRIPTION),
    "leat_deliveries_in_flight": ("gauge", SUBSCRIPTION),
    "leat_backlog_events": ("gauge", SUBSCRIPTION),
    "leat_parked_events": ("gauge", SUBSCRIPTION),
    "leat_backlog_counting": ("gauge", SUBSCRIPTION),
    "leat_subscription_paused": ("gauge", SUBSCRIPTION),
    "leat_deliveries_dropped_total": ("counter", ("from", *SUBSCRIPTION)),
    "leat_source_events_total": ("counter", ("namespace", "result", "source")),
    "leat_source_restarts_total": ("counter", ("namespace", "source")),
    "leat_bus_commits_total": ("counter", ("bus",)),
    "leat_bus_committed_records_total": ("counter", ("bus",)),
    "leat_bus_lost_records_total": ("counter", ("bus",)),
    "leat_api_refused_total": ("counter", ("reason",)),
    "process_resident_memory_bytes": ("gauge", ()),
    "leat_build_info": ("gauge", ("version",)),
}
REASONS = {"not_found", "method", "invalid", "unsupported", "too_large", "full", "unavailable", "loop", "malformed_http", "timeout", "headers_too_large"}
ENDS = {"delivered", "dead_lettered", "parked", "filtered", "expired", "duplicate"}
RESULTS = {"emitted", "ignored", "refused_signature", "refused_invalid", "failed", "missed"}

@pytest.fixture(scope="module")
def sink():
    with Sink() as s:
        yield s


@pytest.fixture(scope="module")
def broker(sink, serve_module):
    return serve_module([channel("c"), channel("quiet", "other"), subscription("s", "c", sink.url, retry=1), *github_source("gh", "c")])


# ---- the form ----


def test_the_names_types_and_labels_are_these(broker):
    text = broker.ask("GET", "/metrics").text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    labels = {}
    for name, series in broker.metrics():
        labels.setdefault(name, set()).add(tuple(sorted(k for k, _ in series)))
    assert types == {name: kind for name, (kind, _) in FAMILIES.items()}
    assert labels == {name: {tuple(sorted(wanted))} for name, (_, wanted) in FAMILIES.items()}


def test_the_values_of_labels_are_these(broker):
    seen = {}
    for name, series in broker.metrics():
        for key, value in series:
            seen.setdefault((name, key), set()).add(value)
    assert seen["leat_events_refused_total", "reason"] == REASONS
    assert seen["leat_deliveries_total", "end"] == ENDS
    assert seen["leat_source_events_total", "result"] == RESULTS
    assert seen["leat_events_accepted_total", "channel"] == {"c", "quiet"}


def test_each_family_is_one_block_with_help_and_type_before_it(broker):
    answer = broker.ask("GET", "/metrics")
    assert answer.status == 200 and answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.endswith("\n")
    order = []
    for line in answer.text.splitlines():
        name = line.split()[2] if line.startswith("# ") else re.match(r"[a-z_]+", line)[0]
        kind = line.split()[1] if line.startswith("# ") else "sample"
        if kind == "HELP":
            assert name not in order, f"{name} comes in two blocks"
            order.append(name)
            expected = "TYPE"
        else:
            assert name == order[-1] and kind in (expected, "sample") and (kind == "sample" or expected == "TYPE"), line
            expected = "sample"


def test_counters_end_in_total_and_gauges_do_not():
    assert all(name.endswith("_total") == (kind == "counter") for name, (kind, _) in FAMILIES.items())


# ---- what counts what ----


def change(broker, name, act, **labels):
    before = broker.metric(name, **labels)
    act()
    return broker.metric(name, **labels) - before


@pytest.mark.parametrize(
    "reason, act",
    [
        ("not_found", lambda b: b.post("none")),
        ("method", lambda b: request("PUT", b.ingress + "/channels/default/c")),
        ("invalid", lambda b: b.post("c", b"", {})),
        ("unsupported", lambda b: b.post("c", b"", {"Content-Type": "application/cloudevents+xml"})),
        ("too_large", lambda b: exchange(b.ingress, b"POST /channels/default/c HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")),
        ("malformed_http", lambda b: exchange(b.ingress, b"POST /channels/default/c HTTP/1.1\r\n\r\n")),
        ("headers_too_large", lambda b: exchange(b.ingress, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40000 + b"\r\n\r\n")),
    ],
)
def test_refusals(broker, reason, act):
    assert change(broker, "leat_events_refused_total", lambda: act(broker), reason=reason) == 1
    others = {r: broker.metric("leat_events_refused_total", reason=r) for r in REASONS - {reason}}
    act(broker)
    assert {r: broker.metric("leat_events_refused_total", reason=r) for r in REASONS - {reason}} == others


def test_accepted(broker):
    assert change(broker, "leat_events_accepted_total", lambda: [broker.post("c") for _ in range(5)], namespace="default", channel="c") == 5
    assert change(broker, "leat_events_accepted_total", lambda: broker.post("quiet", b"", event(), "other"), namespace="other", channel="quiet") == 1


def test_in_flight_backlog_and_bytes(serve):
    with RawSink(lambda s, stop: stop.wait()) as hanging:
        broker = serve([channel("c"), subscription("s", "c", hanging.url)], "--drain", "100ms", "--loops", "1")
        broker.may_lose = True
        for i in range(100):
            broker.post("c", b"x" * 1000, event(str(i)))
        labels = {"namespace": "default", "subscription": "s"}
        broker.wait_metric(64, "leat_deliveries_in_flight", **labels)
        assert broker.metric("leat_backlog_events", **labels) == 100
        assert 100_000 < broker.metric("leat_channel_bytes", namespace="default", channel="c") < 200_000
        assert broker.metric("leat_deliveries_total", end="delivered", **labels) == 0


def test_all_returns_to_zero(broker, sink):
    for i in range(20):
        broker.post("c")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="s")
    broker.wait_metric(0, "leat_deliveries_in_flight", namespace="default", subscription="s")
    broker.wait_metric(0, "leat_channel_bytes", namespace="default", channel="c")


def test_failures_and_retries(broker, sink):
    labels = {"namespace": "default", "subscription": "s"}
    names = ("leat_delivery_attempts_total", "leat_delivery_retries_total", "leat_delivery_failures_total")
    broker.wait_metric(0, "leat_backlog_events", **labels)
    before = [broker.metric(n, **labels) for n in names]
    sink.clear()
    sink.fail(1)
    broker.post("c")
    broker.wait_metric(0, "leat_backlog_events", **labels)
    assert [broker.metric(n, **labels) - b for n, b in zip(names, before)] == [2, 1, 1]


def test_source_events(broker):
    def hook(event_, body=b'{"repository":{"full_name":"jo/mill"}}', secret="s3"):
        headers = {"Content-Type": "application/json", "X-GitHub-Event": event_, "X-GitHub-Delivery": "d", "X-Hub-Signature-256": sign(secret, body)}
        return request("POST", broker.ingress + "/hooks/default/gh", body, headers).status

    labels = {"namespace": "default", "source": "gh"}
    name = "leat_source_events_total"
    assert change(broker, name, lambda: hook("push"), result="emitted", **labels) == 1
    assert change(broker, name, lambda: hook("issues"), result="ignored", **labels) == 1
    assert change(broker, name, lambda: hook("push", secret="wrong"), result="refused_signature", **labels) == 1
    assert change(broker, name, lambda: hook("push", body=b"no json"), result="refused_invalid", **labels) == 1


def test_dropped_events_are_counted(serve):
    with RawSink(lambda s, stop: stop.wait()) as hanging:
        broker = serve([channel("c", capacity="128KiB"), subscription("s", "c", hanging.url, annotations={"leat.dev/overflow": "drop-oldest"})], "--drain", "100ms", "--loops", "1")
        broker.may_lose = True
        sent = 300
        for i in range(sent):
            assert broker.post("c", b"x" * 1000, event(str(i))).status == 202
        labels = {"namespace": "default", "subscription": "s"}
        dropped = broker.metric("leat_deliveries_dropped_total", **labels, **{"from": "backlog"})
        assert dropped > 100 and dropped + broker.metric("leat_backlog_events", **labels) == sent
        assert broker.metric("leat_events_dropped_total", namespace="default", channel="c") == dropped


def test_an_event_that_nobody_subscribed_to_is_a_counted_drop(broker):
    assert change(broker, "leat_events_dropped_total", lambda: broker.post("quiet", b"", event(), "other"), namespace="other", channel="quiet") == 1


def test_resources_of_different_kinds_with_the_same_name_are_one_series(serve, sink):
    """The exposition format allows each series once."""
    objects = [channel("c"), {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "ClusterBus", "metadata": {"name": "stub"}, "spec": {"dispatcher": {"name": "d", "image": "x/buses/stub/dispatcher"}}}]
    objects += [{"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Channel", "metadata": {"name": "old"}, "spec": {"clusterBus": "stub"}}]
    objects += [subscription("s", "c", sink.url), {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Subscription", "metadata": {"name": "s"}, "spec": {"channel": "old", "subscriber": sink.url}}]
    broker = serve(objects)
    assert broker.post("c").status == broker.post("old").status == 202
    broker.wait_metric(2, "leat_deliveries_total", namespace="default", subscription="s", end="delivered")


def test_connections(broker):
    broker.wait_metric(0, "leat_ingress_connections")  # those of other tests have ended
    with dial(broker.ingress), dial(broker.ingress):
        broker.wait_metric(2, "leat_ingress_connections")
    broker.wait_metric(0, "leat_ingress_connections")


def test_memory_and_version(broker, run):
    assert 1 << 20 < broker.metric("process_resident_memory_bytes") < 1 << 34
    version = run("version")[1].split()[1]
    assert broker.metric("leat_build_info", version=version) == 1


# ---- health ----


def test_health(broker):
    for path in ("/livez", "/readyz"):
        answer = broker.ask("GET", path)
        assert (answer.status, answer.text) == (200, "ok\n")
        assert answer.headers["content-type"].startswith("text/plain")


def test_readyz_verbose_names_every_part(broker):
    answer = broker.ask("GET", "/readyz?verbose")
    assert answer.status == 200
    lines = answer.text.splitlines()
    assert lines[0] == "[+] plan: in force" and lines[-1] == "ok" and all(line.startswith("[+] ") for line in lines[:-1])
    assert "[+] bus memory: answers" in lines


def test_version(broker):
    answer = broker.ask("GET", "/version").json()
    assert answer["gitVersion"].startswith("v1.") and "leat" in answer["gitVersion"]


def test_other_pages(broker):
    paths = broker.ask("GET", "/").json()["paths"]
    assert "/apis" in paths and "/api/v1" in paths
    answer = broker.ask("GET", "/nowhere")
    assert answer.status == 404 and "/metrics" in answer.text and "/apis" in answer.text
    assert broker.ask("POST", "/metrics", b"").status in (404, 405)
