"""`/api/v1/rollouts`: lists rollouts and passes on what a person commands."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from ...commands.rollout_control import RolloutControl
from ...fleet_views import FleetViews
from ..auth import Gate
from ..request_parsing import mapping, query
from ..request_scope import object_place, scope
from ..responses import json_response

_VERBS = ("pause", "resume", "approve", "abort", "ignore-windows")


class RolloutApi:
    def __init__(self, views: FleetViews, rollouts: RolloutControl, gate: Gate) -> None:
        self._views, self._rollouts, self._gate = views, rollouts, gate

    def routes(self) -> list[Route]:
        path = "/api/v1/rollouts"
        return [
            Route(path, self.list_rollouts, methods=["GET"]),
            Route(path + "/{workspace}/{name}/{verb}", self.command_rollout, methods=["POST"]),
        ]

    async def list_rollouts(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        parameters = query(request, "workspace", "bundle")
        items = await self._views.list_rollouts(
            scope(person, parameters.get("workspace")), parameters.get("bundle", "")
        )
        return json_response({"kind": "List", "apiVersion": "v1", "items": items})

    async def command_rollout(self, request: Request) -> Response:
        person, workspace, name = await object_place(self._gate, request)
        query(request)
        verb, fields = request.path_params["verb"], await mapping(request, ("reason",))
        reason = fields.get("reason", "")
        if verb not in _VERBS or not isinstance(reason, str):
            raise UsageError(
                f"a rollout has no action {verb[:40]!r}",
                next_step=f"Use one of {', '.join(_VERBS)}.",
            )
        return json_response(
            await self._rollouts.command(workspace, name, verb, reason[:200], person.name)
        )
