"""Release keys, and signatures over `fleet-agent.pyz`: all on this machine, none of it known to a
manager.

A private key is a PEM file of PKCS 8 (RFC 8410), which `openssl` reads as well; a public key is one
line of unpadded URL-safe base64.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import (
    ABOUT,
    MAX_BYTES,
    AgentRelease,
    check,
    of_file,
    release_bytes,
)
from fleetctl.core.model.errors import Conflict, InvalidFile, RefusedError, UsageError

_MOST_KEY, _MOST_ABOUT = 64 * 1024, 4 * 1024 * 1024
_PEM = "-----BEGIN PUBLIC KEY-----"
_ED25519 = bytes.fromhex("302a300506032b6570032100")


def make_key(path: Path) -> str:
    """A new private key in `path` (mode 0600), its public line in `path`.pub, and that line. Raises
    Conflict, UsageError.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    line = wire.b64(key.public_key().public_bytes_raw())
    _create(path, pem, 0o600)
    _create(path.with_name(path.name + ".pub"), line.encode() + b"\n", 0o644)
    return line


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError as error:
        raise Conflict(
            f"{path} exists already",
            subject=str(path),
            next_step="Choose another name; an existing release key is never overwritten.",
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            subject=str(path),
            next_step="Correct the path.",
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def private_key(path: Path, ask: Callable[[], str]) -> Ed25519PrivateKey:
    """`ask` gives the passphrase of a key that has one. Raises UsageError."""
    data = read(path, _MOST_KEY)
    try:
        key: Any = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        key = _load_encrypted_key(path, data, ask())
    except ValueError as error:
        raise InvalidFile(
            "not a private key",
            file=str(path),
            next_step="Make one with `fleetctl agent-release keygen`.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidFile(
            "not an Ed25519 key",
            file=str(path),
            next_step="Make one with `fleetctl agent-release keygen`.",
        )
    return key


def _load_encrypted_key(path: Path, data: bytes, passphrase: str) -> Any:
    try:
        return serialization.load_pem_private_key(data, password=passphrase.encode())
    except ValueError as error:
        raise UsageError(
            "the passphrase is wrong", subject=str(path), next_step="Try again."
        ) from error


def public_key(text: str) -> bytes:
    """The raw key that `text` is or that the file of this name holds, as a line or as PEM. Raises
    UsageError.
    """
    path = Path(text)
    try:
        content = (read(path, _MOST_KEY).decode() if path.is_file() else text).strip()
        key = (
            base64.b64decode("".join(content.splitlines()[1:-1]))
            if content.startswith(_PEM)
            else wire.unb64(content)
        )
    except (ValueError, OSError):
        key = b""
    key = key.removeprefix(_ED25519) if len(key) > 32 else key
    if len(key) != 32:
        raise UsageError(
            f"{text[:80]!r} is not a release key",
            subject="--key",
            next_step="Give the file or line that keygen made.",
        )
    return key


def read_release(path: Path) -> tuple[AgentRelease, bytes]:
    """What the .pyz says of itself, unsigned, and its bytes; nothing of it is run. Raises
    UsageError.
    """
    data, step = read(path, MAX_BYTES), "Make the file with `make agent`."
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(ABOUT).file_size > _MOST_ABOUT:
                raise InvalidFile(f"its {ABOUT} is too large", file=str(path), next_step=step)
            about = msgspec.json.decode(archive.read(ABOUT), type=dict[str, Any])
    except (zipfile.BadZipFile, KeyError, msgspec.DecodeError, OSError) as error:
        raise InvalidFile(
            "not a fleet-agent.pyz of this kind", file=str(path), next_step=step
        ) from error
    version, python, platform = (
        str(about.get(name, "")) for name in ("version", "python", "platform")
    )
    release = AgentRelease(
        version=version,
        python=python,
        platform=platform,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    check(release)
    return release, data


def sign(release: AgentRelease, key: Ed25519PrivateKey, *, replaces_newer: bool) -> AgentRelease:
    unsigned = msgspec.structs.replace(
        release,
        replaces_newer=replaces_newer,
        key_id=wire.key_id(key.public_key().public_bytes_raw()),
    )
    return msgspec.structs.replace(unsigned, signature=wire.b64(key.sign(release_bytes(unsigned))))


def signature_of(path: Path, signature: Path | None) -> AgentRelease:
    """The statement beside the file, or in the one that is given. Raises UsageError."""
    place = signature or path.with_name(path.name + ".sig")
    return of_file(read(place, _MOST_KEY), file=str(place))


def check_file(release: AgentRelease, path: Path) -> bytes:
    """The file's bytes, when they are the ones that were signed. Raises RefusedError."""
    described_release, data = read_release(path)
    for name in ("sha256", "size", "version", "python", "platform"):
        if getattr(described_release, name) != getattr(release, name):
            summary = (
                f"the signature is of another file: its {name} is {getattr(release, name)}, and"
                f" {path.name} has {getattr(described_release, name)}"
            )
            raise RefusedError(
                summary,
                subject=str(path),
                next_step="Sign this file, or give the one that was signed.",
            )
    return data


def verify(release: AgentRelease, key: bytes) -> None:
    """Raises RefusedError when `key` has not signed it."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            wire.unb64(release.signature), release_bytes(release)
        )
    except (InvalidSignature, ValueError) as error:
        summary = f"the signature is not by key {wire.key_id(key)}"
        raise RefusedError(
            summary, subject=f"agent {release.version}", next_step="Do not use this file."
        ) from error


def read(path: Path, limit: int) -> bytes:
    """Raises UsageError when it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            subject=str(path),
            next_step="Correct the path.",
        ) from error
    if len(data) > limit:
        raise UsageError(
            f"{path} is larger than {limit} bytes",
            subject=str(path),
            next_step="Give another file.",
        )
    return data
