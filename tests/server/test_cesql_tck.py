# SPDX-License-Identifier: Apache-2.0
"""The conformance cases of CESQL 1.0.0, as the CloudEvents project publishes them with its SDK for Go, through `leat cesql`: value and kind of error of each.

A case without an error must have its value and no error. The specification's own copy differs in one case of this copy, `NOT 10`: there it wants true and a cast error,
against its own section 3.7 (an Integer casts to Boolean without error, and 10 is true). That was corrected here.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess

import yaml

from leat import ROOT, binary

LEAST = 275  # cases; fewer means that some went missing


class Loader(yaml.SafeLoader):
    """Timestamps stay texts, as they are in an event."""


Loader.yaml_implicit_resolvers = {c: [r for r in rs if r[0] != "tag:yaml.org,2002:timestamp"] for c, rs in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def cases():
    (folder,) = (ROOT / "build/go/github.com/cloudevents/sdk-go/sql").glob("v2@*/test/tck")
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        text = path.read_text()
        for case, bare in zip(yaml.load(text, Loader)["tests"], yaml.load(text, yaml.BaseLoader)["tests"]):
            case["expression"] = bare["expression"]  # not read as YAML's own true or 1
            yield f"{path.stem}: {case['name']}: {case['expression']}", case


def event_of(case):
    event = case.get("event") or {"specversion": "1.0", "id": "1", "source": "/tck", "type": "tck"}
    return {**event, **(case.get("eventOverrides") or {})}


def difference(case):
    """What is wrong, or None."""
    done = subprocess.run([binary(), "cesql", "--", case["expression"]], input=json.dumps(event_of(case)), capture_output=True, text=True, timeout=60)
    error = done.stderr.split(":")[0] if done.returncode == 3 else ""
    if (done.returncode, error) != (3 if "error" in case else 0, case.get("error", "")):
        return f"expected error {case.get('error', 'none')}, got exit code {done.returncode}, {done.stderr}"
    if error == "parse":
        return None if done.stdout == "" else f"a value in spite of a parse error: {done.stdout}"
    value = json.loads(done.stdout)
    if "result" in case and (type(value), value) != (type(case["result"]), case["result"]):
        return f"expected {case['result']!r}, got {value!r}"
    return None


def test_every_case(leat_binary):
    subprocess.run([ROOT / "tests/setup/cesql-tck"], check=True)
    known = list(cases())
    assert len(known) >= LEAST
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = [f"{name}: {why}" for (name, _), why in zip(known, pool.map(lambda c: difference(c[1]), known)) if why]
    assert not wrong, "\n".join(wrong)
