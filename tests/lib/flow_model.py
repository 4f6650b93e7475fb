# SPDX-License-Identifier: Apache-2.0
"""Random topologies, and a model that says which endpoint must get which event how often, and how each subscription's deliveries end.

A topology is a forest: each channel, broker, sequence or parallel is the target of at most one other, so an event meets each endpoint on one way only, and every
number is exact. Endpoints follow scripts, which the recorder plays and the model reads. A broker's replies come back to it; so that this ends, a trigger whose
subscriber replies does not match replies.
"""

import collections
import copy

import filter_model
import recorder
import topology
from leat import Reply

RETRYABLE = [404, 408, 409, 429, 500, 502, 503, 504]
FINAL = [302, 400, 401, 410, 413, 422]


class Script:
    """How an endpoint answers: each event (by its id) fails `fails` times (None: for ever) with `status`, then gets what `then` says: "accept", "reply" (an
    event of `type`), "text" (a body that is no event) or "late" (a 202 with an event, which is no reply)."""

    def __init__(self, name, fails=0, status=500, then="accept", type=None):
        self.name, self.fails, self.status, self.then, self.type = name, fails, status, then, type

    def mend(self):
        """From now on it takes everything."""
        self.fails, self.then = 0, "accept"

    def fails_at(self, nth):
        return self.fails is None or nth <= self.fails

    def rule(self, request, nth):
        if self.fails_at(nth):
            return Reply(self.status, body=b"no")
        if self.then == "text":
            return Reply(200, {"Content-Type": "text/plain"}, b"thank you")
        if self.then in ("reply", "late"):
            return recorder.reply(self.type, id="{id}." + self.name, status=202 if self.then == "late" else 200)(request, nth)
        return Reply(202)

    def __repr__(self):
        return f"{self.name}(fails {self.fails} x {self.status}, then {self.then} {self.type or ''})"


class Terms:
    """A DeliverySpec: retries and where dead letters go (a Script, a Node, or None)."""

    def __init__(self, retry, dead):
        self.retry, self.dead = retry, dead


class Hearer:
    """A subscription or trigger: `to` and `reply` are a Script, a Node, "nowhere" (a URL that refuses) or None."""

    def __init__(self, label, to, reply=None, filters=None, terms=None):
        self.label, self.to, self.reply, self.filters, self.terms = label, to, reply, filters, terms
        self.ends = collections.Counter()
        self.parked = []  # events


class Node:
    """Something that takes events: what a channel is to the data plane. A sequence's steps and a parallel's branches are nodes of their own, without a `kind`."""

    def __init__(self, kind, name, terms=None):
        self.kind, self.name, self.terms = kind, name, terms
        self.hearers = []
        self.manifests = []


# ---- what must happen ----


