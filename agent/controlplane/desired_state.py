"""The last desired state on this disk, and the archives that it names.

Rule: a document is obeyed only after it is durable here, or a restart would go back behind it; and
what is read from the disk is believed as little as what came over the network: it is kept as the
manager signed it, and its signature is verified again (I3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from fleetctl import durable
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import BundleName, Epoch
from fleetctl.core.model.wire import Desired, Envelope

from ..host.failpoints import failpoint
from ..host.log import trouble
from ..state.journal import Entry, Order


class _DocumentFile(msgspec.Struct, frozen=True, kw_only=True):
    etag: str
    envelope: Envelope


def behind(document: Desired, epoch: Epoch, floor: Callable[[BundleName], Order]) -> str:
    """In what the document is older than what was accepted here, or "" (I4). Only the manager's
    epoch, raised by a person, outweighs it.
    """
    if document.epoch < epoch:
        return f"its epoch is {document.epoch}, the agent's {epoch}"
    orders = [(b.name, b.generation) for b in document.bundles] + [
        (t.name, t.generation) for t in document.tombstones
    ]
    for name, generation in orders:
        if (document.epoch, generation) < (floor_order := floor(name)):
            return (
                f"it says generation {generation} of bundle {name}, the agent already has"
                f" {floor_order[1]}"
            )
    return ""


def _digest(envelope: Envelope) -> bytes:
    return hashlib.sha256(envelope.payload.encode()).digest()


class DocumentStore:
    """`STATE_DIR/desired.json`: what the manager signed, with its ETag. `opened` verifies an
    envelope, or raises a FleetError.
    """

    def __init__(self, state_dir: Path, open_envelope: Callable[[Envelope], Desired]) -> None:
        self._obeyed = b""
        self._path, self._archives, self._open_envelope = (
            state_dir / "desired.json",
            state_dir / "archives",
            open_envelope,
        )

    def load(self) -> tuple[str, Desired] | None:
        """Return (ETag, document), which counts as obeyed; None when there is none that can be
        trusted, so that the manager is asked for it again.
        """
        try:
            content = msgspec.json.decode(self._path.read_bytes(), type=_DocumentFile)
            document = self._open_envelope(content.envelope)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, FleetError) as error:
            trouble("the desired state on this disk is not used", str(error))
            return None
        self.note_obeyed(content.envelope)
        return content.etag, document

    def is_obeyed(self, envelope: Envelope) -> bool:
        """Is the payload the one that was loaded or noted last?"""
        return self._obeyed == _digest(envelope)

    def note_obeyed(self, envelope: Envelope) -> None:
        """Note that every loop of the agent knows this document. A document that was only written
        is not obeyed: an error may have come between the two.
        """
        self._obeyed = _digest(envelope)

    def keep(self, etag: str, envelope: Envelope) -> None:
        """Durable when this returns. Raises OSError; then the one before is kept."""
        failpoint("document-before-keep")
        durable.write_whole(
            self._path, msgspec.json.encode(_DocumentFile(etag=etag, envelope=envelope))
        )
        failpoint("document-kept")

    def sweep(self, document: Desired, entries: Iterable[Entry]) -> None:
        """Archives that nothing names any more go. Never raises: a disk that keeps them for longer
        does no harm.
        """
        digests = {b.archive for b in document.bundles} | {e.archive for e in entries}
        try:
            for path in self._archives.iterdir():
                if path.name.strip(".").removesuffix(".part") not in digests:
                    path.unlink(missing_ok=True)
        except OSError as error:
            trouble("unused archives cannot be removed", str(error))
