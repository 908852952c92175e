"""Detects keys that do not belong to the database: a restored or copied file of another manager.

The database holds a number that is derived from each key and reveals nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import RefusedError

from ..store.data_directory import LOSSES, SECRET_KEY, SIGNING_KEY
from ..store.schema import meta
from .signing import Signer
from .vault import Vault


def check(
    connection: Connection, signer: Signer, vault: Vault, accepted: Collection[str] = ()
) -> None:
    """Raises RefusedError when a key is not the one that this database was used with. Stores the
    numbers of a new database.
    """
    numbers = {
        SIGNING_KEY: _number(b"signing" + signer.public_key),
        SECRET_KEY: _number(b"secret" + vault.secret(b"fleet-key-check-v1")),
    }
    for name, number in numbers.items():
        row = {"key": f"check:{name}", "value": number}
        where = meta.c.key == row["key"]
        stored = connection.execute(sa.select(meta.c.value).where(where)).scalar()
        if stored is not None and stored != number and name not in accepted:
            step = (
                f"Restore the {name} that belongs to this database from its backup. If there is"
                " none, use"
            )
            step += f" `fleet-manager serve … --accept-lost {name}` once: {LOSSES[name]}."
            raise RefusedError(
                f"{name} is not the key that this database was used with",
                subject=name,
                next_step=step,
            )
        if stored != number:
            connection.execute(sa.insert(meta).prefix_with("OR REPLACE"), row)


def _number(data: bytes) -> int:
    """63 bits, because SQLite's integers are signed."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8]) >> 1
