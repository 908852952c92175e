"""How a secret travels to one agent: the bytes that both sides agree on. Pure; the ciphers are in
`manager/security/secret_sealing.py` and `agent/controlplane/sealed.py`.

Like HPKE's base mode (RFC 9180) in its simplest form: X25519 with an ephemeral key, HKDF-SHA256,
ChaCha20-Poly1305. The agent has one key, of Ed25519; its X25519 form is the birational map of RFC
7748 on the public side and the SHA-512 of the seed on the private one, as libsodium does it, so
that agents that enrolled long ago can be sent secrets too.

sealed = ephemeral public key (32 bytes) + ciphertext and tag (16 bytes). The key is HKDF(shared,
info = DOMAIN + both public keys + context); it is used once, so the nonce is zero. The ephemeral
key is not random but derived by the manager from a secret of its own, the recipient, the context
and the content: the same content for the same place gives the same bytes, and so the same document
and ETag.
"""

from __future__ import annotations

import hashlib

import msgspec

from fleetctl.core.model.ids import BundleName, ClusterId, Generation

SEAL_DOMAIN = b"fleet-seal-v1\n"
NONCE = bytes(12)
PUBLIC_BYTES = 32
_PRIME = 2**255 - 19


class SealedContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sealed, as JSON. `data`: base64 by key; `type`: of a Secret."""

    type: str = ""
    data: dict[str, str] = {}


def context_of(
    cluster: ClusterId, bundle: BundleName, generation: Generation, kind: str, name: str
) -> bytes:
    """What a sealed object is bound to: it opens nowhere else. None of these may hold a newline,
    and names in Kubernetes do not.
    """
    return "\n".join((cluster, bundle, str(generation), kind, name)).encode()


def info_of(ephemeral: bytes, recipient: bytes, context: bytes) -> bytes:
    return SEAL_DOMAIN + ephemeral + recipient + context


def montgomery(public_key: bytes) -> bytes:
    """The X25519 form of an Ed25519 public key: u = (1 + y) / (1 - y). Raises ValueError for a key
    that has none.
    """
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if len(public_key) != PUBLIC_BYTES or y >= _PRIME or y == 1:
        raise ValueError("not an Ed25519 key that can be sent secrets")
    return ((1 + y) * pow(1 - y, -1, _PRIME) % _PRIME).to_bytes(32, "little")


def scalar(seed: bytes) -> bytes:
    """The X25519 private key of an Ed25519 seed; X25519 itself clamps it."""
    return hashlib.sha512(seed).digest()[:32]
