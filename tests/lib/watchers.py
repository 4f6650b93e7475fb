# SPDX-License-Identifier: Apache-2.0
"""Many watches of one collection at once, read by one thread: what each was told, to the object. For tests and benches."""

import re
import resource
import selectors
import socket
import time
import urllib.parse

READ = 1 << 18
EVENT = re.compile(rb'\{"type":"(ADDED|MODIFIED|DELETED|BOOKMARK|ERROR)",.*?"name":"([^"]+)".*?"resourceVersion":"(\d+)"')


def room_for(descriptors):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(descriptors, soft), hard), hard))


class Watch:
    """`told`: {name: [versions]} where `exact`; `count`: the events that came."""

    def __init__(self, address, path, exact):
        self.exact, self.count, self.told, self.repeated, self.rest, self.ended = exact, 0, {}, [], b"", False
        self.socket = socket.create_connection(address, 60)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode())
        self.socket.setblocking(False)

    def read(self):
        """What is there now. Chunks' frames lie between lines, and no line holds a break: so lines are found without taking the frames apart."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        whole, line, self.rest = (self.rest + data).rpartition(b"\n")
        if not self.exact:
            self.count += whole.count(b'{"type":')
            return
        for kind, name, version in EVENT.findall(whole):
            if kind in (b"BOOKMARK", b"ERROR"):
                continue
            self.count += 1
            versions = self.told.setdefault(name.decode(), [])
            if versions and versions[-1] >= int(version):
                self.repeated.append((name.decode(), int(version), versions[-1]))
            versions.append(int(version))


class Watchers:
    def __init__(self, url, path, count, exact=True, keep=lambda: True):
        """`keep` is asked now and then while the connections are made: a hook for what is measured meanwhile."""
        room_for(count + 200)
        parts = urllib.parse.urlsplit(url)
        self.selector = selectors.EpollSelector()
        self.all = []
        for _ in range(count):
            self.all.append(Watch((parts.hostname, parts.port), path, exact))
            self.selector.register(self.all[-1].socket, selectors.EVENT_READ, self.all[-1])
            keep()

    def read_until(self, done, seconds):
        """Reads until `done()`; the seconds that it took."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"waited {seconds} s; told were from {min(w.count for w in self.all)} to {max(w.count for w in self.all)} events, {sum(w.ended for w in self.all)} watches have ended")
            for key, _ in self.selector.select(0.2):
                key.data.read()
                if key.data.ended:
                    self.selector.unregister(key.fileobj)
        return time.monotonic() - began

    def until(self, count, seconds=60):
        """Each has been told so many events."""
        return self.read_until(lambda: all(w.count >= count for w in self.all), seconds)

    def close(self):
        for w in self.all:
            w.socket.close()
        self.selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
