"""`/api/v1`: what people and the CLI call. Shapes are in docs/api.md; a workspace-bound token meets
only its own workspace.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.documents.gitrepo import refuse_not_enforced
from fleetctl.core.model.errors import NotFound, RefusedError, UsageError
from fleetctl.core.model.ids import is_name

from ... import metrics
from .. import ports
from ..auth import CODE_SECONDS, Gate
from ..problems import nearest
from ..request_parsing import flag, mapping, number, query
from .egress import marked
from .install import AgentFile

KINDS = {
    f"{kind.lower()}s": kind
    for kind in (
        "GitRepo",
        "Cluster",
        "ClusterGroup",
        "ClusterRegistrationToken",
        "Schedule",
        "Secret",
        "ConfigMap",
        "Bundle",
        "BundleDeployment",
    )
}
_MAX_WAIT = 60
_VERBS = ("pause", "resume", "approve", "abort", "ignore-windows")
_MAX_TTL = 10 * 365 * 86400
_NAME_IN_PATH = re.compile(r"[^\x00-\x20/\x7f]{1,253}")


@dataclass(frozen=True)
class About:
    """What the manager says of itself."""

    version: str
    public_url: str
    ca_pin: str
    started: float
    epoch: Callable[[], int]


class PeopleApi:
    def __init__(
        self,
        service: ports.Manager,
        gate: Gate,
        about: About,
        agent: AgentFile,
        closing: asyncio.Event,
        own_numbers: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self._service, self._gate, self._about, self._agent, self._closing = (
            service,
            gate,
            about,
            agent,
            closing,
        )
        self._own_numbers = own_numbers
        self.counters = metrics.Counters()

    def routes(self) -> list[Route]:
        one = "/api/v1/objects/{plural}/{workspace}/{name}"
        table: Sequence[tuple[str, str, Any]] = (
            ("GET", "/api/v1/objects/{plural}", self.list_objects),
            ("GET", one, self.get_object),
            ("PUT", one, self.put_object),
            ("DELETE", one, self.delete_object),
            ("PATCH", one + "/labels", self.patch_labels),
            ("GET", one + "/removal", self.removal),
            ("POST", "/api/v1/gitrepos/{workspace}/{name}/sync", self.sync),
            ("POST", "/api/v1/gitrepos/{workspace}/{name}/confirm", self.confirm),
            ("POST", "/api/v1/clusters/{workspace}/{name}/register", self.register),
            ("GET", "/api/v1/rollouts", self.list_rollouts),
            ("POST", "/api/v1/rollouts/{workspace}/{name}/{verb}", self.command_rollout),
            ("GET", "/api/v1/changes", self.changes),
            ("GET", "/api/v1/status", self.status),
            ("GET", "/api/v1/workspaces", self.list_workspaces),
            ("GET", "/api/v1/version", self.version),
            ("GET", "/api/v1/whoami", self.whoami),
            ("GET", "/api/v1/tokens", self.list_tokens),
            ("POST", "/api/v1/tokens", self.create_token),
            ("DELETE", "/api/v1/tokens/{name}", self.revoke_token),
            ("POST", "/api/v1/ui-code", self.ui_code),
            ("GET", "/metrics", self.metrics),
        )
        return [Route(path, handler, methods=[method]) for method, path, handler in table]

    async def list_objects(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        kind = _kind(request)
        asked = query(request, "workspace", "selector", "cluster", "repo", "bundle", "state")
        workspace = scope(person, asked.get("workspace"))
        states = tuple(s for s in asked.get("state", "").split(",") if s)
        rest = {key: asked.get(key, "") for key in ("selector", "cluster", "repo", "bundle")}
        items = await self._service.list_objects(kind, workspace=workspace, states=states, **rest)
        return _json({"kind": "List", "apiVersion": "v1", "items": items})

    async def get_object(self, request: Request) -> Response:
        key = await self._key(request)
        query(request)
        return _json(await self._service.get_object(*key))

    async def put_object(self, request: Request) -> Response:
        key = await self._key(request)
        dry_run = flag(query(request, "dryRun"), "dryRun")
        doc = await mapping(request)
        person, _ = await self._gate.person(request)
        doc = await marked(person, key, doc, self._service.get_object)
        put = await self._service.put_object(*key, doc, dry_run=dry_run)
        token = {"token": put.token} if put.token else {}
        warnings = {"warnings": put.warnings} if put.warnings else {}
        return _json({"result": put.result, "object": put.object, **token, **warnings})

    async def patch_labels(self, request: Request) -> Response:
        key = await self._key(request)
        query(request)
        changes = await mapping(request)
        for name, value in changes.items():
            if not (value is None or isinstance(value, str)):
                raise UsageError(
                    f"label {name[:80]!r} is neither text nor null",
                    next_step="Write labels as text.",
                )
        return _json(await self._service.patch_labels(*key, changes))

    async def removal(self, request: Request) -> Response:
        key = await self._key(request)
        query(request)
        return _json(await self._service.removal(*key))

    async def delete_object(self, request: Request) -> Response:
        key = await self._key(request)
        uninstall = flag(query(request, "uninstall"), "uninstall")
        return _json(
            {"result": "deleted", **(await self._service.delete_object(*key, uninstall=uninstall))}
        )

    async def sync(self, request: Request) -> Response:
        workspace, name = await self._place(request)
        query(request)
        await self._service.sync(workspace, name)
        return _json({"requested": True}, 202)

    async def confirm(self, request: Request) -> Response:
        workspace, name = await self._place(request)
        query(request)
        said = await mapping(request, ("removals", "commit"))
        removals, commit = said.get("removals"), said.get("commit")
        if (
            not isinstance(removals, int)
            or isinstance(removals, bool)
            or not isinstance(commit, str)
        ):
            raise UsageError(
                "a confirmation needs removals and commit",
                next_step="Repeat the numbers that `fleetctl status` shows.",
            )
        await self._service.confirm(workspace, name, removals, commit)
        return _json({"confirmed": removals})

    async def register(self, request: Request) -> Response:
        workspace, name = await self._place(request)
        query(request)
        said = await mapping(request, ("labels", "ttlSeconds", "replace"))
        labels, replace = said.get("labels", {}), said.get("replace", False)
        if (
            not isinstance(labels, dict)
            or any(not isinstance(v, str) for v in labels.values())
            or not isinstance(replace, bool)
        ):
            raise UsageError(
                "labels must be texts and replace true or false", next_step="Correct the request."
            )
        ttl = _ttl(said.get("ttlSeconds", 3600))
        made = await self._service.register(
            workspace, name, labels=labels, ttl_seconds=ttl, replace=replace
        )
        answer = {
            "token": made.token,
            "expires": made.expires,
            "caPin": self._about.ca_pin,
            "url": self._about.public_url,
        }
        return _json(
            {
                **answer,
                "agentSha256": await self._agent.digest(),
                "agentPath": "/install/fleet-agent.pyz",
            },
            201,
        )

    async def list_rollouts(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        asked = query(request, "workspace", "bundle")
        items = await self._service.list_rollouts(
            scope(person, asked.get("workspace")), asked.get("bundle", "")
        )
        return _json({"kind": "List", "apiVersion": "v1", "items": items})

    async def command_rollout(self, request: Request) -> Response:
        workspace, name = await self._place(request)
        person, _ = await self._gate.person(request)
        query(request)
        verb, said = request.path_params["verb"], await mapping(request, ("reason",))
        reason = said.get("reason", "")
        if verb not in _VERBS or not isinstance(reason, str):
            raise UsageError(
                f"a rollout cannot be told to {verb[:40]!r}",
                next_step=f"Say one of {', '.join(_VERBS)}.",
            )
        return _json(
            await self._service.command_rollout(workspace, name, verb, reason[:200], person.name)
        )

    async def changes(self, request: Request) -> Response:
        """Answers early when the manager stops, so that a stop does not wait for pages."""
        await self._gate.person(request)
        asked = query(request, "since", "wait")
        since, wait = number(asked, "since", 0, 2**63 - 1), number(asked, "wait", 0, _MAX_WAIT)
        change = asyncio.ensure_future(
            self._service.changes(since, 0 if self._closing.is_set() else wait)
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
        return _json({"revision": revision})

    async def status(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        workspace = scope(person, query(request, "workspace").get("workspace"))
        found = await self._service.status(workspace)
        about = {
            "version": self._about.version,
            "uptimeSeconds": int(time.time() - self._about.started),
            "workspace": workspace or "",
        }
        return _json({**about, **found})

    async def list_workspaces(self, request: Request) -> Response:
        """Those that hold objects; of a token that is bound to one workspace at most that one."""
        person, _ = await self._gate.person(request)
        query(request)
        names = await self._service.list_workspaces()
        return _json(
            {"items": [{"name": name} for name in names if person.workspace in ("", name)]}
        )

    async def version(self, request: Request) -> Response:
        await self._gate.person(request)
        query(request)
        return _json(
            {
                "version": self._about.version,
                "epoch": self._about.epoch(),
                "caPin": self._about.ca_pin,
            }
        )

    async def whoami(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        query(request)
        return _json(
            {
                "name": person.name,
                "role": person.role,
                "workspace": person.workspace,
                "expires": person.expires or "",
            }
        )

    async def list_tokens(self, request: Request) -> Response:
        await self._unbound(request, admin=True)
        query(request)
        return _json({"items": await self._service.list_tokens()})

    async def create_token(self, request: Request) -> Response:
        await self._unbound(request, admin=True)
        query(request)
        said = await mapping(request, ("name", "role", "workspace", "ttlSeconds"))
        name, role, workspace = (
            said.get("name", ""),
            said.get("role", "read"),
            said.get("workspace", ""),
        )
        if not (isinstance(name, str) and is_name(name, limit=63)):
            raise UsageError(
                "a token needs a name of small letters, digits and -",
                next_step="Give a name like ci-reader.",
            )
        if role not in ("admin", "read") or not (
            isinstance(workspace, str) and (not workspace or is_name(workspace, limit=63))
        ):
            raise UsageError(
                "role is admin or read, workspace a name or empty",
                next_step="Correct the role or the workspace.",
            )
        token, expires = await self._service.create_token(
            name, role, workspace, _ttl(said.get("ttlSeconds", 30 * 86400))
        )
        return _json({"name": name, "token": token, "expires": expires}, 201)

    async def revoke_token(self, request: Request) -> Response:
        await self._unbound(request, admin=True)
        query(request)
        await self._service.revoke_token(path_name(request, "name"))
        return _json({"result": "revoked"})

    async def ui_code(self, request: Request) -> Response:
        """A login for the page with the caller's own rights: a reader may ask for it."""
        _, token = await self._gate.person(request, reading=True)
        query(request)
        code = self._gate.sessions.code(token)
        return _json(
            {"code": code, "url": f"{self._about.public_url}/login#{code}", "seconds": CODE_SECONDS}
        )

    async def metrics(self, request: Request) -> Response:
        await self._unbound(request)
        numbers = await self._service.metrics()
        text = metrics.text(
            numbers,
            self.counters.as_metrics(),
            self._own_numbers(),
            {"fleet_start_time_seconds": self._about.started},
        )
        return Response(text, media_type="text/plain; version=0.0.4")

    async def _key(self, request: Request) -> tuple[str, str, str]:
        workspace, name = await self._place(request)
        return _kind(request), workspace, name

    async def _place(self, request: Request) -> tuple[str, str]:
        """(workspace, name) of the path, when the caller may go there."""
        person, _ = await self._gate.person(request)
        workspace = path_name(request, "workspace")
        scope(person, workspace)
        return workspace, path_name(request, "name")

    async def _unbound(self, request: Request, *, admin: bool = False) -> None:
        """Tokens and metrics concern all workspaces. Raises RefusedError."""
        person, _ = await self._gate.person(request)
        if person.workspace or (admin and person.role != "admin"):
            raise RefusedError(
                f"token {person.name} may not see all workspaces"
                if person.workspace
                else f"token {person.name} may read only",
                subject=f"token {person.name}",
                next_step="Use an admin token without a workspace.",
            )


def _kind(request: Request) -> str:
    plural = request.path_params["plural"]
    refuse_not_enforced(plural)
    if plural not in KINDS:
        raise NotFound(
            f"there is no kind {plural[:80]!r}",
            subject=plural[:80],
            next_step=nearest(plural[:80], KINDS),
        )
    return KINDS[plural]


def path_name(request: Request, key: str) -> str:
    text: str = request.path_params[key]
    if not _NAME_IN_PATH.fullmatch(text):
        raise UsageError(
            f"{text[:80]!r} is not a name", next_step="Use small letters, digits, - and dots."
        )
    return text


def scope(person: ports.Person, workspace: str | None) -> str | None:
    """The workspace to look into; None means all. Raises RefusedError outside the caller's own."""
    if not person.workspace:
        return workspace or None
    if workspace and workspace != person.workspace:
        raise RefusedError(
            f"token {person.name} is bound to workspace {person.workspace}",
            subject=f"workspace {workspace[:80]}",
            next_step=f"Name workspace {person.workspace}, or use another token.",
        )
    return person.workspace


def _ttl(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_TTL:
        raise UsageError(
            "ttlSeconds is not a number of seconds from 1 to ten years",
            next_step="Write for example 3600.",
        )
    return value


def _json(value: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )
