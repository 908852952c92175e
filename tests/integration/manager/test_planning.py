"""Plans through the real service and a real Git server: what they say is what then happens, and
they store nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetctl.cli.commands import plan as planning
from fleetctl.core.formats.bundle_archive import archive_digest, unpack
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import BundleName, Digest, Workspace
from fleetctl.core.rollout.impact import Plan, What
from manager.api.routes import plans as api_planning
from manager.plans.planner import PlanQuery
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import ALL, MAP, add, gitrepo, scanned, serving
from tests.support.rollouts.simulated_agents import Agents

SPACE = "fleet-default"
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: new}\nspec: {ports: [{port: 80}], selector:"
    " {app: new}}\n"
)


def run(folder: Path, work: Callable[[Service, Agents], Any]) -> None:
    async def main() -> None:
        async with serving(folder) as service:
            await work(service, Agents(service))

    asyncio.run(main())


def branch(clone: Clone, name: str, files: dict[str, str | bytes | None]) -> str:
    """A commit on a branch of its own; `main` and the working folder stay as they are."""
    clone.git("checkout", "--quiet", "-b", name)
    for path, content in files.items():
        place = clone.folder / path
        if content is None:
            place.unlink()
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "-m", name)
    clone.git("push", "--quiet", "origin", f"HEAD:{name}")
    commit = clone.git("rev-parse", "HEAD")
    clone.git("checkout", "--quiet", "-")
    return commit


def said(plan: Plan) -> dict[str, list[tuple[str, int, list[str]]]]:
    return {i.bundle: [(g.what.value, g.clusters, g.why) for g in i.groups] for i in plan.bundles}


def test_a_branch_is_planned_then_merged_and_does_what_the_plan_said(
    tmp_path: Path, clone: Clone
) -> None:
    """A change, a new bundle and a bundle that goes, on two clusters; nothing is stored by the
    plan; its archives can be fetched.
    """
    files = {f"{name}/m.yaml": MAP.format(name=name) for name in ("web", "db", "old")}

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        first = clone.push(files)
        await add(service, clone.url, paths=["*"])
        await scanned(service, first)
        before = await service.views.list_objects("BundleDeployment")
        commit = branch(
            clone,
            "next",
            {"web/m.yaml": MAP.format(name="other"), "new/m.yaml": SERVICE, "old/m.yaml": None},
        )
        plan = await service.plans.plan(PlanQuery(SPACE, "apps", branch="next"))
        assert (plan.commit, plan.before, plan.ref) == (commit, first, "branch next")
        assert said(plan) == {
            "apps-new": [("added", 2, [])],
            "apps-old": [("removed", 2, [])],
            "apps-web": [("changed", 2, ["files"])],
        }
        assert (
            plan.unchanged,
            plan.clusters,
            plan.removals.deployments,
            plan.removals.refused,
        ) == (1, 2, 2, "")
        assert await service.views.list_objects("BundleDeployment") == before
        again = await service.plans.plan(PlanQuery(SPACE, "apps", commit=commit))
        assert again == msgspec.structs.replace(plan, ref=f"commit {commit[:12]}")
        web = next(i for i in plan.bundles if i.bundle == "apps-web").groups[0]
        assert web.old
        assert web.new
        for side, name in ((web.old, "web"), (web.new, "other")):
            data = (await service.plans.archive_path(SPACE, side.archive)).read_bytes()
            assert archive_digest(data) == side.archive
            assert unpack(data)["m.yaml"].data == MAP.format(name=name).encode()
        with pytest.raises(NotFound, match="no such archive"):
            await service.plans.archive_path("other", web.new.archive)
        with pytest.raises(NotFound, match="no such archive"):
            await service.plans.archive_path(None, Digest("0" * 64))
        clone.git("merge", "--quiet", "next")
        merged = clone.push({})
        await scanned(service, merged)
        now = {
            (i["spec"]["cluster"], i["spec"]["bundle"]): i["spec"]["archive"]
            for i in await service.views.list_objects("BundleDeployment")
        }
        assert now["a", "apps-web"] == now["b", "apps-web"] == web.new.archive
        assert {bundle for _, bundle in now} >= {"apps-new", "apps-web", "apps-db"}
        assert not (await service.plans.plan(PlanQuery(SPACE, "apps"))).changes

    run(tmp_path / "m", work)


def test_a_gitrepo_that_does_not_exist_yet_and_one_with_other_targets(
    tmp_path: Path, clone: Clone
) -> None:
    """A document is planned as `apply` would make it; without one there must be such a GitRepo; an
    unknown branch names those there are.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", env="prod")
        await agents.join("b", env="test")
        clone.push({"web/m.yaml": MAP.format(name="web")})
        with pytest.raises(NotFound, match="no GitRepo apps"):
            await service.plans.plan(PlanQuery(SPACE, "apps"))
        plan = await service.plans.plan(
            PlanQuery(SPACE, "apps", document=gitrepo(clone.url, targets=ALL))
        )
        assert said(plan) == {"apps": [("added", 2, [])]}
        await add(service, clone.url)
        await scanned(service, plan.commit)
        prod = [{"name": "prod", "clusterSelector": {"matchLabels": {"env": "prod"}}}]
        plan = await service.plans.plan(
            PlanQuery(SPACE, "apps", document=gitrepo(clone.url, targets=prod))
        )
        assert [(g.what, g.names, g.why) for g in plan.bundles[0].groups] == [
            (What.REMOVED, ["b"], []),
            (What.TOLD, ["a"], ["target"]),
        ]
        assert plan.bundles[0].groups[0].held == "last"
        assert (plan.removals.emptied, plan.removals.refused) == (
            ["b"],
            "apps would be removed from 1 of 2 clusters",
        )
        with pytest.raises(NotFound, match="no branch nxet"):
            await service.plans.plan(PlanQuery(SPACE, "apps", branch="nxet"))

    run(tmp_path / "m", work)


