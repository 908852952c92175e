"""Removals that wait for a person (`/api/v1/held`), and labels changed by a call that says what it
removes (docs/api.md).
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from ...commands.removals import Labels, RemovalCommands
from ..auth import Gate
from ..request_parsing import mapping, query
from ..request_scope import path_name, scope
from ..responses import json_response

_MOST_NAMES = 10_000


class RemovalApi:
    def __init__(self, removals: RemovalCommands, gate: Gate) -> None:
        self._removals, self._gate = removals, gate

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/held", self.list_held, methods=["GET"]),
            Route("/api/v1/held/{workspace}/{name}/confirm", self.confirm, methods=["POST"]),
            Route("/api/v1/bundles/{workspace}/{name}/moved", self.request_move, methods=["POST"]),
            Route(
                "/api/v1/bundles/{workspace}/{name}/moved", self.withdraw_move, methods=["DELETE"]
            ),
            Route("/api/v1/clusters/{workspace}/labels", self.label, methods=["POST"]),
        ]

    async def list_held(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        workspace = scope(person, query(request, "workspace").get("workspace"))
        return json_response({"items": await self._removals.list_held(workspace)})

    async def confirm(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        query(request)
        fields = await mapping(request, ("removals", "digest"))
        removals, digest = fields.get("removals"), fields.get("digest", "")
        if not _is_count(removals) or not isinstance(digest, str):
            raise UsageError(
                "a confirmation needs the number of removals",
                next_step="Repeat the number that `fleetctl held list` shows.",
            )
        return json_response(
            await self._removals.confirm(
                workspace, path_name(request, "name"), int(str(removals)), digest
            )
        )

    async def request_move(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        query(request)
        new = (await mapping(request, ("to",))).get("to")
        if not isinstance(new, str) or not new:
            raise UsageError(
                "a move needs the new name of the bundle", next_step="See `fleetctl held list`."
            )
        return json_response(await self._removals.move(workspace, path_name(request, "name"), new))

    async def withdraw_move(self, request: Request) -> Response:
        workspace, name = await self._workspace(request), path_name(request, "name")
        query(request)
        return json_response(await self._removals.move(workspace, name, name, taken_back=True))

    async def label(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        query(request)
        fields = await mapping(request, ("labels", "names", "selector", "dryRun", "removals"))
        changes, names, selector = (
            fields.get("labels"),
            fields.get("names", []),
            fields.get("selector", ""),
        )
        if not isinstance(changes, dict) or any(
            not (value is None or isinstance(value, str)) for value in changes.values()
        ):
            raise UsageError(
                "labels must be strings, or null to remove one", next_step="Correct the request."
            )
        if (
            not isinstance(names, list)
            or any(not isinstance(name, str) for name in names)
            or len(names) > _MOST_NAMES
        ):
            raise UsageError(
                "names must be a list of texts", next_step="Name clusters, or give a selector."
            )
        dry_run, removals = fields.get("dryRun", False), fields.get("removals")
        if (
            not isinstance(selector, str)
            or not isinstance(dry_run, bool)
            or not (removals is None or _is_count(removals))
        ):
            raise UsageError(
                "selector is a text, dryRun true or false, removals a number",
                next_step="Correct the request.",
            )
        return json_response(
            await self._removals.label(
                Labels(workspace, changes, names, selector, dry_run, removals)
            )
        )

    async def _workspace(self, request: Request) -> str:
        person, _ = await self._gate.person(request)
        workspace = path_name(request, "workspace")
        scope(person, workspace)
        return workspace


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
