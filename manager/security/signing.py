"""The manager's signing key: Ed25519, made at the first start, kept in `signing.key` (0600) and
never sent anywhere.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetctl.core.model import wire
from fleetctl.core.model.errors import UsageError
from fleetctl.durable import write_whole


class Signer:
    """Signs exact bytes; `key_id` and `public_key` (raw 32 bytes) are what agents pin at
    enrolment.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()
        self.key_id = wire.key_id(self.public_key)

    @classmethod
    def load_or_create(cls, data_dir: Path) -> Signer:
        """The key in `data_dir`, made when there is none. Raises UsageError when the file there is
        not such a key.
        """
        path = data_dir / "signing.key"
        try:
            return cls(_parse(path.read_bytes(), path))
        except FileNotFoundError:
            pass
        key = Ed25519PrivateKey.generate()
        plain = serialization.NoEncryption()
        write_whole(
            path,
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
        )
        return cls(key)

    @classmethod
    def generate(cls) -> Signer:
        """A key that is kept nowhere, for tests."""
        return cls(Ed25519PrivateKey.generate())

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` was made by the owner of the raw key `public_key`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _parse(data: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} is not a private key", subject=str(path), next_step="Restore it from a backup."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"{path} is not an Ed25519 key",
            subject=str(path),
            next_step="Restore it from a backup.",
        )
    return key
