"""Plans: what a commit, a branch or somebody's working copy would change. Reading only; nothing
that a plan makes is kept but archives.

Rule: the archives of a plan are temporary: on the disk for the grace of every archive that nothing
names, and given only to who may read the workspace that they were made for. One plan at a time uses
the database, so that a reader is always left for the agents.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec, repo_spec
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import (
    ClusterId,
    CommitId,
    Digest,
    RepoName,
    Workspace,
    is_digest,
    is_name,
)
from fleetctl.core.rollout.impact import Plan
from fleetctl.core.scan.problems import ScanProblem, limit_warnings
from fleetctl.sources.git import repository

from ..clock import Clock, rfc3339
from ..ingest.apply_scan import CompletedScan
from ..ingest.scanner import Scanner
from ..presence import PresenceTable
from ..slots import FairSlots
from ..store.archives import Archives
from ..store.engine import Store
from ..store.queries.ingest.archives import is_archive_referenced
from ..validation import check_document
from .preview import preview_scan
from .snapshot import Look

_AT_ONCE = 2
_MOST_ARCHIVES = 20_000
# Of one plan: who may only read must not keep the database busy for ever.
_SECONDS = 120.0
_MOST_RULES = 2_000  # targets and customizations of a bundle that was scanned elsewhere


@dataclass(frozen=True)
class PlanQuery:
    """A plan for the GitRepo `name`: of a `branch` or a `commit`, else of what it follows; as
    `document` says, when one is given. `specs`, when not None, were scanned elsewhere, with the
    `problems`, `warnings` and `unread` paths of that scan.
    """

    workspace: str
    name: str
    branch: str = ""
    commit: str = ""
    document: Mapping[str, Any] | None = None
    specs: list[BundleSpec] | None = None
    problems: list[ScanProblem] = field(default_factory=list)
    warnings: list[ScanProblem] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return (
            f"branch {self.branch}"
            if self.branch
            else f"commit {self.commit[:12]}"
            if self.commit
            else ""
        )


class Planner:
    def __init__(
        self, store: Store, live: PresenceTable, archives: Archives, scanner: Scanner, clock: Clock
    ) -> None:
        self._store, self._live, self._archives, self._scanner, self._clock = (
            store,
            live,
            archives,
            scanner,
            clock,
        )
        self._slots, self._reading = FairSlots(_AT_ONCE, 1), asyncio.Semaphore(1)
        # (workspace, digest) that only a plan knows
        self._plan_archives: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def plan(self, query: PlanQuery) -> Plan:
        """Raises NotFound, UsageError, DeadlineError, and what Git has against it."""
        async with self._slots.hold(query.workspace):
            repo, scan = await self._scan(query)
            plan = await self._compute_plan(repo, scan)
        return msgspec.structs.replace(plan, ref=query.ref)

    async def _compute_plan(self, repo: RepoSpec, scan: CompletedScan) -> Plan:
        await self._live.wait_loaded()
        now = self._clock()

        def health(cluster: ClusterId) -> str:
            return self._live.health(cluster, now)

        async def read() -> Plan:
            async with self._reading:
                end = time.monotonic() + _SECONDS
                look = Look(health, rfc3339(now), lambda: has_ended or time.monotonic() > end)
                return await self._store.read(lambda c: preview_scan(c, repo, scan, look))

        # A reader's thread cannot be cancelled. It keeps its place until it ends: plans of callers
        # that have gone would take all readers.
        has_ended = False
        reading = asyncio.ensure_future(read())
        reading.add_done_callback(_retrieve)
        try:
            return await asyncio.shield(reading)
        finally:
            has_ended = True

    async def _scan(self, query: PlanQuery) -> tuple[RepoSpec, CompletedScan]:
        document = _document(query)
        if query.specs is not None:
            repo = repo_spec(document) if document else _anonymous_repo(query)
            specs = [_check_spec(spec, query) for spec in query.specs]
            commit = CommitId(query.commit)
            return repo, CompletedScan(
                commit, specs, query.problems, limit_warnings(query.warnings), query.unread
            )
        ref = repository.Ref(query.branch, query.commit) if query.branch or query.commit else None
        repo, scan = await self._scanner.look((query.workspace, query.name), ref, document)
        for spec in scan.specs:
            self._plan_archives[query.workspace, spec.archive] = None
            self._plan_archives.move_to_end((query.workspace, spec.archive))
        while len(self._plan_archives) > _MOST_ARCHIVES:
            self._plan_archives.popitem(last=False)
        return repo, scan

    async def archive_path(self, workspace: str | None, digest: Digest) -> Path:
        """Of a bundle of `workspace` (None: any), or of a plan for it. Raises NotFound."""
        is_known = is_digest(digest) and (
            any(
                (w, digest) in self._plan_archives
                for w in ([workspace] if workspace else {w for w, _ in self._plan_archives})
            )
            or await self._store.read(lambda c: is_archive_referenced(c, workspace, digest))
        )
        path = self._archives.path(digest) if is_known else Path()
        if not is_known or not await asyncio.to_thread(path.is_file):
            raise NotFound(
                "no such archive",
                subject=f"archive {digest[:12]}",
                next_step="Make the plan again.",
            )
        return path


def _retrieve(reading: asyncio.Future[Plan]) -> None:
    """The error of a plan whose caller has gone is nobody's."""
    if not reading.cancelled():
        reading.exception()


def _document(query: PlanQuery) -> dict[str, Any] | None:
    """The GitRepo, in the workspace and under the name that were checked. Raises UsageError."""
    if query.document is None:
        return None
    meta = query.document.get("metadata") or {}
    if (
        query.document.get("kind") != "GitRepo"
        or not isinstance(meta, dict)
        or not is_name(query.name)
    ):
        raise UsageError(
            "the document is no GitRepo with a name",
            subject="document",
            next_step="Give a document with `kind: GitRepo`.",
        )
    document = {
        **query.document,
        "metadata": {**meta, "name": query.name, "namespace": query.workspace},
    }
    check_document("GitRepo", query.workspace, query.name, document)
    return document


def _anonymous_repo(query: PlanQuery) -> RepoSpec:
    """Of bundles that were scanned elsewhere only whose they are matters."""
    return RepoSpec(
        workspace=Workspace(query.workspace), name=RepoName(query.name), spec=GitRepoSpec(repo="")
    )


def _check_spec(spec: BundleSpec, query: PlanQuery) -> BundleSpec:
    """Raises UsageError for what no scan makes."""
    if not is_name(spec.name) or not is_digest(spec.archive):
        step = "Send the result of a scan."
        raise UsageError(
            f"{spec.name[:80]!r} is no bundle with an archive", subject="bundles", next_step=step
        )
    if len(spec.targets) + len(spec.customizations) > _MOST_RULES:
        summary = f"bundle {spec.name} has more than {_MOST_RULES} targets and customizations"
        raise UsageError(
            summary,
            subject=f"bundle {spec.name}",
            next_step="Use fewer, with selectors, or plan a branch.",
        )
    return msgspec.structs.replace(
        spec, workspace=Workspace(query.workspace), repo=RepoName(query.name)
    )
