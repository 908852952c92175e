"""The manager's signing key stays the same, is private, and a broken file is never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.core.model.errors import UsageError
from manager.security.signing import Signer, verify


def test_key_is_kept_and_private(tmp_path: Path):
    """The second load signs with the key of the first."""
    first, second = Signer.load_or_create(tmp_path), Signer.load_or_create(tmp_path)
    assert first.key_id == second.key_id
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    assert verify(first.public_key, second.sign(b"x"), b"x")
    assert not verify(first.public_key, second.sign(b"x"), b"y")


def test_broken_key_is_an_error_not_a_new_key(tmp_path: Path):
    """A new key would cut every agent off."""
    (tmp_path / "signing.key").write_bytes(b"broken")
    with pytest.raises(UsageError, match="not a private key"):
        Signer.load_or_create(tmp_path)
    assert (tmp_path / "signing.key").read_bytes() == b"broken"
