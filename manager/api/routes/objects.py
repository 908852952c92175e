"""`/api/v1/objects`: reads, writes and deletes objects (docs/api.md)."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.documents.gitrepo import refuse_not_enforced
from fleetctl.core.model.errors import NotFound, TooLarge, UsageError

from ...commands.objects import ObjectCommands
from ...fleet_views import FleetViews
from ...views.metadata import ListFilter
from ...views.pages import DEFAULT_PAGE, MAX_PAGE, PageRequest
from ..auth import Gate
from ..problems import nearest
from ..request_parsing import flag, mapping, number, query
from ..request_scope import object_place, scope
from ..responses import json_response
from .egress import mark_restricted

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
_FILTERS = ("selector", "cluster", "repo", "bundle")
_PAGING = ("limit", "continue")
_LIST = {"kind": "List", "apiVersion": "v1"}
# of a list that a client requests without `limit`
MAX_LIST_BYTES = 128 * 1024 * 1024


class ObjectApi:
    def __init__(self, views: FleetViews, objects: ObjectCommands, gate: Gate) -> None:
        self._views, self._objects, self._gate = views, objects, gate

    def routes(self) -> list[Route]:
        plural = "/api/v1/objects/{plural}"
        path = plural + "/{workspace}/{name}"
        return [
            Route(plural, self.list_objects, methods=["GET"]),
            Route(path, self.get_object, methods=["GET"]),
            Route(path, self.put_object, methods=["PUT"]),
            Route(path, self.delete_object, methods=["DELETE"]),
            Route(path + "/labels", self.patch_labels, methods=["PATCH"]),
            Route(path + "/removal", self.removal, methods=["GET"]),
        ]

    async def list_objects(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        kind = _kind(request)
        names = ("workspace", "state", "notReady", *_FILTERS, *_PAGING)
        parameters = query(request, *names)
        filters = ListFilter(
            workspace=scope(person, parameters.get("workspace")),
            states=tuple(s for s in parameters.get("state", "").split(",") if s),
            not_ready=flag(parameters, "notReady"),
            selector=parameters.get("selector", ""),
            cluster=parameters.get("cluster", ""),
            repo=parameters.get("repo", ""),
            bundle=parameters.get("bundle", ""),
        )
        limit, token = number(parameters, "limit", 0, MAX_PAGE), parameters.get("continue", "")
        if not limit and not token:
            return await self._whole_list(kind, filters)
        page = await self._views.list_page(kind, filters, PageRequest(limit or DEFAULT_PAGE, token))
        metadata: dict[str, Any] = {"continue": page.token}
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        return json_response({**_LIST, "metadata": metadata, "items": page.items})

    async def _whole_list(self, kind: str, filters: ListFilter) -> Response:
        """The list for clients that know no pages. It is read and encoded in pages, so that other
        requests are answered meanwhile. Raises TooLarge.
        """
        items, size, request = [], 0, PageRequest()
        while True:
            page = await self._views.list_page(kind, filters, request)
            items += [msgspec.Raw(msgspec.json.encode(item)) for item in page.items]
            size += sum(len(item) for item in items[-len(page.items) :]) if page.items else 0
            if size > MAX_LIST_BYTES:
                raise TooLarge(
                    f"the list has more than {MAX_LIST_BYTES // 2**20} MiB",
                    subject=kind,
                    next_step="Request it in pages, with `limit`, or with filters.",
                )
            if not page.token:
                return json_response({**_LIST, "items": items})
            request = PageRequest(token=page.token)

    async def get_object(self, request: Request) -> Response:
        key = await self._key(request)
        query(request)
        return json_response(await self._views.get_object(*key))

    async def put_object(self, request: Request) -> Response:
        key = await self._key(request)
        dry_run = flag(query(request, "dryRun"), "dryRun")
        document = await mapping(request)
        person, _ = await self._gate.person(request)
        document = await mark_restricted(person, key, document, self._views.get_object)
        put = await self._objects.put(*key, document, dry_run=dry_run)
        token = {"token": put.token} if put.token else {}
        warnings = {"warnings": put.warnings} if put.warnings else {}
        return json_response({"result": put.result, "object": put.object, **token, **warnings})

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
        return json_response(await self._objects.patch_labels(*key, changes))

    async def removal(self, request: Request) -> Response:
        key = await self._key(request)
        query(request)
        return json_response(await self._objects.removal(*key))

    async def delete_object(self, request: Request) -> Response:
        key = await self._key(request)
        uninstall = flag(query(request, "uninstall"), "uninstall")
        return json_response(
            {"result": "deleted", **(await self._objects.delete(*key, uninstall=uninstall))}
        )

    async def _key(self, request: Request) -> tuple[str, str, str]:
        """(kind, workspace, name) of the path."""
        _, workspace, name = await object_place(self._gate, request)
        return _kind(request), workspace, name


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
