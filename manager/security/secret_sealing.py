"""Seals what `downstreamResources` names for the one agent that is to have it. Layout:
`fleetctl/core/model/sealed_layout.py`.

Rule: the same content for the same cluster, bundle and generation gives the same bytes, on every
manager that has the secret key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.options import DownstreamResource
from fleetctl.core.model.sealed_layout import NONCE, SEAL_DOMAIN, Content, info_of, montgomery
from fleetctl.core.model.wire import SealedObject, b64

from ..store.schema import objects
from .vault import Vault

_PURPOSE = b"fleet-seal-ephemeral-v1"


def seal(secret: bytes, public_key: bytes, context: bytes, plain: bytes) -> bytes:
    """For the agent with this Ed25519 key. `secret`: 32 bytes that only managers have. Raises
    ValueError for a key of small order.
    """
    recipient = montgomery(public_key)
    parts = (recipient, context, plain)
    drawn = hmac.new(
        secret, SEAL_DOMAIN + b"".join(len(p).to_bytes(8, "big") + p for p in parts), hashlib.sha256
    ).digest()
    ephemeral = X25519PrivateKey.from_private_bytes(drawn)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    public = ephemeral.public_key().public_bytes_raw()
    key = HKDF(hashes.SHA256(), 32, None, info_of(public, recipient, context)).derive(shared)
    return public + ChaCha20Poly1305(key).encrypt(NONCE, plain, context)


class Sealer:
    """`rows`: of one workspace's Secrets and ConfigMaps by (kind, name)."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self._secret = vault, vault.secret(_PURPOSE)

    def sealed(
        self,
        workspace: str,
        wanted: DownstreamResource,
        row: Any,
        public_key: bytes,
        context: bytes,
    ) -> SealedObject:
        """What cannot be sent says why, and stops its bundle alone."""
        place = f"{wanted.kind}/{workspace}/{wanted.name}"
        if row is None:
            return SealedObject(
                kind=wanted.kind,
                name=wanted.name,
                problem=f"does not exist in workspace {workspace} of the manager",
            )
        try:
            plain = msgspec.json.encode(
                msgspec.json.decode(self._vault.unseal(row.spec, place), type=Content),
                order="sorted",
            )
            return SealedObject(
                kind=wanted.kind,
                name=wanted.name,
                sealed=b64(seal(self._secret, public_key, context, plain)),
            )
        except (FleetError, ValueError):
            return SealedObject(
                kind=wanted.kind,
                name=wanted.name,
                problem="cannot be read or sealed by the manager",
            )


def sources(
    connection: Connection, workspace: str, wanted: Sequence[DownstreamResource]
) -> Mapping[tuple[str, str], Any]:
    """The rows of what is wanted, by (kind, name); those that are not there are missing."""
    o = objects.c
    names = sorted({one.name for one in wanted})
    found: dict[tuple[str, str], Any] = {}
    for start in range(0, len(names), 500):  # SQLite takes a bounded number of parameters
        query = sa.select(o.kind, o.name, o.uid, o.spec, o.extra).where(
            o.workspace == workspace, o.kind.in_(("Secret", "ConfigMap"))
        )
        found |= {
            (row.kind, row.name): row
            for row in connection.execute(query.where(o.name.in_(names[start : start + 500])))
        }
    return found


def version_of(wanted: Sequence[DownstreamResource], found: Mapping[tuple[str, str], Any]) -> str:
    """What changes when a content changes, and tells nothing of it; "" when nothing is wanted."""
    return "\n".join(
        f"{one.kind}/{one.name}={_content(found.get((one.kind, one.name)))}" for one in wanted
    )


def _content(row: Any) -> str:
    return (
        f"{row.uid}/{msgspec.json.decode(row.extra).get('content', '')}" if row is not None else ""
    )
