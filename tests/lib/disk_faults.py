# SPDX-License-Identifier: Apache-2.0
"""A disk that fails under the real process (disk_shim.c, preloaded), and small file systems that can be full."""

import mmap
import os
import pathlib
import struct
import subprocess

import pytest

SHIM = pathlib.Path(__file__).with_name("disk_shim.c")
FIELDS = ("fail_syncs", "fail_writes", "syncs", "syncs_failed", "syncs_repeated", "writes", "writes_failed")


class DiskFaults:
    """`env` makes a process use it; setting `fail_syncs` or `fail_writes` to 1 makes the log's segments fail from then on; the other fields count."""

    def __init__(self, folder):
        library, control = folder / "disk_shim.so", folder / "disk_shim.control"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-pthread", "-D_GNU_SOURCE", "-o", library, SHIM], check=True)
        control.write_bytes(bytes(4096))
        with open(control, "r+b") as f:
            self.__dict__["_map"] = mmap.mmap(f.fileno(), 4096)
        asan = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
        self.__dict__["env"] = {"LD_PRELOAD": str(library), "DISK_SHIM": str(control), "ASAN_OPTIONS": asan}

    def __getattr__(self, name):
        return struct.unpack_from("=I", self._map, 4 * FIELDS.index(name))[0]

    def __setattr__(self, name, value):
        struct.pack_into("=I", self._map, 4 * FIELDS.index(name), value)


class SmallDisk:
    """A tmpfs of so many bytes."""

    def __init__(self, folder, size):
        if os.geteuid() != 0:
            pytest.skip("only root may mount a file system")
        self.path = folder / "disk"
        self.path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "leat-test", self.path], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    @property
    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
