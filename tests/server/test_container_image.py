# SPDX-License-Identifier: Apache-2.0
"""What the container holds (deploy/container/rootfs) runs every adapter, without anything else of this system: under chroot, as a user that is not root. And the Pods of deploy/pods/ start."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from leat import ROOT, Leat, binary, request

PODS = sorted((ROOT / "deploy/pods").glob("*.yaml"))
SIZE_MAX = 40 << 20  # bytes; 27 MiB when this was written
ADAPTERS = ("ping", "github", "kafka", "rabbitmq", "pubsub")  # process needs a program: deploy/pods/process.yaml shows one; kubernetes would want its test's files in there


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The root file system, of the program as it is shipped."""
    folder = tmp_path_factory.mktemp("container")
    subprocess.run(["make", "-s", "-C", ROOT, "build/leat"], check=True, env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})
    subprocess.run([ROOT / "deploy/container/rootfs", folder / "root"], check=True)
    return folder / "root"


@pytest.fixture(scope="session")
def inside(image):
    """A program that runs leat in there, with nothing but what every container gets beside it, /proc and /dev."""
    root = os.getuid() == 0
    command = ["unshare", "--mount", *([] if root else ["--map-root-user"]), "sh", "-c"]
    script = f'mount --rbind /proc {image}/proc && mount --rbind /dev {image}/dev && exec chroot {"--userspec=65532:65532 " if root else ""}{image} /usr/bin/leat "$@"'
    if subprocess.run([*command, script, "leat", "--version"], capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody change the root here (unshare, mount)")
    program = image.parent / "leat"
    program.write_text(f"#!/bin/sh\nexec {' '.join(command)} '{script}' leat \"$@\"\n")
    program.chmod(0o755)
    return program


def test_its_files(image):
    files = [f for f in image.rglob("*") if f.is_file() and not f.is_symlink()]
    size = sum(f.stat().st_size for f in files)
    print(f"{size / (1 << 20):.1f} MiB in {len(files)} files")
    assert size < SIZE_MAX
    assert [f.name for f in (image / "usr/bin").iterdir()] == ["leat"] and not (image / "bin").exists()
    assert not [f for f in files if f.stat().st_mode & 0o6022], "something is set-uid, or writable for all"


def test_it_is_made_once(image):
    done = subprocess.run([ROOT / "deploy/container/rootfs", image], capture_output=True, text=True)
    assert done.returncode == 1 and "is there already" in done.stderr


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter(inside, name):
    """The suite of all adapters once more, for this one, with the program in there."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{name} and not what_is_wrong", ROOT / "tests/server/test_adapters.py"],
                          env={**os.environ, "LEAT": str(inside), "LEAT_ORIGIN": binary()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    if "passed" not in done.stdout:
        pytest.skip(f"there is no row for {name} yet")


def environment(container):
    values = {"K_SINK": "http://127.0.0.1:1/", "PORT": "0"}
    for variable in container["env"]:
        values.setdefault(variable["name"], variable.get("value", "amqp://127.0.0.1:1" if variable["name"] == "RABBIT_URL" else "some"))
    if values.pop("GOOGLE_APPLICATION_CREDENTIALS", None):  # a file of the Secret that is mounted there
        values["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:1"
    return values


@pytest.mark.parametrize("path", PODS, ids=lambda path: "pod of " + path.stem)
def test_its_pod(inside, path):
    """Its arguments and variables are what the adapter takes, and the probes find something."""
    pod = yaml.safe_load(path.read_text())["spec"]["template"]["spec"]
    container, = pod["containers"]
    ports = {p["name"]: f":{p['containerPort']}" for p in container["ports"]}
    args = ["127.0.0.1:0" if a == ports["health"] else a for a in container["args"]]
    assert args != container["args"] and pod["securityContext"]["runAsNonRoot"]
    before, os.environ["LEAT"] = os.environ.get("LEAT"), str(inside)
    try:
        with Leat(args, env=environment(container)) as process:
            health = process.address("health")
            for probe in ("livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["port"] == "health"
                assert request("GET", health + container[probe]["httpGet"]["path"]).status in ((200,) if probe[0] == "l" else (200, 503))
    finally:
        os.environ.pop("LEAT")
        if before:
            os.environ["LEAT"] = before


def test_every_room_is_in_the_build():
    text = (ROOT / "deploy/container/Containerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.M))
    rooms = re.search(r"^ROOMS +:= (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert {*rooms, "include", "deploy"} == copied


def test_it_builds_from_what_is_copied(tmp_path):
    """Only what the Containerfile copies is needed to build: dry, since the build itself is that of everybody."""
    for line in re.findall(r"^COPY ([^-].*) (\S+)$", (ROOT / "deploy/container/Containerfile").read_text(), re.M):
        source, target = ROOT / line[0], tmp_path / line[1]
        target.parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(tmp_path / line[0]).symlink_to(source)
    done = subprocess.run(["make", "-s", "-n", "-C", tmp_path, "build/leat"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