class Model:
    def __init__(self, nowhere, url_of):
        self.nowhere, self.url_of = nowhere, url_of
        self.expressions = {}
        self.requests = collections.defaultdict(collections.Counter)  # endpoint: of (id, type, knativeerrordest, knativeerrorcode)
        self._times = collections.Counter()

    def take(self, node, event):
        """Node takes an event (a dict), and all that follows from it."""
        for hearer in node.hearers:
            if hearer.filters is None or filter_model.matches(hearer.filters, event, self.expressions):
                self.end(node, hearer, event)

    def end(self, node, hearer, event):
        how = self.deliver(node, hearer, event)
        hearer.ends[how] += 1
        if how == "parked":
            hearer.parked.append({k: v for k, v in event.items() if not k.startswith("knativeerror")})

    def redrive(self, node, hearer):
        """All that is parked for the hearer goes its way again, as it came."""
        again, hearer.parked = hearer.parked, []
        for event in again:
            self.end(node, hearer, event)

    def deliver(self, node, hearer, event):
        own, whole = hearer.terms, node.terms
        retry = own.retry if own else whole.retry if whole else 0
        dead = own.dead if own and own.dead else whole.dead if whole else None
        broker = node.kind == "Broker"
        status, answer = self.send(hearer.to, event, retry)
        failed = hearer.to
        if answer == "text" and broker:
            status, answer = 502, None
        reply_to = node if broker else hearer.reply
        if status < 300 and answer == "reply" and reply_to:
            status, _ = self.send(reply_to, {**event, "type": hearer.to.type or event["type"], "id": f"{event['id']}.{hearer.to.name}"}, retry)
            failed = reply_to
        if status < 300:
            return "delivered"
        letter = {**event, "knativeerrordest": self.url(failed), "knativeerrorcode": str(status)}
        return "dead_lettered" if dead and self.send(dead, letter, retry)[0] < 300 else "parked"

    def send(self, to, event, retry):
        """The last status, and what came with it."""
        if to == "nowhere":
            return 500, None
        if isinstance(to, Node):
            self.take(to, event)
            return 202, None
        for _ in range(retry + 1):
            self.requests[to.name][event["id"], event["type"], event.get("knativeerrordest"), event.get("knativeerrorcode")] += 1
            self._times[to.name, event["id"]] += 1
            if not to.fails_at(self._times[to.name, event["id"]]):
                return 202 if to.then == "late" else 200, to.then
            if to.status not in RETRYABLE:
                break
        return to.status, None

    def url(self, to):
        return self.nowhere if to == "nowhere" else self.url_of(to.name)


# ---- topologies at random ----


