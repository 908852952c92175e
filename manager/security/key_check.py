"""Detects keys that do not belong to the database: a restored or copied file of another manager.

The database holds a number that is derived from each key and reveals nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from fleetctl.core.model.errors import RefusedError

from ..store.commands import meta as meta_commands
from ..store.connection import Writer
from ..store.data_directory import LOSSES, SECRET_KEY, SIGNING_KEY
from ..store.queries import meta as meta_queries
from .signing import Signer
from .vault import Vault


def check(writer: Writer, signer: Signer, vault: Vault, lost_files: Collection[str] = ()) -> None:
    """Compare the keys with the numbers in the database. Stores the numbers of a new database.
    `accepted`: names of key files whose loss a person accepts. Raises RefusedError when a key is
    not the one that this database was used with.
    """
    numbers = {
        SIGNING_KEY: _number(b"signing" + signer.public_key),
        SECRET_KEY: _number(b"secret" + vault.secret(b"fleet-key-check-v1")),
    }
    for name, number in numbers.items():
        key = f"check:{name}"
        stored_number = meta_queries.find_number(writer, key)
        if stored_number is not None and stored_number != number and name not in lost_files:
            step = f"Restore the {name} of this database from its backup. If there is none, use"
            step += f" `fleet-manager serve … --accept-lost {name}` once: {LOSSES[name]}."
            raise RefusedError(
                f"{name} is not the key that this database was used with",
                subject=name,
                next_step=step,
            )
        if stored_number != number:
            meta_commands.set_number(writer, key, number)


def _number(data: bytes) -> int:
    """63 bits, because SQLite's integers are signed."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8]) >> 1
