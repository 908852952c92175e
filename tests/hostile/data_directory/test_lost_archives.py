"""An archive that is gone from the manager's disk, or damaged there, is built again by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetctl.core.model.errors import UnavailableError
from fleetctl.core.model.ids import Digest
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import MAP, add, desired, enrol, run, scanned


def test_a_lost_or_damaged_archive_is_built_again(tmp_path: Path, clone: Clone) -> None:
    """Of the newest commit and of an older one; the agent gets 503 meanwhile; housekeeping needs no
    agent.
    """
    first = clone.push({"m.yaml": MAP.format(name="a")})

    async def work(service: Service) -> None:
        await add(service, clone.url)
        cluster = await enrol(service, "one")
        await scanned(service, first)
        digests = [Digest((await desired(service, cluster)).bundles[0].archive)]
        second = clone.push({"m.yaml": MAP.format(name="b")})
        await scanned(service, second)
        digests.append(Digest((await desired(service, cluster)).bundles[0].archive))
        path = await service.agents.archive_path(cluster, digests[1])
        whole = path.read_bytes()
        for damage in (
            path.unlink,
            lambda: path.write_bytes(b"x" + whole[1:]),
            lambda: path.write_bytes(whole[:-1]),
        ):
            damage()
            with pytest.raises(UnavailableError, match="being built again") as caught:
                await service.agents.archive_path(cluster, digests[1])
            assert caught.value.http_status == 503
            await asyncio.gather(*service._restorer._tasks.values())
            assert path.read_bytes() == whole
            assert await service.agents.archive_path(cluster, digests[1]) == path
        for digest in digests:
            service._archives.path(digest).unlink()
        await service._restorer.restore_missing([*digests, "", "0" * 64])
        assert [service._archives.is_intact(digest) for digest in digests] == [True, True]

    run(tmp_path / "data", work)
