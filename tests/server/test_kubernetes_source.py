# SPDX-License-Identifier: Apache-2.0
"""Changes in a real Kubernetes as events: `leat source kubernetes` alone, ApiServerSource and 2018's k8sevents inside `serve`. The API server is killed, its history forgotten, the watch cut, the sink
taken away: every change is seen. What a real one never says is in test_kube_faults.py."""

import base64
import itertools
import json

import pytest

from broker import channel, subscription, to
from leat import Reply, Sink, wait_for
from proxy import Proxy
from real.kubernetes import ADMIN, CLIENT, Kubernetes

NAMES = itertools.count()


@pytest.fixture(scope="module")
def cluster():
    return Kubernetes.shared()


@pytest.fixture
def own():
    with Kubernetes() as k:
        yield k


def space(k):
    """A namespace that no other test has."""
    name = f"ns{next(NAMES)}-{id(k) % 10000}"
    k.good("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"test": name}}})
    return name


def change(k, namespace, name, **data):
    return k.good("PATCH", f"/api/v1/namespaces/{namespace}/configmaps/{name}", {"data": data})


def remove(k, namespace, name):
    return k.good("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{name}")


@pytest.fixture
def source(start, sink):
    """Runs the adapter and waits until it watches `namespace` (a change of the mark in it is told)."""
    def run(k, namespace, *args, to=None, kubeconfig=None, resource="v1/ConfigMap", mark=True, env=None):
        place = ["--watch-namespace", namespace] if namespace else []
        where = [] if kubeconfig == "" else ["--kubeconfig", str(kubeconfig or k.kubeconfig())]
        process = start("source", "kubernetes", "--resource", resource, *where, *place, *args, env={"K_SINK": to or sink.url, **(env or {})})
        if mark:
            watched(k, namespace, sink)
        return process

    return run


def watched(k, namespace, sink):
    """Changes of an object until one is told."""
    name = f"mark{next(NAMES)}"
    k.make("configmaps", name, namespace)
    numbers = itertools.count()

    def seen():
        change(k, namespace, name, n=str(next(numbers)))
        return any(r.attributes["name"] == name for r in list(sink.requests))
    wait_for(seen, "that it watches")


def told(sink, but="mark"):
    """(verb, name) in the order in which they came, each event once."""
    events = {}
    for r in list(sink.requests):
        if not r.attributes.get("name", "").startswith(but):
            events.setdefault(r.attributes["id"], (r.attributes["type"].rpartition(".")[2], r.attributes["name"]))
    return list(events.values())


def wait_told(sink, *wanted):
    wait_for(lambda: len(told(sink)) >= len(wanted), f"{wanted}, not {told(sink)}")
    assert sorted(told(sink)) == sorted(wanted)


# ---- what is told ----


def test_objects_that_kubectl_makes(cluster, source, sink):
    n = space(cluster)
    source(cluster, n)
    cluster.kubectl("-n", n, "create", "configmap", "a", "--from-literal=x=1")
    cluster.kubectl("-n", n, "label", "configmap", "a", "y=2")
    cluster.kubectl("-n", n, "delete", "configmap", "a")
    wait_for(lambda: len(told(sink)) == 3, "three changes")
    assert told(sink) == [("add", "a"), ("update", "a"), ("delete", "a")]
    r = [r for r in sink.requests if r.attributes["name"] == "a"][0]
    a = r.attributes
    assert (a["type"], a["source"], a["subject"]) == ("dev.knative.apiserver.ref.add", cluster.url, f"/apis/v1/namespaces/{n}/configmaps/a")
    assert (a["kind"], a["apiversion"], a["namespace"]) == ("ConfigMap", "v1", n) and r.headers["content-type"] == "application/json"
    assert json.loads(r.body) == {"kind": "ConfigMap", "namespace": n, "name": "a", "apiVersion": "v1"}


def test_whole_objects_of_several_kinds_with_labels(cluster, source, sink):
    n = space(cluster)
    source(cluster, n, "--mode", "Resource", resource="v1/ConfigMap;v1/Secret:app=web")
    cluster.make("secrets", "other", n)
    cluster.good("POST", f"/api/v1/namespaces/{n}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "labels": {"app": "web"}}, "stringData": {"p": "q"}})
    cluster.make("configmaps", "c", n, data={"k": "v"})
    wait_told(sink, ("add", "web"), ("add", "c"))
    bodies = {r.attributes["name"]: json.loads(r.body) for r in sink.requests}
    assert bodies["web"]["kind"] == "Secret" and base64.b64decode(bodies["web"]["data"]["p"]) == b"q" and bodies["c"]["data"] == {"k": "v"}
    assert all(r.attributes["type"].startswith("dev.knative.apiserver.resource.") for r in sink.requests)


def test_all_namespaces_and_kinds_without_one(cluster, source, sink):
    n = space(cluster)
    source(cluster, None, "--watch-namespace", "*", "--filter", f"name = '{n}-new' OR subject LIKE '%{n}/configmaps%'", resource="v1/ConfigMap;v1/Namespace", mark=False)
    watched(cluster, n, sink)
    cluster.good("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{n}-new"}})
    wait_for(lambda: ("add", f"{n}-new") in told(sink), "the namespace")
    assert [r.attributes["subject"] for r in sink.requests if r.attributes["name"] == f"{n}-new"][0] == f"/apis/v1/namespaces/{n}-new"


