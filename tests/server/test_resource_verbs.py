# SPDX-License-Identifier: Apache-2.0
"""leat's own verbs over resources, for machines without kubectl: describe, wait, export, graph, and explain of a kind."""

import json
import re

import pytest

from broker import MESSAGING, channel, subscription, to
from leat import Leat, wait_for
from proxy import Proxy
from topology import mesh

NOWHERE = "http://127.0.0.1:9/"
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "type": "Opaque", "stringData": {"token": "hunter2"}}


def trigger(name, broker, filters=None, **more):
    spec = {"broker": broker, "subscriber": {"uri": NOWHERE}, **({"filters": filters} if filters else {})}
    return {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": name, **more}, "spec": spec}


# ---- explain ----


def test_explain_of_a_kind(run):
    code, out, err = run("explain", "trigger")
    assert (code, err) == (0, "") and "KIND:       Trigger\nVERSION:    v1\n" in out and "GROUP:      eventing.knative.dev\n" in out and "  spec <object> required\n" in out and "  metadata <object>\n" in out


def test_explain_of_a_field(run):
    out = run("explain", "trigger.spec.filters")[1]
    assert "FIELD:      spec.filters <[]object>" in out and "cesql" in out
    assert "  backoffPolicy <string> one of: linear, exponential\n      How waits grow" in run("explain", "channels.spec.delivery")[1]
    assert "FIELD:      metadata.labels <map[string]string>" in run("explain", "ch.metadata.labels")[1]


def test_explain_of_all_fields(run):
    out = run("explain", "sequence", "--recursive")[1]
    assert re.search(r"\n  spec <object>[^\n]*\n    steps <\[\]object>[^\n]*\n", out) and "      delivery <object>" in out and "How events" not in out.split("FIELDS:")[1]


def test_explain_of_every_kind(run):
    """Each field that there is has a place, and its description stands there."""
    for line in run("get")[1].splitlines()[1:]:
        plural, version = line.split()[:2]
        group = version.rpartition("/")[0]
        code, out, err = run("explain", f"{plural}.{group}" if group else plural, "--recursive", "--api-version", version)
        assert (code, err) == (0, "") and f"VERSION:    {version.rpartition('/')[2]}\n" in out, line


def test_explain_of_a_version(run):
    assert "  schemaData <string>" in run("explain", "eventtype.spec", "--api-version", "eventing.knative.dev/v1beta2")[1]
    assert "  attributes <[]object>" in run("explain", "eventtype.spec", "--api-version", "eventing.knative.dev/v1beta3")[1]
    assert "  bus <string>" in run("explain", "channels.channels.knative.dev.spec", "--api-version", "channels.knative.dev/v1alpha1")[1]


def test_explain_as_json(run):
    schema = json.loads(run("explain", "trigger.spec", "-o", "json")[1])
    assert schema["type"] == "object" and "filters" in schema["properties"]


def test_an_event_whose_id_names_a_kind(serve, leat):
    broker = serve([channel("c")])
    assert broker.post("c", b"", {"ce-specversion": "1.0", "ce-id": "trigger", "ce-type": "t", "ce-source": "/s"}).status == 202
    assert "KIND:       Trigger" in leat(broker, "explain", "trigger")[1]
    for words in (["--event"], ["--source", "/s"], ["--all"]):
        code, out, _ = leat(broker, "explain", "trigger", *words)
        assert code == 0 and out.startswith("event trigger from /s")


# ---- wait ----


def test_wait_for_ready(serve, leat):
    broker = serve([channel("a"), mesh("shop")])
    code, out, err = leat(broker, "wait", "channel/a", "broker/shop")
    assert (code, out, err) == (0, "channel.messaging.knative.dev/a condition met\nbroker.eventing.knative.dev/shop condition met", "")
    assert leat(broker, "wait", "channel/a", "--for", "condition=Ready=False", "--timeout", "0s")[0] == 1
    assert json.loads(leat(broker, "wait", "channel/a", "-o", "json")[1])["metadata"]["name"] == "a"


def test_wait_says_what_is_missing(serve, leat):
    broker = serve([channel("a"), subscription("s", "a", "away")])
    leat(broker, "wait", "subscription/s", "--for", "condition=Ready=False")
    code, out, err = leat(broker, "wait", "subscription/s", "--timeout", "0s")
    assert code == 1 and not out and "condition not met for subscriptions/s: Ready is False" in err and "away" in err
    code, out, err = leat(broker, "wait", "subscription/s", "--timeout", "100ms")
    assert code == 1 and not out and "timed out waiting for the condition on subscriptions/s: Ready is False" in err
    code, out, err = leat(broker, "wait", "subscription/none", "subscription/s", "--for", "condition=Ready=False")
    assert code == 1 and 'subscriptions.messaging.knative.dev "none" not found' in err and out == "subscription.messaging.knative.dev/s condition met"


def test_wait_for_a_path(serve, leat):
    broker = serve([labelled("a", **{"example.org/team": "shop"})])
    address = broker.ingress + "/channels/default/a"
    for wish in ("jsonpath={.status.address.url}", f"jsonpath={{.status.address.url}}={address}", "jsonpath={.metadata.generation}=1", "jsonpath={.status}", "jsonpath=.metadata.name=a", "jsonpath=metadata.name='a'",
                 'jsonpath={.status.conditions[?(@.type=="Ready")].status}=True', 'jsonpath=.status.conditions[?(@.type=="Ready")].status=True', "jsonpath={.status.conditions[0].type}", "jsonpath={.metadata.labels.example\\.org/team}=shop"):
        assert leat(broker, "wait", "channel/a", "--for", wish)[0] == 0, wish
    code, out, err = leat(broker, "wait", "channel/a", "--for", "jsonpath={.status}=x", "--timeout", "30s")
    assert code == 1 and not out and "no one value" in err
    assert "is not" in leat(broker, "wait", "channel/a", "--for", "jsonpath={.status.address.url}=x", "--timeout", "0s")[2]


@pytest.mark.parametrize("wish", ["create", "delete"])
def test_wait_for_what_comes_and_goes(serve, leat, wish):
    broker = serve([])
    if wish == "delete":
        broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/channels", channel("c"))
    waiting = Leat(["wait", "channel/c", "--for", wish], env={"LEAT_SERVER": broker.api})
    if wish == "delete":
        assert leat(broker, "delete", "channel/c")[0] == 0
    else:
        broker.ask("POST", f"/apis/{MESSAGING}/namespaces/default/channels", channel("c"))
    # of what was gone before it was seen, nothing is said
    assert waiting.wait() == 0 and waiting.stdout in (["channel.messaging.knative.dev/c condition met"], [] if wish == "delete" else None), waiting.logs


CHANNELS = f"/apis/{MESSAGING}/namespaces/default/channels"
MERGE = {"Content-Type": "application/merge-patch+json"}


def labelled(name, **labels):
    thing = channel(name)
    thing["metadata"]["labels"] = labels
    return thing


def test_wait_sees_what_happens_meanwhile(serve, leat):
    """Changes of others do not end it, and the one that is meant does, whenever it comes."""
    broker = serve([])
    for name in ("a", "b"):
        assert broker.ask("POST", CHANNELS, labelled(name)).status == 201
    with Leat(["wait", "channel", "a", "b", "--for", "jsonpath={.metadata.labels.done}=yes"], env={"LEAT_SERVER": broker.api}) as waiting:
        for labels, name in (({"done": "no"}, "a"), ({"done": "yes"}, "b"), ({"other": "1"}, "a"), ({"done": "yes"}, "a")):
            assert broker.ask("PATCH", f"{CHANNELS}/{name}", {"metadata": {"labels": labels}}, MERGE).status == 200
        assert waiting.wait() == 0 and waiting.stdout == ["channel.messaging.knative.dev/a condition met", "channel.messaging.knative.dev/b condition met"], waiting.logs


def test_wait_by_labels_and_for_all(serve, leat):
    broker = serve([])
    far = labelled("far", team="shop")
    far["metadata"]["namespace"] = "other"
    for thing in (labelled("a", team="shop"), labelled("b", team="shop"), labelled("c")):
        assert broker.ask("POST", CHANNELS, thing).status == 201
    assert broker.ask("POST", CHANNELS.replace("default", "other"), far).status == 201
    met = "channel.messaging.knative.dev/{} condition met".format
    assert leat(broker, "wait", "channels", "--all")[:2] == (0, "\n".join(map(met, "abc")))
    assert leat(broker, "wait", "channels", "-l", "team=shop")[:2] == (0, "\n".join(map(met, "ab")))
    assert leat(broker, "wait", "channels", "-l", "team in (shop)", "-A")[:2] == (0, "\n".join(map(met, ("a", "b", "far"))))
    code, out, err = leat(broker, "wait", "channels", "-l", "team=none")
    assert code == 1 and not out and "no matching resources found" in err
    assert leat(broker, "wait", "channels", "-l", "team=none", "--for=delete")[:2] == (0, "")
    code, out, err = leat(broker, "wait", "channels", "-l", "team==!", "--for=delete")
    assert code == 1 and "labelSelector" in err
    code, out, err = leat(broker, "wait", "channels", "-l", "team=shop", "--for=delete", "--timeout=0s")
    assert code == 1 and "condition not met for channels/a: it is there" in err and "channels/b" in err
    with Leat(["wait", "channels", "-l", "team=shop", "--for=delete"], env={"LEAT_SERVER": broker.api}) as waiting:
        for name in "ba":
            assert broker.ask("DELETE", f"{CHANNELS}/{name}").status == 200
        assert waiting.wait() == 0 and set(waiting.stdout) <= {met("a"), met("b")}, waiting.logs
    assert leat(broker, "wait", "channel/a", "--for=delete")[:2] == (0, "")
    for words, said in ((["channel/c", "--all"], "names one"), (["channel/c", "-A"], "-A is for"), (["channels", "a/b"], "which one")):
        code, _, err = leat(broker, "wait", *words)
        assert code == 2 and said in err, err


def test_wait_for_the_end_of_the_one_that_is_there(serve):
    """Another one of its name, made at once, is not it."""
    broker = serve([])
    assert broker.ask("POST", CHANNELS, labelled("a")).status == 201
    assert broker.ask("PATCH", f"{CHANNELS}/a", {"metadata": {"finalizers": ["example.org/hold"]}}, MERGE).status == 200
    with Leat(["wait", "channel/a", "--for=delete"], env={"LEAT_SERVER": broker.api}) as waiting:
        assert broker.ask("DELETE", f"{CHANNELS}/a").status == 200
        assert broker.ask("PATCH", f"{CHANNELS}/a", {"metadata": {"finalizers": None}}, MERGE).status == 200
        assert waiting.wait() == 0, waiting.logs


def test_wait_goes_on_when_its_server_comes_back(serve):
    """A watch that breaks off is begun anew, as soon as somebody answers, and misses nothing of what happened meanwhile."""
    broker = serve([])
    assert broker.ask("POST", CHANNELS, labelled("a")).status == 201
    door = Proxy(int(broker.api.rpartition(":")[2]))
    with Leat(["wait", "channel/a", "--for", "jsonpath={.metadata.labels.done}"], env={"LEAT_SERVER": f"http://127.0.0.1:{door.port}"}) as waiting:
        wait_for(lambda: door.counted >= 2, "the list and the watch")
        door.refuses = True
        door.cut()
        wait_for(lambda: door.turned_away >= 2, "two more tries")
        assert broker.ask("PATCH", f"{CHANNELS}/a", {"metadata": {"labels": {"done": "1"}}}, MERGE).status == 200
        door.refuses = False
        assert waiting.wait() == 0, waiting.logs
    door.listener.close()


# ---- get ----


def test_get_all(serve, leat):
    broker = serve([channel("a"), mesh("shop"), channel("far", "other"), subscription("s", "a", "http://127.0.0.1:1/")])
    code, out, err = leat(broker, "get", "all")
    assert code == 0 and not err and re.findall(r"^[a-z.]+$", out, re.M) == ["channels.messaging.knative.dev", "subscriptions.messaging.knative.dev", "brokers.eventing.knative.dev"] and "far" not in out
    assert leat(broker, "get", "all", "-o", "name")[1].split() == ["channel.messaging.knative.dev/a", "subscription.messaging.knative.dev/s", "broker.eventing.knative.dev/shop"]
    everywhere = json.loads(leat(broker, "get", "knative", "-A", "-o", "json")[1])
    assert everywhere["kind"] == "List" and sorted(i["metadata"]["name"] for i in everywhere["items"] if i["kind"] == "Channel") == ["a", "far"]
    code, out, err = leat(broker, "get", "all", "-n", "none")
    assert code == 0 and not out and "No resources found; -A" in err


# ---- describe ----


def test_describe(serve, leat):
    thing = channel("a", delivery={"retry": 3})
    thing["metadata"].update(labels={"team": "red"}, annotations={"leat.dev/capacity": "7"})
    broker = serve([thing, SECRET])
    leat(broker, "wait", "channel/a")
    code, out, err = leat(broker, "describe", "channel", "a")
    assert (code, err) == (0, "")
    for line in ("Name:         a", "Namespace:    default", f"Kind:         Channel ({MESSAGING})", "Labels:       team=red", "Annotations:  leat.dev/capacity=7", f"URL:          {broker.ingress}/channels/default/a", "  delivery:", "    retry: 3"):
        assert line in out.split("\n"), (line, out)
    assert re.search(r"^  Ready +True", out, re.M) and "Events:" in out
    tree = json.loads(leat(broker, "describe", "channel/a", "-o", "json")[1])
    assert tree["object"]["metadata"]["name"] == "a" and isinstance(tree["events"], list)


def test_describe_shows_no_secret(serve, leat):
    broker = serve([SECRET])
    out = leat(broker, "describe", "secret/key")[1]
    assert "token: 12 bytes of base64" in out and "hunter2" not in out and "aHVudGVyMg" not in out


def test_describe_of_what_is_not_there(serve, leat):
    code, out, err = leat(serve([]), "describe", "channel/none")
    assert code == 1 and not out and "there is no channel 'none' in the namespace default" in err


# ---- export ----

ALL = [
    channel("in", delivery={"retry": 3}),
    channel("out", "other"),
    channel("fast", kind="InMemoryChannel"),
    subscription("s", "in", NOWHERE, annotations={"leat.dev/max-in-flight": "7"}),
    mesh("shop"),
    trigger("big", "shop", [{"prefix": {"type": "order."}}], labels={"team": "red"}),
    SECRET,
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}},
    {"apiVersion": "eventing.knative.dev/v1beta2", "kind": "EventType", "metadata": {"name": "e"}, "spec": {"type": "t", "source": "/s", "broker": "shop"}},
    {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "svc"}, "status": {"address": {"url": NOWHERE}}},
    {"apiVersion": "flows.knative.dev/v1", "kind": "Sequence", "metadata": {"name": "q"}, "spec": {"steps": [to(NOWHERE)]}},
]


