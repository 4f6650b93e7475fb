# SPDX-License-Identifier: Apache-2.0
"""A file of tokens that a test writes by itself: for what `leat token` does not do, as changing one that is there."""

import hashlib


class Tokens:
    """A file of tokens by name, written anew with each change."""

    def __init__(self, file):
        self.file, self.lines = file, {}

    def text(self, name):
        return "leat_" + hashlib.sha256(name.encode()).hexdigest()

    def put(self, name, role="edit", namespace="*", until="-"):
        self.lines[name] = f"{name} sha256:{hashlib.sha256(self.text(name).encode()).hexdigest()} {role} {namespace} {until}\n"
        self.write()

    def take(self, name):
        del self.lines[name]
        self.write()

    def write(self):
        fresh = self.file.with_suffix(".new")
        fresh.write_text("".join(self.lines.values()))
        fresh.chmod(0o600)
        fresh.rename(self.file)