def test_namespaces_by_a_selector(cluster, source, sink):
    """One that comes later is watched from its beginning on."""
    n, label = space(cluster), f"sel{next(NAMES)}"
    cluster.good("PATCH", f"/api/v1/namespaces/{n}", {"metadata": {"labels": {"pick": label}}})
    source(cluster, None, "--namespace-selector", f"pick={label}", mark=False)
    watched(cluster, n, sink)
    later = f"{n}-later"
    cluster.good("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": later, "labels": {"pick": label}}})
    cluster.make("configmaps", "first", later)
    cluster.make("configmaps", "unpicked", space(cluster))
    wait_told(sink, ("add", "first"))


# ---- what breaks ----


def test_an_api_server_that_is_killed(own, source, sink, tmp_path):
    n = space(own)
    source(own, n, "--state", str(tmp_path / "state"))
    wanted = []
    for round_ in range(3):
        for i in range(20):
            own.make("configmaps", f"m{round_}-{i}", n)
            wanted.append(("add", f"m{round_}-{i}"))
        own.kill()
        own.start()
        change(own, n, f"m{round_}-3", x="y")
        remove(own, n, f"m{round_}-4")
        wanted += [("update", f"m{round_}-3"), ("delete", f"m{round_}-4")]
        wait_for(lambda: ("delete", f"m{round_}-4") in told(sink) and ("update", f"m{round_}-3") in told(sink), "what came after it was back")
    wait_told(sink, *wanted)


def test_what_happened_while_it_was_stopped_and_forgotten(own, source, sink, tmp_path):
    """etcd is compacted and the API server started anew, so that no watch can go back there: the difference is told."""
    n, state = space(own), str(tmp_path / "state")
    first = source(own, n, "--state", state)
    for name in ("same", "changed", "gone", "anew"):
        own.make("configmaps", name, n)
    wait_told(sink, *(("add", name) for name in ("same", "changed", "gone", "anew")))
    assert first.stop() == 0
    own.make("configmaps", "new", n)
    change(own, n, "changed", x="1")
    change(own, n, "changed", x="2")
    remove(own, n, "gone")
    remove(own, n, "anew")
    own.make("configmaps", "anew", n)
    own.kill()
    own.compact()
    own.start()
    sink.clear()
    source(own, n, "--state", state, mark=False)
    wait_told(sink, ("add", "new"), ("update", "changed"), ("delete", "gone"), ("delete", "anew"), ("add", "anew"))


def test_a_restart_misses_nothing_and_repeats_nothing(cluster, source, sink, tmp_path):
    n, state = space(cluster), str(tmp_path / "state")
    process = source(cluster, n, "--state", state)
    wanted = []
    for round_ in range(3):
        process.kill()
        for i in range(5):
            cluster.make("configmaps", f"m{round_}-{i}", n)
            change(cluster, n, f"m{round_}-{i}", x="y")
            wanted += [("add", f"m{round_}-{i}"), ("update", f"m{round_}-{i}")]
        process = source(cluster, n, "--state", state, mark=False)
        wait_told(sink, *wanted)
    assert len([r for r in sink.requests if not r.attributes["name"].startswith("mark")]) <= len(wanted) + 3 * 16


def test_a_watch_that_is_cut(cluster, source, sink):
    n, proxy = space(cluster), Proxy(cluster.ports["API"])
    source(cluster, n, kubeconfig=cluster.kubeconfig(server=f"https://localhost:{proxy.port}"))
    wanted = []
    for i in range(5):
        proxy.refuses = True
        proxy.cut()
        cluster.make("configmaps", f"m{i}", n)
        change(cluster, n, f"m{i}", x="y")
        proxy.refuses = False
        wanted += [("add", f"m{i}"), ("update", f"m{i}")]
        wait_told(sink, *wanted)


def test_a_sink_that_is_down(cluster, source, tmp_path):
    """Longer than what is kept in memory lasts."""
    n = space(cluster)
    with Sink() as sink:
        process = source(cluster, n, to=sink.url, mark=False)
        watched(cluster, n, sink)
        sink.default = Reply(503)
        for i in range(400):
            cluster.make("configmaps", f"m{i}", n)
        process.wait_line("kubernetes.retry", "stderr")
        sink.clear()
        sink.default = Reply(202)
        wait_for(lambda: {name for _, name in told(sink)} >= {f"m{i}" for i in range(400)}, "all of them", timeout=60)


