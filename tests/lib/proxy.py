# SPDX-License-Identifier: Apache-2.0
"""A door to a server that a test can shut: connections break off, and new ones are refused, while the server goes on."""

import socket
import threading


class Proxy:
    """Passes bytes on to a port, until it is cut."""

    def __init__(self, port):
        self.to, self.open, self.counted, self.turned_away, self.refuses = port, [], 0, 0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            if self.refuses:
                self.turned_away += 1
                here.close()
                continue
            there = socket.create_connection(("127.0.0.1", self.to))
            self.counted += 1
            self.open += [here, there]
            for a, b in ((here, there), (there, here)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        try:
            while piece := a.recv(65536):
                b.sendall(piece)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open = []
