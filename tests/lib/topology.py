# SPDX-License-Identifier: Apache-2.0
"""Manifests of topologies as Python objects, and what a test asks of the program about them: a resource's status, its end of work.

A place is written as a URL or as "KIND/NAME" ("Broker/shop"); both may have a path behind a blank, which is the relative `uri` of a reference.
"""

import leat
from broker import MESSAGING

EVENTING = "eventing.knative.dev/v1"
FLOWS = "flows.knative.dev/v1"
API_OF = {"Channel": MESSAGING, "InMemoryChannel": MESSAGING, "KafkaChannel": MESSAGING, "Subscription": MESSAGING, "Broker": EVENTING, "Trigger": EVENTING, "EventType": "eventing.knative.dev/v1beta3", "Sequence": FLOWS, "Parallel": FLOWS, "Service": "v1",
          "KafkaSource": "sources.knative.dev/v1", "KafkaSink": "eventing.knative.dev/v1alpha1"}
PATH_OF = {"Channel": "channels", "InMemoryChannel": "channels", "Broker": "brokers", "Sequence": "sequences", "Parallel": "parallels", "KafkaSink": "kafkasinks"}
PLURAL_OF = {"Parallel": "parallels", "Sequence": "sequences"}

LABELS = {"namespace": "default"}


# ---- manifests ----


def place(where):
    """A Destination."""
    if "://" in where:
        return {"uri": where}
    name, _, path = where.partition(" ")
    kind, name = name.split("/")
    reference = {"ref": {"apiVersion": API_OF[kind], "kind": kind, "name": name}}
    return {**reference, "uri": path} if path else reference


def terms(dead=None, retry=None, **fields):
    """A DeliverySpec with waits that a test can afford, unless `fields` say otherwise; `dead` is a place."""
    spec = {"backoffPolicy": "linear", "backoffDelay": "PT0.01S", **fields}
    if retry is not None:
        spec["retry"] = retry
    if dead:
        spec["deadLetterSink"] = place(dead)
    return spec


def resource(kind, name, spec, namespace="default", annotations=None):
    """`annotations` without their prefix leat.dev/, in Python's spelling: max_in_flight=3."""
    metadata = {"name": name, "namespace": namespace}
    if annotations:
        metadata["annotations"] = {a if "/" in a else "leat.dev/" + a.replace("_", "-"): str(v) for a, v in annotations.items()}
    return {"apiVersion": API_OF[kind], "kind": kind, "metadata": metadata, "spec": spec}


def mesh(name, delivery=None, namespace="default", **annotations):
    """A Broker. (A `Broker` in these tests is the process.)"""
    return resource("Broker", name, {"delivery": delivery} if delivery else {}, namespace, annotations)


def trigger(name, of, subscriber, filters=None, attributes=None, delivery=None, namespace="default", **annotations):
    """`filters` are the dialects, `attributes` the legacy filter."""
    spec = {"broker": of, "subscriber": place(subscriber)}
    if filters is not None:
        spec["filters"] = filters
    if attributes is not None:
        spec["filter"] = {"attributes": attributes}
    if delivery is not None:
        spec["delivery"] = delivery
    return resource("Trigger", name, spec, namespace, annotations)


def hear(name, of, subscriber=None, reply=None, delivery=None, namespace="default", **annotations):
    """A Subscription to a channel ("c", or "InMemoryChannel/c")."""
    spec = {"channel": place(of if "/" in of else "Channel/" + of)["ref"]}
    if subscriber:
        spec["subscriber"] = place(subscriber)
    if reply:
        spec["reply"] = place(reply)
    if delivery is not None:
        spec["delivery"] = delivery
    return resource("Subscription", name, spec, namespace, annotations)


def sequence(name, steps, reply=None, namespace="default"):
    """A step is a place, or (place, DeliverySpec)."""
    pairs = [s if isinstance(s, tuple) else (s, None) for s in steps]
    spec = {"steps": [{**place(where), **({"delivery": delivery} if delivery else {})} for where, delivery in pairs]}
    if reply:
        spec["reply"] = place(reply)
    return resource("Sequence", name, spec, namespace)


