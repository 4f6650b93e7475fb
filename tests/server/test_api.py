# SPDX-License-Identifier: Apache-2.0
"""Resources over the Kubernetes paths, and over the verbs apply, get and delete, which use the same paths."""

import json

import pytest

from broker import MESSAGING, channel, subscription
from leat import Reply, Sink, free_port, wait_for

APIS = f"/apis/{MESSAGING}/namespaces/default"
CHANNELS, SUBSCRIPTIONS = APIS + "/channels", APIS + "/subscriptions"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def shared(serve_module):
    return serve_module([channel("owned"), channel("elsewhere", "other")])


@pytest.fixture
def broker(shared):
    for item in shared.ask("GET", CHANNELS).json()["items"]:
        if item["metadata"]["name"] != "owned":
            shared.ask("DELETE", f"{CHANNELS}/{item['metadata']['name']}")
    return shared


def is_status(answer, code, reason):
    """A Status object of Kubernetes' API, with these."""
    assert answer.status == code, answer
    assert answer.headers["content-type"] == "application/json"
    status = answer.json()
    assert (status["kind"], status["apiVersion"], status["code"], status["reason"]) == ("Status", "v1", code, reason)
    assert status["status"] == "Failure" and status["message"]
    return status["message"]


# ---- making, reading, changing, deleting ----