def exported(leat, broker, *words):
    code, out, err = leat(broker, "export", "-o", "json", *words)
    assert code == 0, err
    return json.loads(out)["items"]


def test_what_is_exported_can_be_applied_and_is_the_same(serve, leat, tmp_path):
    first, second = serve(ALL), serve([])
    wait_for(lambda: leat(first, "wait", "channel/in", "trigger/big", "subscription/s")[0] == 0, "the statuses")
    code, text, err = leat(first, "export", "-A", "--secrets")
    assert (code, err) == (0, "")
    file = tmp_path / "all.yaml"
    file.write_text(text + "\n")
    code, out, err = leat(second, "apply", "-f", str(file))
    assert code == 0 and len(out.splitlines()) == len(ALL), (out, err)
    assert leat(second, "export", "-A", "--secrets")[1] == text
    assert leat(second, "apply", "-f", str(file))[1].count(" unchanged") == len(ALL)


def test_what_a_server_adds_is_left_out(serve, leat):
    broker = serve(ALL)
    leat(broker, "wait", "channel/in", "subscription/s")
    for thing in exported(leat, broker, "-A", "--secrets"):
        assert set(thing["metadata"]) <= {"name", "namespace", "labels", "annotations"}, thing
        assert ("status" in thing) == (thing["metadata"]["name"] == "svc"), thing
        if thing["kind"] == "Channel":
            assert "channelTemplate" not in thing.get("spec", {})
    text = leat(broker, "export", "-A", "--secrets")[1]
    assert not re.search(r"resourceVersion|managedFields|uid:|creationTimestamp|generation:", text)


