"""What systemd is told."""

from __future__ import annotations

import socket
from pathlib import Path

from fleetctl.tools.systemd import Notifier


def test_a_status_that_repeats_is_sent_once(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.setblocking(False)
        notifier = Notifier(path)
        for text in ("READY=1", "STATUS=a", "STATUS=a", "WATCHDOG=1", "WATCHDOG=1", "STATUS=b"):
            notifier.tell(text)
        messages = [receiver.recv(100).decode() for _ in range(5)]
        assert messages == ["READY=1", "STATUS=a", "WATCHDOG=1", "WATCHDOG=1", "STATUS=b"]


def test_without_a_socket_and_without_a_listener_nothing_happens(tmp_path: Path) -> None:
    Notifier("").tell("READY=1")
    Notifier(str(tmp_path / "nobody")).tell("READY=1")
