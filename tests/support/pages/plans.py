"""Plans over a real database without a manager: a fleet of rows, scans that are taken over, and
what a plan says of the next one.

`python -m tests.support.pages.plans` writes the expected texts of tests/conformance/plan anew.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.cli.commands.plan import _refusal
from fleetctl.cli.plan_display.markdown import markdown
from fleetctl.cli.plan_display.objects import Pictures, render_pictures
from fleetctl.cli.plan_display.text import print_plan
from fleetctl.core.documents.gitrepo import RepoSpec, repo_spec
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.ids import ClusterId, CommitId, Digest, Workspace
from fleetctl.core.rollout.impact import Plan
from fleetctl.core.scan.scan import finish, scan
from manager.clock import unix
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.plans.preview import preview_scan
from manager.plans.snapshot import Look
from manager.reconcile.reconcile import reconcile
from manager.rollout import batches
from manager.rollout import schedules as windows
from manager.service import _first_rows
from manager.store import migrate
from manager.store.schema import bundles, clusters, deployments, objects, repos, rollouts
from tests.support.trees import DictTree

ROOT = Path(__file__).parents[2] / "conformance" / "plan"
NOW = "2026-03-01T10:00:00Z"
SPACE = "fleet-default"
ALL = [{"name": "all", "clusterSelector": {}}]


class World:
    """One workspace in a database in memory. Commits are named by letters, so that texts read
    well.
    """

    def __init__(self) -> None:
        self._engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        self.connection: Connection = self._engine.connect()
        migrate.up(self.connection, "memory")
        _first_rows(self.connection, NOW)
        self.archives: dict[Digest, bytes] = {}
        self.silent: set[str] = set()
        self._commits = 0

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()

    def clusters(self, many: list[tuple[str, Mapping[str, str], Mapping[str, Any]]]) -> None:
        rows = [
            {
                "id": f"id-{name}",
                "workspace": SPACE,
                "name": name,
                "uid": name,
                "generation": 1,
                "created_at": NOW,
                "labels": msgspec.json.encode(labels),
                "annotations": b"{}",
                "spec": msgspec.json.encode(spec),
            }
            for name, labels, spec in many
        ]
        self.connection.execute(sa.insert(clusters), rows)

    def group(self, name: str, selector: Mapping[str, Any]) -> None:
        head = {
            "kind": "ClusterGroup",
            "workspace": SPACE,
            "name": name,
            "uid": name,
            "generation": 1,
            "created_at": NOW,
        }
        body = {
            "labels": b"{}",
            "annotations": b"{}",
            "spec": msgspec.json.encode({"selector": selector}),
            "extra": b"{}",
        }
        self.connection.execute(sa.insert(objects), head | body)

    def schedule(self, name: str, spec: Mapping[str, Any]) -> None:
        head = {
            "kind": "Schedule",
            "workspace": SPACE,
            "name": name,
            "uid": name,
            "generation": 1,
            "created_at": NOW,
        }
        body = {
            "labels": b"{}",
            "annotations": b"{}",
            "spec": msgspec.json.encode(spec),
            "extra": b"{}",
        }
        self.connection.execute(sa.insert(objects), head | body)
        windows.apply_schedule_change(self.connection, Workspace(SPACE))

    def health(self, cluster: ClusterId) -> str:
        return "offline" if cluster.removeprefix("id-") in self.silent else "heard"

    def repo(self, **spec: Any) -> RepoSpec:
        spec = {"repo": "https://git.example/apps", "targets": ALL, **spec}
        return repo_spec({"metadata": {"name": "apps", "namespace": SPACE}, "spec": spec})

    def scanned(self, files: Mapping[str, str], repo: RepoSpec) -> CompletedScan:
        self._commits += 1
        commit = CommitId(chr(96 + self._commits) * 40)
        found = scan(DictTree(files), repo, commit=commit)
        built = [finish(draft, {}) for draft in found.drafts]
        self.archives |= {b.spec.archive: b.archive for b in built}
        return CompletedScan(commit, [b.spec for b in built], found.problems, found.warnings)

    def take(
        self, taken: CompletedScan, repo: RepoSpec, *, confirmed: tuple[int, str] | None = None
    ) -> Any:
        """As the scanner does; what is held, or None."""
        if (
            self.connection.execute(
                sa.select(repos.c.name).where(repos.c.name == repo.name)
            ).first()
            is None
        ):
            self.connection.execute(sa.insert(repos), {"workspace": SPACE, "name": repo.name})
        held = apply_scan(self.connection, repo, 1, taken, confirmation=confirmed, now=NOW)[1]
        # what goes to very many clusters is written down in parts
        for place in batches.every(self.connection):
            while batches.go_on(self.connection, place, unix(NOW), reconcile)[1]:
                pass
        return held

    def settle(self) -> None:
        """Every cluster was told what is staged, has applied it and is Ready; removals are done;
        rollouts are over.
        """
        d = deployments.c
        self.connection.execute(sa.delete(deployments).where(d.is_removed))
        self.connection.execute(sa.update(deployments).where(d.generation < 1).values(generation=1))
        values = {
            "state": "Ready",
            "staged_key": "",
            "applied_generation": d.generation,
            "reported_generation": d.generation,
        }
        self.connection.execute(sa.update(deployments).values(**values))
        self.connection.execute(
            sa.update(rollouts).values(phase="Completed", unsent_count=0, dirty=0)
        )

    def plan(self, taken: CompletedScan, repo: RepoSpec) -> Plan:
        return preview_scan(self.connection, repo, taken, Look(self.health, NOW))

    def render_pictures(self, plan: Plan) -> Pictures:
        return render_pictures(plan, self.archives.__getitem__)


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`count` clusters called `name` and a number, or one called `name`."""

    name: str
    count: int = 0
    labels: dict[str, str] = {}
    values: dict[str, Any] = {}
    paused: bool = False
    silent: bool = False

    def each(self) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, Any]]]:
        spec: dict[str, Any] = ({"templateValues": self.values} if self.values else {}) | (
            {"paused": True} if self.paused else {}
        )
        names = (
            [f"{self.name}-{n:05}" for n in range(1, self.count + 1)] if self.count else [self.name]
        )
        yield from ((name, self.labels, spec) for name in names)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`before` and `after`: path to text; `after` is what differs, null for a file that goes.
    `pinned` and `paused`: bundle to why. `gitrepo`: its spec before, `gitrepo_after` what of it
    differs.
    """

    about: str
    clusters: list[Group]
    groups: dict[str, dict[str, Any]] = {}
    gitrepo: dict[str, Any] = msgspec.field(default_factory=lambda: {"paths": ["*"]})
    gitrepo_after: dict[str, Any] = {}
    before: dict[str, str]
    after: dict[str, str | None]
    pinned: dict[str, str] = {}
    schedules: dict[str, dict[str, Any]] = {}
    paused: dict[str, str] = {}
    agreed: int | None = None
    markdown: bool = False


def scenarios() -> list[Path]:
    return sorted(path.parent for path in ROOT.glob("*/scenario.yaml"))


def outcome(folder: Path) -> dict[str, str]:
    """File name to text: what a person would read."""
    path = folder / "scenario.yaml"
    case = msgspec.convert(load(path.read_bytes(), file=str(path)), Scenario)
    world = World()
    try:
        plan, pictures = _played(world, case)
    finally:
        world.close()
    refused = _refusal(plan, case.agreed)
    found = {"plan.txt": _text(plan, pictures, refused)}
    if case.markdown:
        found["plan.md"] = markdown(plan, pictures, refused)
    return found


def _played(world: World, case: Scenario) -> tuple[Plan, Pictures]:
    for group in case.clusters:
        world.clusters(list(group.each()))
        world.silent |= {name for name, *_ in group.each() if group.silent}
    for name, selector in case.groups.items():
        world.group(name, selector)
    for name, spec in case.schedules.items():
        world.schedule(name, spec)
    repo, later = world.repo(**case.gitrepo), world.repo(**{**case.gitrepo, **case.gitrepo_after})
    world.take(world.scanned(case.before, repo), repo)
    world.settle()
    for name, why in case.pinned.items():
        world.connection.execute(
            sa.update(bundles)
            .where(bundles.c.name == name)
            .values(pinned_revision=1, pin_reason=why)
        )
    for name, why in case.paused.items():
        head = {
            "workspace": SPACE,
            "bundle": name,
            "version": 1,
            "started_at": NOW,
            "phase": "Paused",
            "reason": why,
        }
        world.connection.execute(sa.insert(rollouts).prefix_with("OR REPLACE"), head)
    files = {**case.before, **case.after}
    plan = world.plan(
        world.scanned({path: text for path, text in files.items() if text is not None}, later),
        later,
    )
    return plan, world.render_pictures(plan)


def _text(plan: Plan, pictures: Pictures, refused: str) -> str:
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept):
        print_plan(plan, pictures)
    said = [
        *(f"hint: {hint}" for hint in pictures.hints),
        *(f"error: {p.summary}" for p in plan.problems),
    ]
    said += [f"refused: {refused}"] if refused else []
    return kept.getvalue() + "".join(f"{line}\n" for line in said)


def main() -> None:
    for folder in scenarios():
        for name, text in outcome(folder).items():
            (folder / name).write_text(text, "utf-8")
            sys.stdout.write(f"{folder.name}/{name}\n")


if __name__ == "__main__":
    main()