def test_what_is_meant(serve, leat):
    broker = serve(ALL)
    assert "out" not in {t["metadata"]["name"] for t in exported(leat, broker)}
    assert [t["metadata"]["name"] for t in exported(leat, broker, "-n", "other")] == ["out"]
    assert {t["kind"] for t in exported(leat, broker, "channels", "broker")} == {"Channel", "Broker"}
    code, out, err = leat(broker, "export")
    assert code == 0 and "kind: Secret" not in out and err == "1 Secret was left out; --secrets exports it."
    code, out, err = leat(broker, "export", "-n", "empty")
    assert (code, out) == (0, "") and "There is nothing to export in the namespace empty" in err


# ---- graph ----

STRING = r'"(?:[^"\\]|\\.)*"'
ATTRIBUTES = rf"\[(?:[a-z]+=(?:{STRING}|[A-Za-z0-9]+)(?:, )?)*\]"


def parsed(dot):
    """The nodes and edges of a graph in DOT: {id: attributes}, {(from, to): attributes}; a line that is no statement fails."""
    lines = dot.split("\n")
    assert lines[0] == "digraph leat {" and lines[-1] == "}"
    nodes, edges = {}, {}

    def unquoted(text):
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")

    for line in lines[1:-1]:
        if re.fullmatch(rf"  (rankdir=LR|(node|edge) {ATTRIBUTES});", line):
            continue
        found = re.fullmatch(rf"  ({STRING})(?: -> ({STRING}))? ({ATTRIBUTES});", line)
        assert found, f"no statement: {line!r}"
        attributes = {k: unquoted(v) if v[0] == '"' else v for k, v in re.findall(rf"([a-z]+)=({STRING}|[A-Za-z0-9]+)", found[3])}
        if found[2]:
            edges[unquoted(found[1]), unquoted(found[2])] = attributes
        else:
            nodes[unquoted(found[1])] = attributes
    assert {n for pair in edges for n in pair} <= set(nodes), "an edge to what is no node"
    return nodes, edges


