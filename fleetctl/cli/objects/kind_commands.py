"""Makes the commands that several kinds have in common: list, get, pause and resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import KINDS
from fleetctl.cli.display.output import Format
from fleetctl.cli.objects.list_request import CHUNK_SIZE, Items, ListRequest, View
from fleetctl.cli.objects.list_view import read
from fleetctl.cli.objects.selection import select_names
from fleetctl.cli.options import (
    ChunkSize,
    ContextName,
    Every,
    Everywhere,
    Limit,
    Names,
    NoHeaders,
    NotReady,
    OptionalNames,
    Output,
    Selector,
    SortBy,
    States,
    Watch,
    Workspace,
)
from fleetctl.cli.session import Session, open_session


def list_command(plural: str, summary: str) -> Callable[..., None]:
    """A `list` command for one kind."""

    def list_(
        output: Output = Format.TABLE,
        workspace: Workspace = "",
        everywhere: Everywhere = False,
        selector: Selector = "",
        state: States = "",
        not_ready: NotReady = False,
        watch: Watch = False,
        sort_by: SortBy = "",
        limit: Limit = 0,
        chunk_size: ChunkSize = CHUNK_SIZE,
        no_headers: NoHeaders = False,
        context: ContextName = "",
    ) -> None:
        with open_session(context, workspace) as session:
            view = View(
                output,
                everywhere,
                watch,
                not no_headers,
                sort_by,
                state,
                not_ready,
                limit=limit,
                chunk_size=chunk_size,
            )
            read(session, [ListRequest(plural, filters={"selector": selector})], view)

    list_.__doc__ = summary
    return list_


def get_command(
    plural: str, summary: str, after: Callable[[Session, Items], None] | None = None
) -> Callable[..., None]:
    """A `get` command for one kind; `after` explains below the table."""

    def get(
        names: Names,
        output: Output = Format.TABLE,
        workspace: Workspace = "",
        watch: Watch = False,
        no_headers: NoHeaders = False,
        context: ContextName = "",
    ) -> None:
        with open_session(context, workspace) as session:
            view = View(output, watch=watch, headers=not no_headers)
            full_view = replace(view, after=lambda items: after(session, items)) if after else view
            read(session, [ListRequest(plural, names)], full_view)

    get.__doc__ = summary
    return get


def pause_command(plural: str, summary: str, *, is_paused: bool) -> Callable[..., None]:
    """A `pause` or `resume` command for one kind; it skips objects that are so already."""

    def change(
        names: OptionalNames = None,
        selector: Selector = "",
        every: Every = False,
        workspace: Workspace = "",
        context: ContextName = "",
    ) -> None:
        with open_session(context, workspace) as session:
            selected_names = select_names(session, plural, names, selector, every=every)
            # nothing is done when one is unknown
            items = [session.client.get(plural, session.workspace, name) for name in selected_names]
            for item in items:
                _set(session, plural, item, is_paused=is_paused)

    change.__doc__ = summary
    return change


def _set(session: Session, plural: str, item: dict[str, Any], *, is_paused: bool) -> None:
    from fleetctl.client import place

    name, spec = item["metadata"]["name"], dict(item.get("spec") or {})
    verb = "paused" if is_paused else "resumed"
    if bool(spec.get("paused")) == is_paused:
        out.line(f"{KINDS[plural].kind.lower()}/{name} {verb} already")
        return
    spec.pop("paused", None)
    meta = {
        key: item["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations")
        if item["metadata"].get(key)
    }
    body = {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": meta,
        "spec": spec | ({"paused": True} if is_paused else {}),
    }
    session.client.call("PUT", place(plural, session.workspace, name), body)
    out.line(f"{KINDS[plural].kind.lower()}/{name} {verb}")
