# SPDX-License-Identifier: Apache-2.0
"""Style that fails the build: what the rules of the house say that a machine can see. Prints every breach with its place; exits with 1 on any."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = {  # who may include whom: a room's private headers are its own, include/ is everybody's, calls upwards fail at the link
    "base", "events", "clients", "channels", "dispatcher", "sources", "broker", "cli",
}
LINES_MAX = {".c": 600, ".h": 330}
COLUMNS_MAX = 120
FUNCTION_MAX = 70
breaches = []
defined = {}  # function -> where


def breach(path, line, text):
    breaches.append(f"{path.relative_to(ROOT)}:{line}: {text}")


def files():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True).stdout
    return [ROOT / f for f in listed.split("\n") if f and (ROOT / f).is_file()]


def includes(path, number, line):
    m = re.match(r'#include "([^"]+)"', line)
    room = path.relative_to(ROOT).parts[0]
    if not m or room not in ROOMS:
        return
    name = m.group(1)
    if (ROOT / "include" / name).exists() or (path.parent / name).resolve().is_relative_to(ROOT / room):
        return
    breach(path, number, f'#include "{name}" is another room\'s private header')


def functions(path, lines):
    start = None
    for i, line in enumerate(lines, 1):
        if line == "{":
            start = i
        elif line == "}" and start:
            if i - start - 1 > FUNCTION_MAX:
                breach(path, start, f"a function of {i - start - 1} lines; {FUNCTION_MAX} is the most")
            start = None


def names(path, lines):
    """Archives would let one of two functions of a name go unnoticed: the linker takes whichever it meets first."""
    for i, line in enumerate(lines):
        if line != "{":
            continue
        start = next((j for j in range(i - 1, -1, -1) if lines[j][:1].isalpha()), None)
        m = start is not None and re.match(r"(?!static\b)[\w\s*]*?(\w+)\(", lines[start])
        if not m:
            continue
        where = f"{path.relative_to(ROOT)}:{start + 1}"
        if defined.setdefault(m.group(1), where) != where:
            breach(path, start + 1, f"{m.group(1)} is a function in {defined[m.group(1)]} too")


def c_file(path, text):
    lines = text.split("\n")
    product = path.relative_to(ROOT).parts[0] in ROOMS | {"include"}
    if product and len(lines) > LINES_MAX[path.suffix]:
        breach(path, len(lines), f"{len(lines)} lines; {LINES_MAX[path.suffix]} is the most")
    for number, line in enumerate(lines, 1):
        includes(path, number, line)
        if len(line) > COLUMNS_MAX:
            breach(path, number, f"{len(line)} columns; {COLUMNS_MAX} is the most")
        if product and "\t" in line and path.name != "Makefile":
            breach(path, number, "a tab")
        if re.search(r"\b(TODO|FIXME|XXX)\b|^#if 0", line):
            breach(path, number, "unfinished work belongs in an issue")
    if product:
        functions(path, lines)
        names(path, lines)
        if "clock_gettime(" in text and path.name not in ("clock.c", "prng.c") or path.name != "prng.c" and re.search(r"\b(rand|random|srand)\(", text):
            breach(path, 1, "time and randomness come from clock.h and prng.h")


def main():
    for path in files():
        rel = path.relative_to(ROOT)
        if path.suffix in (".c", ".h", ".py", ".sh") or rel.name == "run" or rel.parts[0] == "Makefile":
            text = path.read_text(errors="replace")
            if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.split("\n")[:3]):
                breach(path, 1, "no SPDX line")
            if path.suffix in LINES_MAX:
                c_file(path, text)
    print("\n".join(breaches) if breaches else f"lint: {len(files())} files, nothing to say")
    return 1 if breaches else 0


sys.exit(main())