def test_graph(serve, leat):
    shop = mesh("shop")
    shop["spec"] = {"delivery": {"deadLetterSink": to("dead")}}
    sequence = {"apiVersion": "flows.knative.dev/v1", "kind": "Sequence", "metadata": {"name": "q"}, "spec": {"steps": [to(NOWHERE)], "reply": to("in")}}
    parallel = {"apiVersion": "flows.knative.dev/v1", "kind": "Parallel", "metadata": {"name": "p"}, "spec": {"branches": [{"filter": to(NOWHERE + "f"), "subscriber": to("in")}], "reply": to("dead")}}
    ping = {"apiVersion": "sources.knative.dev/v1", "kind": "PingSource", "metadata": {"name": "tick"}, "spec": {"schedule": "0 0 1 1 *", "sink": to("in")}}
    broker = serve([channel("in"), channel("dead"), subscription("s", "in", NOWHERE, reply="gone"), shop, trigger("big", "shop", [{"exact": {"type": 'a"\\b\nc'}}]), sequence, parallel, ping])
    code, out, err = leat(broker, "graph")
    assert (code, err) == (0, "")
    nodes, edges = parsed(out)
    at = lambda kind, name, group="messaging.knative.dev": f"{kind}.{group}/default/{name}"
    s, big, shop = at("Subscription", "s"), at("Trigger", "big", "eventing.knative.dev"), at("Broker", "shop", "eventing.knative.dev")
    url = "URL//" + NOWHERE
    assert {(at("PingSource", "tick", "sources.knative.dev"), at("Channel", "in")), (at("Channel", "in"), s), (s, url), (shop, big), (big, url)} <= set(edges)
    assert edges[s, at("Channel", "gone")] == {"label": "reply", "style": "dashed"} and "not there" in nodes[at("Channel", "gone")]["label"]
    assert edges[big, shop]["label"] == "reply" and edges[shop, at("Channel", "dead")]["label"] == "dead letters"
    assert json.loads(edges[shop, big]["label"]) == {"exact": {"type": 'a"\\b\nc'}}
    assert edges[at("Sequence", "q", "flows.knative.dev"), url]["label"] == "step 1" and (at("Parallel", "p", "flows.knative.dev"), url + "f") in edges


