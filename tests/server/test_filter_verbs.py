# SPDX-License-Identifier: Apache-2.0
"""`leat cesql` and `leat filter` as people and scripts meet them: values, verdicts, exit codes, and mistakes with a caret under the place."""

import json
import subprocess

import pytest

EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "com.example.order", "hops": 3, "subject": "Grüße"}


@pytest.fixture
def event_file(tmp_path):
    path = tmp_path / "event.json"
    path.write_text(json.dumps(EVENT))
    return path


@pytest.fixture
def cesql(run, event_file):
    def once(*args):
        with open(event_file) as stdin:
            return run("cesql", *args, stdin=stdin)

    return once


@pytest.mark.parametrize(
    "expression, value",
    [
        ("type = 'com.example.order' AND hops < 5", True),
        ("4-1", 3),
        ("UPPER(subject)", "GRÜßE"),
        ("CONCAT('\"', \"\\\\\")", '"\\\\'),
        ("hops", 3),
    ],
)
def test_a_value_is_printed_as_json(cesql, expression, value):
    code, out, err = cesql(expression)
    assert (code, err) == (0, "") and json.loads(out) == value and type(json.loads(out)) is type(value)


def test_an_expression_that_begins_with_a_minus(cesql):
    assert cesql("--", "-hops") == (0, "-3", "")


def test_an_error_of_evaluation(cesql):
    code, out, err = cesql("hops + 1 > missing")
    assert code == 3 and out == "false"
    assert err.split("\n") == ['missingAttribute: column 12: the event has no attribute "missing"', "  hops + 1 > missing", "             ^"]


def test_a_mistake_needs_no_event(run):
    code, out, err = run("cesql", "'€' = = 5")
    assert code == 3 and out == ""
    assert err.split("\n") == ['parse: column 7: expected an expression, found "="', "  '€' = = 5", "        ^"]
    code, out, err = run("cesql", "hops = 1 AND\n  AND")
    assert code == 3 and err.split("\n") == ['parse: line 2, column 3: expected an expression, found "AND"', "    AND", "    ^"]


def test_cesql_without_a_good_event(run):
    code, out, err = run("cesql", "TRUE", stdin=subprocess.DEVNULL)
    assert code == 3 and out == "" and err.startswith("leat cesql: -")
    assert run("cesql")[0] == 2 and run("cesql", "a", "b")[0] == 2


# ---- filter ----


@pytest.mark.parametrize(
    "filter_, matches",
    [
        ("type LIKE 'com.example.%'", True),
        ("hops > 3", False),
        ("missing = 1", False),
        ('[{"exact": {"type": "com.example.order"}}, {"prefix": {"source": "/"}}]', True),
        ('{"any": [{"suffix": {"type": ".paid"}}, {"not": {"cesql": "hops > 3"}}]}', True),
        ('{"exact": {"region": "eu"}}', False),
        ("[]", True),
    ],
)
def test_the_verdict_and_the_exit_code(run, event_file, filter_, matches):
    code, out, err = run("filter", "--event", event_file, filter_)
    assert (code, err) == (0 if matches else 1, "") and out.split("\n")[0] == ("yes" if matches else "no")
    code, out, err = run("filter", "--event", event_file, "-o", "json", filter_)
    seen = json.loads(out)
    assert (code, err) == (0 if matches else 1, "") and seen["matches"] is matches and bool(seen["reason"]) is not matches and seen["clauses"]


def test_every_clause_is_explained(run, event_file):
    filter_ = '[{"any": [{"exact": {"type": "x"}}, {"cesql": "hops = 3"}, {"exact": {"id": "9"}}]}, {"exact": {"region": "eu"}}]'
    with open(event_file) as stdin:
        code, out, err = run("filter", "--event", "-", filter_, stdin=stdin)
    assert (code, err) == (1, "")
    assert out.split("\n") == [
        "no",
        "",
        "no   all",
        "yes    any",
        'no       exact type "x": the event has "com.example.order"',
        "yes      cesql hops = 3: it is true",
        '-        exact id "9"',
        'no     exact region "eu": the event has none',
    ]
    seen = json.loads(run("filter", "--event", event_file, "-o", "json", filter_)[1])
    assert seen["reason"] == 'exact region "eu": the event has none'
    assert [(c["depth"], c["verdict"]) for c in seen["clauses"]] == [(0, "no"), (1, "yes"), (2, "no"), (2, "yes"), (2, "-"), (1, "no")]
    assert seen["clauses"][3]["clause"] == "cesql hops = 3: it is true"


@pytest.mark.parametrize(
    "filter_, lines",
    [
        ("type = ", ["column 8: expected an expression, found the end of the expression", "  type = ", "         ^"]),
        ("LENGTH(type)", ["column 1: this is a number, and a filter must be true or false; compare it with something"]),
        ('[{"exact": {"Type": "x"}}]', ["[0].exact.Type: column 13: is no name of an attribute; one consists of a-z and 0-9 and begins with a letter, such as type"]),
        ('[{"cesql": "a b"}]', ['[0].cesql: column 12: column 3: expected an operator or the end, found "b"']),
        ('[{"exact": ', []),
    ],
)
def test_a_wrong_filter(run, event_file, filter_, lines):
    code, out, err = run("filter", "--event", event_file, filter_)
    assert code == 3 and out == "" and err
    assert err.split("\n")[: len(lines)] == lines


def test_a_wrong_event_or_command_line(run, event_file, tmp_path):
    (tmp_path / "bad.json").write_text('{"specversion": "1.0"}')
    assert run("filter", "--event", tmp_path / "bad.json", "TRUE")[0] == 3
    assert run("filter", "--event", tmp_path / "none.json", "TRUE")[0] == 3
    code, out, err = run("filter", "TRUE")
    assert code == 2 and "--event" in err
    assert run("filter", "--event", event_file)[0] == 2
    assert run("filter", "--event", event_file, "-o", "yaml", "TRUE")[0] == 2
