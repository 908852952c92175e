"""Keys, database and CA that are missing, empty, foreign or readable by others."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from fleetctl.core.model.errors import Conflict, RefusedError, UsageError
from manager import app
from manager.config import Config, parse
from manager.security import admin_token, tls
from manager.security.signing import Signer
from manager.service import Service
from manager.store import data_directory
from manager.store.data_directory import (
    CA,
    CA_KEY,
    DATABASE,
    LOSSES,
    SECRET_KEY,
    SIGNING_KEY,
    Layout,
)

REQUIRED = (DATABASE, SIGNING_KEY, SECRET_KEY, CA, CA_KEY)


def start(folder: Path, *, accepted: tuple[str, ...] = (), crash: bool = False) -> Service:
    """All that `serve` does before it listens, and the stop. `crash`: ends before the first start
    is done.
    """

    async def main() -> Service:
        data_directory.prepare_data_dir(folder)
        data_directory.check(Layout(folder), accepted)
        config = Config(folder, accept_lost=accepted)
        app._identity(config)
        service = app._make_service(config, Signer.load_or_create(folder))
        assert isinstance(service, Service)
        await service.start()
        try:
            if not crash:
                await admin_token.ensure(service.tokens, folder)
                data_directory.first_start_done(folder)
        finally:
            await service.stop()
        return service

    return asyncio.run(main())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a manager that has run."""
    folder = tmp_path_factory.mktemp("used") / "data"
    start(folder)
    return folder


@pytest.fixture
def folder(used: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(used, tmp_path / "data"))


def test_a_used_directory_starts_again_with_the_same_keys(folder: Path) -> None:
    before = contents(folder)
    start(folder)
    after = contents(folder)
    assert {name: after[name] for name in REQUIRED[1:]} == {
        name: before[name] for name in REQUIRED[1:]
    }
    assert after["admin.token"] == before["admin.token"]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_file_is_an_error_that_names_the_backup(
    folder: Path, name: str, how: str
) -> None:
    """Nothing is created or changed."""
    (folder / name).unlink() if how == "missing" else (folder / name).write_bytes(b"")
    before = contents(folder)
    with pytest.raises(UsageError, match=how) as caught:
        start(folder)
    assert str(folder / name) in caught.value.summary
    assert "backup" in caught.value.next_step
    assert "--accept-lost" in caught.value.next_step
    assert contents(folder) == before


def test_a_directory_with_only_a_trace_of_an_earlier_manager_is_not_empty(folder: Path) -> None:
    for name in REQUIRED:
        (folder / name).unlink()
    with pytest.raises(UsageError, match="is missing"):
        start(folder)


@pytest.mark.parametrize("done", range(len(REQUIRED)))
def test_an_interrupted_first_start_goes_on(tmp_path: Path, done: int) -> None:
    """However many of the files were written."""
    folder = tmp_path / "data"
    start(folder, crash=True)
    # the order in which they are written
    for name in (CA_KEY, CA, SIGNING_KEY, SECRET_KEY, DATABASE)[done:]:
        (folder / name).unlink()
    start(folder)
    assert not data_directory.is_first_start(folder)
    before = contents(folder)
    start(folder)
    assert contents(folder)[SIGNING_KEY] == before[SIGNING_KEY]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_lost_file_can_be_given_up_by_name(folder: Path, name: str) -> None:
    """Only that one, missing or empty; the rest of a lost CA stays beside the new one."""
    (folder / name).write_bytes(b"") if name == SIGNING_KEY else (folder / name).unlink()
    old_ca = (folder / CA).read_bytes()
    other = next(other for other in sorted(LOSSES) if other != name)
    with pytest.raises(UsageError):
        start(folder, accepted=(other,))
    start(folder, accepted=(name,))
    start(folder)
    assert (
        ((folder / "tls" / "ca.pem.lost-1").read_bytes() == old_ca)
        if name == CA_KEY
        else (folder / CA).read_bytes() == old_ca
    )


