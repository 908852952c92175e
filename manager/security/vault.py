"""Secrets at rest: AES-256-GCM under one key in `secret.key` (0600) or in the file that the
operator names.

Each ciphertext is bound to the object's workspace, kind and name, so that a row cannot be moved to
another name.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleetctl.core.model.errors import RefusedError, UsageError
from fleetctl.core.model.wire import b64, unb64
from fleetctl.durable import write_whole

_KEY_BYTES, _NONCE_BYTES = 32, 12
_FINGERPRINT, _STORE_NAME = b"fleet-fingerprint-v1", b"fleet-git-store-v1"


class Vault:
    def __init__(self, key: bytes) -> None:
        self._key, self._cipher = key, AESGCM(key)

    @classmethod
    def open(cls, data_dir: Path, key_file: Path | None = None) -> Vault:
        """The key of `key_file`, else of `data_dir`, made at the first start. Raises UsageError
        when the file is not a key.
        """
        path = key_file or data_dir / "secret.key"
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            if key_file:
                raise UsageError(
                    f"{path} does not exist",
                    subject="--secret-key-file",
                    next_step="Correct the path.",
                ) from None
            text = b64(secrets.token_bytes(_KEY_BYTES))
            write_whole(path, text.encode() + b"\n")
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"{path} cannot be read: {error}",
                subject=str(path),
                next_step="Restore it from a backup.",
            ) from error
        try:
            key = unb64(text)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise UsageError(
                f"{path} does not contain a key of 32 bytes",
                subject=str(path),
                next_step="Restore it from a backup.",
            )
        return cls(key)

    def secret(self, purpose: bytes) -> bytes:
        """32 bytes for one purpose, the same as long as the key is."""
        return hmac.new(self._key, purpose, hashlib.sha256).digest()

    def fingerprint(self, place: str, data: bytes) -> str:
        """Shows whether `data` at `place` changed. The same data at another place has another
        fingerprint.
        """
        message = len(place.encode()).to_bytes(8, "big") + place.encode() + data
        return (
            "hmac:" + hmac.new(self.secret(_FINGERPRINT), message, hashlib.sha256).hexdigest()[:32]
        )

    def store_name(self, *parts: str) -> str:
        """A folder name for an address and its login, from which neither can be guessed."""
        message = b"".join(len(p.encode()).to_bytes(8, "big") + p.encode() for p in parts)
        return hmac.new(self.secret(_STORE_NAME), message, hashlib.sha256).hexdigest()[:32]

    def seal(self, data: bytes, place: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, place.encode())

    def unseal(self, ciphertext: bytes, place: str) -> bytes:
        """Raises RefusedError when another key sealed it, or it was changed or moved."""
        try:
            return self._cipher.decrypt(
                ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], place.encode()
            )
        except InvalidTag as error:
            raise RefusedError(
                f"{place} cannot be read with this secret key",
                subject=place,
                next_step="Restore secret.key.",
            ) from error
