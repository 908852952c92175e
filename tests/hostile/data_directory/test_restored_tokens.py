"""Tokens that were revoked after a backup come back with it, and `epoch raise` lists or revokes
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager import app
from manager.service import Service
from tests.support.manager.real_service import run


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """`main` sets the umask of the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_epoch_raise_lists_the_tokens_of_a_backup_or_revokes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    values: list[str] = []

    async def before(service: Service) -> None:
        values.append((await service.tokens.create("ada", "admin", "", 86_400))[0])
        await service.agents.register(
            "fleet-default", "paris", labels={}, ttl_seconds=86_400, replace=False
        )

    async def valid(service: Service) -> None:
        assert await service.tokens.check(values[0]) is not None

    async def revoked(service: Service) -> None:
        assert await service.tokens.check(values[0]) is None
        assert await service.tokens.list() == []

    run(folder, before)
    assert app.main(["epoch", "raise", "--data-dir", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "epoch 1 is now 2" in out
    assert "ada" in out
    assert "fleet-default/paris" in out
    run(folder, valid)
    assert app.main(["epoch", "raise", "--data-dir", str(folder), "--revoke-tokens"]) == 0
    assert "tokens revoked: ada" in capsys.readouterr().out
    run(folder, revoked)
