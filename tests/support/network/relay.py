"""A wire between two parties on loopback that counts what passes, and that can be cut or go
silent.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Counted:
    """Bytes to the server and back, and how many connections there were."""

    sent: int = 0
    received: int = 0
    connections: int = 0

    def copy(self) -> Counted:
        return Counted(self.sent, self.received, self.connections)


@dataclass
class Relay:
    """Listens on `port` and passes everything to `target` on loopback. A context manager. TLS goes
    through as it is.
    """

    target: int
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._flows = threading.Event()
        self._flows.set()
        self._start(self._accept)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flows.set()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self) -> None:
        """Every connection is closed; new ones are let through."""
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def silence(self) -> None:
        """Connections stay open, and nothing passes: what a router that forgot them looks like."""
        self._flows.clear()

    def speak(self) -> None:
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self.counted.connections += 1
            self._pairs.append((near, far))
            self._start(self._pump, near, far, "sent")
            self._start(self._pump, far, near, "received")

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _pump(self, source: socket.socket, drain: socket.socket, name: str) -> None:
        with suppress(OSError), source:
            while data := source.recv(65536):
                self._flows.wait()
                setattr(self.counted, name, getattr(self.counted, name) + len(data))
                drain.sendall(data)
        with suppress(OSError):
            drain.shutdown(socket.SHUT_RDWR)  # its own pump closes it
