"""systemd's notifications: READY, STATUS, WATCHDOG, STOPPING, when it asked for them."""

from __future__ import annotations

import contextlib
import socket


class Notifier:
    """`path` of the socket, "" for none."""

    def __init__(self, path: str) -> None:
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._last = ""

    def tell(self, text: str) -> None:
        """For example `READY=1`; the same status twice is told once."""
        if not self._path or (text.startswith("STATUS=") and text == self._last):
            return
        self._last = text if text.startswith("STATUS=") else self._last
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect(self._path)
            out.send(text.encode())
