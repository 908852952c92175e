"""A wire between two parties on loopback that counts what passes, and that can be cut or go silent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field


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
    """Listens on `port` and passes everything to `target` on loopback. A context manager. TLS goes through as it is."""

    target: int
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flows = threading.Event()
        self._flows.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flows.set()
        self.cut()

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
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.counted.connections += 1
            self._pairs.append((near, far))
            threading.Thread(target=self._pump, args=(near, far, "sent"), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, "received"), daemon=True).start()

    def _pump(self, source: socket.socket, drain: socket.socket, name: str) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                setattr(self.counted, name, getattr(self.counted, name) + len(data))
                drain.sendall(data)
        for end in (source, drain):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