@pytest.mark.parametrize("name", [SIGNING_KEY, SECRET_KEY])
def test_the_key_of_another_manager_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    start(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(RefusedError, match=f"{name} is not the key") as caught:
        start(folder)
    assert "backup" in caught.value.next_step
    start(folder, accepted=(name,))
    start(folder)


@pytest.mark.parametrize("which", ["missing", "foreign"])
def test_ca_pem_is_never_overwritten(folder: Path, tmp_path: Path, which: str) -> None:
    """Also when tls is asked directly, without the check before it."""
    (folder / CA_KEY).unlink()
    if which == "foreign":
        (tmp_path / "o").mkdir()
        tls.ensure_identity(tmp_path / "o", ["a"], now=tls.today())
        shutil.copy(tmp_path / "o" / CA_KEY, folder / CA_KEY)
    before = contents(folder)
    with pytest.raises(UsageError, match=r"ca\.key"):
        tls.ensure_identity(folder, ["a"], now=tls.today())
    assert contents(folder) == before


def test_keys_elsewhere_are_not_missed(tmp_path: Path) -> None:
    layout = Layout(tmp_path, own_secret_key=False, own_ca=False)
    assert layout.required() == (DATABASE, SIGNING_KEY)
    with pytest.raises(UsageError, match=r"'admin\.token' is not a valid value"):
        parse(["serve", "--data-dir", str(tmp_path), "--accept-lost", "admin.token"])


def test_an_administrator_can_always_get_in(folder: Path) -> None:
    """With a lost, worthless or expired token, while the manager runs or not; a valid one is not
    replaced.
    """
    now = 1_800_000_000.0
    file = folder / "admin.token"

    async def check(service: Service) -> str:
        person = await service.tokens.check(file.read_text().strip())
        assert person is not None
        assert (person.role, person.workspace) == ("admin", "")
        return person.name

    async def main() -> None:
        service = Service(folder, signer=Signer.load_or_create(folder), clock=lambda: now)
        await service.start()
        try:
            with pytest.raises(Conflict, match="is valid until"):
                await admin_token.create(folder, now=now)
            assert await service.tokens.check("wrong") is None
            for number in (2, 3):
                file.write_text("worthless\n")
                token = await admin_token.create(folder, now=now)
                assert token.name == f"admin-{number}"
                await asyncio.sleep(0.25)  # look-ups of unknown tokens are limited
                assert await check(service) == token.name
            assert file.stat().st_mode & 0o777 == 0o600
            for row in await service.tokens.list():
                await service.tokens.revoke(row["name"])
            assert await admin_token.ensure(service.tokens, folder)
            assert await check(service) == "admin"
        finally:
            await service.stop()

    asyncio.run(main())
    with pytest.raises(UsageError, match="does not exist"):
        asyncio.run(admin_token.create(folder / "nothing", now=now))


def test_what_others_may_read_is_closed_at_the_start(folder: Path) -> None:
    """The directory, keys and database of an older manager or a copy; new files are private by the
    umask of `main`.
    """
    for name in ("", *REQUIRED[:3], CA_KEY, "admin.token"):
        (folder / name).chmod(0o755 if (folder / name).is_dir() else 0o644)
    start(folder)
    open_to_others = [
        p for p in (folder, *folder.rglob("*")) if p.name != "ca.pem" and p.stat().st_mode & 0o077
    ]
    assert [p for p in open_to_others if p.is_file()] == []
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
@pytest.mark.parametrize("name", ["", SIGNING_KEY, DATABASE])
def test_a_foreign_owner_is_refused(folder: Path, name: str) -> None:
    os.chown(folder / name, 12345, 12345)
    with pytest.raises(RefusedError, match="belongs to user 12345") as caught:
        start(folder)
    assert "chown" in caught.value.next_step


def test_the_command_line_reports_each_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    umask = os.umask(0o022)
    try:
        (folder / SIGNING_KEY).unlink()
        status = app.main(["serve", "--data-dir", str(folder), "--listen", "127.0.0.1:0"])
        assert status == UsageError.exit_status
        error, _, next_step = capsys.readouterr().err.splitlines()[-3:]
        assert "signing.key is missing" in error
        assert "--accept-lost signing.key" in next_step
        (folder / "admin.token").unlink()
        assert app.main(["admin-token", "--data-dir", str(folder)]) == 0
        out = capsys.readouterr().out
        assert "valid until" in out
        assert (folder / "admin.token").read_text().strip() not in out
    finally:
        os.umask(umask)
