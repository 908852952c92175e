"""A damaged database is refused at the start; a full disk is reported and heals by itself."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import RefusedError, UnavailableError
from manager.service import Service
from manager.store import damage, engine
from tests.support.manager.real_service import add, enrol, run


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("used") / "data"

    async def work(service: Service) -> None:
        for number in range(20):
            await enrol(service, f"c{number}")

    run(folder, work)
    with sqlite3.connect(folder / "fleet.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return folder


async def nothing(service: Service) -> None:
    assert await service.ready() is None


@pytest.mark.parametrize("what", ["header", "page", "cut", "text"])
def test_a_damaged_database_is_refused_at_the_start(used: Path, tmp_path: Path, what: str) -> None:
    """With the file, the damage and the way to restore; it is not changed."""
    folder = Path(shutil.copytree(used, tmp_path / "data"))
    file = folder / "fleet.db"
    data = file.read_bytes()
    page = 4096 * (len(data) // 4096 // 2)
    damaged = {
        "header": b"x" * 100 + data[100:],
        "page": data[:4096] + b"\xff" * (len(data) - 4096),
        "cut": data[: page + 100],
        "text": b"this is no database at all" * 100,
    }[what]
    file.write_bytes(damaged)
    with pytest.raises(RefusedError, match="is damaged") as caught:
        run(folder, nothing)
    assert str(file) in caught.value.summary
    assert "backup" in caught.value.next_step
    assert file.read_bytes() == damaged


def test_a_large_database_is_checked_beside_the_start(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/readyz waits; when damage is found, writes are refused and reads go on."""
    folder = Path(shutil.copytree(used, tmp_path / "data"))
    monkeypatch.setattr(damage, "CHECK_AT_START_BYTES", 1)

    async def sound(service: Service) -> None:
        assert "checked" in str(await service.ready()) or await service.ready() is None
        assert service._store._check is not None
        await service._store._check
        assert await service.ready() is None

    run(folder, sound)
    started = threading.Event()
    monkeypatch.setattr(
        damage, "find", lambda _path: "page 7 is never used" if started.wait(20) else ""
    )

    async def broken(service: Service) -> None:
        started.set()
        assert service._store._check is not None
        await service._store._check
        assert "page 7" in str(await service.ready())
        with pytest.raises(UnavailableError, match="is damaged"):
            await add(service, "https://h.invalid/x.git")
        assert len(await service.views.list_objects("Cluster")) == 20
        service._store._damage = ""  # the stop saves what it has

    run(folder, broken)


def test_a_full_disk_is_not_ready_and_heals_by_itself(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads go on, each refused write says how much to free."""
    folder = Path(shutil.copytree(used, tmp_path / "data"))
    monkeypatch.setattr(engine, "_PROBE_SECONDS", 0.0)
    full = [False]

    async def work(service: Service) -> None:
        def touch(connection: Connection) -> None:
            if full[0]:
                raise sa.exc.OperationalError(
                    "", {}, sqlite3.OperationalError("database or disk is full")
                )
            connection.exec_driver_sql("SELECT 1")

        monkeypatch.setattr(engine, "_touch", touch)
        assert await service.ready() is None
        full[0] = True
        reason = str(await service.ready())
        assert "disk is full" in reason
        assert "64 MiB" in reason
        assert len(await service.views.list_objects("Cluster")) == 20
        full[0] = False
        assert await service.ready() is None

    run(folder, work)


def test_a_damage_check_of_a_missing_or_new_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "new.db").write_bytes(b"")
    assert damage.find(tmp_path / "missing.db") == damage.find(tmp_path / "new.db") == ""
