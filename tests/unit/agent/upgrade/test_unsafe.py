"""The agent runs, and runs programs, only out of folders that nobody else can change."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import app
from agent.diagnostics import check_host
from agent.packaging.bootstrap import unsafe
from agent.upgrade import launcher, release_keys
from agent.upgrade.trial_state import Choice, Program, TrialState
from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease, release_bytes

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


class TestFolder:
    def test_of_this_user_alone_is_safe(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        assert unsafe(tmp_path) == ""

    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
    def test_open_to_all_is_not(self, tmp_path: Path, mode: int) -> None:
        tmp_path.chmod(mode)
        assert "can be written by other users" in unsafe(tmp_path)

    @as_root
    def test_of_another_user_or_group_is_not(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o770)
        assert unsafe(tmp_path) == ""
        os.chown(tmp_path, 0, NOBODY)
        assert "can be written by other users" in unsafe(tmp_path)
        os.chown(tmp_path, NOBODY, 0)
        assert unsafe(tmp_path) == f"belongs to user {NOBODY}"

    def test_below_an_open_folder_it_can_be_exchanged(self, tmp_path: Path) -> None:
        """Unless only the owner may rename there, as in /tmp; a Pod has no other users."""
        state = tmp_path / "open" / "deeper" / "state"
        state.mkdir(mode=0o700, parents=True)
        (tmp_path / "open").chmod(0o777)
        assert f"lies in {tmp_path / 'open'}" in unsafe(state)
        assert unsafe(state, parents=False) == ""
        link = tmp_path / "link"
        link.symlink_to(state)
        assert f"lies in {tmp_path / 'open'}" in unsafe(link)
        (tmp_path / "open").chmod(0o1777)
        assert unsafe(state) == ""


@pytest.mark.parametrize("command", ["run", "enrol"])
def test_no_agent_starts_in_an_unsafe_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """One line, the next step, and nothing is made."""
    tmp_path.chmod(0o777)
    words = (
        ["https://127.0.0.1:1", "--token-stdin", "--target-dir", "/x"] if command == "enrol" else []
    )
    assert app.main([command, *words, "--state-dir", str(tmp_path)]) == 3
    first, *more = capsys.readouterr().err.splitlines()
    assert (
        first == f"error: the state directory {tmp_path} can be written by other users (mode 0777)"
    )
    assert "chmod 700" in more[-1]
    assert not list(tmp_path.iterdir())
    assert check_host.directory(tmp_path).ok is False


class TestStagedProgram:
    """What a start may run of `STATE_DIR/agents`."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        tmp_path.chmod(0o700)
        (tmp_path / "agents").mkdir(mode=0o700)
        return tmp_path

    @staticmethod
    def staged(folder: Path, key: Ed25519PrivateKey) -> Program:
        path = folder / "agents" / "2.pyz"
        path.write_bytes(b"program")
        path.chmod(0o600)
        public = key.public_key().public_bytes_raw()
        release = AgentRelease(
            version="2",
            python="p",
            platform="q",
            size=7,
            sha256=launcher.sha256(path),
            key_id=wire.key_id(public),
        )
        release = msgspec.structs.replace(
            release, signature=wire.b64(key.sign(release_bytes(release)))
        )
        return Program(
            version="2",
            sha256=release.sha256,
            file="2.pyz",
            python="p",
            platform="q",
            release=release,
        )

    def test_a_signed_one_is_run(self, folder: Path) -> None:
        key = Ed25519PrivateKey.generate()
        release_keys.pin(
            folder,
            [base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")],
        )
        program = self.staged(folder, key)
        assert launcher._unusable(folder, program) == ""
        assert (
            msgspec.json.decode(
                msgspec.json.encode(TrialState(current=program)), type=TrialState
            ).current
            == program
        )

    def test_one_that_is_not_signed_by_a_pinned_key_is_not(self, folder: Path) -> None:
        key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        program = self.staged(folder, key)
        # without any key upgrades are off, and what runs stays
        assert launcher._unusable(folder, program) == ""
        release_keys.pin(
            folder,
            [base64.urlsafe_b64encode(other.public_key().public_bytes_raw()).decode().rstrip("=")],
        )
        assert "none of the pinned release keys" in launcher._unusable(folder, program)
        release_keys.pin(
            folder,
            [base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")],
        )
        assert launcher._unusable(folder, program) == ""
        assert "none of the pinned" in launcher._unusable(
            folder, msgspec.structs.replace(program, release=None)
        )

    def test_one_that_others_can_write_is_not(self, folder: Path) -> None:
        program = self.staged(folder, Ed25519PrivateKey.generate())
        path = folder / "agents" / "2.pyz"
        path.chmod(0o666)
        assert "can be written by other users" in launcher._unusable(folder, program)
        path.chmod(0o600)
        (folder / "agents").chmod(0o777)
        assert "can be written by other users" in launcher._unusable(folder, program)

    def test_one_elsewhere_or_with_other_bytes_is_not(self, folder: Path) -> None:
        program = self.staged(folder, Ed25519PrivateKey.generate())
        outside = folder / "2.pyz"
        outside.write_bytes(b"program")
        assert (
            launcher._unusable(folder, msgspec.structs.replace(program, file="../2.pyz"))
            == "its file is damaged"
        )
        (folder / "agents" / "2.pyz").unlink()
        assert launcher._unusable(folder, program) == "its file is damaged"
        (folder / "agents" / "2.pyz").symlink_to(outside)
        assert launcher._unusable(folder, program) == "its file is damaged"
        choice = Choice(program)
        state, left = launcher._usable(folder, TrialState(base="b", current=program), choice)
        assert (left.program, state.current) == (None, None)
