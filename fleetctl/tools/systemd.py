"""Notifications to systemd (sd_notify(3)): READY, STATUS, WATCHDOG, STOPPING."""

from __future__ import annotations

import contextlib
import socket


class Notifier:
    """`path`: of the socket that systemd names in NOTIFY_SOCKET, "" when it listens to nobody."""

    def __init__(self, path: str) -> None:
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._status = ""

    def tell(self, text: str) -> None:
        """Send for example `READY=1`. A status that repeats is sent once. Never raises."""
        if not self._path or (text.startswith("STATUS=") and text == self._status):
            return
        if text.startswith("STATUS="):
            self._status = text
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect(self._path)
            out.send(text.encode())
