# SPDX-License-Identifier: Apache-2.0
"""--shared and --sources: what goes together, and who registers webhooks. What processes do that share a bus is in test_kafka_shared.py."""

import pytest
from broker import channel, write_manifest
from fake_github import FakeGitHub
from leat import wait_for

PLACE = "jo/mill"
SOURCE = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "stringData": {"access": "token-1", "secret": "s3"}},
    channel("hooks"),
]


def github_source(url):
    ref = lambda key: {"secretKeyRef": {"name": "hook", "key": key}}  # noqa: E731
    spec = {
        "ownerAndRepository": PLACE,
        "eventTypes": ["push"],
        "githubAPIURL": url,
        "accessToken": ref("access"),
        "secretToken": ref("secret"),
        "sink": {"ref": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "hooks"}},
    }
    return {"apiVersion": "sources.knative.dev/v1alpha1", "kind": "GitHubSource", "metadata": {"name": "mill"}, "spec": spec}


@pytest.mark.parametrize(
    "args, says",
    [
        (["--shared", "--bus", "memory"], "--shared needs manifests"),
        (["--shared", "-f", "MANIFEST"], "--shared needs a bus"),
        (["--shared", "-f", "MANIFEST", "--bus", "memory", "--data-dir", "/nowhere"], "it cannot go with --data-dir"),
        (["--shared", "-f", "MANIFEST", "--bus", "memory", "--auto-create-event-types"], "with --shared only files do"),
        (["--sources", "perhaps"], "neither yes nor no"),
    ],
)
def test_what_does_not_go_together(run, tmp_path, args, says):
    manifest = write_manifest(tmp_path / "m.yaml", [channel("c")])
    code, _, said = run("serve", *[str(manifest) if a == "MANIFEST" else a for a in args])
    assert code == 2 and says in said, said


@pytest.mark.parametrize("bus", ["memory", "faulty,inner=memory"])
def test_a_bus_that_cannot_be_shared(run, tmp_path, bus):
    manifest = write_manifest(tmp_path / "m.yaml", [channel("c")])
    code, _, said = run("serve", "--shared", "-f", manifest, "--bus", bus, "--api", "127.0.0.1:0", "--ingress", "127.0.0.1:0")
    assert code == 3 and "keeps its events for one process alone" in said, said


def test_one_process_registers_webhooks(serve):
    """--sources no: the webhook is another process's business; this one says so, takes webhooks all the same, and is Ready."""
    with FakeGitHub(token="token-1", repositories=[PLACE]) as github:
        objects = [*SOURCE, github_source(github.url)]
        quiet = serve(objects, "--sources", "no", "--hooks-url", "https://hooks.example.org")

        def condition(broker, type_):
            status = broker.ask("GET", "/apis/sources.knative.dev/v1alpha1/namespaces/default/githubsources/mill").json()["status"]
            return next((c for c in status["conditions"] if c["type"] == type_), {})

        said = wait_for(lambda: condition(quiet, "WebhookConfigured").get("reason") == "Elsewhere" and condition(quiet, "WebhookConfigured"), "the condition")
        assert said["status"] == "Unknown" and "--sources yes" in said["message"]
        assert condition(quiet, "Ready")["status"] == "True"
        quiet.reload(objects)
        wait_for(lambda: condition(quiet, "WebhookConfigured").get("reason") == "Elsewhere", "the condition after another plan")
        assert github.calls == []
        loud = serve(objects, "--hooks-url", "https://hooks.example.org")
        wait_for(lambda: condition(loud, "WebhookConfigured").get("status") == "True", "the webhook")
        assert len(github.hooks[PLACE]) == 1