def test_a_channel_s_whole_life(broker):
    made = broker.ask("POST", CHANNELS, channel("life"))
    assert made.status == 201
    metadata = made.json()["metadata"]
    assert metadata["uid"] and metadata["resourceVersion"] and metadata["creationTimestamp"] and metadata["generation"] == 1
    broker.in_force("life")
    assert broker.post("life").status == 202
    got = broker.ask("GET", f"{CHANNELS}/life").json()
    assert got["status"]["address"]["url"] == broker.ingress + "/channels/default/life"
    assert [c["status"] for c in got["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    assert got["metadata"]["uid"] == metadata["uid"]
    gone = broker.ask("DELETE", f"{CHANNELS}/life")
    assert gone.status == 200 and (gone.json()["kind"], gone.json()["status"]) == ("Status", "Success")
    wait_for(lambda: broker.post("life").status == 404, "the channel's end")
    is_status(broker.ask("GET", f"{CHANNELS}/life"), 404, "NotFound")


def test_a_subscription_over_the_api_delivers(broker, sink):
    broker.ask("POST", CHANNELS, channel("flow"))
    assert broker.ask("POST", SUBSCRIPTIONS, subscription("to-sink", "flow", sink.url)).status == 201
    wait_for(lambda: broker.ask("GET", f"{SUBSCRIPTIONS}/to-sink").json().get("status"), "a condition")
    wait_for(lambda: broker.post("flow", b"x").status == 202 and sink.requests, "a delivery")
    broker.wait_metric(0, "leat_backlog_events", namespace="default", subscription="to-sink")
    broker.ask("DELETE", f"{SUBSCRIPTIONS}/to-sink")


def test_put_replaces_and_counts_generations(broker):
    before = broker.ask("POST", CHANNELS, channel("put")).json()
    same = broker.ask("PUT", f"{CHANNELS}/put", channel("put"))
    assert same.status == 200 and same.json()["metadata"]["generation"] == 1
    after = broker.ask("PUT", f"{CHANNELS}/put", channel("put", delivery={"retry": 3})).json()
    assert after["metadata"]["generation"] == 2 and after["spec"]["delivery"]["retry"] == 3
    assert after["metadata"]["uid"] == before["metadata"]["uid"] and after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]


def test_a_stale_version_is_a_conflict(broker):
    stale = broker.ask("POST", CHANNELS, channel("stale")).json()
    broker.ask("PUT", f"{CHANNELS}/stale", channel("stale", delivery={"retry": 1}))
    thing = channel("stale", delivery={"retry": 2})
    thing["metadata"]["resourceVersion"] = stale["metadata"]["resourceVersion"]
    is_status(broker.ask("PUT", f"{CHANNELS}/stale", thing), 409, "Conflict")
    assert broker.ask("GET", f"{CHANNELS}/stale").json()["spec"]["delivery"]["retry"] == 1


def test_merge_patch(broker):
    broker.ask("POST", CHANNELS, channel("patch", delivery={"retry": 3, "backoffDelay": "PT1S"}))
    answer = broker.ask("PATCH", f"{CHANNELS}/patch", {"spec": {"delivery": {"retry": 5, "backoffDelay": None}}, "metadata": {"labels": {"a": "b"}}}, {"Content-Type": "application/merge-patch+json"})
    assert answer.status == 200, answer
    got = broker.ask("GET", f"{CHANNELS}/patch").json()
    assert got["spec"]["delivery"]["retry"] == 5 and "backoffDelay" not in got["spec"]["delivery"] and got["metadata"]["labels"] == {"a": "b"}


def test_users_cannot_write_status(broker):
    thing = channel("status")
    thing["status"] = {"address": {"url": "http://evil.example.org/"}}
    broker.ask("POST", CHANNELS, thing)
    wait_for(lambda: broker.ask("GET", f"{CHANNELS}/status").json().get("status", {}).get("address", {}).get("url") == broker.ingress + "/channels/default/status", "the true address")


def test_lists(broker):
    broker.ask("POST", CHANNELS, channel("b"))
    broker.ask("POST", CHANNELS, channel("a"))
    answer = broker.ask("GET", CHANNELS).json()
    assert (answer["kind"], answer["apiVersion"]) == ("ChannelList", MESSAGING) and answer["metadata"]["resourceVersion"]
    assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b", "owned"]
    everywhere = broker.ask("GET", f"/apis/{MESSAGING}/channels").json()["items"]
    assert {(i["metadata"]["namespace"], i["metadata"]["name"]) for i in everywhere} == {("default", "a"), ("default", "b"), ("default", "owned"), ("other", "elsewhere")}
    assert broker.ask("GET", f"/apis/{MESSAGING}/namespaces/nobody/channels").json()["items"] == []


def test_core_and_cluster_scoped_kinds(broker):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    assert broker.ask("POST", "/api/v1/namespaces/default/secrets", secret).status == 201
    assert broker.ask("GET", "/api/v1/namespaces/default/secrets/s").status == 200
    bus = {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "ClusterBus", "metadata": {"name": "cb"}, "spec": {"dispatcher": {"name": "d", "image": "github.com/knative/eventing/pkg/buses/stub/dispatcher"}}}
    assert broker.ask("POST", "/apis/channels.knative.dev/v1alpha1/clusterbuses", bus).status == 201
    assert broker.ask("GET", "/apis/channels.knative.dev/v1alpha1/clusterbuses/cb").status == 200
    assert broker.ask("GET", "/apis/channels.knative.dev/v1alpha1/namespaces/default/clusterbuses/cb").status == 404


# ---- refusals ----


def test_twice_the_same_is_409(broker):
    broker.ask("POST", CHANNELS, channel("twice"))
    assert "twice" in is_status(broker.ask("POST", CHANNELS, channel("twice")), 409, "AlreadyExists")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_what_a_file_owns_is_not_changed(broker, method):
    body = channel("owned", delivery={"retry": 7}) if method == "PUT" else {"spec": {"delivery": {"retry": 7}}} if method == "PATCH" else None
    message = is_status(broker.ask(method, f"{CHANNELS}/owned", body, {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else ()), 409, "Conflict")
    assert str(broker.manifest) in message
    assert "retry" not in json.dumps(broker.ask("GET", f"{CHANNELS}/owned").json())


def test_a_file_does_not_take_over_what_the_api_made(serve):
    broker = serve([channel("a")])
    broker.ask("POST", CHANNELS, channel("mine"))
    assert "result=refused" in broker.reload([channel("a"), channel("mine")])
    assert any("mine" in line and str(broker.manifest) in line for line in broker.stderr), broker.logs


def test_what_the_api_made_survives_a_reload(serve):
    broker = serve([channel("a")])
    broker.ask("POST", CHANNELS, channel("mine"))
    broker.reload([channel("b")])
    broker.in_force("b")
    assert broker.post("b").status == broker.post("mine").status == 202


@pytest.mark.parametrize("path", [CHANNELS + "/none", SUBSCRIPTIONS + "/none"])
def test_404_of_what_is_not_there(broker, path):
    for method, body in (("GET", None), ("DELETE", None), ("PUT", channel("none") if "channels" in path else subscription("none", "c", "http://x/"))):
        assert "none" in is_status(broker.ask(method, path, body), 404, "NotFound")


@pytest.mark.parametrize("path", ["/apis/none/v1/things", f"/apis/{MESSAGING}/namespaces/default/canals", f"/apis/messaging.knative.dev/v9/namespaces/default/channels", CHANNELS + "/a/b/c", "/apis//", "/apis/" + "x" * 300, CHANNELS + "/%zz", CHANNELS + "/" + "a" * 254])
def test_404_of_paths_that_mean_nothing(broker, path):
    assert broker.ask("GET", path).status == 404


@pytest.mark.parametrize("method, path", [("POST", CHANNELS + "/a"), ("PUT", CHANNELS), ("PATCH", CHANNELS), ("DELETE", f"/apis/{MESSAGING}/channels"), ("BREW", CHANNELS), ("HEAD", CHANNELS)])
def test_405(broker, method, path):
    answer = broker.ask(method, path, b"{}", JSON) if method != "HEAD" else broker.ask(method, path)
    assert answer.status == 405
    if method != "HEAD":
        is_status(answer, 405, "MethodNotAllowed")


@pytest.mark.parametrize("type_", ["application/strategic-merge-patch+json", "text/plain", None])
def test_415_of_patches(broker, type_):
    broker.ask("POST", CHANNELS, channel("p"))
    assert "merge-patch+json" in is_status(broker.ask("PATCH", CHANNELS + "/p", b"{}", {"Content-Type": type_} if type_ else {}), 415, "UnsupportedMediaType")


@pytest.mark.parametrize("type_", ["application/yaml", "text/plain"])
def test_415_of_bodies(broker, type_):
    answer = broker.ask("POST", CHANNELS, b"apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: y}\n", {"Content-Type": type_})
    assert "application/json" in is_status(answer, 415, "UnsupportedMediaType")


INVALID = [
    (channel("X!"), "metadata.name"),
    (channel("x", delivery={"retry": "many"}), "spec.delivery.retry"),
    (channel("x", delivery={"backoffDelay": "soon"}), "spec.delivery.backoffDelay"),
    ({"apiVersion": MESSAGING, "kind": "Channel"}, "metadata"),
    (channel("x", capacity="huge"), "leat.dev/capacity"),
]


@pytest.mark.parametrize("thing, path", INVALID)
def test_422_names_the_field(broker, thing, path):
    assert path in is_status(broker.ask("POST", CHANNELS, thing), 422, "Invalid")


@pytest.mark.parametrize("thing, path", [(channel("x", surprise=1), "spec.surprise"), ({**channel("x"), "extra": 1}, "extra")])
def test_400_of_what_is_not_known_where_that_is_wished(broker, thing, path):
    assert f'unknown field "{path}"' in is_status(broker.ask("POST", CHANNELS + "?fieldValidation=Strict", thing), 400, "BadRequest")


def test_thousands_of_problems(broker):
    thing = channel("x", **{f"unknown-{i:04}": 1 for i in range(3000)})
    assert "unknown-0000" in is_status(broker.ask("POST", CHANNELS + "?fieldValidation=Strict", thing), 400, "BadRequest")
    assert broker.ask("POST", CHANNELS + "?dryRun=All", thing).status == 201
    of_text = {**channel("x"), "metadata": {"name": "x", "namespace": "default", "labels": {f"k{i}": i for i in range(3000)}}}
    assert "metadata.labels.k0" in is_status(broker.ask("POST", CHANNELS, of_text), 422, "Invalid")


def test_422_of_an_immutable_field(broker):
    broker.ask("POST", SUBSCRIPTIONS, subscription("fixed", "owned", "http://127.0.0.1:1/"))
    assert "spec.channel" in is_status(broker.ask("PUT", SUBSCRIPTIONS + "/fixed", subscription("fixed", "other", "http://127.0.0.1:1/")), 422, "Invalid")
    broker.ask("DELETE", SUBSCRIPTIONS + "/fixed")


def test_another_kind_than_the_path_s(broker):
    is_status(broker.ask("POST", SUBSCRIPTIONS, channel("x")), 422, "Invalid")


def test_another_namespace_or_name_than_the_path_s(broker):
    is_status(broker.ask("POST", CHANNELS, channel("x", "other")), 400, "BadRequest")
    broker.ask("POST", CHANNELS, channel("one"))
    is_status(broker.ask("PUT", CHANNELS + "/one", channel("two")), 400, "BadRequest")


GARBAGE = [b"", b"{", b"null", b"[]", b"1", b'"x"', b"{}", b'{"kind":"Channel"}', b'{"apiVersion":1,"kind":[]}', b"\xff\xfe", b"\0", b"[" * 100000, b'{"a":' * 1000, b'{"apiVersion":"v1","apiVersion":"v1"}', json.dumps({"apiVersion": MESSAGING, "kind": "Channel", "metadata": []}).encode(), json.dumps({"apiVersion": MESSAGING, "kind": "Channel", "metadata": {"name": 5}}).encode(), json.dumps(channel("x")).encode() + b"x"]


@pytest.mark.parametrize("body", GARBAGE, ids=lambda b: repr(b[:24]))
def test_garbage_bodies(broker, body):
    for method, path in (("POST", CHANNELS), ("PUT", CHANNELS + "/owned")):
        answer = broker.ask(method, path, body, JSON)
        assert answer.status in (400, 422), answer
        is_status(answer, answer.status, {400: "BadRequest", 422: "Invalid"}[answer.status])
    answer = broker.ask("PATCH", CHANNELS + "/owned", body, {"Content-Type": "application/merge-patch+json"})
    assert answer.status in (400, 409, 422), answer


def test_a_body_of_more_than_1_mib(broker):
    answer = broker.ask("POST", CHANNELS, b" " * ((1 << 20) + 1), JSON)
    assert answer.status == 413


def test_metadata_cannot_be_patched_away(broker):
    broker.ask("POST", CHANNELS, channel("m"))
    for patch in ({"metadata": None}, {"kind": "Subscription"}, {"metadata": {"name": "n"}}, {"apiVersion": None}, {"metadata": {"namespace": "other"}}):
        assert broker.ask("PATCH", CHANNELS + "/m", patch, {"Content-Type": "application/merge-patch+json"}).status in (400, 422), patch
    assert broker.ask("GET", CHANNELS + "/m").json()["metadata"]["name"] == "m"


# ---- the verbs ----


def test_apply_get_delete(broker, run, tmp_path):
    server = "--server", broker.api
    path = tmp_path / "m.yaml"
    path.write_text("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: verb}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: verb}\nspec:\n  channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: verb}\n  subscriber: {uri: 'http://127.0.0.1:1/'}\n")
    assert run("apply", "-f", path, *server) == (0, "channel.messaging.knative.dev/verb created\nsubscription.messaging.knative.dev/verb created", "")
    assert run("apply", "-f", path, *server) == (0, "channel.messaging.knative.dev/verb unchanged\nsubscription.messaging.knative.dev/verb unchanged", "")
    path.write_text(path.read_text() + "  delivery: {retry: 4}\n")
    assert run("apply", "-f", path, *server)[1].endswith("subscription.messaging.knative.dev/verb configured")
    assert run("delete", "subscription/verb", *server) == (0, "subscription.messaging.knative.dev/verb deleted", "")
    assert run("delete", "channel", "verb", *server)[0] == 0
    code, out, err = run("delete", "channel/verb", *server)
    assert code == 1 and not out and "verb" in err and "not found" in err


@pytest.mark.parametrize("words", [["channel/"], ["channel", ""], ["channel/?"], ["channel/#"], ["channel", "?limit=500"], ["channel/a", "b"]])
def test_delete_without_a_name_deletes_nothing(broker, run, words):
    """`leat delete channel/$UNSET` asked for the URL of all of them, and they were gone."""
    broker.ask("POST", CHANNELS, channel("stays"))
    code, out, err = run("delete", *words, "--server", broker.api)
    assert code in (1, 2) and not out and ("say which one" in err or "not found" in err), (code, out, err)
    assert broker.ask("GET", CHANNELS + "/stays").status == 200
    broker.ask("DELETE", CHANNELS + "/stays")


def test_apply_from_standard_input(broker, run, tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(channel("piped")))
    with open(tmp_path / "in.json") as stdin:
        assert run("apply", "-f", "-", "--server", broker.api, stdin=stdin)[:2] == (0, "channel.messaging.knative.dev/piped created")


def test_apply_of_a_bad_manifest_applies_nothing(broker, run, tmp_path):
    (tmp_path / "m.yaml").write_text("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: good}\n---\napiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: bad}\nspec: {nonsense: 1}\n")
    code, out, err = run("apply", "-f", tmp_path / "m.yaml", "--server", broker.api)
    assert code == 3 and not out and f"{tmp_path}/m.yaml:8:" in err and "nothing was applied" in err
    assert broker.ask("GET", CHANNELS + "/good").status == 404


def test_apply_where_nobody_answers_says_so_once(run, tmp_path):
    (tmp_path / "m.yaml").write_text("---\n".join(json.dumps(channel(f"c{i}")) + "\n" for i in range(3)))
    code, out, err = run("apply", "-f", tmp_path / "m.yaml", "--server", f"http://127.0.0.1:{free_port()}")
    assert code == 1 and not out and err.count("connection refused") == 1 and "2 more objects were not tried" in err, err


def test_apply_of_many_files(broker, run, tmp_path):
    words = []
    for i in range(100):
        (tmp_path / f"{i}.yaml").write_text(json.dumps(channel(f"many-{i}")))
        words += ["-f", tmp_path / f"{i}.yaml"]
    code, out, err = run("apply", *words, "--server", broker.api)
    assert (code, err) == (0, "") and out.count(" created") == 100


def test_apply_to_what_a_file_owns(broker, run, tmp_path):
    (tmp_path / "m.yaml").write_text(json.dumps(channel("owned", delivery={"retry": 2})))
    code, out, err = run("apply", "-f", tmp_path / "m.yaml", "--server", broker.api)
    assert code == 1 and not out and str(broker.manifest) in err


def stored(version, **more):
    thing = channel("a", delivery={"retry": 1})
    return Reply(200, body=json.dumps({**thing, **more, "metadata": {**thing["metadata"], "resourceVersion": str(version), "generation": 1}}).encode())


def conflict():
    return Reply(409, body=json.dumps({"kind": "Status", "apiVersion": "v1", "code": 409, "message": "it has been modified"}).encode())


@pytest.mark.parametrize("answers, told, puts", [
    ([stored(1), conflict(), stored(2, status={"observedGeneration": 1}), stored(3)], (0, "channel.messaging.knative.dev/a configured", ""), ["1", "2"]),
    ([stored(1), conflict(), stored(2, status={}), conflict(), stored(4), stored(4)], (0, "channel.messaging.knative.dev/a unchanged", ""), ["1", "2", "4"]),
    ([stored(1), conflict(), stored(2, spec={"delivery": {"retry": 9}})], (1, "", "it has been modified"), ["1"]),
    ([stored(1), conflict(), stored(1)], (1, "", "it has been modified"), ["1"]),
    ([a for i in range(50) for a in (stored(i), conflict())], (1, "", "it has been modified"), [str(i) for i in range(10)]),
], ids=["a status", "two", "a change of somebody", "another conflict", "without end"])
def test_a_status_that_comes_between_is_no_conflict_of_an_apply(run, tmp_path, answers, told, puts):
    """leat writes an object's status whenever it has something to say, also between the look and the replace of an apply. What somebody else changed meanwhile is a conflict."""
    (tmp_path / "m.yaml").write_text(json.dumps(channel("a", delivery={"retry": 2})))
    with Sink(script=answers) as server:
        code, out, err = run("apply", "-f", tmp_path / "m.yaml", "--server", server.url)
        assert (code, out) == told[:2] and told[2] in err and bool(err) == bool(told[2])
        assert [json.loads(r.body)["metadata"]["resourceVersion"] for r in server.requests if r.method == "PUT"] == puts


def test_get_in_every_form(broker, run):
    server = "--server", broker.api
    code, table, _ = run("get", "channels", *server)
    lines = table.splitlines()
    assert code == 0 and lines[0].split()[0] == "NAME" and "Ready" in lines[0] and lines[1].split()[0] == "owned" and "True" in lines[1]
    assert json.loads(run("get", "channel/owned", "-o", "json", *server)[1])["metadata"]["name"] == "owned"
    assert json.loads(run("get", "channels", "-A", "-o", "json", *server)[1])["kind"] == "ChannelList"
    assert run("get", "channels", "-o", "name", *server)[1] == "channel.messaging.knative.dev/owned"
    yaml = run("get", "channel/owned", "-o", "yaml", *server)[1]
    assert "kind: Channel" in yaml and "\n  name: owned" in yaml
    assert "elsewhere" in run("get", "channels", "-n", "other", *server)[1]
    code, out, err = run("get", "channels", "-n", "nobody", *server)
    assert (code, out) == (0, "") and "No channels found in the namespace nobody; -A looks in all." in err
    assert [line.split()[0] for line in run("get", "namespaces", *server)[1].splitlines()][:2] == ["NAME", "default"], "what lies in no namespace, as a table"
    everywhere = [line.split() for line in run("get", "channels", "-A", *server)[1].splitlines()]
    assert everywhere[0][:2] == ["NAMESPACE", "NAME"] and ["default", "owned"] in [row[:2] for row in everywhere] and ["other", "elsewhere"] in [row[:2] for row in everywhere]


def test_what_get_prints_as_yaml_can_be_applied(broker, run, tmp_path):
    broker.ask("POST", CHANNELS, channel("round", delivery={"retry": 2}))
    (tmp_path / "m.yaml").write_text(run("get", "channel/round", "-o", "yaml", "--server", broker.api)[1])
    assert run("apply", "-f", tmp_path / "m.yaml", "--server", broker.api)[:2] == (0, "channel.messaging.knative.dev/round unchanged")


def test_get_of_what_is_not_there(broker, run):
    code, out, err = run("get", "channel/none", "--server", broker.api)
    assert code == 1 and not out and "there is no channel 'none'" in err
    code, out, err = run("get", "canals", "--server", broker.api)
    assert code == 2 and "canals" in err and "leat get" in err
    code, out, err = run("get", "channels", "-o", "xml", "--server", broker.api)
    assert code == 2 and "xml" in err


def test_the_server_from_the_environment(broker, run):
    assert "owned" in run("get", "channels", env={"LEAT_SERVER": broker.api + "/"})[1]


def test_no_server(run):
    from leat import free_port

    for verb in (("get", "channels"), ("delete", "channel/x")):
        code, out, err = run(*verb, "--server", f"http://127.0.0.1:{free_port()}")
        assert code == 1 and not out and "leat serve" in err and "--server" in err
    code, _, err = run("get", "channels", "--server", "nonsense")
    assert code in (1, 2) and "nonsense" in err
