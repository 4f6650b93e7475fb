# SPDX-License-Identifier: Apache-2.0
"""What filters mean, as a small model in Python, and random ones. Written from the CloudEvents Subscriptions API and the CESQL specification; the program is not asked.

An event is a dict of strings. A filter is what stands in a Trigger's spec.filters, as a dict; a CESQL expression is a pair of its text and a function of the event.
"""

NAMES = ["type", "source", "subject", "team", "weight"]
VALUES = {
    "type": ["order.made", "order.paid", "order.sent", "user.made"],
    "source": ["/shop/a", "/shop/b", "/mill"],
    "subject": ["red", "green", "re%d", "_"],
    "team": ["mill", "race", "Mill", "m"],
    "weight": ["0", "7", "-3", "12", "007"],
}


class Missing(Exception):
    """An expression met an error: it is no match, wherever in the expression that was."""


def matches(filters, event, expressions):
    """A Trigger's whole list; `expressions` has the function of each CESQL text in it."""
    return all(match(f, event, expressions) for f in filters)


def match(f, event, expressions):
    ((dialect, inner),) = f.items()
    compare = {"exact": str.__eq__, "prefix": str.startswith, "suffix": str.endswith}.get(dialect)
    if compare:
        return all(name in event and compare(event[name], value) for name, value in inner.items())
    if dialect == "not":
        return not match(inner, event, expressions)
    if dialect == "cesql":
        try:
            return expressions[inner](event) is True
        except Missing:
            return False
    return {"all": all, "any": any}[dialect](match(part, event, expressions) for part in inner)


# ---- random filters ----


def random_event(rng):
    """Attributes beside id and specversion; subject, team and weight may be missing."""
    return {name: rng.choice(VALUES[name]) for name in NAMES if name in ("type", "source") or rng.random() < 0.6}


def random_filters(rng, expressions):
    """A list for spec.filters; the CESQL in it is entered into `expressions`. Demanding often enough that some do not match."""
    return [random_filter(rng, expressions, 3) for _ in range(rng.choice([1, 1, 1, 2]))]


def random_filter(rng, expressions, depth):
    dialect = rng.choice(["exact", "exact", "prefix", "suffix", "cesql"] + ["all", "any", "not"] * (depth > 0))
    if dialect in ("all", "any"):
        return {dialect: [random_filter(rng, expressions, depth - 1) for _ in range(rng.randint(1, 3))]}
    if dialect == "not":
        return {"not": random_filter(rng, expressions, depth - 1)}
    if dialect == "cesql":
        text, function = random_boolean(rng, 2)
        expressions[text] = function
        return {"cesql": text}
    return {dialect: {name: piece(rng, dialect, rng.choice(VALUES[name])) for name in rng.sample(NAMES, rng.choice([1, 1, 2]))}}


def piece(rng, dialect, value):
    length = rng.randint(1, len(value))
    return {"exact": value, "prefix": value[:length], "suffix": value[-length:]}[dialect]


# ---- random CESQL: every part knows its text and its meaning ----


def attribute(event, name):
    if name not in event:
        raise Missing
    return event[name]


def random_boolean(rng, depth):
    """Operators of one level are in parentheses: their precedence is the matter of other tests."""
    kind = rng.choice(["equal", "equal", "like", "in", "exists", "number"] + ["not", "and", "or", "xor"] * (depth > 0))
    if kind == "not":
        text, inner = random_boolean(rng, depth - 1)
        return f"NOT ({text})", lambda e: not inner(e)
    if kind in ("and", "or", "xor"):
        (a_text, a), (b_text, b) = random_boolean(rng, depth - 1), random_boolean(rng, depth - 1)
        meaning = {"and": lambda e: a(e) and b(e), "or": lambda e: a(e) or b(e), "xor": lambda e: a(e) != b(e)}[kind]
        return f"({a_text}) {kind.upper()} ({b_text})", meaning
    name = rng.choice(NAMES)
    return {"equal": random_equal, "like": random_like, "in": random_in, "exists": random_exists, "number": random_number}[kind](rng, name)


def random_equal(rng, name):
    value, operator = rng.choice(VALUES[name]), rng.choice(["=", "!=", "<>"])
    return f"{name} {operator} '{value}'", lambda e: (attribute(e, name) == value) == (operator == "=")


def random_like(rng, name):
    value = rng.choice(VALUES[name])
    start = value[: rng.randint(0, len(value))]
    quoted = start.replace("%", "\\%").replace("_", "\\_")
    if rng.random() < 0.5:
        return f"{name} LIKE '{quoted}%'", lambda e: attribute(e, name).startswith(start)
    return f"{name} NOT LIKE '%{quoted}_'", lambda e: not attribute(e, name)[:-1].endswith(start) if attribute(e, name) else True


def random_in(rng, name):
    wanted = rng.sample(VALUES[name], 2)
    listed = ", ".join(f"'{v}'" for v in wanted)
    if rng.random() < 0.3:
        return f"{name} NOT IN ({listed})", lambda e: attribute(e, name) not in wanted
    return f"{name} IN ({listed})", lambda e: attribute(e, name) in wanted


def random_exists(rng, name):
    return f"EXISTS {name}", lambda e: name in e


def random_number(rng, name):
    n = rng.choice([-3, 0, 5, 7])
    if rng.random() < 0.5:
        return f"LENGTH({name}) > {n}", lambda e: len(attribute(e, name)) > n
    return f"INT(weight) + 1 <= {n}", lambda e: int(attribute(e, "weight")) + 1 <= n
