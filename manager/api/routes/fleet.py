"""`/api/v1/status`, `/workspaces`, `/changes`, `/version` and `/metrics`: the fleet as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ... import metrics
from ...fleet_views import FleetViews
from ..auth import Gate
from ..request_parsing import number, query
from ..request_scope import scope, unbound_person
from ..responses import json_response

_MAX_WAIT = 60


@dataclass(frozen=True)
class ManagerInfo:
    """What the manager reports about itself. `started` in Unix seconds."""

    version: str
    public_url: str
    ca_pin: str
    started: float
    epoch: Callable[[], int]


class FleetApi:
    """`http_metrics` returns the metrics of the HTTP side."""

    def __init__(
        self,
        views: FleetViews,
        gate: Gate,
        about: ManagerInfo,
        closing: asyncio.Event,
        http_metrics: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self._views, self._gate, self._about, self._closing = views, gate, about, closing
        self._http_metrics = http_metrics
        self.counters = metrics.Counters()

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/changes", self.changes, methods=["GET"]),
            Route("/api/v1/status", self.status, methods=["GET"]),
            Route("/api/v1/workspaces", self.list_workspaces, methods=["GET"]),
            Route("/api/v1/version", self.version, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def changes(self, request: Request) -> Response:
        """Answers early when the manager stops, so that a stop does not wait for open pages."""
        await self._gate.person(request)
        parameters = query(request, "since", "wait")
        since = number(parameters, "since", 0, 2**63 - 1)
        wait = number(parameters, "wait", 0, _MAX_WAIT)
        change = asyncio.ensure_future(
            self._views.wait_change(since, 0 if self._closing.is_set() else wait)
        )
        stop = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(
                {change, stop}, timeout=wait + 5, return_when=asyncio.FIRST_COMPLETED
            )
            revision = change.result() if change.done() else since
        finally:
            for task in (change, stop):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(change, stop, return_exceptions=True)
        return json_response({"revision": revision})

    async def status(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        workspace = scope(person, query(request, "workspace").get("workspace"))
        counts = await self._views.status(workspace)
        about = {
            "version": self._about.version,
            "uptimeSeconds": int(time.time() - self._about.started),
            "workspace": workspace or "",
        }
        return json_response({**about, **counts})

    async def list_workspaces(self, request: Request) -> Response:
        """The workspaces that hold objects; a token of one workspace sees at most that one."""
        person, _ = await self._gate.person(request)
        query(request)
        names = await self._views.list_workspaces()
        return json_response(
            {"items": [{"name": name} for name in names if person.workspace in ("", name)]}
        )

    async def version(self, request: Request) -> Response:
        await self._gate.person(request)
        query(request)
        return json_response(
            {
                "version": self._about.version,
                "epoch": self._about.epoch(),
                "caPin": self._about.ca_pin,
            }
        )

    async def metrics(self, request: Request) -> Response:
        await unbound_person(self._gate, request)
        numbers = await self._views.metrics()
        text = metrics.text(
            numbers,
            self.counters.as_metrics(),
            self._http_metrics(),
            {"fleet_start_time_seconds": self._about.started},
        )
        return Response(text, media_type="text/plain; version=0.0.4")
