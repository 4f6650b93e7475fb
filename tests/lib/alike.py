# SPDX-License-Identifier: Apache-2.0
"""The same requests to leat and to a real kube-apiserver, and what differs in the answers.

An answer is put into a form in which what must differ does not: uids, times, versions, tokens of pages, texts for people, names that were made, and who wrote which field. What is left (status, media
type, warnings, keys, values, reasons, fields of causes) is held against the other, and each difference has a place: `code`, `body.spec.delivery`, `body.details.causes`.
"""
import json
import re
import ssl
import urllib.error
import urllib.request

from leat import wait_for
from real.kubernetes import ADMIN

SECONDS = 60  # for an answer: only a hanging server meets it
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
AGE = re.compile(r"\d+[smhdy](\d+[smhd])?|<invalid>")
EMPTY = (("continue", ""), ("details", {}), ("creationTimestamp", None))  # which say what their absence says
UNSEEN = ("managedFields", "storageVersionHash", "description")  # who wrote what (server-side apply has tests of its own), a cluster's inner matter, texts for people
FILLED = ("URL", "Ready", "Reason")  # columns out of a status, which leat's controllers fill in when they come to it
SHOWN_MAX = 120  # characters of a value in a difference


class Step:
    """A request. `{ns}` in path and body is the case's own namespace; both may be functions of the answers so far; `settled`: asked again until its
    status is of its generation, where the server has controllers: from then on they leave the object alone."""

    def __init__(self, method, path, body=None, kind="application/json", accept="application/json", settled=False):
        self.method, self.path, self.body, self.kind, self.accept, self.settled = method, path, body, kind, accept, settled


class Reply:
    def __init__(self, code, headers, body):
        self.code, self.body = code, body
        self.type = (headers.get("Content-Type") or "").partition(";")[0].strip()
        self.warnings = sorted(headers.get_all("Warning") or [])

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.code} {self.type} {self.body[:2000]!r}"


