"""What is stored and shown of a Secret or ConfigMap beside its encrypted content: type, keys and a
fingerprint of each value.

A fingerprint is an HMAC under the vault's key: it changes with the value, and nobody without the
key can test a guess.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import RefusedError

from ..commands.validation import DATA_KINDS
from ..store.schema import objects
from .vault import Vault

_json = msgspec.json.encode
_OLD = b'"sha256:'  # unkeyed hashes of versions before 0.2


def summary_of(vault: Vault, place: str, spec: dict[str, Any]) -> bytes:
    """The column `extra`. `content` is a new random value for each content and reveals nothing of
    it.
    """
    extra = {
        "type": spec["type"],
        "keys": _fingerprints(vault, place, spec["data"]),
        "content": secrets.token_hex(8),
    }
    return _json(extra)


def renew(connection: Connection, vault: Vault) -> int:
    """Replace the unkeyed hashes that an older version stored. Returns how many objects had
    some.
    """
    query = sa.select(
        objects.c.kind, objects.c.workspace, objects.c.name, objects.c.spec, objects.c.extra
    )
    old = query.where(objects.c.kind.in_(DATA_KINDS), sa.func.instr(objects.c.extra, _OLD) > 0)
    rows = connection.execute(old).all()
    for row in rows:
        place = f"{row.kind}/{row.workspace}/{row.name}"
        extra = msgspec.json.decode(row.extra)
        try:
            data = msgspec.json.decode(vault.unseal(row.spec, place))["data"]
            extra["keys"] = _fingerprints(vault, place, data)
        except RefusedError:
            extra["keys"] = dict.fromkeys(extra["keys"], "unreadable")
        o = objects.c
        where = (o.kind == row.kind) & (o.workspace == row.workspace) & (o.name == row.name)
        connection.execute(sa.update(objects).where(where).values(extra=_json(extra)))
    return len(rows)


def _fingerprints(vault: Vault, place: str, data: dict[str, str]) -> dict[str, str]:
    return {
        key: vault.fingerprint(f"{place}/{key}", base64.b64decode(value))
        for key, value in sorted(data.items())
    }
