# SPDX-License-Identifier: Apache-2.0
"""Every payload that GitHub is known to send (npm package @octokit/webhooks-examples), signed, through `leat source github` to a sink: the sink's bytes are the webhook's
bytes, and the required attributes are right."""

import json
import re
import subprocess

import pytest

from leat import ROOT, Client, Sink, sign

SECRET = "the mill's secret"
PACKAGE = ROOT / "build/npm/node_modules/@octokit/webhooks-examples"
SETS = ["api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"]
ATTRIBUTE = re.compile(r"[a-z0-9]+")


@pytest.fixture(scope="module")
def payloads():
    subprocess.run([ROOT / "tests/setup/github-payloads"], check=True)

    def read(name):
        events = json.loads((PACKAGE / name / "index.json").read_bytes())
        return [(event["name"], example) for event in events for example in event["examples"]]

    return read


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def as_github_sends(example, i):
    """GitHub sends compact JSON; the other shapes hold bytes that a careless reader would change."""
    if i % 3 == 0:
        return json.dumps(example, separators=(",", ":"), ensure_ascii=False).encode()
    if i % 3 == 1:
        return json.dumps(example, indent=2).encode()
    return b" " + json.dumps(example, separators=(" , ", " : ")).encode() + b"\n"


def post(client, event, delivery, body):
    return client.request("POST", "/", body, {
        "Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": sign(SECRET, body),
        "X-GitHub-Hook-ID": "30", "User-Agent": "GitHub-Hookshot/0",
    })


def expected_type(event, form):
    if form == "2018":
        return "dev.knative.github." + ("pullrequest" if event == "pull_request" else event)
    return "dev.knative.source.github." + event


def expected_source(event, example, form, named):
    if form == "2018" and event == "pull_request":
        return example["pull_request"]["html_url"]
    if named:
        return "https://github.com/octo-org/hello-world"
    if "repository" in example:
        return "https://github.com/" + example["repository"]["full_name"]
    if "organization" in example:
        return "https://github.com/" + example["organization"]["login"]
    return "https://github.com"


def check(request, event, example, body, delivery, form, named):
    assert request.body == body
    assert request.headers["content-type"] == "application/json"
    a = request.attributes
    assert a["specversion"] == "1.0"
    assert a["id"] == delivery
    assert a["type"] == expected_type(event, form)
    assert a["source"] == expected_source(event, example, form, named)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", a["time"])
    assert all(ATTRIBUTE.fullmatch(name) and value for name, value in a.items()), a
    if "sender" in example:
        assert a["sender"] == example["sender"]["login"]
    if "action" in example:
        assert a["action"] == example["action"]
    if "repository" in example:
        assert a["repository"] == example["repository"]["name"]
        assert a["owner"] == example["repository"]["owner"]["login"]
    if event == "push":
        assert a["ref"] == example["ref"] and a["subject"] == example["compare"].rsplit("/", 1)[1]
    if event in ("pull_request", "issues"):
        assert a["subject"] == str(example[event.replace("issues", "issue")]["number"])


@pytest.mark.parametrize("form,named", [("today", True), ("today", False), ("2018", True)])
@pytest.mark.parametrize("name", SETS)
def test_every_payload_reaches_the_sink_unchanged(start, payloads, secret_file, name, form, named):
    examples = payloads(name)
    assert len(examples) >= 49
    with Sink() as sink:
        options = ["--owner-repo", "octo-org/hello-world"] if named else []
        source = start("source", "github", "--listen", "127.0.0.1:0", "--secret-file", secret_file, "--form", form, *options, env={"K_SINK": sink.url})
        with Client(source.address("webhook")) as client:
            sent = []
            for i, (event, example) in enumerate(examples):
                body, delivery = as_github_sends(example, i), f"{name}-{i}"
                answer = post(client, event, delivery, body)
                assert answer.status == (200 if event == "ping" else 202), (event, answer)
                if event != "ping":
                    sent.append((event, example, body, delivery))
        assert len(sink.requests) == len(sent)
        for request, (event, example, body, delivery) in zip(sink.requests, sent):
            check(request, event, example, body, delivery, form, named)


def test_a_ping_is_an_event_for_those_who_ask_for_it(start, payloads, secret_file, sink):
    source = start("source", "github", "--listen", "127.0.0.1:0", "--secret-file", secret_file, "--events", "ping", "--owner-repo", "octo-org/hello-world", env={"K_SINK": sink.url})
    pings = [e for n, e in payloads("api.github.com") if n == "ping"]
    with Client(source.address("webhook")) as client:
        for i, example in enumerate(pings):
            body = as_github_sends(example, i)
            assert post(client, "ping", f"d{i}", body).status == 202
            check(sink.requests[i], "ping", example, body, f"d{i}", "today", True)
            assert sink.requests[i].attributes["subject"] == str(example["hook_id"])
    assert len(sink.requests) == len(pings)