def test_a_broken_file_is_a_problem_and_removes_nothing(tmp_path: Path, clone: Clone) -> None:
    """With file and line; what can be made of the rest is planned, and no bundle goes."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await add(service, clone.url, paths=["*"])
        await scanned(
            service,
            clone.push({"web/m.yaml": MAP.format(name="web"), "db/m.yaml": MAP.format(name="db")}),
        )
        branch(
            clone,
            "bad",
            {"web/fleet.yaml": "helm:\n  vlaues: {}\n", "db/m.yaml": MAP.format(name="x")},
        )
        plan = await service.plans.plan(PlanQuery(SPACE, "apps", branch="bad"))
        assert [p.summary.partition(": ")[0] for p in plan.problems] == ["web/fleet.yaml:2:3"]
        assert said(plan) == {"apps-db": [("changed", 1, ["files"])]}

    run(tmp_path / "m", work)


def local_plan(clone: Clone, revision: str) -> PlanQuery:
    """The request of `fleetctl plan --local CLONE@REVISION`, as the manager reads it."""
    document = gitrepo(clone.url, targets=ALL, paths=["*"])
    scan = planning._scan_local_folder(
        {"workspace": SPACE, "gitrepo": "apps"}, document, f"{clone.folder}@{revision}", {}
    )
    request = api_planning._read(msgspec.json.encode(scan.request))
    return PlanQuery(
        SPACE,
        "apps",
        specs=request.bundles,
        problems=request.problems,
        warnings=request.warnings,
        unread=request.unread,
    )


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"web/m.yaml": None, "web/fleet.yaml": "namespace: web\n"}, "web holds no file to deploy"),
        ({"web/fleet.yaml": "helm: {repo: 'https://charts.example'}\n"}, "helm.repo"),
        ({"web/.fleetignore": "*\n"}, "web holds no file to deploy"),
    ],
    ids=["emptied", "broken", "ignored"],
)
def test_a_plan_of_a_folder_has_the_problems_of_the_managers_scan(
    tmp_path: Path, clone: Clone, files: dict[str, str | bytes | None], reason: str
) -> None:
    """A directory that holds nothing to deploy any more, or that cannot be read, is a problem; its
    bundle is not removed.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await add(service, clone.url, paths=["*"])
        await scanned(
            service,
            clone.push({"web/m.yaml": MAP.format(name="web"), "db/m.yaml": MAP.format(name="db")}),
        )
        commit = branch(clone, "next", files)
        by_manager = await service.plans.plan(PlanQuery(SPACE, "apps", branch="next"))
        by_folder = await service.plans.plan(await asyncio.to_thread(local_plan, clone, commit))
        assert any(reason in p.summary for p in by_folder.problems), by_folder.problems
        assert by_folder.removals.deployments == 0
        assert by_folder.bundles == by_manager.bundles == []
        assert (by_folder.problems, by_folder.warnings) == (
            by_manager.problems,
            by_manager.warnings,
        )

    run(tmp_path / "m", work)


