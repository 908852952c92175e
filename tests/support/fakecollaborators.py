"""The parts of the manager that the routes call, in the form that a `FakeService` answers.

Each class overrides the methods that routes use, so that a type check compares their parameters
with those of the real part. A method that is not overridden fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.ids import ClusterId, Digest
from fleetctl.core.rollout.impact import Plan
from manager.agents.agent_releases import AgentReleases, ReleaseDocuments
from manager.agents.agent_upgrades import AgentUpgrades, UpgradeRequest
from manager.agents.desired_state import SignedDocument
from manager.agents.requests import AgentRequests, Registration
from manager.api.collaborators import Collaborators
from manager.commands.corrections import Corrector
from manager.commands.gitrepos import GitRepoCommands
from manager.commands.objects import ObjectCommands, Put
from manager.commands.removals import Labels, RemovalCommands
from manager.commands.rollback import RollbackRequest, RollbackResult
from manager.commands.rollout_control import RolloutControl
from manager.fleet_views import FleetViews
from manager.plans.planner import Planner, PlanQuery
from manager.security.tokens import Person, Tokens
from manager.views.metadata import ListFilter
from manager.views.pages import ListPage, PageRequest

if TYPE_CHECKING:
    from tests.support.manager.fake_service import FakeService

Document = dict[str, Any]


class FakeViews(FleetViews):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def list_objects(
        self,
        kind: str,
        *,
        workspace: str | None = None,
        selector: str = "",
        cluster: str = "",
        repo: str = "",
        bundle: str = "",
        states: Sequence[str] = (),
    ) -> list[Document]:
        return await self._fake.list_objects(
            kind,
            workspace=workspace,
            states=states,
            selector=selector,
            cluster=cluster,
            repo=repo,
            bundle=bundle,
        )

    async def list_page(self, kind: str, filters: ListFilter, request: PageRequest) -> ListPage:
        items = await self._fake.list_objects(
            kind,
            workspace=filters.workspace,
            states=filters.states,
            selector=filters.selector,
            cluster=filters.cluster,
            repo=filters.repo,
            bundle=filters.bundle,
        )
        start = int(request.token or 0)
        end = start + request.limit
        token = str(end) if end < len(items) else ""
        return ListPage(items[start:end], token, len(items) - end if token else None)

    async def get_object(self, kind: str, workspace: str, name: str) -> Document:
        return await self._fake.get_object(kind, workspace, name)

    async def list_workspaces(self) -> list[str]:
        return await self._fake.list_workspaces()

    async def status(self, workspace: str | None) -> Document:
        return await self._fake.status(workspace)

    async def metrics(self) -> dict[str, float]:
        return await self._fake.metrics()

    async def explain(self, workspace: str, *, cluster: str, bundle: str, name: str) -> Document:
        return await self._fake.why(workspace, cluster=cluster, bundle=bundle, name=name)

    async def list_rollouts(self, workspace: str | None, bundle: str = "") -> list[Document]:
        return await self._fake.list_rollouts(workspace, bundle)

    async def bundle_history(self, workspace: str, bundle: str) -> list[Document]:
        return await self._fake.bundle_history(workspace, bundle)

    async def bundle_decisions(self, workspace: str, bundle: str) -> list[Document]:
        return await self._fake.bundle_decisions(workspace, bundle)

    async def cluster_history(
        self, workspace: str, cluster: str, bundle: str = ""
    ) -> list[Document]:
        return await self._fake.cluster_history(workspace, cluster, bundle)

    async def wait_change(self, since: int, seconds: float) -> int:
        return await self._fake.changes(since, seconds)


class FakeObjects(ObjectCommands):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def put(
        self, kind: str, workspace: str, name: str, document: Document, *, dry_run: bool = False
    ) -> Put:
        return await self._fake.put_object(kind, workspace, name, document, dry_run=dry_run)

    async def patch_labels(
        self, kind: str, workspace: str, name: str, changes: Mapping[str, str | None]
    ) -> Document:
        return await self._fake.patch_labels(kind, workspace, name, dict(changes))

    async def removal(self, kind: str, workspace: str, name: str) -> Document:
        return await self._fake.removal(kind, workspace, name)

    async def delete(
        self, kind: str, workspace: str, name: str, *, uninstall: bool = False
    ) -> Document:
        return await self._fake.delete_object(kind, workspace, name, uninstall=uninstall)


class FakeGitRepos(GitRepoCommands):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def sync(self, workspace: str, name: str) -> None:
        await self._fake.sync(workspace, name)

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        await self._fake.confirm(workspace, name, removals, commit)


class FakeRollouts(RolloutControl):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def command(
        self, workspace: str, bundle: str, verb: str, reason: str, who: str = ""
    ) -> dict[str, object]:
        return await self._fake.command_rollout(workspace, bundle, verb, reason, who)

    async def go_back(
        self, workspace: str, bundle: str, ask: RollbackRequest, *, dry_run: bool = False
    ) -> RollbackResult:
        return await self._fake.go_back(workspace, bundle, ask, dry_run=dry_run)


class FakeCorrections(Corrector):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def correct(
        self, workspace: str, bundle: str, names: Sequence[str], selector: str
    ) -> Document:
        return await self._fake.correct_drift(workspace, bundle, names, selector)


class FakeRemovals(RemovalCommands):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def list_held(self, workspace: str | None) -> list[Document]:
        return await self._fake.held_removals(workspace)

    async def confirm(
        self, workspace: str, bundle: str, removals: int, digest: str = ""
    ) -> Document:
        return await self._fake.confirm_held(workspace, bundle, removals, digest)

    async def move(
        self, workspace: str, old: str, new: str, *, taken_back: bool = False
    ) -> Document:
        return await self._fake.bundle_moved(workspace, old, new, taken_back=taken_back)

    async def label(self, labels: Labels) -> Document:
        return await self._fake.label_clusters(labels)


class FakePlans(Planner):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def plan(self, asked: PlanQuery) -> Plan:
        return await self._fake.plan(asked)

    async def archive_path(self, workspace: str | None, digest: Digest) -> Path:
        return await self._fake.plan_archive(workspace, digest)


class FakeReleases(AgentReleases):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def add(self, release: AgentRelease, data: bytes) -> Document:
        return await self._fake.add_release(release, data)

    async def list(self) -> list[Document]:
        return await self._fake.list_releases()

    async def delete(self, version: str) -> ReleaseDocuments:
        return await self._fake.delete_release(version)


class FakeUpgrades(AgentUpgrades):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def request(self, request: UpgradeRequest) -> Document:
        return await self._fake.wish_agents(request)


class FakeTokens(Tokens):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def check(self, token: str) -> Person | None:
        return await self._fake.check_token(token)

    async def create(
        self, name: str, role: str, workspace: str, ttl_seconds: int
    ) -> tuple[str, str]:
        return await self._fake.create_token(name, role, workspace, ttl_seconds)

    async def list(self) -> list[Document]:
        return await self._fake.list_tokens()

    async def revoke(self, name: str) -> None:
        await self._fake.revoke_token(name)


class FakeAgents(AgentRequests):
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def register(
        self, workspace: str, name: str, *, labels: dict[str, str], ttl_seconds: int, replace: bool
    ) -> Registration:
        return await self._fake.register(
            workspace, name, labels=labels, ttl_seconds=ttl_seconds, replace=replace
        )

    async def enrol(self, request: wire.EnrolRequest, *, address: str) -> wire.EnrolAnswer:
        return await self._fake.enrol(request, address=address)

    async def prepare(self, cluster: ClusterId) -> None:
        """Every cluster is in memory."""

    def key_of(self, cluster: ClusterId) -> bytes | None:
        return self._fake.key_of(cluster)

    async def note_contact(
        self, cluster: ClusterId, *, instance: str, address: str, stamp: int
    ) -> str:
        return self._fake.twin

    def find_unchanged(self, cluster: ClusterId, instance: str) -> str:
        return "" if self._fake.twin else self._fake.document.etag

    def note_unchanged(
        self, cluster: ClusterId, *, instance: str, address: str, stamp: int
    ) -> None:
        self._fake.calls.append(f"unchanged {cluster} {instance}")

    async def get_document(self, cluster: ClusterId, etag: str = "") -> SignedDocument:
        return await self._fake.desired(cluster, etag)

    async def wait_document(self, cluster: ClusterId, etag: str, seconds: float) -> SignedDocument:
        return await self._fake.wait_desired(cluster, etag, seconds)

    def poll_seconds(self) -> int:
        return 900

    async def archive_path(self, cluster: ClusterId, digest: Digest) -> Path:
        return await self._fake.archive_path(cluster, digest)

    async def report(self, cluster: ClusterId, request: wire.StatusRequest) -> None:
        await self._fake.report(cluster, request)


def collaborators_of(fake: FakeService) -> Collaborators:
    return Collaborators(
        views=FakeViews(fake),
        objects=FakeObjects(fake),
        gitrepos=FakeGitRepos(fake),
        rollouts=FakeRollouts(fake),
        corrections=FakeCorrections(fake),
        removals=FakeRemovals(fake),
        plans=FakePlans(fake),
        releases=FakeReleases(fake),
        upgrades=FakeUpgrades(fake),
        tokens=FakeTokens(fake),
        agents=FakeAgents(fake),
    )