# ---- rights ----


def test_what_is_forbidden_is_said_and_goes_on_when_it_is_not(cluster, source, sink):
    n, process = space(cluster), None
    cluster.allow("watcher", "", "configmaps")
    process = source(cluster, n, kubeconfig=cluster.kubeconfig(token="watcher-token"), mark=False)
    said = process.wait_line("kubernetes.trouble", "stderr")
    assert 'User \\"watcher\\" cannot list resource \\"configmaps\\"' in said and "grant get, list and watch" in said
    cluster.allow("watcher", "get,list,watch", "configmaps")
    watched(cluster, n, sink)
    process.wait_line("kubernetes.watching", "stderr")


@pytest.mark.parametrize("how, words", [({"token": "wrong"}, "answered 401"), ({"ca": "other-ca"}, "is not trusted"), ({"server": "https://localhost:1"}, "connection refused")])
def test_who_is_not_let_in_is_told_why(cluster, source, how, words):
    process = source(cluster, space(cluster), kubeconfig=cluster.kubeconfig(**how), mark=False)
    assert words in process.wait_line("kubernetes.trouble", "stderr")


def test_a_client_certificate(cluster, source):
    cluster.allow(CLIENT, "get,list,watch", "configmaps")
    source(cluster, space(cluster), kubeconfig=cluster.kubeconfig(certificate=True))


def test_a_pods_service_account_whose_token_is_renewed(cluster, source, sink, tmp_path):
    n = space(cluster)
    (tmp_path / "ca.crt").write_text(cluster.pem("ca.pem"))
    (tmp_path / "namespace").write_text(n)
    (tmp_path / "token").write_text("old\n")
    env = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(cluster.ports["API"])}
    process = source(cluster, n, "--service-account", str(tmp_path), kubeconfig="", env=env, mark=False)
    assert "answered 401" in process.wait_line("kubernetes.trouble", "stderr")
    (tmp_path / "token").write_text(ADMIN)
    watched(cluster, n, sink)


def test_without_a_cluster_it_says_so(start, sink):
    process = start("source", "kubernetes", "--resource", "v1/Pod", env={"K_SINK": sink.url, "HOME": "/nonexistent"})
    assert process.wait() == 1 and "neither $KUBECONFIG nor ~/.kube/config" in process.logs


# ---- inside serve ----


def api_source(name, namespace, where, **spec):
    spec = {"resources": [{"apiVersion": "v1", "kind": "ConfigMap"}], "sink": to(where), **spec}
    return {"apiVersion": "sources.knative.dev/v1", "kind": "ApiServerSource", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def conditions(broker, name, namespace):
    status = broker.ask("GET", f"/apis/sources.knative.dev/v1/namespaces/{namespace}/apiserversources/{name}").json().get("status", {})
    return {c["type"]: (c["status"], c.get("reason"), c.get("message", "")) for c in status.get("conditions", [])}, status


def test_in_serve_by_way_of_a_channel(cluster, serve, sink):
    n = space(cluster)
    broker = serve([channel("c"), subscription("s", "c", sink.url), {**api_source("a", n, "c", mode="Resource", filters=[{"not": {"suffix": {"type": "delete"}}}], ceOverrides={"extensions": {"team": "x"}},
                    sink={"ref": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "c", "namespace": "default"}})}], env={"KUBECONFIG": str(cluster.kubeconfig())})
    watched(cluster, n, sink)
    cluster.make("configmaps", "a", n)
    remove(cluster, n, "a")
    cluster.make("configmaps", "b", n)
    wait_told(sink, ("add", "a"), ("add", "b"))
    assert sink.requests[0].attributes["team"] == "x"
    found, status = conditions(broker, "a", n)
    assert {k: v[0] for k, v in found.items() if k != "DeliveryHealthy"} == dict.fromkeys(("Ready", "SinkProvided", "Deployed", "SufficientPermissions", "OIDCIdentityCreated"), "True")
    assert [c["type"] for c in status["ceAttributes"]] == [f"dev.knative.apiserver.resource.{verb}" for verb in ("add", "update", "delete")]


def test_a_sink_that_takes_nothing_is_in_the_condition(cluster, serve, sink):
    n = space(cluster)
    broker = serve([api_source("a", n, sink.url)], env={"KUBECONFIG": str(cluster.kubeconfig())})
    watched(cluster, n, sink)
    wait_for(lambda: conditions(broker, "a", n)[0]["DeliveryHealthy"][0] == "True", "that it delivers")
    sink.default = Reply(503)
    cluster.make("configmaps", "a", n)
    bad = wait_for(lambda: (c := conditions(broker, "a", n)[0]["DeliveryHealthy"])[0] == "False" and c, "that it does not")
    assert bad[1] == "DeliveryFailing" and bad[2].startswith(f"{sink.url} answered 503"), bad
    sink.default = Reply(202)
    wait_for(lambda: conditions(broker, "a", n)[0]["DeliveryHealthy"][0] == "True", "that it delivers again")


