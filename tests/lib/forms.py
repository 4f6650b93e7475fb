# SPDX-License-Identifier: Apache-2.0
"""Objects of any form as a server's tests write them, and what became of them: conditions, and events at a sink."""

from broker import event
from leat import request, wait_for


def thing(api, kind, name, namespace, spec=None, annotations=None, **more):
    metadata = {"name": name, "namespace": namespace, **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **({"spec": spec} if spec is not None else {}), **more}


def trigger(name, namespace, of, url):
    return thing("eventing.knative.dev/v1", "Trigger", name, namespace, {"broker": of, "subscriber": {"uri": url}})


def status(process, api, plural, name, namespace):
    return process.ask("GET", f"/apis/{api}/namespaces/{namespace}/{plural}/{name}").json().get("status", {})


def condition(process, api, plural, name, namespace, of="Ready"):
    found = [c for c in status(process, api, plural, name, namespace).get("conditions", []) if c["type"] == of]
    return (found[0]["status"], found[0].get("reason"), found[0].get("message")) if found else ("", None, None)


def is_ready(process, api, plural, name, namespace):
    wait_for(lambda: condition(process, api, plural, name, namespace)[0] == "True", f"{plural} {name} to be Ready")


def send(process, path, id, body=b"x", status_=202):
    answer = request("POST", process.ingress + path, body, event(id))
    assert answer.status == status_, answer


def arrived(sink, *ids):
    wait_for(lambda: {r.headers.get("ce-id") for r in sink.requests} >= set(ids), f"{ids} at the sink")


def seen(sink):
    return sorted(r.headers.get("ce-id") for r in sink.requests)


def is_gone(process, api, plural, name, namespace):
    wait_for(lambda: process.ask("GET", f"/apis/{api}/namespaces/{namespace}/{plural}/{name}").status == 404, f"{plural} {name} to go")
