# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all black-box tests; what they are made of is in tests/lib/leat.py."""

import pathlib
import signal
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent / "lib"), str(pathlib.Path(__file__).resolve().parent)]

import leat as library  # noqa: E402

for number in (signal.SIGINT, signal.SIGQUIT):  # a shell has what runs in its background ignore them, and so would the programs under test
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def leat_binary():
    path = pathlib.Path(library.binary())
    if not path.exists():
        pytest.fail(f"{path} is not built: run make first")
    return str(path)


@pytest.fixture
def start(leat_binary):
    """start(args..., env={}) runs the program; all that still run at the end of the test must end with 0 on SIGTERM."""
    running = []

    def run(*args, **more):
        process = library.Leat(args, **more)
        running.append(process)
        return process

    yield run
    bad = []
    for process in reversed(running):
        if process.process.poll() is None:
            try:
                code = process.stop()
            except AssertionError:
                process.kill()
                code = "none: it had to be killed"
            if code != 0:
                bad.append(f"exit code {code}:\n{process.logs}")
    assert not bad, "\n\n".join(bad)


@pytest.fixture
def sink():
    with library.Sink() as s:
        yield s
