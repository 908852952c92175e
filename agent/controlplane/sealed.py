"""Opens what the manager has sealed for this agent. Layout:
`fleetctl/core/model/sealed_layout.py`.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.sealed_layout import NONCE, PUBLIC_BYTES, info_of, scalar


def open_sealed(key: Ed25519PrivateKey, context: bytes, ciphertext: bytes) -> bytes:
    """The content. Raises RefusedError when it was sealed for another agent, cluster, bundle,
    generation, kind or name, or was changed.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    private = X25519PrivateKey.from_private_bytes(scalar(key.private_bytes_raw()))
    public = ciphertext[:PUBLIC_BYTES]
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(public))
        info = info_of(public, private.public_key().public_bytes_raw(), context)
        return ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, None, info).derive(secret)).decrypt(
            NONCE, ciphertext[PUBLIC_BYTES:], context
        )
    except (InvalidTag, ValueError) as error:
        step = "If the agent was enrolled again it gets another document soon."
        raise RefusedError(
            "it was not sealed for this agent and this bundle", subject="manager", next_step=step
        ) from error
