"""`pause` and `resume` of a GitRepo or a cluster: `spec.paused`, as people would edit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import KINDS
from fleetctl.cli.session import (
    ContextName,
    Every,
    OptionalNames,
    Selector,
    Session,
    Workspace,
    opened,
    picked,
)


def command(plural: str, what: str, *, paused: bool) -> Callable[..., None]:
    """A command for one kind; objects that are so already are left alone."""

    def change(
        names: OptionalNames = None,
        selector: Selector = "",
        every: Every = False,
        workspace: Workspace = "",
        context: ContextName = "",
    ) -> None:
        with opened(context, workspace) as session:
            chosen = picked(session, plural, names, selector, every=every)
            # nothing is done when one is unknown
            items = [session.client.get(plural, session.workspace, name) for name in chosen]
            for item in items:
                _set(session, plural, item, paused=paused)

    change.__doc__ = what
    return change


def _set(session: Session, plural: str, item: dict[str, Any], *, paused: bool) -> None:
    from fleetctl.client import place

    name, spec = item["metadata"]["name"], dict(item.get("spec") or {})
    done = "paused" if paused else "resumed"
    if bool(spec.get("paused")) == paused:
        out.line(f"{KINDS[plural].kind.lower()}/{name} {done} already")
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
        "spec": spec | ({"paused": True} if paused else {}),
    }
    session.client.call("PUT", place(plural, session.workspace, name), body)
    out.line(f"{KINDS[plural].kind.lower()}/{name} {done}")
