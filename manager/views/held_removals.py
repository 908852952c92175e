"""How removals that wait for a person are shown, on the bundle, on its GitRepo and by themselves
(docs/api.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetctl.core.model.status import State

from ..reconcile.held_removals import Hold

_WORSE = frozenset({State.ERR_APPLIED.value, "Stalled", "Held"})


def shown(hold: Hold) -> dict[str, Any]:
    """As docs/api.md has it; the digest only where it was asked for."""
    digest = {"digest": hold.digest} if hold.digest else {}
    return {
        "kind": "Bundle",
        "workspace": hold.workspace,
        "name": hold.bundle,
        "bundle": hold.bundle,
        "repo": hold.repo,
        "cause": hold.cause,
        "changed": hold.what,
        "since": hold.since,
        "removals": hold.count,
        "of": hold.of,
        "clusters": list(hold.clusters),
        "message": hold.words,
        "confirm": let_go(hold),
        **digest,
    }


def let_go(hold: Hold) -> str:
    return f"fleetctl held confirm {hold.bundle} --removals {hold.count}"


def let_go_of_scan(repo: str, held: dict[str, Any]) -> str:
    return (
        f"fleetctl gitrepo confirm {repo} --removals {held['removals']} --commit"
        f" {held['commit'][:12]}"
    )


def say_moved(move: dict[str, Any]) -> str:
    return f"fleetctl bundle moved {move['from']} {move['to']}"


def message(said: str, *, held: bool) -> str:
    """Of one deployment: what else is said of it comes after."""
    return "; ".join(filter(None, ("held: would be removed" if held else "", said)))


def on_bundle(status: dict[str, Any], hold: Hold | None) -> None:
    """Held, unless something is worse; the number and what to say stand first in the message."""
    if hold is None:
        return
    status["held"] = shown(hold)
    said = f"{hold.words}; `{status['held']['confirm']}` lets them go"
    _add(status, said)


def of_scan(workspace: str, name: str, since: str, held: dict[str, Any]) -> dict[str, Any]:
    """What a scan would remove, which waits on its GitRepo, in the same form."""
    return {
        "kind": "GitRepo",
        "workspace": workspace,
        "name": name,
        "repo": name,
        "cause": "move" if held.get("moves") else "last" if held["clusters"] else "many",
        "changed": "commit",
        "since": since,
        "removals": held["removals"],
        "of": held["of"],
        "bundles": held["bundles"],
        "clusters": held["clusters"],
        "commit": held["commit"],
        "moves": held.get("moves") or [],
        "message": words(held),
        "confirm": let_go_of_scan(name, held),
    }


def words(held: dict[str, Any]) -> str:
    """A scan's removal in one line."""
    if held.get("moves"):
        return (
            f"{looks_moved(held)}; else {held['removals']} of {held['of']} bundles would be removed"
            f" at {held['commit'][:12]}"
        )
    return f"would remove {held['removals']} of {held['of']} bundles at {held['commit'][:12]}"


def looks_moved(held: dict[str, Any]) -> str:
    """The first of the moves that a person must decide on, and how."""
    moves = held["moves"]
    more = f" (and {len(moves) - 1} more)" if len(moves) > 1 else ""
    return f"{moves[0]['message']}{more}: `{say_moved(moves[0])}` says so"


def on_repo(status: dict[str, Any], held: Sequence[Hold]) -> None:
    """`held` of a GitRepo's status stays what a scan would remove; `heldRemovals` is what its
    bundles would lose.
    """
    status["heldRemovals"] = [shown(hold) for hold in held]
    if held:
        more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
        _add(status, f"bundle {held[0].bundle} {held[0].words}{more}; see `fleetctl held list`")


def _add(status: dict[str, Any], said: str) -> None:
    display = status["display"]
    if display["state"] not in _WORSE:
        display["state"] = "Held"
    display["message"] = f"{said}; {display['message']}" if display["message"] else said
    for one in status["conditions"]:
        if one["type"] == "Ready":
            one |= {"status": "False", "message": display["message"]}
