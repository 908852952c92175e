"""Deletes objects after it has shown the consequences and asked for confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetctl.cli.display import output
from fleetctl.cli.display.columns import KINDS
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.parallel import each
from fleetctl.cli.prompt import confirm
from fleetctl.cli.session import Session
from fleetctl.core.model.errors import NotFound, RefusedError


@dataclass(frozen=True)
class Doomed:
    """One object that is to go. `workspace` "" is the session's."""

    plural: str
    name: str
    workspace: str = ""


def remove(
    session: Session,
    doomed: Sequence[Doomed],
    *,
    yes: bool,
    uninstall: bool = False,
    absent_is_fine: bool = False,
) -> None:
    """Say what would go, ask once, and do it. Nothing goes when one of them does not exist."""
    from fleetctl.client import place

    for one in doomed:
        _refuse_derived(one)
    places: dict[str, Doomed] = {}

    def ask(one: Doomed) -> tuple[str, dict[str, Any] | None]:
        path = place(one.plural, one.workspace or session.workspace, one.name)
        try:
            return path, session.client.call("GET", f"{path}/removal")
        except NotFound:
            if not absent_is_fine:
                raise
            return path, None

    for one, (path, gone) in each(doomed, ask, "looked at"):
        if gone is not None:
            kind = KINDS[one.plural].kind
            output.say(f"{kind} {one.name}: {_consequence(kind, gone, uninstall=uninstall)}.")
            places[path] = one
    what = " and ".join(f"{KINDS[one.plural].kind} {one.name}" for one in places.values())
    if places:
        count = len(places)
        confirm(f"Delete {what if count < 3 else f'these {count} objects'}?", yes=yes, number=count)
    params = {"uninstall": "true"} if uninstall else None
    for path, _ in each(
        list(places), lambda path: session.client.call("DELETE", path, params=params), "deleted"
    ):
        output.line(f"{KINDS[places[path].plural].kind.lower()}/{places[path].name} deleted")


# Kinds that the manager makes itself: what to do instead of deleting one.
_DERIVED = {
    "bundles": (
        "Remove its directory from Git, or `fleetctl gitrepo delete NAME` with all of its bundles."
    ),
    "bundledeployments": (
        "Change the bundle's targets in Git, or the labels of the cluster; `fleetctl why` shows"
        " what picks it."
    ),
}


def _refuse_derived(one: Doomed) -> None:
    if one.plural in _DERIVED:
        kind = KINDS[one.plural].kind
        summary = f"a {kind} cannot be deleted: the manager makes it from Git"
        raise RefusedError(summary, subject=f"{kind} {one.name}", next_step=_DERIVED[one.plural])


def _consequence(kind: str, gone: dict[str, Any], *, uninstall: bool) -> str:
    bundles, clusters = gone.get("bundles") or [], gone.get("clusters") or []
    shown = ", ".join(bundles[:5]) + (f" and {len(bundles) - 5} more" if len(bundles) > 5 else "")
    amount = format_count(len(bundles), "bundle")
    if kind == "Cluster" and not uninstall:
        return (
            f"its agent is locked out; {amount} stay there as they are (--uninstall removes them)"
        )
    if kind in {"Cluster", "GitRepo"}:
        where = "it" if kind == "Cluster" else format_count(len(clusters), "cluster")
        return f"removes {amount}" + (f" ({shown})" if bundles else "") + f" from {where}"
    return "nothing that runs is removed by this"
