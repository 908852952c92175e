"""Scans that end badly or not at all: each is an error of its GitRepo, removes nothing and delays
no other.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import CommitId
from fleetctl.core.scan.scan import scan
from fleetctl.tools.isolation.fork_server import ForkServer, JobLimits
from manager.ingest import scan_job
from manager.service import Service
from manager.slots import FairSlots
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import MAP, add, run, scanned
from tests.support.trees import DictTree
from tests.support.waiting import until


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch):
    server = ForkServer("tests.support.processes.scan_jobs")
    monkeypatch.setattr(scan_job, "SERVER", server)
    monkeypatch.setattr(scan_job, "LIMITS", JobLimits(seconds=300.0, cpu=2))
    yield
    server.close()


async def failed(service: Service, name: str) -> dict[str, Any]:
    get = lambda: service.views.get_object("GitRepo", "fleet-default", name)  # noqa: E731
    return await until(get, lambda r: "the scan of" in str(r["status"]), seconds=120)


def test_scans_that_die_are_errors_of_their_gitrepos_and_remove_nothing(
    tmp_path: Path, clone: Clone, short_limits: None
) -> None:
    """One repository under five names; the names decide how its scan ends."""
    commit = clone.push({"web/m.yaml": MAP.format(name="web")})

    async def work(service: Service) -> None:
        await add(service, clone.url, "good")
        await scanned(service, commit, "good")
        for name in ("spin", "die", "raise", "sleep"):
            await add(service, clone.url, name)
        began = time.monotonic()
        second = await asyncio.to_thread(clone.push, {"web/m.yaml": MAP.format(name="web2")})
        await service.gitrepos.sync("fleet-default", "good")
        await scanned(service, second, "good")
        assert time.monotonic() - began < 60
        with_causes = {
            "spin": "needs more than 2 s of CPU time",
            "die": "was killed by SIGKILL",
            "raise": "AttributeError",
        }
        for name, cause in with_causes.items():
            repo = await failed(service, name)
            assert cause in str(repo["status"]), name
            assert repo["status"]["display"]["state"] not in {"Ready", "Active"}
        # It can be deleted, also while its scan runs.
        for name in ("spin", "sleep"):
            await service.objects.delete("GitRepo", "fleet-default", name)
            with pytest.raises(NotFound):
                await service.views.get_object("GitRepo", "fleet-default", name)

        async def watched() -> set[str]:
            return {name for _, name in service._scanner._watches}

        await until(watched, lambda names: names == {"good", "die", "raise"}, seconds=60)

    run(tmp_path / "data", work)


def test_a_repository_that_was_scanned_keeps_its_bundles_when_its_scan_dies(
    tmp_path: Path, clone: Clone, short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is scanned again when the scan works."""
    commit = clone.push({"web/m.yaml": MAP.format(name="web")})

    async def work(service: Service) -> None:
        await add(service, clone.url)
        await scanned(service, commit)
        monkeypatch.setattr(scan_job.SERVER, "module", "tests.support.no_such_module")
        scan_job.SERVER.close()
        second = await asyncio.to_thread(clone.push, {"web/m.yaml": MAP.format(name="other")})
        await service.gitrepos.sync("fleet-default", "apps")
        await failed(service, "apps")
        assert [b["metadata"]["name"] for b in await service.views.list_objects("Bundle")] == [
            "apps"
        ]
        monkeypatch.setattr(scan_job.SERVER, "module", "tests.support.processes.scan_jobs")
        scan_job.SERVER.close()
        await service.gitrepos.sync("fleet-default", "apps")
        repo = await scanned(service, second)
        assert "the scan of" not in str(repo["status"])

    run(tmp_path / "data", work)


def test_no_owner_takes_all_slots_and_free_ones_go_round() -> None:
    """24 requests of one owner delay another by nothing, and a third by one release."""

    async def work() -> list[str]:
        slots, order, release = FairSlots(4, 3), [], asyncio.Event()

        async def hold(owner: str) -> None:
            async with slots.hold(owner):
                order.append(owner)
                await release.wait()

        tasks = [asyncio.create_task(hold("many")) for _ in range(24)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(hold(owner)) for owner in ("b", "c", "b")]
        for _ in range(3):
            await asyncio.sleep(0)
        assert order == ["many", "many", "many", "b"]
        tasks[1].cancel()  # holds one
        tasks[10].cancel()  # waits
        await asyncio.sleep(0.01)
        assert order[4:] == ["c"]
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(order) == 26
        return order

    asyncio.run(work())


def test_a_bundle_that_takes_too_long_is_a_problem_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python code that never ends is interrupted after the CPU seconds of one bundle."""
    monkeypatch.setattr(scan_job, "BUNDLE_SECONDS", 0.1)

    class Endless(DictTree):
        def read(self, path: str) -> File:
            while path == "a/m.yaml":
                pass
            return super().read(path)

    tree = Endless({"a/m.yaml": "k: v", "b/m.yaml": "k: v"})
    repo = repo_spec({"metadata": {"name": "repo"}, "spec": {"repo": "x", "paths": ["a", "b"]}})
    got = scan(tree, repo, commit=CommitId("c" * 40), guard=scan_job._bundle_budget)
    assert [d.spec.path for d in got.drafts] == ["b"]
    assert "more than 0.1 s of CPU time" in got.problems[0].summary
