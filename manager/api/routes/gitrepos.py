"""`/api/v1/gitrepos/…`: have a GitRepo scanned now, and confirm the removals of a scan."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from ...commands.gitrepos import GitRepoCommands
from ..auth import Gate
from ..request_parsing import mapping, query
from ..request_scope import object_place
from ..responses import json_response


class GitRepoApi:
    def __init__(self, gitrepos: GitRepoCommands, gate: Gate) -> None:
        self._gitrepos, self._gate = gitrepos, gate

    def routes(self) -> list[Route]:
        path = "/api/v1/gitrepos/{workspace}/{name}"
        return [
            Route(path + "/sync", self.sync, methods=["POST"]),
            Route(path + "/confirm", self.confirm, methods=["POST"]),
        ]

    async def sync(self, request: Request) -> Response:
        _, workspace, name = await object_place(self._gate, request)
        query(request)
        await self._gitrepos.sync(workspace, name)
        return json_response({"requested": True}, 202)

    async def confirm(self, request: Request) -> Response:
        _, workspace, name = await object_place(self._gate, request)
        query(request)
        fields = await mapping(request, ("removals", "commit"))
        removals, commit = fields.get("removals"), fields.get("commit")
        if (
            not isinstance(removals, int)
            or isinstance(removals, bool)
            or not isinstance(commit, str)
        ):
            raise UsageError(
                "a confirmation needs removals and commit",
                next_step="Repeat the numbers that `fleetctl status` shows.",
            )
        await self._gitrepos.confirm(workspace, name, removals, commit)
        return json_response({"confirmed": removals})
