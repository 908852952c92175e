"""Who this agent is: its Ed25519 key, its cluster, and the manager that it trusts. Files of mode
0600, written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetctl.core.model import wire
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import ClusterId
from fleetctl.durable import write_whole

_NEXT = "identity.key.next"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`keys`: the manager's signing keys by id, pinned at enrolment."""

    url: str
    ca_pem: str
    cluster_id: ClusterId
    cluster: str
    workspace: str
    keys: dict[str, str]
    kubeconfig: str = ""
    target_dir: str = ""


def load(state_dir: Path) -> tuple[Identity, Ed25519PrivateKey]:
    """Raises UsageError when this directory is not enrolled."""
    try:
        identity = msgspec.json.decode((state_dir / "identity.json").read_bytes(), type=Identity)
        return identity, load_key(state_dir)
    except FileNotFoundError as error:
        step = "Run `fleet-agent enrol` first."
        raise UsageError(
            f"{state_dir} is not enrolled", subject="--state-dir", next_step=step
        ) from error
    except (msgspec.DecodeError, OSError, ValueError) as error:
        step = "Enrol again with `fleetctl cluster register NAME --replace`."
        raise UsageError(
            f"the identity in {state_dir} cannot be read: {error}",
            subject="--state-dir",
            next_step=step,
        ) from error


def load_key(state_dir: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes((state_dir / "identity.key").read_bytes())


def key_of(state_dir: Path) -> Ed25519PrivateKey:
    """The key of this directory, made when there is none; kept before it is sent, so that a lost
    answer can be asked for again.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return load_key(state_dir)
    except (FileNotFoundError, ValueError):
        key = Ed25519PrivateKey.generate()
        write_whole(state_dir / "identity.key", key.private_bytes_raw())
        return key


def key_to_enrol(state_dir: Path) -> Ed25519PrivateKey:
    """The key to send: where this directory is enrolled already a new one, for the one it has may
    be on another disk too.

    It lies beside the old one until `save`, so that a lost answer can be asked for again.
    """
    if not (state_dir / "identity.json").exists():
        return key_of(state_dir)
    beside = state_dir / _NEXT
    try:
        return Ed25519PrivateKey.from_private_bytes(beside.read_bytes())
    except (FileNotFoundError, ValueError):
        key = Ed25519PrivateKey.generate()
        write_whole(beside, key.private_bytes_raw())
        return key


def save(state_dir: Path, identity: Identity, key: Ed25519PrivateKey | None = None) -> None:
    """Keep who this agent is, and the key that it enrolled with. What was done for another cluster
    is put aside.
    """
    _put_aside(state_dir, identity.cluster_id)
    write_whole(state_dir / "identity.json", msgspec.json.encode(identity))
    if key is not None:
        write_whole(state_dir / "identity.key", key.private_bytes_raw())
    (state_dir / _NEXT).unlink(missing_ok=True)


def _put_aside(state_dir: Path, cluster: ClusterId) -> None:
    """Journal and document of another cluster say nothing of this one, whose manager may begin to
    count anew.
    """
    try:
        old = msgspec.json.decode(
            (state_dir / "identity.json").read_bytes(), type=Identity
        ).cluster_id
    except (OSError, msgspec.DecodeError):
        return
    if old != cluster:
        for name in ("journal", "desired.json"):
            if (state_dir / name).exists():
                (state_dir / name).replace(state_dir / f"{name}.of-{old}")


def is_signed(identity: Identity, key_id: str, signature: str, data: bytes) -> bool:
    """Whether a pinned key made the signature."""
    public = identity.keys.get(key_id)
    if public is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(wire.unb64(public)).verify(wire.unb64(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True
