"""`fleetctl wait`: waits until objects are ready, applied, or at a commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fleetctl.cli.display.columns import plurals_of
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import say
from fleetctl.cli.objects.wait_loop import ROLLOUTS, WaitAim, WaitRequest, wait_until
from fleetctl.cli.options import ContextName, Selector, Workspace, seconds
from fleetctl.cli.session import open_session
from fleetctl.cli.wait_conditions import goal_of
from fleetctl.core.model.errors import UsageError

_WORKSPACE = ("gitrepos", "bundles", "clusters")
_OF_COMMIT = frozenset({"gitrepos", "bundles", ROLLOUTS})


def wait(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KIND[/NAME]", help="Kinds and names. The default is the whole workspace."
        ),
    ] = None,
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="WHAT",
            help=(
                "The goal: ready (the default), synced, applied, completed, deleted, "
                "commit=SHA, condition=TYPE[=STATUS], or state=STATE, for example "
                "state=Modified. If it is given several times, all goals must hold."
            ),
        ),
    ] = None,
    commit: Annotated[
        str,
        typer.Option(
            metavar="C", help="Also wait until the GitRepo, bundle or rollout is at this commit."
        ),
    ] = "",
    timeout: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="The longest time to wait; then the exit status is 6. 0 checks once.",
        ),
    ] = "5m",
    selector: Selector = "",
    every: Annotated[
        bool,
        typer.Option("--all", help="All objects of the kind. A kind without names means the same."),
    ] = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Wait until objects are ready, applied, or at a commit. If the time runs out, print what is
    missing.

    A rollout that failed or was aborted ends the wait at once, with exit status 1.
    """
    request = _parse_request(list(words or []), for_ or ["ready"], commit, selector, every=every)
    limit = seconds(timeout, option="--timeout")
    with open_session(context, workspace) as session:
        amount = wait_until(session, request, limit)
    say(
        f"{' '.join(words or []) or 'everything'}: {request.text}"
        + (f" ({format_count(amount, 'object')})" if amount != 1 else "")
    )


def _parse_request(
    words: list[str], for_: Sequence[str], commit: str, selector: str, *, every: bool
) -> WaitRequest:
    goals = [goal_of(text) for text in for_] + ([goal_of(f"commit={commit}")] if commit else [])
    aims = _parse_aims(words)
    names = [name for aim in aims for name in aim.names]
    if every and (names or not words):
        step = "Write `fleetctl wait KIND --all`, or names without it."
        raise UsageError(
            "--all needs one kind and no names",
            subject=" ".join(words) or "--all",
            next_step=step,
        )
    if names and selector:
        raise UsageError(
            "a selector and names exclude each other",
            subject=selector,
            next_step="Remove one of them.",
        )
    if (
        any(goal.want.startswith("commit=") for goal in goals)
        and not {aim.plural for aim in aims} <= _OF_COMMIT
    ):
        step = "Write `fleetctl wait gitrepo/NAME --for commit=SHA`."
        raise UsageError(
            "only GitRepos, bundles and rollouts have a commit", subject="commit", next_step=step
        )
    if any(goal.want == "completed" for goal in goals) and {aim.plural for aim in aims} != {
        ROLLOUTS
    }:
        step = "Write `fleetctl wait rollout/BUNDLE --for completed`, or wait for applied."
        raise UsageError("only a rollout completes", subject="--for completed", next_step=step)
    if selector and any(aim.plural == ROLLOUTS for aim in aims):
        raise UsageError(
            "rollouts have no labels",
            subject=selector,
            next_step="Name bundles, or leave the selector out.",
        )
    if len(goals) > 1 and any(goal.want == "deleted" for goal in goals):
        raise UsageError(
            "deleted and other goals exclude each other",
            subject="--for deleted",
            next_step="Leave the others out.",
        )
    return WaitRequest(tuple(aims), tuple(goals), {"selector": selector})


def _parse_aims(words: list[str]) -> list[WaitAim]:
    """`KIND`, `KIND NAME…`, or `KIND/NAME…` of several kinds. Raises UsageError."""
    if not words or words == ["all"]:
        return [WaitAim(plural) for plural in _WORKSPACE]
    if all("/" in word for word in words):
        names_of: dict[str, list[str]] = {}
        for word in words:
            kind, _, name = word.partition("/")
            plurals = _plurals(kind)
            if len(plurals) > 1 or not name:
                raise UsageError(
                    "a name belongs to one kind",
                    subject=word,
                    next_step="Write `fleetctl wait KIND/NAME…`.",
                )
            names_of.setdefault(plurals[0], []).append(name)
        return [WaitAim(plural, tuple(dict.fromkeys(names))) for plural, names in names_of.items()]
    kind, slash, name = words[0].partition("/")
    names = tuple(dict.fromkeys(([name] if slash else []) + words[1:]))
    plurals = _plurals(kind)
    if any("/" in name for name in names) or (names and (len(plurals) > 1 or not all(names))):
        raise UsageError(
            "names belong to one kind",
            subject=" ".join(words),
            next_step="Write `fleetctl wait KIND NAME…`.",
        )
    return [WaitAim(plural, names) for plural in plurals]


def _plurals(kind: str) -> list[str]:
    if kind.lower() in {"rollout", ROLLOUTS}:
        return [ROLLOUTS]
    return list(_WORKSPACE) if kind.lower() == "all" else plurals_of(kind)
