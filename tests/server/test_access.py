# SPDX-License-Identifier: Apache-2.0
"""Access to the API: tokens from a file, roles, what is refused and how that is said. The decision itself is held role by role in tests/unit/broker_access.c; here a sample of it meets the real server."""

import hashlib
import json
import os
import subprocess
import time

import pytest

from broker import MESSAGING, channel, exchange, github_source, subscription
from leat import Client, binary, request, wait_for

CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
ROLES = ("view", "publish", "operate", "edit", "admin")
SECRET = "planted-5eb1c0de"  # must be nowhere that it does not belong


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def token(path, *words):
    """`leat token create`: the token."""
    return subprocess.run([binary(), "token", "create", "--tokens", path, *words], check=True, capture_output=True, text=True).stdout.strip()


class Guarded:
    """A server that asks for tokens, with one of each role: for all namespaces by its name, for one as ROLE-default."""

    def __init__(self, serve, folder, objects=()):
        self.file = folder / "tokens"
        self.tokens = {role: token(self.file, "--role", role) for role in ROLES}
        self.tokens |= {f"{role}-default": token(self.file, "--role", role, "--name", f"{role}-default", "--namespace", "default") for role in ROLES}
        self.broker = serve(objects, "--tokens", self.file)

    def ask(self, who, method, path, body=None, headers=()):
        return self.broker.ask(method, path, body, {**dict(headers), **bearer(self.tokens[who])})

    def metrics(self):
        return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in self.ask("admin", "GET", "/metrics").text.splitlines() if not line.startswith("#")}


@pytest.fixture(scope="module")
def guarded(serve_module, tmp_path_factory):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}, "stringData": {"key": SECRET}}
    return Guarded(serve_module, tmp_path_factory.mktemp("tokens"), [channel("c"), channel("far", "other"), subscription("sub", "c", "http://127.0.0.1:1/"), secret, *github_source("gh", "c", token=SECRET)])


# ---- who is asked for a token ----


def test_without_a_token_nothing_but_health_is_answered(guarded):
    for path in ("/livez", "/readyz", "/healthz"):
        assert guarded.broker.ask("GET", path).status == 200, path
    for path in ("/", "/metrics", "/version", "/api", "/apis", "/openapi/v3", CHANNELS, "/leat/v1/dlq", "/leat/v1/none", "/none"):
        answer = guarded.broker.ask("GET", path)
        assert answer.status == 401 and answer.headers["www-authenticate"] == 'Bearer realm="leat"', path
        status = answer.json()
        assert (status["kind"], status["reason"], status["code"]) == ("Status", "Unauthorized", 401) and "leat token create" in status["message"]


def test_details_of_readiness_are_for_who_has_a_token(guarded):
    assert guarded.broker.ask("GET", "/readyz?verbose").text == "ok\n"
    assert len(guarded.ask("view", "GET", "/readyz?verbose").text.splitlines()) > 1


@pytest.mark.parametrize("value", ["Bearer none", "Bearer ", "Bearer", "Basic dTpw", "leat_1", "bearer  x", "Bearer " + "x" * 9000])
def test_what_is_no_token_of_ours_is_refused(guarded, value):
    answer = guarded.broker.ask("GET", CHANNELS, headers={"Authorization": value})
    assert answer.status == 401 and 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert value not in answer.text or len(value) < 8


def test_a_stranger_is_refused_before_his_body(guarded):
    with Client(guarded.broker.api) as client:
        client.connection.putrequest("POST", CHANNELS)
        client.connection.putheader("Content-Length", str(1 << 20))
        client.connection.endheaders()
        assert client.connection.getresponse().status == 401


def test_on_the_loopback_address_no_token_is_needed(serve):
    broker = serve([channel("c")])
    assert broker.ask("GET", CHANNELS).status == 200
    assert broker.ask("GET", CHANNELS, headers=bearer("x")).status == 401  # who shows one means it


