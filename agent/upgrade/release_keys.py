"""The keys that may release agents for this cluster, pinned by whoever runs the agent:
`STATE_DIR/release-keys.json`. None is off.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease, release_bytes
from fleetctl.core.model.errors import UsageError
from fleetctl.durable import write_whole

NAME = "release-keys.json"
OFF = "none"
_PEM = "-----BEGIN PUBLIC KEY-----"
# what stands before the 32 bytes in a SubjectPublicKeyInfo (RFC 8410)
_ED25519 = bytes.fromhex("302a300506032b6570032100")


def load_keys(state_dir: Path) -> dict[str, str]:
    """Key id → raw public key in base64. A file that cannot be read pins nothing."""
    try:
        return msgspec.json.decode((state_dir / NAME).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def pin(state_dir: Path, words_given: Iterable[str]) -> None:
    """Only these from now on; the word `none` alone is none. Raises UsageError."""
    words = list(words_given)
    keys = [] if words == [OFF] else [read(word) for word in words]
    key_ids = {wire.key_id(key): wire.b64(key) for key in keys}
    if key_ids != load_keys(state_dir):
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(state_dir / NAME, msgspec.json.encode(key_ids))


def read(text: str) -> bytes:
    """The raw key that `text` is, or that the file of that name holds. Raises UsageError."""
    try:
        path = Path(text)
        raw = (path.read_text("ascii") if path.is_file() else text).strip()
        key = (
            base64.b64decode("".join(raw.splitlines()[1:-1]))
            if raw.startswith(_PEM)
            else wire.unb64(raw)
        )
    except (OSError, ValueError):
        key = b""
    key = key.removeprefix(_ED25519) if len(key) > 32 else key
    if len(key) != 32:
        step = "Give the file or the line that `fleetctl agent-release keygen` made, or `none`."
        raise UsageError(
            f"{text[:80]!r} is not a release key", subject="--release-key", next_step=step
        )
    return key


def is_signed(release: AgentRelease, keys: dict[str, str]) -> bool:
    """Whether one of `keys` made the release's signature."""
    public = keys.get(release.key_id)
    if public is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(wire.unb64(public)).verify(
            wire.unb64(release.signature), release_bytes(release)
        )
    except (InvalidSignature, ValueError):
        return False
    return True
