"""The last desired state on this disk, and the archives that it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from agent.failpoints import failpoint
from agent.identity import write_whole
from agent.journal import Entry
from fleetctl.core.wire import Desired


class KeptDocument:
    """`STATE_DIR/desired.json`: what the manager signed, with its ETag."""

    def __init__(self, state_dir: Path) -> None:
        self._path, self._archives = state_dir / "desired.json", state_dir / "archives"

    def load(self) -> tuple[str, Desired] | None:
        """(ETag, document), or None when there is none that can be read."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
            return kept["etag"], msgspec.json.decode(kept["payload"], type=Desired)
        except (FileNotFoundError, msgspec.DecodeError, KeyError):
            return None

    def keep(self, etag: str, payload: bytes) -> Desired:
        """Durable when this returns."""
        document = msgspec.json.decode(payload, type=Desired)
        failpoint("document-before-keep")
        write_whole(self._path, msgspec.json.encode({"etag": etag, "payload": payload.decode()}))
        failpoint("document-kept")
        return document

    def sweep(self, document: Desired, entries: Iterable[Entry]) -> None:
        """Archives that nothing names any more go."""
        used = {b.archive for b in document.bundles} | {e.archive for e in entries}
        for path in self._archives.iterdir():
            if path.name.strip(".").removesuffix(".part") not in used:
                path.unlink(missing_ok=True)
