"""Seals the objects that `downstreamResources` names for one agent. Layout:
`fleetctl/core/model/sealed_layout.py`.

Rule: the same content for the same cluster, bundle and generation gives the same bytes, on every
manager that has the secret key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.options import DownstreamResource
from fleetctl.core.model.sealed_layout import NONCE, SEAL_DOMAIN, SealedContent, info_of, montgomery
from fleetctl.core.model.wire import SealedObject, b64

from ..store.connection import Reader
from ..store.queries.objects import SealedRow, sealed_objects
from .vault import Vault

_PURPOSE = b"fleet-seal-ephemeral-v1"


def seal(secret: bytes, public_key: bytes, context: bytes, plain: bytes) -> bytes:
    """Encrypt `plain` for the agent with this Ed25519 key. `secret`: 32 bytes that only managers
    have. Raises ValueError for a key of small order.
    """
    recipient = montgomery(public_key)
    parts = (recipient, context, plain)
    ephemeral_key = hmac.new(
        secret, SEAL_DOMAIN + b"".join(len(p).to_bytes(8, "big") + p for p in parts), hashlib.sha256
    ).digest()
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_key)
    shared_secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    public = ephemeral.public_key().public_bytes_raw()
    key = HKDF(hashes.SHA256(), 32, None, info_of(public, recipient, context)).derive(shared_secret)
    return public + ChaCha20Poly1305(key).encrypt(NONCE, plain, context)


class Sealer:
    """Seals one workspace's Secrets and ConfigMaps."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self._secret = vault, vault.secret(_PURPOSE)

    def seal_object(
        self,
        workspace: str,
        resource: DownstreamResource,
        row: SealedRow | None,
        public_key: bytes,
        context: bytes,
    ) -> SealedObject:
        """The sealed object, or an object that states why it cannot be sent: that stops its bundle
        alone. `row` None: the resource does not exist.
        """
        if row is None:
            return _with_problem(
                resource, f"does not exist in workspace {workspace} of the manager"
            )
        try:
            place = f"{resource.kind}/{workspace}/{resource.name}"
            plain = msgspec.json.encode(
                msgspec.json.decode(self._vault.unseal(row.spec, place), type=SealedContent),
                order="sorted",
            )
            return SealedObject(
                kind=resource.kind,
                name=resource.name,
                sealed=b64(seal(self._secret, public_key, context, plain)),
            )
        except (FleetError, ValueError):
            return _with_problem(resource, "cannot be read or sealed by the manager")


def _with_problem(resource: DownstreamResource, problem: str) -> SealedObject:
    return SealedObject(kind=resource.kind, name=resource.name, problem=problem)


def sources(
    reader: Reader, workspace: str, resources: Sequence[DownstreamResource]
) -> Mapping[tuple[str, str], SealedRow]:
    """The stored objects of these resources, by (kind, name); one that does not exist is
    missing.
    """
    return sealed_objects(reader, workspace, (resource.name for resource in resources))


def version_of(
    resources: Sequence[DownstreamResource], rows: Mapping[tuple[str, str], SealedRow]
) -> str:
    """A text that changes when a content changes, and reveals nothing of it; "" without
    resources.
    """
    return "\n".join(
        f"{resource.kind}/{resource.name}={_content(rows.get((resource.kind, resource.name)))}"
        for resource in resources
    )


def _content(row: SealedRow | None) -> str:
    if row is None:
        return ""
    return f"{row.uid}/{msgspec.json.decode(row.extra).get('content', '')}"