def test_graph_as_json(serve, leat):
    broker = serve([channel("in"), subscription("s", "in", NOWHERE), channel("far", "other")])
    leat(broker, "wait", "subscription/s")
    tree = json.loads(leat(broker, "graph", "-o", "json")[1])
    names = {n["id"]: n.get("name") or n["url"] for n in tree["nodes"]}
    assert {(names[e["from"]], names[e["to"]], e["type"]) for e in tree["edges"]} == {("in", "s", "events"), ("s", NOWHERE, "events")}
    assert [n["ready"] for n in tree["nodes"] if n.get("name") == "s"] == ["True"]
    assert "far" in {n.get("name") for n in json.loads(leat(broker, "graph", "-A", "-o", "json")[1])["nodes"]}


def test_graph_of_2018(serve, leat):
    one = {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Channel", "metadata": {"name": "old"}, "spec": {"clusterBus": "stub"}}
    two = {"apiVersion": "channels.knative.dev/v1alpha1", "kind": "Subscription", "metadata": {"name": "s"}, "spec": {"channel": "old", "subscriber": "svc", "replyTo": "old"}}
    _, edges = parsed(leat(serve([one, two]), "graph")[1])
    assert {(a.rpartition("/")[2], b.rpartition("/")[2], e["label"]) for (a, b), e in edges.items()} == {("old", "s", ""), ("s", "svc", ""), ("s", "old", "reply")}


def test_the_verbs_without_a_server(run):
    for words in (["export"], ["graph"], ["describe", "channel/c"], ["wait", "channel/c", "--timeout", "0s"]):
        code, out, err = run(*words, env={"LEAT_SERVER": "http://127.0.0.1:1"})
        assert code == 1 and not out and "http://127.0.0.1:1" in err, (words, err)
