"""`fleetctl wait`: looks at each change, never longer than it was told, and ends at once when what
is waited for cannot be any more.

It looks again when the manager says that something has changed (a long poll), and in a fleet where
something always changes no more often than every few seconds: a thousand pipelines that wait are no
load.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from fleetctl import jitter
from fleetctl.cli.display.columns import KINDS, plurals_of, state_of
from fleetctl.cli.display.humanize import format_count, format_duration, format_times
from fleetctl.cli.display.output import is_terminal, say
from fleetctl.cli.display.progress import open_wait
from fleetctl.cli.durations import seconds
from fleetctl.cli.objects.list_view import changes
from fleetctl.cli.options import ContextName, Selector, Workspace
from fleetctl.cli.session import Session, open_session
from fleetctl.cli.wait_conditions import Goal, goal_of
from fleetctl.core.model.errors import (
    DeadlineError,
    FleetError,
    NotFound,
    UnavailableError,
    UsageError,
)

_WORKSPACE = ("gitrepos", "bundles", "clusters")
ROLLOUTS = "rollouts"
_FROM_GIT = frozenset({"bundles", "bundledeployments"})
_OF_COMMIT = frozenset({"gitrepos", "bundles", ROLLOUTS})
# The last answer may come this much after the deadline.
_GRACE = 3.0
_LOOK_SECONDS, _RETRY_SECONDS, _MOST_SHOWN = 15, 1.0, 20
_PACES = (0.1, 3.0)  # between two looks: the first, and the most
_ONE_BY_ONE = 20  # so many names are asked for one by one


@dataclass(frozen=True)
class _Aim:
    """Objects of one kind: those named, or all that the selector picks."""

    plural: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _WaitRequest:
    """Which objects, and what they shall be."""

    aims: tuple[_Aim, ...]
    goals: tuple[Goal, ...]
    filters: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return " and ".join(goal.want for goal in self.goals)

    @property
    def awaits_deletion(self) -> bool:
        return any(goal.want == "deleted" for goal in self.goals)


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
        amount = _until(session, request, limit)
    say(
        f"{' '.join(words or []) or 'everything'}: {request.text}"
        + (f" ({format_count(amount, 'object')})" if amount != 1 else "")
    )


def _parse_request(
    words: list[str], for_: Sequence[str], commit: str, selector: str, *, every: bool
) -> _WaitRequest:
    goals = [goal_of(text) for text in for_] + ([goal_of(f"commit={commit}")] if commit else [])
    aims = _parse_aims(words)
    names = [name for aim in aims for name in aim.names]
    if every and (names or not words):
        step = "Write `fleetctl wait KIND --all`, or names without it."
        raise UsageError(
            "--all is of one kind, and takes no names",
            subject=" ".join(words) or "--all",
            next_step=step,
        )
    if names and selector:
        raise UsageError(
            "a selector picks, and names are given too",
            subject=selector,
            next_step="Leave one of them out.",
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
            "what is deleted is nothing else",
            subject="--for deleted",
            next_step="Leave the others out.",
        )
    return _WaitRequest(tuple(aims), tuple(goals), {"selector": selector})


def _parse_aims(words: list[str]) -> list[_Aim]:
    """`KIND`, `KIND NAME…`, or `KIND/NAME…` of several kinds. Raises UsageError."""
    if not words or words == ["all"]:
        return [_Aim(plural) for plural in _WORKSPACE]
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
        return [_Aim(plural, tuple(dict.fromkeys(names))) for plural, names in names_of.items()]
    kind, slash, name = words[0].partition("/")
    names = tuple(dict.fromkeys(([name] if slash else []) + words[1:]))
    plurals = _plurals(kind)
    if any("/" in name for name in names) or (names and (len(plurals) > 1 or not all(names))):
        raise UsageError(
            "names belong to one kind",
            subject=" ".join(words),
            next_step="Write `fleetctl wait KIND NAME…`.",
        )
    return [_Aim(plural, names) for plural in plurals]


def _plurals(kind: str) -> list[str]:
    if kind.lower() in {"rollout", ROLLOUTS}:
        return [ROLLOUTS]
    return list(_WORKSPACE) if kind.lower() == "all" else plurals_of(kind)


def _until(session: Session, request: _WaitRequest, limit: float) -> int:
    """The number of objects, once all are as requested.

    Raises DeadlineError with what is missing on stderr, FleetError when the goal is out of reach.
    """
    with open_wait(is_live=is_terminal(sys.stderr)) as show:
        return _poll(session, request, limit, show)


def _poll(
    session: Session, request: _WaitRequest, limit: float, show: Callable[[Sequence[str]], None]
) -> int:
    end, revision, pace = time.monotonic() + limit, 0, _PACES[0]
    session.client.deadline = end + _GRACE
    missing: list[str] = []
    is_first = True
    while True:
        try:
            revision = revision or changes(session, 0, 0)
            amount, missing = _look(session, request)
            if not missing:
                return amount
            if not amount and is_first:
                session.warn_if_empty()
            is_first = False
            remaining = end - time.monotonic()
            if remaining <= 0:
                raise _late(request, amount, missing, limit)
            show(missing)
            revision = changes(session, revision, max(1, min(_LOOK_SECONDS, int(remaining))))
            time.sleep(max(0.0, min(pace * jitter.between(0.5, 1.5), end - time.monotonic())))
            pace = min(_PACES[1], pace * 1.5)
        except UnavailableError as error:
            if not missing:
                raise
            if time.monotonic() > end:
                raise _late(request, 0, [error.summary], limit) from error
            is_first = False
            show([error.summary])
            time.sleep(max(0.0, min(_RETRY_SECONDS, end - time.monotonic())))


def _look(session: Session, request: _WaitRequest) -> tuple[int, list[str]]:
    """(how many objects there are, what is missing in words). Raises FleetError when one will never
    be as wanted.
    """
    items = [item for aim in request.aims for item in _items(session, aim, request.filters)]
    if request.awaits_deletion:
        amount = sum(len(aim.names) for aim in request.aims)
        return amount or 1, [f"{item['kind']} {item['metadata']['name']} exists" for item in items]
    _refuse_unknown(session, request, items)
    missing = list(_absent(session, request, items))
    for item in items:
        lacks = [lack for goal in request.goals if (lack := goal.missing(item))]
        missing += [f"{item['kind']} {item['metadata']['name']} {lack}" for lack in lacks]
        if not any(lack.startswith("is at ") for lack in lacks):  # another commit may be on its way
            _check_reachable(item, request)
    return len(items), [format_times(text) for text in missing]


def _items(session: Session, aim: _Aim, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
    if aim.plural == ROLLOUTS:
        for name in aim.names or ("",):
            yield from session.client.call(
                "GET", "rollouts", params={"workspace": session.workspace, "bundle": name}
            )["items"]
    elif aim.names and len(aim.names) <= _ONE_BY_ONE:
        for name in aim.names:
            try:
                yield session.client.get(aim.plural, session.workspace, name)
            except NotFound:
                continue
    else:
        items = session.client.list(aim.plural, workspace=session.workspace, **filters)
        yield from (
            item for item in items if not aim.names or item["metadata"]["name"] in aim.names
        )


def _refuse_unknown(
    session: Session, request: _WaitRequest, items: Sequence[dict[str, Any]]
) -> None:
    """Raises NotFound for a name that does not exist, as `kubectl wait` does.

    A bundle or a rollout may still appear while a GitRepo of the workspace is being scanned.
    """
    have = {(item["kind"], item["metadata"]["name"]) for item in items}
    for aim in request.aims:
        if aim.plural == ROLLOUTS:
            unknown_names = [name for name in aim.names if ("Rollout", name) not in have]
            plural = "bundles"  # a bundle that is sent to all clusters at once has no rollout
        else:
            plural, kind = aim.plural, KINDS[aim.plural].kind
            unknown_names = [name for name in aim.names if (kind, name) not in have]
        for name in unknown_names:
            try:
                session.client.get(plural, session.workspace, name)
            except NotFound:
                if plural not in _FROM_GIT or not _scanning(session):
                    raise


def _scanning(session: Session) -> bool:
    repos = session.client.list("gitrepos", workspace=session.workspace)
    return any(state_of(item) == "GitUpdating" for item in repos)


def _absent(
    session: Session, request: _WaitRequest, items: Sequence[dict[str, Any]]
) -> Iterator[str]:
    have = {(item["kind"], item["metadata"]["name"]) for item in items}
    for aim in request.aims:
        kind = "Rollout" if aim.plural == ROLLOUTS else KINDS[aim.plural].kind
        suffix = ": nothing of it is handed out in steps yet" if aim.plural == ROLLOUTS else ""
        yield from (
            f"{kind} {name} does not exist{suffix}"
            for name in aim.names
            if (kind, name) not in have
        )
    if not items and not any(aim.names for aim in request.aims):
        kinds = " or ".join(
            ROLLOUTS if aim.plural == ROLLOUTS else KINDS[aim.plural].plural_text
            for aim in request.aims
        )
        yield f"there are no {kinds} in workspace {session.workspace}"


def _check_reachable(item: dict[str, Any], request: _WaitRequest) -> None:
    for goal in request.goals:
        cause = goal.why_unreachable(item)
        if cause:
            name = item["metadata"]["name"]
            step = (
                f"See `fleetctl why {name}`; `fleetctl rollout resume {name}` goes on, `fleetctl"
                f" rollback {name}` goes back."
            )
            raise FleetError(f"rollout {name} {cause}", subject=f"Rollout {name}", next_step=step)


def _late(request: _WaitRequest, amount: int, missing: list[str], limit: float) -> DeadlineError:
    if len(missing) > 1:  # a single one is the subject of the error
        for text in missing[:_MOST_SHOWN]:
            say(f"  {text}")
    if len(missing) > _MOST_SHOWN:
        say(f"  … and {len(missing) - _MOST_SHOWN} more")
    summary = (
        f"not {request.text} within {format_duration(int(limit))}: {len(missing)} of"
        f" {max(amount, len(missing))}"
    )
    step = "Look with `fleetctl status`, or give it a longer --timeout."
    subject = missing[0] if len(missing) == 1 else ""
    return DeadlineError(summary, subject=subject, next_step=step)
