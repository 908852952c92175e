"""`fleetctl cluster label`: labels of one cluster or of many, with a look at what that would take away before it is done."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli import output as out
from fleetctl.cli.common import ContextName, DryRun, Session, Workspace, Yes, confirm, counted, labels_of, opened
from fleetctl.core.errors import NotFound, UsageError
from fleetctl.core.urlpath import relative


def label(
    words: Annotated[list[str], typer.Argument(metavar="[NAME…] K=V…", help="Clusters, then key=value to set, key- to remove.")],
    selector: Annotated[str, typer.Option("-l", "--selector", metavar="SELECTOR", help="All that it picks, instead of names.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Set or remove labels; targets are chosen anew at once. Asks before many deployments, or a cluster's last one, would go."""
    names = [word for word in words if "=" not in word and not word.endswith("-")]
    changes = labels_of([word for word in words if word not in names], removing=True)
    if not changes:
        raise UsageError("no label is named", subject="cluster label", next_step="Write key=value to set one, key- to remove it.")
    if bool(names) == bool(selector):
        step = "Write `fleetctl cluster label NAME key=value` or `fleetctl cluster label -l SELECTOR key=value`."
        raise UsageError("name clusters, or pick them with -l, one of both", subject="cluster label", next_step=step)
    said: dict[str, Any] = {"labels": changes, "names": names, "selector": selector}
    with opened(context, workspace) as session:
        seen = _call(session, said | {"dryRun": True})
        if selector and not seen["picked"]:
            step = "See `fleetctl get clusters -o wide`."
            raise NotFound(f"no cluster is picked by {selector}", subject=f"workspace {session.workspace}", next_step=step)
        if dry_run:
            _told(seen, changes)
            return
        if seen["held"]:
            _warn(seen)
            confirm(f"Remove {counted(seen['removals'], 'deployment')}?", yes=yes)
            said["removals"] = seen["removals"]
        _told(_call(session, said), changes)


def _call(session: Session, said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = session.client.call("POST", relative("clusters", session.workspace, "labels"), said)
    return found


def _warn(seen: dict[str, Any]) -> None:
    for hold in seen["holds"]:
        out.say(f"bundle {hold['bundle']} {hold['message']}")


def _already(changes: dict[str, str | None]) -> str:
    """Why a cluster is not changed."""
    present = ", ".join(f"{key}={value}" for key, value in changes.items() if value is not None)
    absent = ", ".join(key for key, value in changes.items() if value is None)
    texts = [f"already has {present}"] if present else []
    return " and ".join([*texts, *([f"has no label {absent}"] if absent else [])])


def _told(done: dict[str, Any], changes: dict[str, str | None]) -> None:
    dry = " (dry run)" if done["dryRun"] else ""
    verb = "unlabeled" if all(value is None for value in changes.values()) else "labeled"
    for name in done["names"]:
        out.line(f"cluster/{name} {verb}{dry}")
    more, same = done["clusters"] - len(done["names"]), done["picked"] - done["clusters"]
    if more > 0:
        out.line(f"and {more} more {verb}{dry}")
    if same > 0:
        out.line(f"{counted(same, 'cluster')} not changed: {_already(changes)}")
    if done["removals"]:
        shown = ", ".join(f"{one['name']} from {counted(one['removals'], 'cluster')}" for one in done["bundles"][:5])
        out.line(f"{'would remove' if done['dryRun'] else 'removes'} {shown}")
    if done["dryRun"] and done["held"]:
        out.line(f"so much is asked about: {counted(done['held'], 'deployment')}; --yes answers")