class Peer:
    """A server: where it is, and how one gets in. `certificates`: the folder of the real one, which has no controllers for our kinds."""

    def __init__(self, url, certificates=None):
        self.url = url
        self.context = ssl.create_default_context(cafile=certificates / "ca.pem") if certificates else None
        self.headers = {"Authorization": f"Bearer {ADMIN}"} if certificates else {}

    def ask(self, step, namespace, before):
        body = step.body(before) if callable(step.body) else step.body
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).replace("{ns}", namespace).encode()
        headers = {**self.headers, "Accept": step.accept, **({"Content-Type": step.kind} if body is not None else {})}
        path = step.path(before) if callable(step.path) else step.path
        request = urllib.request.Request(self.url + path.replace("{ns}", namespace), body, headers, method=step.method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=self.context) as answer:
                return Reply(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as e:
            return Reply(e.code, e.headers, e.read().decode("utf-8", "replace"))

    def run(self, steps, namespace):
        """The answer to the last step."""
        answers = []
        for step in steps:
            answers.append(self.ask_settled(step, namespace, answers) if step.settled and not self.context else self.ask(step, namespace, answers))
            assert step is steps[-1] or answers[-1].code < 300, f"{self.url}: {step.method} {step.path}: {answers[-1]}"
        return answers[-1]

    def ask_settled(self, step, namespace, before):
        def answer():
            reply = self.ask(step, namespace, before)
            thing = reply.json
            return reply if thing.get("status", {}).get("observedGeneration") == thing["metadata"]["generation"] else None
        return wait_for(answer, "the status", SECONDS)


# ---- forms that can be compared ----


def plain_leaf(key, value, namespace):
    if key in ("uid", "resourceVersion", "message", "continue", "hash", "serverRelativeURL") and value not in (None, ""):
        return f"<{key}>"
    if isinstance(value, str) and TIME.fullmatch(value):
        return "<time>"
    if isinstance(value, str) and AGE.fullmatch(value):
        return "<age>"
    if isinstance(value, str) and re.fullmatch(r"made-[a-z0-9]{5}", value):
        return "made-<made>"
    return value.replace(namespace, "<ns>") if isinstance(value, str) else value


def plain(value, namespace, key="", drop=()):
    if isinstance(value, dict) and value.get("kind") == "Table" and value.get("columnDefinitions"):
        value = {**value, "rows": [{**row, "cells": [None if c["name"] in FILLED else cell for c, cell in zip(value["columnDefinitions"], row["cells"])]} for row in value["rows"]]}
    if isinstance(value, dict):
        return {k: plain(v, namespace, k, drop) for k, v in sorted(value.items()) if k not in (*UNSEEN, *drop) and (k, v) not in EMPTY}
    if isinstance(value, list):
        items = [plain(v, namespace, key, drop) for v in value]
        if key == "causes":
            items = sorted(({k: v for k, v in c.items() if k != "message"} for c in items), key=lambda c: (c.get("field", ""), c.get("reason", "")))
        return sorted(items) if key in ("verbs", "categories", "shortNames") else items
    return plain_leaf(key, value, namespace)


def is_rest(event):
    """A bookmark that a server writes when it likes."""
    return isinstance(event, dict) and event.get("type") == "BOOKMARK" and "annotations" not in event["object"]["metadata"]


def types(value):
    """Of each leaf nothing but its type."""
    if isinstance(value, dict):
        return {k: types(v) for k, v in value.items()}
    return [types(v) for v in value[:1]] if isinstance(value, list) else f"<{type(value).__name__}>"


def form(reply, namespace, drop=(), bare=False):
    """`drop`: members that this case does not look at, wherever they are; `bare`: nor at the values of any."""
    try:
        events = [json.loads(line) for line in reply.body.splitlines()] if "\n{" in reply.body.rstrip() else None
        body = plain([e for e in events if not is_rest(e)] if events else reply.json, namespace, drop=drop)
        body = types(body) if bare else body
    except ValueError:
        body = "<text>" if reply.body else ""
    return {"code": reply.code, "type": reply.type, "warnings": [w.replace(namespace, "<ns>") for w in reply.warnings], "body": body}


# ---- differences ----


def summary(form):
    """An answer in a word or two, where it is another kind of thing than the other server's."""
    body = form["body"]
    kind = " ".join(filter(None, (body.get("kind"), body.get("status") if body.get("kind") == "Status" else "", body.get("reason")))) if isinstance(body, dict) else "text" if body else "nothing"
    return f'{form["code"]} {kind}'


def of_answers(ours, theirs):
    """{place: (ours, theirs)}; one difference alone where they are different kinds of things."""
    if ours["code"] != theirs["code"] or isinstance(ours["body"], str) or isinstance(theirs["body"], str):
        return {} if ours == theirs else {"answer": (summary(ours), summary(theirs))}
    kinds = [body.get("kind") if isinstance(body, dict) else None for body in (ours["body"], theirs["body"])]
    return folded(differences(ours, theirs)) if kinds[0] == kinds[1] else {"answer": (summary(ours), summary(theirs))}


def shown(value):
    text = json.dumps(value, separators=(",", ":")).replace("|", "\\u007c").replace("`", "'")
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}... ({len(text)})"


def named(items):
    """A list of things with names, by these; else None."""
    names = [i.get("name") for i in items if isinstance(i, dict)]
    return dict(zip(names, items)) if items and len(names) == len(items) == len(set(names)) and all(isinstance(n, str) for n in names) else None


def folded(found):
    """What differs alike in each element of a list has one place, with * for the element."""
    def star(place):
        return re.sub(r"(?<=\.)\d+(?=\.)", "*", place)
    ways = {}
    for place, both in found.items():
        ways.setdefault(star(place), set()).add(both)
    return {star(place) if len(ways[star(place)]) == 1 else place: both for place, both in found.items()}


def differences(ours, theirs, place=""):
    """{place: (ours, theirs)}, as text; a member that one has not is "absent"."""
    if isinstance(ours, list) and isinstance(theirs, list):
        a, b = named(ours), named(theirs)
        if a is not None and b is not None:
            ours, theirs = a, b
        elif len(ours) == len(theirs):
            ours, theirs = ({str(i): v for i, v in enumerate(x)} for x in (ours, theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = {}
        for key in sorted({*ours, *theirs}):
            where = f"{place}.{key}" if place else key
            if key not in ours or key not in theirs:
                found[where] = tuple(shown(x[key]) if key in x else "absent" for x in (ours, theirs))
            else:
                found |= differences(ours[key], theirs[key], where)
        return found
    return {} if ours == theirs else {place: (shown(ours), shown(theirs))}