def branch(subscriber, filter=None, reply=None, delivery=None):
    """One branch of a Parallel; the filter is a place too."""
    places = {"subscriber": subscriber, "filter": filter, "reply": reply}
    return {**{k: place(v) for k, v in places.items() if v}, **({"delivery": delivery} if delivery else {})}


def parallel(name, branches, reply=None, namespace="default"):
    spec = {"branches": branches}
    if reply:
        spec["reply"] = place(reply)
    return resource("Parallel", name, spec, namespace)


# ---- asking the program ----


def path_of(kind, name="", namespace="default"):
    """The resource's path in the API; without a name, of all of its kind."""
    api = API_OF[kind]
    plural = PLURAL_OF.get(kind, kind.lower() + "s")
    base = ("/api/" if "/" not in api else "/apis/") + f"{api}/namespaces/{namespace}/{plural}"
    return f"{base}/{name}" if name else base


def object_of(process, kind, name, namespace="default"):
    answer = process.ask("GET", path_of(kind, name, namespace))
    assert answer.status == 200, answer
    return answer.json()


def condition(process, kind, name, of="Ready", namespace="default"):
    """The condition, or {} when there is none as yet."""
    status = object_of(process, kind, name, namespace).get("status", {})
    return next((c for c in status.get("conditions", []) if c["type"] == of), {})


def ready(process, *resources):
    """Waits until each of these manifests' objects is Ready."""
    for r in resources:
        kind, name, namespace = r["kind"], r["metadata"]["name"], r["metadata"]["namespace"]
        leat.wait_for(lambda: condition(process, kind, name, namespace=namespace).get("status") == "True", f"{kind} {name} to be Ready")


def send(process, where, body=b"", headers=None, namespace="default"):
    """Posts an event to "KIND/NAME"."""
    kind, name = where.split("/")
    return leat.request("POST", f"{process.ingress}/{PATH_OF[kind]}/{namespace}/{name}", body, headers)


def apply(process, objects, mark, loops=None):
    """New manifests, and waits until they are in force: `mark` is a channel's name that no plan had before. With `loops`, of which the process has so many, until they are for events to come,
    while what is under way at a sink may hold the plan's end."""
    line = process.reload([*objects, {"apiVersion": MESSAGING, "kind": "Channel", "metadata": {"name": mark, "namespace": "default"}}])
    assert "result=applied" in line, line
    if loops is None:
        process.in_force(mark)
        return
    headers = {"ce-specversion": "1.0", "ce-id": "m", "ce-type": "m", "ce-source": "/m"}
    taken = lambda: leat.request("POST", f"{process.ingress}/channels/default/{mark}", b"", headers).status == 202  # connections are dealt to the loops in turn  # noqa: E731
    leat.wait_for(lambda: all(taken() for _ in range(2 * loops)), f"the plan of {mark} on all loops")


ENDS = ("delivered", "dead_lettered", "parked")


def ends(process, name, namespace="default"):
    """How many of a subscription's deliveries ended in which way."""
    series = process.metrics()
    return {end: series["leat_deliveries_total", frozenset({"namespace": namespace, "subscription": name, "end": end}.items())] for end in ENDS}


def wait_end(process, end, count, name, namespace="default"):
    process.wait_metric(count, "leat_deliveries_total", namespace=namespace, subscription=name, end=end)


MOVING = ("leat_events_accepted_total", "leat_deliveries_total", "leat_delivery_attempts_total", "leat_parked_events")


def settled(process, timeout=leat.DEADLINE):
    """Waits until nothing is under way, and returns the metrics of that moment.

    A page of metrics is no snapshot: an event may pass from a channel that is read late to one that was read early. Such an event moves a counter, so two pages
    without a backlog and with the same counters say that there was none.
    """
    last = [None]

    def still():
        page = process.metrics()
        moving = {k: v for k, v in page.items() if k[0] in MOVING}
        backlog = sum(v for (name, _), v in page.items() if name == "leat_backlog_events")
        if backlog:
            last[0] = None
            return None
        same, last[0] = moving == last[0], moving
        return page if same else None

    return leat.wait_for(still, "the end of all deliveries", timeout)
