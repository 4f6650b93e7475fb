# SPDX-License-Identifier: Apache-2.0
"""The real kubectl (tests/setup/kubectl brings it) against a server of ours, or any other, with a home directory of its own: what it caches of one server must not be shown of another."""

import json
import os
import pathlib
import subprocess

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build/kubectl"
NEW, OLD = FOLDER / "kubectl", FOLDER / "kubectl-old"
LIMIT = 60  # seconds for one call: only a hanging one meets it


class Done:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout.rstrip("\n"), process.stderr.rstrip("\n")

    def __repr__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def json(self):
        assert self.code == 0, self
        return json.loads(self.out)

    @property
    def rows(self):
        """A table, as a list of {column: cell}; cells are cut at their columns' heads."""
        assert self.code == 0, self
        head, *lines = self.out.split("\n")
        begins = [i for i in range(len(head)) if head[i] != " " and (i == 0 or head[i - 2 : i] == "  ")]
        spans = list(zip(begins, [*begins[1:], None]))
        return [{head[a:b].strip(): line[a:b].strip() for a, b in spans} for line in lines]


class Kubectl:
    def __init__(self, program, server, home):
        self.program, self.server = program, server
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("KUBE")}, "HOME": str(home), "KUBECONFIG": ""}

    def words(self, *args):
        return [str(w) for w in (self.program, "--server", self.server, *args)]

    def __call__(self, *args, stdin=None):
        """Runs it to its end; `stdin` that is no text goes as JSON, a list of objects as a List."""
        if isinstance(stdin, list):
            stdin = {"apiVersion": "v1", "kind": "List", "items": stdin}
        text = stdin if stdin is None or isinstance(stdin, str) else json.dumps(stdin)
        return Done(subprocess.run(self.words(*args), input=text, stdin=subprocess.DEVNULL if text is None else None, capture_output=True, text=True, env=self.env, timeout=LIMIT))

    def good(self, *args, **more):
        done = self(*args, **more)
        assert done.code == 0, done
        return done

    def start(self, *args):
        """Runs it beside the test: for watches. The caller ends it."""
        return subprocess.Popen(self.words(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
