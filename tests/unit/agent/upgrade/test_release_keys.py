"""Which keys may release agents for this cluster."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.upgrade.release_keys import NAME, is_signed, load_keys, pin, read
from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease, release_bytes
from fleetctl.core.model.errors import UsageError

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
RELEASE = AgentRelease(
    version="2.0", python="cpython-3.11", platform="x86_64-linux-gnu", size=1, sha256="ab" * 32
)


def made(key: Ed25519PrivateKey = KEY, **more: str) -> AgentRelease:
    said = msgspec.structs.replace(RELEASE, key_id=wire.key_id(PUBLIC))
    return msgspec.structs.replace(
        said, **({"signature": wire.b64(key.sign(release_bytes(said)))} | more)
    )


def test_only_a_pinned_key_signs(tmp_path: Path):
    """Another key, another release, a signature that is none, a key that nobody pinned: each is
    unsigned.
    """
    pin(tmp_path, [wire.b64(PUBLIC)])
    keys = load_keys(tmp_path)
    assert is_signed(made(), keys)
    for wrong in (
        made(Ed25519PrivateKey.generate()),
        made(version="2.1"),
        made(signature="!"),
        made(signature=""),
        made(key_id="0"),
    ):
        assert not is_signed(wrong, keys)
    assert not is_signed(made(), {})


def test_keys_are_replaced_and_taken_away(tmp_path: Path):
    """What is said last counts; `none` is off; the file is private."""
    other = wire.b64(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    pin(tmp_path, [wire.b64(PUBLIC), other])
    assert len(load_keys(tmp_path)) == 2
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    pin(tmp_path, [other])
    assert list(load_keys(tmp_path).values()) == [other]
    pin(tmp_path, ["none"])
    assert load_keys(tmp_path) == {}


def test_a_file_that_is_broken_pins_nothing(tmp_path: Path):
    """Off is the safe side."""
    (tmp_path / NAME).write_bytes(b'{"a":')
    assert load_keys(tmp_path) == {}


def test_a_key_is_a_line_or_a_file_of_one_or_pem(tmp_path: Path):
    """As keygen and as openssl write it."""
    line = wire.b64(PUBLIC)
    (tmp_path / "line").write_text(f"{line}\n")
    info = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + PUBLIC).decode()
    (tmp_path / "pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{info}\n-----END PUBLIC KEY-----\n")
    assert read(line) == read(str(tmp_path / "line")) == read(str(tmp_path / "pem")) == PUBLIC


@pytest.mark.parametrize(
    "text", ["", "x", "none", "A" * 42, "/nonexistent", "\0", wire.b64(b"x" * 33)]
)
def test_anything_else_is_refused(text: str):
    """In one line."""
    with pytest.raises(UsageError, match="is not a release key"):
        read(text)