def test_what_no_scan_makes_is_refused(tmp_path: Path, clone: Clone) -> None:
    """Bundles that were scanned elsewhere are looked at: their names, their archives, and how much
    work they are.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await add(service, clone.url)
        await scanned(service, clone.push({"m.yaml": MAP.format(name="web")}))
        good = BundleSpec(
            workspace=Workspace("x"),
            name=BundleName("apps-new"),
            archive=Digest("0" * 64),
            targets=[Target(cluster_selector={})],
        )
        plan = await service.plans.plan(PlanQuery(SPACE, "apps", specs=[good]))
        assert said(plan) == {"apps": [("removed", 1, [])], "apps-new": [("added", 1, [])]}
        bad = [
            {"name": "../x"},
            {"archive": "x"},
            {"targets": [Target()] * 2001},
            {"targets": [Target(cluster_selector={"matchExpressions": [{}]})]},
        ]
        for other in bad:
            with pytest.raises(UsageError):
                await service.plans.plan(
                    PlanQuery(SPACE, "apps", specs=[msgspec.structs.replace(good, **other)])
                )

    run(tmp_path / "m", work)


def test_a_bundle_that_says_what_it_was_is_no_removal(tmp_path: Path, clone: Clone) -> None:
    """movedFrom: the plan says that nothing is deployed again where only the name changes, and so
    it happens.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await add(service, clone.url, paths=["*"])
        await scanned(
            service,
            clone.push({"db/m.yaml": MAP.format(name="db"), "web/m.yaml": MAP.format(name="web")}),
        )
        await agents.poll()
        files = {
            "db/m.yaml": None,
            "data/m.yaml": MAP.format(name="db"),
            "data/fleet.yaml": "movedFrom: apps-db\n",
        }
        commit = branch(clone, "next", files)
        plan = await service.plans.plan(PlanQuery(SPACE, "apps", branch="next"))
        assert said(plan) == {"apps-data": [("told", 2, ["name"])]}
        assert (plan.bundles[0].what, [w.code for w in plan.bundles[0].waits]) == (
            What.TOLD,
            ["moved"],
        )
        assert (plan.removals.deployments, plan.removals.refused) == (0, "")
        branch(clone, "more", files | {"data/m.yaml": MAP.format(name="other")})
        plan = await service.plans.plan(PlanQuery(SPACE, "apps", branch="more"))
        assert said(plan) == {"apps-data": [("changed", 2, ["files"])]}
        clone.git("merge", "--quiet", "next")
        await scanned(service, clone.push({}))
        now = {
            (i["spec"]["cluster"], i["spec"]["bundle"])
            for i in await service.views.list_objects("BundleDeployment")
        }
        assert {(c, "apps-data") for c in "ab"} <= now
        assert commit

    run(tmp_path / "m", work)