class Builder:
    """Makes a topology; `scripts` by name and `nodes` are its parts. `steady`: an endpoint fails always or never, so that how often it is asked changes nothing."""

    def __init__(self, rng, model, steady=False):
        self.rng, self.model, self.steady = rng, model, steady
        self.scripts, self.nodes, self.free = {}, [], []
        for i in range(rng.randint(2, 7)):
            kind = rng.choice(["Channel", "InMemoryChannel", "Broker", "Broker", "Sequence", "Parallel"])
            self.nodes.append(Node(kind, f"{kind.lower()}{i}"))
        for i in reversed(range(len(self.nodes))):  # targets lie behind: no way leads back
            getattr(self, {"Channel": "channel", "InMemoryChannel": "channel", "Broker": "broker", "Sequence": "sequence", "Parallel": "parallel"}[self.nodes[i].kind])(self.nodes[i])
            self.free.append(self.nodes[i])

    def script(self, replies=True, flaky=True):
        """An endpoint of its own, with a mind of its own."""
        rng = self.rng
        then = rng.choice(["accept", "accept", "text", "late"] + ["reply", "reply", "reply"] * replies)
        fails = rng.choice([0, 0, 0, 1, 2, 3, None]) if flaky and not self.steady else rng.choice([0, 0, 0, None])
        made = Script(f"e{len(self.scripts)}", fails, rng.choice(RETRYABLE * 2 + FINAL), then, rng.choice(["reply.made", "reply.sent"]))
        self.scripts[made.name] = made
        return made

    def target(self, replies=True, nowhere=True):
        """A subscriber: mostly an endpoint, else something that is nobody's target yet."""
        if self.free and self.rng.random() < 0.3:
            return self.free.pop(self.rng.randrange(len(self.free)))
        if nowhere and self.rng.random() < 0.1:
            return "nowhere"
        return self.script(replies)

    def terms(self, shared=False):
        """`shared`: of a channel or broker, whose dead letters come from several subscriptions: to an endpoint that treats them all alike."""
        rng = self.rng
        if rng.random() < 0.3 and not shared:
            return None
        dead = None if rng.random() < 0.4 else self.script(False, flaky=False) if shared else self.target(False)
        return Terms(rng.randint(0, 3), dead)

    def spec(self, terms):
        if not terms:
            return None
        format = {"format": self.rng.choice(["json", "binary"])} if self.rng.random() < 0.2 else {}
        return topology.terms(self.where(terms.dead) if terms.dead else None, terms.retry, backoffDelay="PT0.002S", **format)

    def manifests(self):
        return [m for node in self.nodes for m in node.manifests]

    def some_paused(self):
        """The manifests, with some of the subscriptions and triggers paused."""
        made = copy.deepcopy(self.manifests())
        for m in made:
            if m["kind"] in ("Subscription", "Trigger", "Sequence", "Parallel") and self.rng.random() < 0.3:
                m["metadata"].setdefault("annotations", {})["leat.dev/paused"] = "true"
        return made

    def where(self, to):
        return self.model.url(to) if not isinstance(to, Node) else f"{to.kind}/{to.name}"

    def limits(self):
        """Annotations that must change no number."""
        return self.rng.choice([{}, {}, {"max_in_flight": 1}, {"max_in_flight": 3}, {"order": "key"}, {"jitter": 100}])

    def channel(self, node):
        node.terms = self.terms(shared=True) if self.rng.random() < 0.3 else None
        made = [topology.resource(node.kind, node.name, {"delivery": self.spec(node.terms)} if node.terms else {})]
        for i in range(self.rng.randint(1, 3)):
            to = self.target()
            reply = self.target(False) if self.rng.random() < 0.6 else None
            node.hearers.append(Hearer(f"{node.name}-s{i}", to, reply, None, self.terms()))
            made.append(topology.hear(node.hearers[-1].label, f"{node.kind}/{node.name}", self.where(to), self.where(reply) if reply else None, self.spec(node.hearers[-1].terms), **self.limits()))
        node.manifests = made

    def broker(self, node):
        node.terms = self.terms(shared=True)
        made = [topology.mesh(node.name, self.spec(node.terms))]
        for i in range(self.rng.randint(1, 4)):
            to = self.target()
            filters = filter_model.random_filters(self.rng, self.model.expressions) if self.rng.random() < 0.8 else []
            if isinstance(to, Script) and to.then == "reply":
                filters = [*filters, {"not": {"prefix": {"type": "reply."}}}]
            node.hearers.append(Hearer(f"{node.name}-t{i}", to, None, filters, self.terms()))
            made.append(topology.trigger(node.hearers[-1].label, node.name, self.where(to), filters, None, self.spec(node.hearers[-1].terms), **self.limits()))
        node.manifests = made

    def sequence(self, node):
        reply = self.target(False) if self.rng.random() < 0.8 else None
        steps, at, count = [], node, self.rng.randint(1, 4)
        for i in range(count):
            after = reply if i + 1 == count else Node(None, None)
            at.hearers.append(Hearer(f"{node.name}-kn-sequence-{i}", self.script(), after, None, self.terms()))
            steps.append((self.where(at.hearers[0].to), self.spec(at.hearers[0].terms)))
            at = after
        node.manifests = [topology.sequence(node.name, steps, self.where(reply) if reply else None)]

    def parallel(self, node):
        common = self.target(False) if self.rng.random() < 0.7 else None
        branches = []
        for i in range(self.rng.randint(1, 3)):
            own = self.target(False) if self.rng.random() < 0.3 else None
            sub = Hearer(f"{node.name}-kn-parallel-{i}", self.script(), own or common, None, self.terms())
            wanted = self.script() if self.rng.random() < 0.5 else None
            if wanted:
                inner = Node(None, None)
                inner.hearers.append(sub)
                node.hearers.append(Hearer(f"{node.name}-kn-parallel-filter-{i}", wanted, inner))
            else:
                node.hearers.append(sub)
            branches.append(topology.branch(self.where(sub.to), self.where(wanted) if wanted else None, self.where(own) if own else None, self.spec(sub.terms)))
        node.manifests = [topology.parallel(node.name, branches, self.where(common) if common else None)]

    def all_hearers(self):
        """(node, hearer), those inside of sequences and parallels too."""
        seen, queue = [], list(self.nodes)
        while queue:
            node = queue.pop()
            for hearer in node.hearers:
                seen.append((node, hearer))
                queue += [to for to in (hearer.to, hearer.reply) if isinstance(to, Node) and to.kind is None]
        return seen