def watches(k, namespace):
    """How many watches of ConfigMaps in all namespaces the API server has."""
    lines = [line for line in k.ask("GET", "/metrics")[1].splitlines() if line.startswith("apiserver_longrunning_requests{") and 'resource="configmaps"' in line and f'scope="{namespace}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_many_sources_share_one_watch(own, serve, sink):
    n = space(own)
    before = watches(own, "cluster")
    serve([api_source(f"a{i}", n, sink.url, namespaceSelector={}, filters=[{"prefix": {"subject": f"/apis/v1/namespaces/{n}/"}}]) for i in range(20)], "--loops", "2", env={"KUBECONFIG": str(own.kubeconfig())})
    watched(own, n, sink)
    own.make("configmaps", "a", n)
    wait_for(lambda: len([r for r in sink.requests if r.attributes["name"] == "a"]) == 20, "one for each")
    wait_for(lambda: watches(own, "cluster") == before + 1, "one watch")


def test_serve_tells_what_it_may_not_see_and_what_it_cannot_reach(cluster, serve, sink):
    n = space(cluster)
    broker = serve([api_source("a", n, sink.url, resources=[{"apiVersion": "v1", "kind": "Secret"}])], env={"KUBECONFIG": str(cluster.kubeconfig(token="watcher-token"))})
    wait_for(lambda: conditions(broker, "a", n)[0]["Ready"][:2] == ("False", "Forbidden"), "what is forbidden")
    assert "secrets is forbidden" in conditions(broker, "a", n)[0]["SufficientPermissions"][2]
    none = serve([api_source("a", n, sink.url)], env={"HOME": "/nonexistent"})
    wait_for(lambda: conditions(none, "a", n)[0]["Ready"][0] == "False", "that there is no cluster")
    assert "neither $KUBECONFIG nor" in conditions(none, "a", n)[0]["SufficientPermissions"][2]


def test_serve_goes_on_where_it_was(cluster, serve, sink, tmp_path):
    """Over a kill, and over plans that come meanwhile."""
    n, data = space(cluster), str(tmp_path / "data")
    env = {"KUBECONFIG": str(cluster.kubeconfig())}
    broker = serve([], "--data-dir", data, env=env)
    path = f"/apis/sources.knative.dev/v1/namespaces/{n}/apiserversources"
    assert broker.ask("POST", path, api_source("a", n, sink.url)).status == 201
    watched(cluster, n, sink)
    wanted = []
    for i in range(10):
        cluster.make("configmaps", f"m{i}", n)
        wanted.append(("add", f"m{i}"))
        broker.ask("POST", "/apis/messaging.knative.dev/v1/namespaces/default/channels", channel(f"c{i}"))
    wait_told(sink, *wanted)
    broker.kill()
    cluster.make("configmaps", "while", n)
    serve([], "--data-dir", data, env=env)
    wait_told(sink, *wanted, ("add", "while"))


def test_the_events_of_2018(cluster, serve, sink):
    n = space(cluster)
    feeds = {"apiVersion": "feeds.knative.dev/v1alpha1"}
    serve([
        {**feeds, "kind": "EventSource", "metadata": {"name": "k8sevents", "namespace": n}, "spec": {"source": "k8sevents", "image": "gcr.io/x/sources/k8sevents@sha256:1", "parameters": {"image": "y"}}},
        {**feeds, "kind": "EventType", "metadata": {"name": "dev.knative.k8s.event", "namespace": n}, "spec": {"eventSource": "k8sevents"}},
        {**feeds, "kind": "Feed", "metadata": {"name": "f", "namespace": n}, "spec": {"action": {"dnsName": sink.url}, "trigger": {"eventType": "dev.knative.k8s.event", "resource": "k8sevents/x", "service": "k8sevents", "parameters": {"namespace": n}}}},
    ], env={"KUBECONFIG": str(cluster.kubeconfig())})
    numbers = itertools.count()

    def happens():
        cluster.make("events", f"e{next(numbers)}", n, involvedObject={"apiVersion": "v1", "kind": "Pod", "namespace": n, "name": "p"}, reason="Started", message="it runs")
        return sink.requests
    wait_for(happens, "an event")
    a = sink.requests[0].attributes
    body = json.loads(sink.requests[0].body)
    assert (a["type"], a["source"], a["id"]) == ("dev.knative.k8s.event", f"/apis/v1/namespaces/{n}/pods/p", body["metadata"]["uid"]) and body["reason"] == "Started"
