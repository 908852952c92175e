"""The HTTP side put together: routes, and one door around them that turns every error into a
problem.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route, Router
from starlette.types import Message, Receive, Scope, Send

from fleetctl.core.model.errors import (
    DeadlineError,
    FleetError,
    NotFound,
    TooBusy,
    WrongClock,
    WrongMethod,
)

from .. import log
from ..event_loop_lag import LoopLag
from ..security.signing import Signer
from .agent_auth import Signatures
from .auth import Gate, Sessions
from .check_ins import CheckIns
from .collaborators import Collaborators
from .problems import answer, bug, nearest
from .request_parsing import READ_SECONDS, release_body
from .routes.access.registrations import RegistrationApi
from .routes.access.tokens import TokenApi
from .routes.agent_releases import ADD, UPLOAD_SECONDS, ReleaseApi
from .routes.agents import AgentApi
from .routes.corrections import CorrectionApi
from .routes.fleet import FleetApi, ManagerInfo
from .routes.gitrepos import GitRepoApi
from .routes.history import RevisionApi
from .routes.install import AgentFile, InstallApi
from .routes.objects import ObjectApi
from .routes.plans import ARCHIVES, PLAN, PLAN_SECONDS, PlanApi
from .routes.removals import RemovalApi
from .routes.rollouts import RolloutApi
from .routes.status_page import PageApi
from .routes.why import WhyApi
from .server import limits
from .server.connections import Connections

REQUEST_SECONDS = READ_SECONDS + 30.0
LONG_POLLS = {
    "/agent/v1/desired": 250.0,
    "/api/v1/changes": 70.0,
    ADD: UPLOAD_SECONDS + 20,
    PLAN: PLAN_SECONDS,
}
_OWN_PACE = ("/agent/v1/archives/", ARCHIVES, "/install/")


Ready = Callable[[], Awaitable[str | None]]


@dataclass
class Parts:
    """What the HTTP side is made of. `ready` returns None, or why the manager cannot work. Set
    `closing` to have long polls answered before a stop.
    """

    collaborators: Collaborators
    ready: Ready
    signer: Signer
    about: ManagerInfo
    agent: AgentFile
    ca_pem: bytes
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    lag: LoopLag = field(default_factory=LoopLag)
    connections: Connections = field(default_factory=lambda: Connections(20_000, 0))


def build(parts: Parts, *, signatures: Signatures | None = None) -> Door:
    """The ASGI application, with `check_ins` for the HTTP protocol below it."""
    manager = parts.collaborators
    gate = Gate(manager.tokens, Sessions())
    fleet = FleetApi(manager.views, gate, parts.about, parts.closing, lambda: _http_metrics(parts))
    signatures = signatures or Signatures(manager.agents, parts.signer)
    routes = [
        *AgentApi(manager.agents, signatures, parts.closing).routes(),
        *fleet.routes(),
        *_people_routes(parts, gate),
        *InstallApi(parts.agent, parts.ca_pem).routes(),
        *PageApi(gate).routes(),
        *_health(parts.ready, parts.lag),
        Route("/schemas/{name}.json", _schema, methods=["GET"]),
    ]
    check_ins = CheckIns(manager.agents, signatures, fleet.counters)
    return Door(Router(routes, redirect_slashes=False), routes, check_ins, parts.connections.limit)


def _people_routes(parts: Parts, gate: Gate) -> list[Route]:
    """What people and the CLI call."""
    c = parts.collaborators
    return [
        *ObjectApi(c.views, c.objects, gate).routes(),
        *GitRepoApi(c.gitrepos, gate).routes(),
        *RegistrationApi(c.agents, gate, parts.about, parts.agent).routes(),
        *RolloutApi(c.views, c.rollouts, gate).routes(),
        *TokenApi(c.tokens, gate, parts.about.public_url).routes(),
        *ReleaseApi(c.releases, c.upgrades, gate).routes(),
        *RevisionApi(c.views, c.rollouts, gate).routes(),
        *CorrectionApi(c.corrections, gate).routes(),
        *WhyApi(c.views, gate).routes(),
        *PlanApi(c.plans, gate).routes(),
        *RemovalApi(c.removals, gate).routes(),
    ]


def _http_metrics(parts: Parts) -> dict[str, float]:
    """Metrics of the HTTP side."""
    connections = parts.connections
    strangers = connections.strangers()
    return parts.lag.as_metrics() | {
        'fleet_http_connections{kind="authenticated"}': float(len(connections.open) - strangers),
        'fleet_http_connections{kind="unauthenticated"}': float(strangers),
        "fleet_http_connections_refused_total": float(connections.refused_count),
        "fleet_http_body_bytes": float(limits.STRANGERS.used + limits.CALLERS.used),
    }


async def _schema(request: Request) -> Response:
    """For editors, without a login: it says nothing of this fleet. Raises NotFound."""
    from fleetctl.core.documents.json_schema import documents, json_schema

    document = documents().get(request.path_params["name"])
    if document is None:
        step = f"There are {', '.join(f'/schemas/{name}.json' for name in documents())}."
        raise NotFound("there is no such schema", subject=request.url.path[:120], next_step=step)
    body = msgspec.json.format(msgspec.json.encode(json_schema(document)), indent=2)
    return Response(
        body,
        media_type="application/schema+json",
        headers={"cache-control": "public, max-age=3600"},
    )


def _health(ready: Ready, lag: LoopLag) -> list[Route]:
    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reason = await ready()
        text = "ready" if reason is None else reason
        return PlainTextResponse(f"{text}\n{lag.detail()}", 200 if reason is None else 503)

    return [Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]


class Door:
    """Every request passes here: a total deadline, counting, shedding, and errors as problems."""

    def __init__(self, inner: Router, routes: list[Route], check_ins: CheckIns, limit: int) -> None:
        self._inner, self._routes, self._limit = inner, routes, limit
        self.check_ins, self._counters = check_ins, check_ins.counters
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        statuses: list[int] = []

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                message = {
                    **message,
                    "headers": _without_sniffing(scope["path"], message.get("headers", ())),
                }
            await send(message)

        self._running += 1
        try:
            error = await self._answer(scope, receive, send_and_note, statuses)
            if error is not None and not statuses:
                headers = error.headers if isinstance(error, WrongClock) else None
                await answer(error, headers)(scope, receive, send_and_note)
        finally:
            self._running -= 1
            release_body(scope)
            self._counters.count(_area(scope["path"]), statuses[0] if statuses else 499)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, statuses: list[int]
    ) -> FleetError | None:
        """None when it went well, else what to answer. Errors of ours are logged here and nowhere
        else.
        """
        if self._running > self._limit:
            return TooBusy("the manager has too much to do", retry_after=15)
        try:
            async with asyncio.timeout(_deadline(scope["path"])):
                self._check_route(scope)
                await self._inner(scope, receive, send)
        except FleetError as error:
            return error
        except TimeoutError:
            return DeadlineError("the request took too long", next_step="Try again.")
        except HTTPException as error:
            return (
                NotFound("there is nothing at this address") if error.status_code == 404 else bug()
            )
        except Exception as error:
            log.bug(
                "bug", error, method=scope["method"], path=scope["path"], answered=bool(statuses)
            )
            return bug()
        return None

    def _check_route(self, scope: Scope) -> None:
        """Starlette's own 404 and 405 are not problems of ours; say which address or method was
        meant.
        """
        partly: set[str] = set()
        for route in self._routes:
            match, _ = route.matches(scope)
            if match == Match.FULL:
                return
            if match == Match.PARTIAL:
                partly |= route.methods or set()
        path = scope["path"][:120]
        if partly:
            step = f"Use {', '.join(sorted(partly))}."
            raise WrongMethod(
                f"{scope['method']} is not possible for this address", subject=path, next_step=step
            )
        paths = {r.path for r in self._routes if "{" not in r.path}
        raise NotFound(
            "there is nothing at this address",
            subject=path,
            next_step=nearest(path, paths).replace("Known:", "Try one of"),
        )


def _without_sniffing(
    path: str, headers: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """`nosniff` on every answer but an agent's: those are read by no browser, and an idle agent's
    are kept small.
    """
    if path.startswith("/agent/") or any(name == b"x-content-type-options" for name, _ in headers):
        return list(headers)
    return [*headers, (b"x-content-type-options", b"nosniff")]


def _deadline(path: str) -> float | None:
    if path.startswith(_OWN_PACE):
        return None
    return LONG_POLLS.get(path, REQUEST_SECONDS)


def _area(path: str) -> str:
    """A bounded set of words for the metrics."""
    first = path.split("/")[1] if "/" in path else ""
    return (
        first
        if first
        in {"agent", "api", "install", "login", "metrics", "healthz", "readyz", "schemas", "static"}
        else "page"
    )
