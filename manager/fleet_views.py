"""Reads what people see. Each call is one query on one snapshot of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fleetctl.core.model.ids import BundleName, Workspace

from .clock import Clock
from .presence import PresenceTable
from .revisions import audit_log, history
from .store.connection import Reader
from .store.engine import Store
from .store.queries.objects import list_workspaces
from .views import rollouts
from .views.cluster_history import list_history
from .views.explain.deployment import ExplanationSubject, explain_subject
from .views.fleet_status import build_overview
from .views.metadata import ListFilter
from .views.objects import get_document
from .views.pages import MAX_PAGE, ListPage, PageRequest, list_page

Document = dict[str, Any]
T = TypeVar("T")
_METRIC_KINDS = ("gitrepos", "bundles", "clusters", "deployments")


class FleetViews:
    """Kinds are Fleet's (`GitRepo`); documents have the shapes of docs/api.md. `workspace` None
    means all workspaces.
    """

    def __init__(self, store: Store, live: PresenceTable, clock: Clock) -> None:
        self._store, self._live, self._clock = store, live, clock

    async def _read(self, work: Callable[[Reader], T]) -> T:
        """Read when it is known of every cluster when it was heard."""
        await self._live.wait_loaded()
        return await self._store.read(work)

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
        """The whole list, read in pages. Raises UsageError on a wrong selector."""
        filters = ListFilter(
            workspace=workspace,
            selector=selector,
            cluster=cluster,
            repo=repo,
            bundle=bundle,
            states=tuple(states),
        )
        items: list[Document] = []
        request = PageRequest(MAX_PAGE)
        while True:
            page = await self.list_page(kind, filters, request)
            items += page.items
            if not page.token:
                return items
            request = replace(request, token=page.token)

    async def list_page(self, kind: str, filters: ListFilter, request: PageRequest) -> ListPage:
        """One page of a list. Raises UsageError on a wrong selector or token."""
        now = self._clock()
        return await self._read(
            lambda reader: list_page(reader, self._live, kind, filters, request, now)
        )

    async def get_object(self, kind: str, workspace: str, name: str) -> Document:
        """Raises NotFound."""
        now = self._clock()
        return await self._read(
            lambda reader: get_document(reader, self._live, kind, workspace, name, now)
        )

    async def list_workspaces(self) -> list[str]:
        """Names of the workspaces that hold objects."""
        return await self._read(list_workspaces)

    async def status(self, workspace: str | None) -> Document:
        """Counts by state, and what needs attention."""
        now = self._clock()
        return await self._read(lambda reader: build_overview(reader, self._live, workspace, now))

    async def metrics(self) -> dict[str, float]:
        """Counts by state of the whole fleet, by the name of the metric."""
        status = await self.status(None)
        return {
            f'fleet_{kind}{{state="{state}"}}': float(count)
            for kind in _METRIC_KINDS
            for state, count in status[kind].items()
        }

    async def explain(self, workspace: str, *, cluster: str, bundle: str, name: str) -> Document:
        """Why a deployment, cluster or bundle is as it is. Raises NotFound with the nearest name,
        UsageError when the name means two objects.
        """
        now, subject = self._clock(), ExplanationSubject(workspace, cluster, bundle, name)
        return await self._read(lambda reader: explain_subject(reader, self._live, now, subject))

    async def list_rollouts(self, workspace: str | None, bundle: str = "") -> list[Document]:
        return await self._read(lambda reader: rollouts.list_rollouts(reader, workspace, bundle))

    async def bundle_history(self, workspace: str, bundle: str) -> list[Document]:
        """The revisions of a bundle. Raises NotFound."""
        is_offline = partial(self._live.is_offline, now=self._clock())
        key = (Workspace(workspace), BundleName(bundle))
        return await self._read(lambda reader: history.list_revisions(reader, key, is_offline))

    async def bundle_decisions(self, workspace: str, bundle: str) -> list[Document]:
        """The commits and commands that changed what clusters get of a bundle."""
        key = (Workspace(workspace), BundleName(bundle))
        return await self._read(lambda reader: audit_log.list_decisions(reader, key))

    async def cluster_history(
        self, workspace: str, cluster: str, bundle: str = ""
    ) -> list[Document]:
        """What a cluster received of all its bundles, or of one, newest first. Raises NotFound."""
        is_offline = partial(self._live.is_offline, now=self._clock())
        return await self._read(
            lambda reader: list_history(reader, Workspace(workspace), cluster, bundle, is_offline)
        )

    async def wait_change(self, since: int, seconds: float) -> int:
        """The revision of what people see, as soon as it is above `since`, or after `seconds`."""
        return await self._live.wait_changed(since, seconds) if seconds else self._live.revision
