"""Deletes objects after it has shown the consequences and asked for confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetctl.cli.display import output
from fleetctl.cli.display.columns import KINDS
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.parallel import run_parallel
from fleetctl.cli.prompt import confirm
from fleetctl.cli.session import Session
from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.text.listing import list_names


@dataclass(frozen=True)
class RemovalTarget:
    """One object to delete. `workspace` "" is the workspace of the session."""

    plural: str
    name: str
    workspace: str = ""


def remove(
    session: Session,
    targets: Sequence[RemovalTarget],
    *,
    yes: bool,
    uninstall: bool = False,
    absent_is_fine: bool = False,
) -> None:
    """Print the consequences, ask once, and delete. Deletes nothing if one of the objects does not
    exist.
    """
    from fleetctl.client import place

    for target in targets:
        _refuse_derived(target)
    places: dict[str, RemovalTarget] = {}

    def ask(target: RemovalTarget) -> tuple[str, dict[str, Any] | None]:
        path = place(target.plural, target.workspace or session.workspace, target.name)
        try:
            return path, session.client.call("GET", f"{path}/removal")
        except NotFound:
            if not absent_is_fine:
                raise
            return path, None

    for target, (path, consequences) in run_parallel(targets, ask, "looked at"):
        if consequences is not None:
            kind = KINDS[target.plural].kind
            output.say(
                f"{kind} {target.name}: {_consequence(kind, consequences, uninstall=uninstall)}."
            )
            places[path] = target
    names_text = " and ".join(
        f"{KINDS[target.plural].kind} {target.name}" for target in places.values()
    )
    if places:
        count = len(places)
        confirm(
            f"Delete {names_text if count < 3 else f'these {count} objects'}?",
            yes=yes,
            number=count,
        )
    params = {"uninstall": "true"} if uninstall else None
    for path, _ in run_parallel(
        list(places), lambda path: session.client.call("DELETE", path, params=params), "deleted"
    ):
        output.line(f"{KINDS[places[path].plural].kind.lower()}/{places[path].name} deleted")


# Kinds that the manager makes itself: what to do instead of deleting one.
_ADVICE_FOR_DERIVED = {
    "bundles": (
        "Remove its directory from Git, or `fleetctl gitrepo delete NAME` with all of its bundles."
    ),
    "bundledeployments": (
        "Change the bundle's targets in Git, or the labels of the cluster; `fleetctl why`"
        " shows which target selects it."
    ),
}


def _refuse_derived(target: RemovalTarget) -> None:
    if target.plural in _ADVICE_FOR_DERIVED:
        kind = KINDS[target.plural].kind
        summary = f"a {kind} cannot be deleted: the manager creates it from Git"
        raise RefusedError(
            summary, subject=f"{kind} {target.name}", next_step=_ADVICE_FOR_DERIVED[target.plural]
        )


def _consequence(kind: str, consequences: dict[str, Any], *, uninstall: bool) -> str:
    bundles, clusters = consequences.get("bundles") or [], consequences.get("clusters") or []
    names_text = list_names(bundles, 5)
    amount = format_count(len(bundles), "bundle")
    if kind == "Cluster" and not uninstall:
        remain = "stays" if len(bundles) == 1 else "stay"
        return (
            f"revokes the key of its agent; {amount} {remain} on the cluster (--uninstall"
            " removes what is deployed there)"
        )
    if kind in {"Cluster", "GitRepo"}:
        place = "it" if kind == "Cluster" else format_count(len(clusters), "cluster")
        return f"removes {amount}" + (f" ({names_text})" if bundles else "") + f" from {place}"
    return "nothing that runs is removed by this"
