# SPDX-License-Identifier: Apache-2.0
"""The real kubectl with tokens, over https: what each role may, and what kubectl says of it."""

import pytest

from broker import channel
from kubectl import NEW, OLD, Kubectl
from leat import DEADLINE
from token_file import Tokens


@pytest.fixture(scope="module")
def broker(serve_module, pair, tokens):
    return serve_module([channel("c")], "--api-cert", pair[0], "--api-key", pair[1], "--tokens", tokens[0])


@pytest.mark.parametrize("program", [NEW, OLD], ids=["new", "old"])
def test_kubectl_with_tokens(broker, pair, tokens, tmp_path, program):
    def kubectl(role):
        k = Kubectl(program, broker.api, tmp_path)
        words = k.words
        k.words = lambda *args: [*words("--certificate-authority", pair[0], "--token", tokens[1][role]), *map(str, args)]
        return k

    view, edit, admin = (kubectl(role) for role in ("view", "edit", "admin"))
    assert "c" in view.good("get", "channels").out
    refused = view("delete", "channel.messaging.knative.dev", "c")
    assert refused.code == 1 and 'Error from server (Forbidden): channels.messaging.knative.dev "c" is forbidden: User "view" cannot delete resource "channels" in API group "messaging.knative.dev"' in refused.err
    assert "(Forbidden)" in view("get", "secrets").err and edit.good("get", "secrets").code == 0
    assert view("auth", "can-i", "delete", "channels").out == "no - its role is view" and edit.good("auth", "can-i", "delete", "channels").out == "yes"
    assert view("auth", "can-i", "get", "/metrics").out == "yes" and admin.good("auth", "can-i", "*", "*").out == "yes"
    assert "view" in view.good("auth", "whoami").out and "leat:role:view" in view.good("auth", "whoami").out
    assert "dlq.leat.dev" in view.good("auth", "can-i", "--list").out
    stranger = Kubectl(program, broker.api, tmp_path)("--certificate-authority", pair[0], "get", "channels")
    assert stranger.code == 1 and "channel" not in stranger.out  # it asks for a name and a password instead
    watching = view.start("get", "channels.messaging.knative.dev", "-w", "-o", "name")
    try:
        assert watching.stdout.readline().strip() == "channel.messaging.knative.dev/c"
        edit.good("create", "-f", "-", stdin=channel("seen"))
        assert watching.stdout.readline().strip() == "channel.messaging.knative.dev/seen"
    finally:
        watching.terminate()
        watching.wait(DEADLINE)
        edit.good("delete", "channel.messaging.knative.dev", "seen")


@pytest.mark.parametrize("program", [NEW, OLD], ids=["new", "old"])
def test_kubectl_with_what_leat_kubeconfig_prints(broker, pair, tokens, run, tmp_path, program):
    code, text, said = run("kubeconfig", "--server", broker.api, "--ca", pair[0], "--token", tokens[1]["edit"])
    assert code == 0, said
    file = tmp_path / "kubeconfig"
    file.write_text(text + "\n")
    kubectl = Kubectl(program, broker.api, tmp_path)
    kubectl.words = lambda *args: [str(w) for w in (program, "--kubeconfig", file, *args)]
    assert kubectl.good("get", "channels", "-o", "name").out == "channel.messaging.knative.dev/c"
    assert kubectl.good("config", "current-context").out == "leat"
    assert kubectl.good("apply", "-f", "-", stdin=channel("here", kind="InMemoryChannel")).out.endswith("created")
    assert kubectl.good("delete", "inmemorychannel.messaging.knative.dev", "here").code == 0


@pytest.mark.parametrize("program", [NEW, OLD], ids=["new", "old"])
def test_a_watch_that_ends_with_its_token(serve, pair, tmp_path, program):
    """As a kube-apiserver would say it in a stream: kubectl prints the Status, and ends."""
    tokens = Tokens(tmp_path / "tokens")
    tokens.put("root", "admin")
    tokens.put("ci")
    broker = serve([channel("c")], "--tokens", tokens.file, "--api-cert", pair[0], "--api-key", pair[1])
    kubectl = Kubectl(program, broker.api, tmp_path)
    words = kubectl.words
    kubectl.words = lambda *args: [*words("--certificate-authority", pair[0], "--token", tokens.text("ci")), *map(str, args)]
    watching = kubectl.start("get", "channels.messaging.knative.dev", "-w", "-o", "jsonpath={.metadata.name}{.message}{\"\\n\"}")
    assert watching.stdout.readline().strip() == "c"
    kubectl.good("create", "-f", "-", stdin=channel("seen"))  # then it watches
    assert watching.stdout.readline().strip() == "seen"
    tokens.take("ci")
    told, _ = watching.communicate(timeout=DEADLINE)
    assert "unknown token" in told, told