@pytest.mark.parametrize("headers, status", [
    ({"Origin": "https://example.com"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://localhost:9"}, 403), ({"Host": "example.com"}, 403), ({"Host": "rebound.example.com:8001"}, 403),
    ({"Host": "leat"}, 200), ({"Host": "localhost:8001"}, 200), ({"Host": "me.localhost"}, 200), ({"Host": "[::1]:8001"}, 200), ({"Host": "10.0.0.7:1"}, 200), ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
])
def test_web_pages_have_no_part_in_what_needs_no_token(serve, headers, status):
    broker = serve([channel("c")])
    lines = "".join(f"{k}: {v}\r\n" for k, v in ({"Host": "127.0.0.1"} | headers).items())
    for method, path in (("GET", CHANNELS), ("POST", CHANNELS + "?dryRun=All")):
        body = json.dumps(channel("new")).encode() if method == "POST" else b""
        answer = exchange(broker.api, f"{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert answer.startswith(b"HTTP/1.1 %d" % (201 if status == 200 and method == "POST" else status)), answer


def test_metrics_can_be_open(serve, tmp_path):
    token(tmp_path / "tokens", "--role", "admin")
    broker = serve([], "--tokens", tmp_path / "tokens", "--open-metrics")
    assert broker.ask("GET", "/metrics").status == 200 and broker.ask("GET", "/version").status == 401


@pytest.mark.parametrize("address", ["0.0.0.0:0", ":0", "[::]:0"])
def test_no_server_for_other_machines_without_tokens(run, tmp_path, address):
    words = ["serve", "--ingress", "127.0.0.1:0", "--api", address]
    code, _, said = run(*words, "--ephemeral")
    assert code == 3 and "can be reached from other machines" in said and "leat token create" in said and "--tokens FILE" in said
    code, _, said = run(*words, "--data-dir", tmp_path / "data")
    assert code == 3 and f"--tokens {tmp_path}/data/tokens" in said
    code, _, said = run(*words, "--ephemeral", "--tokens", tmp_path / "none")
    assert code == 3 and "there are no tokens" in said


def test_a_server_for_other_machines_finds_the_tokens_in_its_data(leat_binary, tmp_path):
    data = tmp_path / "data"
    made = subprocess.run([leat_binary, "token", "create", "--role", "view", "--data-dir", data], check=True, capture_output=True, text=True)
    assert data.stat().st_mode & 0o777 == 0o700 and (data / "tokens").stat().st_mode & 0o777 == 0o600
    from leat import Leat

    with Leat(["serve", "--ingress", "127.0.0.1:0", "--api", "0.0.0.0:0", "--data-dir", data]) as process:
        process.wait_line("ready", "stdout")
        api = process.address("api").replace("0.0.0.0", "127.0.0.1")
        with Client(api) as client:
            assert client.request("GET", CHANNELS).status == 401
            assert client.request("GET", CHANNELS, headers=bearer(made.stdout.strip())).status == 200


# ---- what roles may ----


def test_a_sample_of_the_matrix(guarded):
    """Rows are requests, columns roles: 1 where the answer is no 403. Of a token for the namespace default alone, the second line."""
    matrix = {
        # request: view publish operate edit admin; the same in `default` alone
        ("GET", "/version"): ("11111", "11111"),
        ("GET", "/apis"): ("11111", "11111"),
        ("GET", "/metrics"): ("10111", "00000"),
        ("GET", CHANNELS): ("10111", "10111"),
        ("GET", CHANNELS + "/c"): ("10111", "10111"),
        ("GET", CHANNELS.replace("default", "other")): ("10111", "00000"),
        ("GET", f"/apis/{MESSAGING}/channels"): ("10111", "00000"),
        ("GET", "/api/v1/secrets"): ("00011", "00000"),
        ("GET", "/api/v1/namespaces/default/secrets"): ("00011", "00011"),
        ("GET", "/api/v1/namespaces/default/secrets/s"): ("00011", "00011"),
        ("GET", "/api/v1/namespaces/default/secrets/s?watch=true&timeoutSeconds=1"): ("00011", "00011"),
        ("GET", "/api/v1/namespaces/default"): ("10111", "10111"),
        ("GET", "/api/v1/namespaces/other"): ("10111", "00000"),
        ("DELETE", "/api/v1/namespaces/none"): ("00001", "00000"),
        ("DELETE", CHANNELS + "/none"): ("00011", "00011"),
        ("PATCH", CHANNELS + "/none"): ("00011", "00011"),
        ("PUT", CHANNELS + "/none"): ("00011", "00011"),
        ("POST", CHANNELS + "?dryRun=All"): ("00011", "00011"),
        ("POST", CHANNELS.replace("default", "other")): ("00011", "00000"),
        ("DELETE", CHANNELS.replace("default", "other") + "/none"): ("00011", "00000"),
        ("GET", "/leat/v1/explain?id=1"): ("10111", "10111"),
        ("GET", "/leat/v1/dlq"): ("10111", "10111"),
        ("GET", "/leat/v1/dlq/default/subscription/sub"): ("10111", "10111"),
        ("POST", "/leat/v1/dlq/default/subscription/none/redrive"): ("00111", "00111"),
        ("POST", "/leat/v1/dlq/other/subscription/none/discard"): ("00111", "00000"),
        ("POST", "/leat/v1/subscriptions/default/subscription/none/pause"): ("00111", "00111"),
        ("POST", "/leat/v1/subscriptions/default/subscription/none/replay"): ("00111", "00111"),
        ("GET", "/leat/v1/subscriptions"): ("10111", "10111"),
        ("GET", "/leat/v1/tasks"): ("10111", "10111"),
        ("GET", "/leat/v1/tasks/7"): ("10111", "10111"),
        ("DELETE", "/leat/v1/tasks/7"): ("00111", "00111"),
        ("GET", "/leat/v1/tail?kind=channel&name=none"): ("10111", "10111"),
        ("GET", "/leat/v1/tail?kind=channel&name=none&namespace=other"): ("10111", "00000"),
        ("GET", "/leat/v1/audit"): ("00001", "00000"),
        ("GET", "/leat/v1/quarantine"): ("00001", "00000"),
        ("GET", "/leat/v1/unknown"): ("00001", "00000"),
        ("GET", "/unknown"): ("00001", "00000"),
    }
    seen = {}
    for method, path in matrix:
        seen[method, path] = tuple("".join("01"[guarded.ask(role + scope, method, path, b"{}" if method[0] == "P" else None).status not in (401, 403)] for role in ROLES) for scope in ("", "-default"))
    assert seen == matrix


def test_lists_show_a_token_what_is_of_its_namespace(serve, tmp_path):
    both = [thing for space in ("default", "other") for thing in (channel("c", space), subscription("s", "c", "http://127.0.0.1:1/", namespace=space, retry=0))]
    guarded = Guarded(serve, tmp_path, both)
    spaces = lambda who, path: sorted(item["namespace"] for item in guarded.ask(who, "GET", path).json()["items"])
    assert spaces("view", "/leat/v1/subscriptions") == ["default", "other"] and spaces("view-default", "/leat/v1/subscriptions") == ["default"]
    for space in ("default", "other"):
        assert guarded.broker.post("c", b"x", namespace=space).status == 202
    wait_for(lambda: spaces("view", "/leat/v1/dlq") == ["default", "other"], "parked events")
    assert spaces("view-default", "/leat/v1/dlq") == ["default"]
    started = [guarded.ask("operate", "POST", f"/leat/v1/dlq/{space}/subscription/s/redrive", {"all": True}) for space in ("default", "other")]
    assert [a.status for a in started] == [202, 202]
    ids = [a.json()["id"] for a in started]
    assert [t["id"] for t in guarded.ask("view-default", "GET", "/leat/v1/tasks").json()["items"]] == [ids[0]]
    assert [guarded.ask("operate-default", "GET", f"/leat/v1/tasks/{i}").status for i in ids] == [200, 404]
    assert guarded.ask("operate-default", "DELETE", f"/leat/v1/tasks/{ids[1]}").status == 404
    guarded.broker.may_lose = True


def test_where_an_event_went_as_far_as_a_token_sees(serve, run, tmp_path, sink):
    """The same id in two namespaces: a token sees its own part, and how much more there is."""
    both = [thing for space in ("default", "other") for thing in (channel("c", space), subscription("s", "c", sink.url, namespace=space))]
    guarded = Guarded(serve, tmp_path, both)
    for space in ("default", "other"):
        assert guarded.broker.post("c", b"", {"ce-specversion": "1.0", "ce-id": "both", "ce-type": "t", "ce-source": "/s"}, namespace=space).status == 202
    assert guarded.broker.post("c", b"", {"ce-specversion": "1.0", "ce-id": "far", "ce-type": "t", "ce-source": "/s"}, namespace="other").status == 202

    def told(who, id):
        answer = guarded.ask(who, "GET", f"/leat/v1/explain?id={id}")
        return answer.json() if answer.status == 200 else answer

    whole = wait_for(lambda: (found := told("view", "both")) and len(found["events"]) == 2 and all(s.get("state") == "delivered" for e in found["events"] for s in e["subscriptions"]) and found, "both deliveries")
    assert "leftOut" not in whole
    mine = told("view-default", "both")
    assert [e["channel"]["namespace"] for e in mine["events"]] == ["default"] and mine["leftOut"] == {"channels": 1, "subscriptions": 0, "made": 0}
    assert "other" not in json.dumps({**mine, "leftOut": None})
    refused = told("view-default", "far")
    assert refused.status == 404 and "in the namespace default" in refused.text and "1 channel)" in refused.text and "other/" not in refused.text
    assert told("view-default", "none").status == 404 and told("publish-default", "both").status == 403
    code, out, said = run("explain", "both", "--server", guarded.broker.api, "--token", guarded.tokens["view-default"])
    assert code == 0 and "Of other namespaces, which the token does not see, are left out: 1 channel." in out and "default/c" in out, said
    guarded.broker.may_lose = True


def test_a_trigger_of_another_namespace_is_not_told(serve, tmp_path, sink):
    hub = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "hub", "namespace": "other"}}
    def trigger(name, space):
        return {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": name, "namespace": space}, "spec": {"brokerRef": {"kind": "Broker", "name": "hub", "namespace": "other", "apiVersion": "eventing.knative.dev/v1"}, "filter": {"attributes": {"type": "t"}}, "subscriber": {"uri": sink.url}}}
    guarded = Guarded(serve, tmp_path, [hub, trigger("near", "other"), trigger("far", "default")])
    file = guarded.file
    other = token(file, "--role", "view", "--name", "view-other", "--namespace", "other")
    ask = lambda text, id: guarded.broker.ask("GET", f"/leat/v1/explain?id={id}", headers=bearer(text))
    assert request("POST", f"{guarded.broker.ingress}/other/hub", b"", {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s"}).status == 202
    wait_for(lambda: ask(guarded.tokens["view"], "1").status == 200 and len(ask(guarded.tokens["view"], "1").json()["events"][0]["subscriptions"]) == 2, "both triggers")
    (seen,) = ask(other, "1").json()["events"]
    assert [s["name"] for s in seen["subscriptions"]] == ["near"] and ask(other, "1").json()["leftOut"] == {"channels": 0, "subscriptions": 1, "made": 0}
    (seen,) = ask(guarded.tokens["view-default"], "1").json()["events"]  # its own trigger got it, from where it does not see
    assert [s["name"] for s in seen["subscriptions"]] == ["far"] and seen["channel"] == {"name": None} and not seen["taken"] and seen["type"] == "t"
    assert ask(guarded.tokens["view-default"], "1").json()["leftOut"] == {"channels": 1, "subscriptions": 1, "made": 0}
    assert request("POST", f"{guarded.broker.ingress}/other/hub", b"", {"ce-specversion": "1.0", "ce-id": "2", "ce-type": "unheard", "ce-source": "/s"}).status == 202
    wait_for(lambda: ask(guarded.tokens["view"], "2").status == 200, "the second")
    assert ask(guarded.tokens["view-default"], "2").status == 404  # which its filter does not let pass
    guarded.broker.may_lose = True


def test_the_words_of_a_refusal_are_kubernetes_own(guarded):
    answer = guarded.ask("view", "DELETE", CHANNELS + "/c")
    status = answer.json()
    assert answer.status == 403 and (status["kind"], status["status"], status["reason"], status["code"]) == ("Status", "Failure", "Forbidden", 403)
    assert status["message"].startswith('channels.messaging.knative.dev "c" is forbidden: User "view" cannot delete resource "channels" in API group "messaging.knative.dev" in the namespace "default"')
    assert status["details"] == {"name": "c", "group": "messaging.knative.dev", "kind": "channels"}
    assert ' cannot list resource "secrets" in API group "" at the cluster scope' in guarded.ask("view", "GET", "/api/v1/secrets").json()["message"]
    assert guarded.ask("publish", "GET", "/metrics").json()["message"].startswith('forbidden: User "publish" cannot get path "/metrics"')


def test_no_path_around_a_namespace(guarded):
    for path in (f"/apis/{MESSAGING}/channels", CHANNELS.replace("default", "other"), CHANNELS.replace("default", "%6fther")):
        assert guarded.ask("edit-default", "POST", path, channel("x", "default")).status == 403, path
    assert guarded.ask("edit-default", "POST", CHANNELS, channel("x", "other")).status == 400
    merge = {"Content-Type": "application/merge-patch+json"}
    made = guarded.ask("edit-default", "POST", CHANNELS, channel("own"))
    assert made.status == 201, made
    assert guarded.ask("edit-default", "PATCH", CHANNELS + "/own", {"metadata": {"namespace": "other"}}, merge).status == 400
    assert guarded.ask("edit-default", "DELETE", CHANNELS + "/own").status == 200
    assert [e["who"].split()[0] for e in guarded.ask("admin", "GET", "/leat/v1/audit?kind=Channel&name=own").json()["items"]] == ["edit-default"] * 2


def review(guarded, who, **attributes):
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    answer = guarded.ask(who, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert answer.status == 201, answer
    return answer.json()["status"]["allowed"]


def test_reviews_answer_by_the_same_decision(guarded):
    messaging = {"group": "messaging.knative.dev", "resource": "channels", "namespace": "default"}
    assert review(guarded, "view", verb="list", **messaging) and not review(guarded, "view", verb="delete", **messaging)
    assert review(guarded, "edit-default", verb="delete", **messaging) and not review(guarded, "edit-default", verb="delete", **{**messaging, "namespace": "other"})
    assert not review(guarded, "edit-default", verb="list", group="", resource="secrets") and review(guarded, "edit-default", verb="list", group="", resource="secrets", namespace="default")
    assert review(guarded, "admin", verb="*", group="*", resource="*") and not review(guarded, "edit", verb="*", group="*", resource="*")
    assert review(guarded, "operate", verb="redrive", group="leat.dev", resource="dlq", namespace="default") and not review(guarded, "view", verb="redrive", group="leat.dev", resource="dlq", namespace="default")
    who = guarded.ask("edit-default", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).json()["status"]["userInfo"]
    assert who["username"] == "edit-default" and who["groups"] == ["system:authenticated", "leat:role:edit", "leat:namespace:default"]


@pytest.mark.parametrize("role", ROLES)
def test_the_list_of_rules_answers_by_it_too(guarded, role):
    """`kubectl auth can-i --list`, whose rules are read as Kubernetes does: "*" is everything."""
    asked = [(group, resource) for group, resource in (("", "secrets"), ("", "configmaps"), ("messaging.knative.dev", "channels"), ("leat.dev", "dlq"), ("leat.dev", "subscriptions"), ("leat.dev", "tail"))]
    for who in (role, f"{role}-default"):
        status = guarded.ask(who, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}).json()["status"]
        assert status["incomplete"] is False
        for verb in ("get", "list", "create", "delete", "redrive", "pause", "escalate"):
            for group, resource in asked:
                listed = any({verb, "*"} & set(r["verbs"]) and {group, "*"} & set(r["apiGroups"]) and {resource, "*"} & set(r["resources"]) for r in status["resourceRules"])
                assert listed == review(guarded, who, verb=verb, group=group, resource=resource, namespace="default"), (who, verb, group, resource)
        pages = {page for r in status["nonResourceRules"] for page in r["nonResourceURLs"]}
        assert bool(pages & {"/metrics", "**"}) == (guarded.ask(who, "GET", "/metrics").status == 200), (who, pages)


# ---- the file ----


def test_a_token_comes_and_goes_while_the_server_runs(serve, run, tmp_path):
    file = tmp_path / "tokens"
    first = token(file, "--role", "admin", "--name", "first")
    broker = serve([channel("c")], "--tokens", file)
    ask = lambda text: broker.ask("GET", CHANNELS, headers=bearer(text)).status
    for _ in range(5):
        second = token(file, "--role", "view", "--name", "second")
        assert ask(second) == 200 and ask(first) == 200
        assert run("token", "revoke", "second", "--tokens", file)[0] == 0
        assert ask(second) == 401 and ask(first) == 200
    file.unlink()
    assert ask(first) == 401


def test_an_expired_token_is_refused(serve, tmp_path):
    file = tmp_path / "tokens"
    token(file, "--role", "admin")
    text = "leat_" + "0" * 64
    line = f"old sha256:{hashlib.sha256(text.encode()).hexdigest()} admin *"
    file.write_text(file.read_text() + f"{line} 2020-01-01T00:00:00Z\n")
    broker = serve([channel("c")], "--tokens", file)
    answer = broker.ask("GET", CHANNELS, headers=bearer(text))
    assert answer.status == 401 and "expired token" in answer.json()["message"]
    file.write_text(f"{line} 2120-01-01T00:00:00Z\n")
    assert broker.ask("GET", CHANNELS, headers=bearer(text)).status == 200


def test_a_bad_file_changes_nothing_and_is_told_once(serve, tmp_path):
    file = tmp_path / "tokens"
    text = token(file, "--role", "admin")
    broker = serve([channel("c")], "--tokens", file)
    good = file.read_text()
    for bad, mode, says in ((good + "what is this\n", 0o600, "line=4"), (good, 0o660, "chmod 600")):
        file.write_text(bad)
        file.chmod(mode)
        before = broker.count_lines("api.tokens result=refused")
        for _ in range(3):
            assert broker.ask("GET", CHANNELS, headers=bearer(text)).status == 200
        line = broker.wait_line(lambda line: "result=refused" in line and says in line, "stderr")
        assert "what is this" not in line and broker.count_lines("api.tokens result=refused") == before + 1
    file.chmod(0o600)
    assert broker.ask("GET", CHANNELS, headers=bearer(text)).status == 200
    assert os.stat(file).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode, text, says", [(0o666, "", "chmod 600"), (0o600, "x\n", "line 1: expected five words")])
def test_a_bad_file_at_the_start(run, tmp_path, mode, text, says):
    (tmp_path / "tokens").write_text(text)
    (tmp_path / "tokens").chmod(mode)
    code, _, said = run("serve", "--ephemeral", "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", "--tokens", tmp_path / "tokens")
    assert code == 3 and says in said, said


def test_the_verbs_of_tokens(run, tmp_path):
    file = tmp_path / "tokens"
    code, out, said = run("token", "create", "--role", "edit", "--namespace", "shop", "--name", "ci", "--expires", "30d", "--tokens", file)
    assert code == 0 and len(out) == 69 and "'ci'" in said and out not in file.read_text() and hashlib.sha256(out.encode()).hexdigest() in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(file.read_text() + "# mine\n")
    assert [run("token", "create", "--role", "view", "--tokens", file)[0] for _ in range(2)] == [0, 0]
    code, out, _ = run("token", "list", "--tokens", file)
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["ci", "edit", "shop"], ["view", "view", "*"], ["view-2", "view", "*"]]
    assert run("token", "create", "--role", "view", "--name", "ci", "--tokens", file)[0] == 1
    assert run("token", "revoke", "ci", "--tokens", file)[:2] == (0, "ci revoked") and "# mine" in file.read_text()
    assert run("token", "revoke", "ci", "--tokens", file)[0] == 1
    for words in (["--role", "owner"], [], ["--role", "view", "--expires", "soon"], ["--role", "view", "--expires", "0d"], ["--role", "view", "--name", "A B"], ["--role", "view", "-n", "A"]):
        assert run("token", "create", "--tokens", file, *words)[0] == 2, words
    assert run("token", "list", "--tokens", tmp_path / "none")[0] == 1


def test_many_tokens_at_once_are_all_kept(leat_binary, tmp_path):
    file = tmp_path / "tokens"
    running = [subprocess.Popen([leat_binary, "token", "create", "--role", "view", "--name", f"t{i}", "--tokens", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for i in range(8)]
    assert [p.wait(60) for p in running if p.communicate()] == [0] * 8
    assert sum(line.startswith("t") for line in file.read_text().splitlines()) == 8
    assert [p.name for p in tmp_path.iterdir()] == ["tokens"]


# ---- what is told of it ----


def test_refusals_are_counted_and_said_once_a_second(guarded):
    name = 'leat_api_refused_total{reason="%s"}'
    before, lines, began = guarded.metrics(), guarded.broker.count_lines("api.unauthenticated"), time.monotonic()
    for _ in range(50):
        guarded.broker.ask("GET", CHANNELS, headers=bearer("leat_guess"))
        guarded.ask("view", "DELETE", CHANNELS + "/c")
    after = guarded.metrics()
    assert after[name % "unauthenticated"] == before[name % "unauthenticated"] + 50 and after[name % "forbidden"] == before[name % "forbidden"] + 50
    assert guarded.broker.count_lines("api.unauthenticated") - lines <= time.monotonic() - began + 2


def test_a_secret_is_in_nothing_that_viewers_logs_and_metrics_show(guarded):
    encoded = "cGxhbnRlZC01ZWIxYzBkZQ=="  # SECRET in base64
    assert encoded in guarded.ask("edit", "GET", "/api/v1/namespaces/default/secrets/s").text  # so the search can find it
    shown = []
    groups = guarded.ask("view", "GET", "/apis").json()["groups"]
    for base in ["/api/v1", *(f"/apis/{v['groupVersion']}" for g in groups for v in g["versions"])]:
        for kind in guarded.ask("view", "GET", base).json()["resources"]:
            if "/" in kind["name"]:
                continue
            for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"):
                shown.append(guarded.ask("view", "GET", f"{base}/{kind['name']}?includeObject=Object", headers={"Accept": accept}).text)
    for path in ("/readyz?verbose", "/leat/v1/subscriptions", "/leat/v1/dlq", "/leat/v1/tasks", "/leat/v1/explain?id=1", "/api/v1/namespaces/default/secrets/s", "/api/v1/secrets?watch=1"):
        shown.append(guarded.ask("view", "GET", path).text)
    shown += [guarded.ask("admin", "GET", path).text for path in ("/metrics", "/leat/v1/audit", "/leat/v1/quarantine")]
    # errors that are about a Secret
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad"}}
    for broken in ({"data": {"key": SECRET}}, {"data": SECRET}, {"data": {"key": [SECRET]}}, {"stringData": [SECRET]}, {"stringData": {"key": {"a": SECRET}}}, {"type": [SECRET]}):
        answer = guarded.ask("edit", "POST", "/api/v1/namespaces/default/secrets", {**secret, **broken})
        assert answer.status >= 400, (broken, answer)
        shown.append(answer.text)
    answer = guarded.ask("edit", "POST", "/api/v1/namespaces/default/secrets", ("{" + json.dumps({**secret, "stringData": {"key": SECRET}}) + "!").encode(), {"Content-Type": "application/json"})
    assert answer.status == 400
    shown.append(answer.text)
    for name, text in guarded.tokens.items():
        shown.append(guarded.broker.ask("GET", CHANNELS, headers=bearer(text[:-1])).text)
    said = "\n".join([*shown, *guarded.broker.stdout, *guarded.broker.stderr])
    assert SECRET not in said and encoded not in said and encoded.rstrip("=") not in said
    for text in guarded.tokens.values():
        assert text[:-1] not in said and hashlib.sha256(text.encode()).hexdigest() not in said
