"""Computes what the manager stores and shows of a Secret or ConfigMap beside its encrypted content:
type, keys and a fingerprint of each value.

A fingerprint is an HMAC under the vault's key: it changes with the value, and nobody without the
key can test a guess.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

import msgspec

from fleetctl.core.model.errors import RefusedError

from ..store.commands.objects import set_extra
from ..store.connection import Writer
from ..store.queries.objects import SealedRow, sealed_objects_with_extra
from .vault import Vault

_json = msgspec.json.encode
_UNKEYED_HASH = b'"sha256:'  # stored by versions before 0.2


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


def replace_unkeyed_hashes(writer: Writer, vault: Vault) -> int:
    """Replace the unkeyed hashes that an older version stored. Returns how many objects had
    some.
    """
    rows = [
        msgspec.structs.replace(row, extra=_renew_extra(vault, row))
        for row in sealed_objects_with_extra(writer, _UNKEYED_HASH)
    ]
    set_extra(writer, rows)
    return len(rows)


def _renew_extra(vault: Vault, row: SealedRow) -> bytes:
    """The column `extra` with a fingerprint of each value, "unreadable" without the right key."""
    place = f"{row.kind}/{row.workspace}/{row.name}"
    extra = msgspec.json.decode(row.extra)
    try:
        data = msgspec.json.decode(vault.unseal(row.spec, place))["data"]
        extra["keys"] = _fingerprints(vault, place, data)
    except RefusedError:
        extra["keys"] = dict.fromkeys(extra["keys"], "unreadable")
    return _json(extra)


def _fingerprints(vault: Vault, place: str, data: dict[str, str]) -> dict[str, str]:
    return {
        key: vault.fingerprint(f"{place}/{key}", base64.b64decode(value))
        for key, value in sorted(data.items())
    }
