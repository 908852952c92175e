"""Shows removals that wait for a person, on the bundle, on its GitRepo and in their own list
(docs/api.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.core.model.status import State
from fleetctl.core.text.listing import count_others

from ...reconcile.held_removals import RemovalHold
from ..metadata import Document

_WORSE = frozenset({State.ERR_APPLIED.value, "Stalled", "Held"})


def hold_document(hold: RemovalHold) -> Document:
    """As docs/api.md has it; with the digest if it was read."""
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
        "confirm": confirm_command(hold),
        **digest,
    }


def scan_document(workspace: str, name: str, since: str, removal: Document) -> Document:
    """The removals that a GitRepo's scan would make and that wait (`held` of its row), in the form
    of `hold_document`.
    """
    cause = "last" if removal["clusters"] else "many"
    return {
        "kind": "GitRepo",
        "workspace": workspace,
        "name": name,
        "repo": name,
        "cause": "move" if removal.get("moves") else cause,
        "changed": "commit",
        "since": since,
        "removals": removal["removals"],
        "of": removal["of"],
        "bundles": removal["bundles"],
        "clusters": removal["clusters"],
        "commit": removal["commit"],
        "moves": removal.get("moves") or [],
        "message": describe_scan(removal),
        "confirm": confirm_scan_command(name, removal),
    }


def confirm_command(hold: RemovalHold) -> str:
    return f"fleetctl held confirm {hold.bundle} --removals {hold.count}"


def confirm_scan_command(repo: str, removal: Document) -> str:
    return (
        f"fleetctl gitrepo confirm {repo} --removals {removal['removals']} --commit"
        f" {removal['commit'][:12]}"
    )


def move_command(move: Document) -> str:
    """The command that confirms that a bundle has another name."""
    return f"fleetctl bundle moved {move['from']} {move['to']}"


def deployment_message(message: str, *, is_held: bool) -> str:
    """The message of one deployment, after the hold of its removal."""
    return "; ".join(filter(None, ("held: would be removed" if is_held else "", message)))


def describe_scan(removal: Document) -> str:
    """The removals that a scan would make, in one line."""
    share = f"{removal['removals']} of {removal['of']} bundles"
    commit = removal["commit"][:12]
    if removal.get("moves"):
        moves = describe_moves(removal["moves"])
        return f"{moves}; otherwise {share} would be removed at {commit}"
    return f"would remove {share} at {commit}"


def describe_moves(moves: Sequence[Document]) -> str:
    """The first of the moves that a person must decide on, and the command that confirms it."""
    suffix = count_others(len(moves) - 1)
    return f"{moves[0]['message']}{suffix}; if so, run `{move_command(moves[0])}`"


def add_to_bundle(status: Document, hold: RemovalHold | None) -> None:
    """Show Held, unless something is worse; the number and the command stand first in the
    message.
    """
    if hold is None:
        return
    status["held"] = hold_document(hold)
    _add_message(status, f"{hold.words}; `{status['held']['confirm']}` confirms the removals")


def add_to_repo(status: Document, holds: Sequence[RemovalHold]) -> None:
    """Add `heldRemovals`, what a GitRepo's bundles would lose. `held` stays what its scan would
    remove.
    """
    status["heldRemovals"] = [hold_document(hold) for hold in holds]
    if holds:
        suffix = count_others(len(holds) - 1)
        message = f"bundle {holds[0].bundle} {holds[0].words}{suffix}; see `fleetctl held list`"
        _add_message(status, message)


def _add_message(status: Document, message: str) -> None:
    display = status["display"]
    if display["state"] not in _WORSE:
        display["state"] = "Held"
    display["message"] = f"{message}; {display['message']}" if display["message"] else message
    for condition in status["conditions"]:
        if condition["type"] == "Ready":
            condition |= {"status": "False", "message": display["message"]}
