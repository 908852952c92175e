"""`/api/v1/bundles/…/history` and `/rollback`, `/api/v1/clusters/…/history`: what was told, and
going back.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.formats.type_errors import describe_with_path
from fleetctl.core.model.errors import UsageError

from ...commands.rollback import ClusterSelection, RollbackRequest, RollbackResult
from ...commands.rollout_control import RolloutControl
from ...fleet_views import FleetViews
from ..auth import Gate
from ..request_parsing import mapping, query
from ..request_scope import object_place
from ..responses import json_response

_MOST_REASON = 200


class _RollbackBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a rollback."""

    to: int = 0
    reason: str = ""
    clusters: list[str] = []
    selector: str = ""
    partition: str = ""
    release: bool = False
    all: bool = False
    dry_run: bool = False


_FIELDS = ("to", "reason", "clusters", "selector", "partition", "release", "all", "dryRun")


class RevisionApi:
    def __init__(self, views: FleetViews, rollouts: RolloutControl, gate: Gate) -> None:
        self._views, self._rollouts, self._gate = views, rollouts, gate

    def routes(self) -> list[Route]:
        bundle = "/api/v1/bundles/{workspace}/{name}"
        return [
            Route(bundle + "/history", self.bundle_history, methods=["GET"]),
            Route(bundle + "/rollback", self.rollback, methods=["POST"]),
            Route(bundle + "/rollback", self.release, methods=["DELETE"]),
            Route(
                "/api/v1/clusters/{workspace}/{name}/history", self.cluster_history, methods=["GET"]
            ),
        ]

    async def bundle_history(self, request: Request) -> Response:
        _, workspace, name = await object_place(self._gate, request)
        cluster = query(request, "cluster").get("cluster", "")
        if cluster:
            return json_response(
                {"items": await self._views.cluster_history(workspace, cluster, name)}
            )
        items = await self._views.bundle_history(workspace, name)
        return json_response(
            {"items": items, "decisions": await self._views.bundle_decisions(workspace, name)}
        )

    async def cluster_history(self, request: Request) -> Response:
        _, workspace, name = await object_place(self._gate, request)
        bundle = query(request, "bundle").get("bundle", "")
        return json_response({"items": await self._views.cluster_history(workspace, name, bundle)})

    async def rollback(self, request: Request) -> Response:
        person, workspace, name = await object_place(self._gate, request)
        query(request)
        fields = _parse_rollback(await mapping(request, _FIELDS))
        selection = ClusterSelection(tuple(fields.clusters), fields.selector, fields.partition)
        ask = RollbackRequest(
            fields.to,
            fields.reason[:_MOST_REASON],
            person.name,
            selection,
            fields.release,
            fields.all,
        )
        outcome = await self._rollouts.go_back(workspace, name, ask, dry_run=fields.dry_run)
        return json_response(_result_document(outcome) | {"dryRun": fields.dry_run})

    async def release(self, request: Request) -> Response:
        person, workspace, name = await object_place(self._gate, request)
        query(request)
        return json_response(
            _result_document(
                await self._rollouts.go_back(
                    workspace, name, RollbackRequest(person=person.name, release=True)
                )
            )
        )


def _parse_rollback(fields: dict[str, Any]) -> _RollbackBody:
    """Raises UsageError."""
    try:
        rollback = msgspec.convert(fields, _RollbackBody)
    except msgspec.ValidationError as error:
        summary = f"the rollback is wrong: {describe_with_path(str(error))}"
        raise UsageError(
            summary, subject="rollback", next_step="Correct it; docs/api.md describes the format."
        ) from error
    if (
        rollback.to < 0
        or (rollback.release and rollback.to)
        or (rollback.all and not rollback.release)
    ):
        step = "See `fleetctl bundle history`, and `fleetctl rollback --help`."
        raise UsageError(
            "a rollback names a revision, a release names none, and only a release may be of all",
            next_step=step,
        )
    return rollback


def _result_document(outcome: RollbackResult) -> dict[str, Any]:
    names = ("clusters", "told", "waiting", "names", "own", "resumed")
    return {"pinned": outcome.number} | {name: getattr(outcome, name) for name in names}
