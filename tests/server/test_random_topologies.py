# SPDX-License-Identifier: Apache-2.0
"""Topologies at random against the model in tests/lib/flow_model.py: which endpoint gets which event how often, and how each subscription's deliveries end; first with some of them paused
for a while, at last with what was parked redriven.

TOPOLOGIES=N makes a campaign of N; SEED=S replays the topology that a failure names.
"""

import collections
import json
import os
import random
import urllib.parse

import pytest

import filter_model
from broker import event
from flow_model import Builder, Model
from leat import free_port, wait_for
from real.kafka import Kafka
from recorder import STRUCTURED, Recorder
from topology import ENDS, apply, send, settled

COUNT = int(os.environ.get("TOPOLOGIES", "24"))
FIRST = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
SEEDS = [FIRST + i for i in range(1 if "SEED" in os.environ and "TOPOLOGIES" not in os.environ else COUNT)]


def bus_words(bus):
    """As --bus takes it."""
    return f"kafka,bootstrap.servers={Kafka.shared().address}" if bus == "kafka" else bus


@pytest.mark.parametrize("bus, seed", [(bus, seed) for bus, share in (("memory", 1), ("log", 2), ("kafka", 6)) for seed in SEEDS[: (len(SEEDS) + share - 1) // share]])
def test_each_event_arrives_as_often_as_the_model_says(serve, bus, seed):
    rng = random.Random(seed)
    with Recorder() as recorder:
        model = Model(f"http://127.0.0.1:{free_port()}/nobody", lambda name: recorder[name].url)
        built = Builder(rng, model)
        for name, script in built.scripts.items():
            recorder.add(name, script.rule)
        broker = serve(built.some_paused(), "--loops", str(rng.randint(1, 3)), "--bus", bus_words(bus))
        broker.may_lose = True  # what is parked
        count = rng.randint(5, 25)
        for i in range(count):
            if i == count // 2:
                apply(broker, built.manifests(), "resumed")
            node, attributes = rng.choice(built.nodes), filter_model.random_event(rng)
            post(broker, rng, node, f"{seed}-{i}", attributes)
            model.take(node, {"id": f"{seed}-{i}", "specversion": "1.0", **attributes})
        compare(seed, built, model, recorder, settled(broker, 60))
        redrive(broker, built, model, recorder)
        compare(seed, built, model, recorder, settled(broker, 60))


@pytest.mark.parametrize("inner, seed", [(inner, seed) for inner in ("memory", "log") for seed in SEEDS[: (len(SEEDS) + 3) // 4]])
def test_a_bus_with_a_bad_day_loses_nothing(serve, inner, seed):
    """The bus delivers late, twice, out of order, and takes back what is under way: each endpoint gets what the model says, at least once, and nothing else."""
    rng = random.Random(seed)
    with Recorder() as recorder:
        model = Model(f"http://127.0.0.1:{free_port()}/nobody", lambda name: recorder[name].url)
        built = Builder(rng, model, steady=True)
        for name, script in built.scripts.items():
            recorder.add(name, script.rule)
        bus = f"faulty,inner={inner},seed={seed % 1000},append_delay_ms=5,reorder=0.2,duplicate=0.2,revoke=0.2"
        broker = serve(built.manifests(), "--loops", str(rng.randint(1, 3)), "--bus", bus)
        broker.may_lose = True  # what is parked
        for i in range(rng.randint(5, 25)):
            node, attributes = rng.choice(built.nodes), filter_model.random_event(rng)
            post(broker, rng, node, f"{seed}-{i}", attributes)
            model.take(node, {"id": f"{seed}-{i}", "specversion": "1.0", **attributes})
        page = settled(broker, 60)
        wrong = [f"endpoint {script}: {differ}" for name, script in built.scripts.items() if (differ := seen(recorder[name]).keys() ^ model.requests[name].keys())]
        for _, hearer in built.all_hearers():
            parked = page["leat_parked_events", frozenset({"namespace": "default", "subscription": hearer.label}.items())]
            if (parked > 0) != bool(hearer.parked) or parked < len(hearer.parked):
                wrong.append(f"subscription {hearer.label}: {parked} are parked, not {len(hearer.parked)} or more")
        assert not wrong, f"replay with SEED={seed}\n" + "\n".join(wrong) + "\n" + "\n".join(map(json.dumps, built.manifests()))


def seen(endpoint):
    """How often which event came, as the model counts them."""
    return collections.Counter((e["id"], e["type"], e.get("knativeerrordest"), e.get("knativeerrorcode")) for e in (r.event for r in endpoint.requests))


def redrive(broker, built, model, recorder):
    """The endpoints are mended, and all that is parked goes its way again."""
    for script in built.scripts.values():
        script.mend()
    parked = {(node.kind, node.name): [(n, h) for n, h in built.all_hearers() if h.parked and h.label.startswith(node.name + "-")] for node in built.nodes}
    for (kind, name), hearers in parked.items():
        whole = [f"{kind.lower()}/{name}"] if kind in ("Sequence", "Parallel") else [f"{'trigger' if kind == 'Broker' else 'subscription'}/{h.label}" for _, h in hearers]
        for what in whole if hearers else []:
            task = broker.ask("POST", f"/leat/v1/dlq/default/{what}/redrive", {"all": True})
            assert task.status == 202, task
            number = task.json()["id"]
            wait_for(lambda: next(t for t in broker.ask("GET", "/leat/v1/tasks").json()["items"] if t["id"] == number)["state"] == "done", "the redrive")
        for node, hearer in hearers:
            model.redrive(node, hearer)


def post(broker, rng, node, id, attributes):
    where = f"{node.kind}/{node.name}"
    if rng.random() < 0.5:
        answer = send(broker, where, b"data", event(id, **{k: urllib.parse.quote(v, safe="/:") for k, v in attributes.items()}))
    else:
        answer = send(broker, where, json.dumps({"specversion": "1.0", "id": id, **attributes, "data": "data"}).encode(), {"Content-Type": STRUCTURED})
    assert answer.status == 202, (where, answer)


def compare(seed, built, model, recorder, page):
    wrong = []
    for name, script in built.scripts.items():
        got = [r.event for r in recorder[name].requests]
        came = seen(recorder[name])
        if any(k.startswith("leat") for e in got for k in e):
            wrong.append(f"endpoint {script} sees what was noted of a parked event")
        if came != model.requests[name]:
            wrong.append(f"endpoint {script}: too often {dict(came - model.requests[name])}, too seldom {dict(model.requests[name] - came)}")
        if any("knativebrokerttl" in e for e in got):
            wrong.append(f"endpoint {script} sees the loop guard")
    for _, hearer in built.all_hearers():
        labels = {"namespace": "default", "subscription": hearer.label}
        ends = {end: page["leat_deliveries_total", frozenset({**labels, "end": end}.items())] for end in ENDS}
        if ends != {end: hearer.ends[end] for end in ENDS} or page["leat_parked_events", frozenset(labels.items())] != len(hearer.parked):
            wrong.append(f"subscription {hearer.label}: ends {ends}, not {dict(hearer.ends)}")
    manifests = "\n".join(map(json.dumps, built.manifests()))
    assert not wrong, f"replay with SEED={seed}\n" + "\n".join(wrong) + "\n" + manifests
