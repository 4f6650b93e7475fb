# SPDX-License-Identifier: Apache-2.0
"""The real kn (tests/setup/kn brings it) against a server of ours, with a home directory and a kubeconfig of its own."""

import json
import pathlib

from kubectl import Kubectl

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build/kn"
SAMPLES = FOLDER / "eventing"  # the manifests of Knative Eventing's own module


class Kn(Kubectl):
    def __init__(self, server, home):
        super().__init__(FOLDER / "kn", server, home)
        config = home / "kubeconfig"
        cluster, context = {"name": "leat", "cluster": {"server": server}}, {"name": "leat", "context": {"cluster": "leat", "user": ""}}
        config.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "current-context": "leat"}))
        self.env["KUBECONFIG"] = str(config)

    def words(self, *args):
        return [str(w) for w in (self.program, *args)]
