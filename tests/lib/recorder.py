# SPDX-License-Identifier: Apache-2.0
"""A recorder: one HTTP server, many endpoints, each with a rule that says what it answers to which request. Waiting is on facts, as in leat.Sink."""

import base64
import json
import threading

import leat
from leat import Reply, Sink

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


class Seen(leat.Request):
    """A request with its events in any mode: a dict of attributes each, extensions included; `data` is bytes."""

    @property
    def events(self):
        kind = self.headers.get("content-type", "")
        if kind.startswith(BATCH):
            return [self._event(e) for e in json.loads(self.body)]
        if kind.startswith(STRUCTURED):
            return [self._event(json.loads(self.body))]
        return [{**self.attributes, "data": self.body}]

    @property
    def event(self):
        assert len(self.events) == 1, self
        return self.events[0]

    @property
    def id(self):
        return self.event["id"]

    @staticmethod
    def _event(envelope):
        data = envelope.pop("data", None)
        raw = envelope.pop("data_base64", None)
        body = base64.b64decode(raw) if raw is not None else b"" if data is None else json.dumps(data).encode()
        return {**{k: str(v) for k, v in envelope.items()}, "data": body}


class Endpoint:
    """One URL of a recorder. `rule(request, nth)` makes the answer; nth counts from 1 the requests here whose first event has the same id. Every request is kept."""

    def __init__(self, recorder, name, rule):
        self.name, self.url, self.rule = name, recorder.url + name, rule
        self.requests = []
        self._recorder = recorder
        self._times = {}

    def take(self, request):
        """The answer to a request; under the recorder's lock."""
        self.requests.append(request)
        key = request.events[0].get("id") if request.events else None
        self._times[key] = self._times.get(key, 0) + 1
        return self.rule(request, self._times[key])

    def wait(self, count=1, timeout=leat.DEADLINE):
        """The requests, once there are at least `count`."""
        return self._recorder.wait_until(lambda: len(self.requests) >= count and list(self.requests), lambda: f"{count} requests to {self.name}; there are {self.requests}", timeout)

    def wait_ids(self, ids, timeout=leat.DEADLINE):
        """Waits until each of these ids has come."""
        wanted = set(ids)
        return self._recorder.wait_until(lambda: wanted <= set(self.ids) and list(self.requests), lambda: f"the events {wanted - set(self.ids)} at {self.name}", timeout)

    @property
    def ids(self):
        """Of all events that came, in their order, repeated ones too."""
        return [e["id"] for r in list(self.requests) for e in r.events]

    @property
    def times(self):
        return [r.at for r in list(self.requests)]

    @property
    def waits(self):
        """Seconds between a request and the next."""
        at = self.times
        return [b - a for a, b in zip(at, at[1:])]

    def clear(self):
        self._recorder.clear_endpoint(self)


class Recorder(Sink):
    """Endpoints by name; `recorder["a"]` is made when it is first asked for and accepts everything until its rule is set."""

    def __init__(self):
        self._endpoints = {}
        self._waiters = threading.Condition()
        super().__init__()

    def __getitem__(self, name):
        with self._waiters:
            if name not in self._endpoints:
                self._endpoints[name] = Endpoint(self, name, accept())
            return self._endpoints[name]

    def add(self, name, rule):
        self[name].rule = rule
        return self[name]

    def received(self, request):
        seen = Seen(request.method, request.path, request.header_list, request.body)
        seen.at = request.at
        with self._waiters:
            endpoint = self._endpoints.get(request.path.lstrip("/").partition("?")[0].partition("/")[0])
            assert endpoint, f"nobody is at {request.path}"
            answer = endpoint.take(seen)
            self._waiters.notify_all()
        return answer

    def wait_until(self, fact, what, timeout):
        """`what()` says what was waited for in vain, as it stands then."""
        value = [None]

        def there():
            value[0] = fact()
            return value[0]

        with self._waiters:
            if not self._waiters.wait_for(there, timeout):
                raise AssertionError(f"waited in vain for {what()}")
        return value[0]

    def clear_endpoint(self, endpoint):
        with self._waiters:
            endpoint.requests.clear()
            endpoint._times.clear()


# ---- rules ----


def accept(status=202):
    return lambda request, nth: Reply(status)


def always(status, body=b"", **more):
    return lambda request, nth: Reply(status, body=body, **more)


def fail_first(times, status=500, body=b"", then=None):
    """Each event fails so often, then goes the way of the rule `then`."""
    rest = then or accept()
    return lambda request, nth: Reply(status, body=body) if nth <= times else rest(request, nth)


def fail_fibonacci(status=500):
    """Of all requests to the endpoint only those with a number of Fibonacci's (1, 2, 3, 5, 8 ...) are taken."""
    state = {"count": 0, "next": (1, 2)}

    def rule(request, nth):
        state["count"] += 1
        if state["count"] != state["next"][0]:
            return Reply(status)
        state["next"] = state["next"][1], sum(state["next"])
        return Reply(202)

    return rule


def delayed(seconds, then=None):
    rest = then or accept()

    def rule(request, nth):
        answer = rest(request, nth)
        answer.delay = seconds
        return answer

    return rule


def held(gate, then=None):
    """Answers when the threading.Event is set."""
    rest = then or accept()

    def rule(request, nth):
        answer = rest(request, nth)
        answer.hold = gate
        return answer

    return rule


def reply(type=None, id=None, status=200, data=b"", append=b"", **attributes):
    """Answers with an event: the one that came, with another type, id or data where given; `append` is put behind its data. In binary mode."""

    def rule(request, nth):
        e = {**request.event, **attributes}
        headers = {f"ce-{k}": v for k, v in e.items() if k not in ("data", "datacontenttype")}
        headers |= {"ce-type": type} if type else {}
        headers |= {"ce-id": id.format(**e) if id else e["id"]}
        return Reply(status, headers, data or e["data"] + append)

    return rule
