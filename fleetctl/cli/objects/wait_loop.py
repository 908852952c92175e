"""Polls objects until a wait has reached its goals, or cannot reach them any more.

It looks again when the manager reports a change (a long poll), and in a fleet where something
always changes no more often than every few seconds: a thousand pipelines that wait are no load.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetctl import jitter
from fleetctl.cli.display.columns import KINDS, state_of
from fleetctl.cli.display.humanize import format_duration, format_times
from fleetctl.cli.display.output import is_terminal, say
from fleetctl.cli.display.progress import open_wait
from fleetctl.cli.objects.list_view import changes
from fleetctl.cli.session import Session
from fleetctl.cli.wait_conditions import Goal
from fleetctl.core.model.errors import DeadlineError, FleetError, NotFound, UnavailableError
from fleetctl.core.text.listing import count_hidden

ROLLOUTS = "rollouts"
_FROM_GIT = frozenset({"bundles", "bundledeployments"})


# The last answer may come this much after the deadline.
_GRACE = 3.0
_LOOK_SECONDS, _RETRY_SECONDS, _MOST_SHOWN = 15, 1.0, 20
_PACES = (0.1, 3.0)  # between two looks: the first, and the most
_ONE_BY_ONE = 20  # so many names are asked for one by one


@dataclass(frozen=True)
class WaitAim:
    """Objects of one kind: the named ones, or all that the selector matches."""

    plural: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class WaitRequest:
    """The objects to wait for, and the goals that all of them must reach."""

    aims: tuple[WaitAim, ...]
    goals: tuple[Goal, ...]
    filters: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return " and ".join(goal.want for goal in self.goals)

    @property
    def awaits_deletion(self) -> bool:
        return any(goal.want == "deleted" for goal in self.goals)


def wait_until(session: Session, request: WaitRequest, limit: float) -> int:
    """The number of objects, once all are as requested.

    Raises DeadlineError with what is missing on stderr, FleetError when the goal is out of reach.
    """
    with open_wait(is_live=is_terminal(sys.stderr)) as show:
        return _poll(session, request, limit, show)


def _poll(
    session: Session, request: WaitRequest, limit: float, show: Callable[[Sequence[str]], None]
) -> int:
    end, revision, pace = time.monotonic() + limit, 0, _PACES[0]
    session.client.deadline = end + _GRACE
    missing: list[str] = []
    is_first = True
    while True:
        try:
            revision = revision or changes(session, 0, 0)
            amount, missing = _find_missing(session, request)
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


def _find_missing(session: Session, request: WaitRequest) -> tuple[int, list[str]]:
    """Count the objects and describe what is missing. Raises FleetError when a goal is out of
    reach.
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


def _items(session: Session, aim: WaitAim, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
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
    session: Session, request: WaitRequest, items: Sequence[dict[str, Any]]
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
    session: Session, request: WaitRequest, items: Sequence[dict[str, Any]]
) -> Iterator[str]:
    have = {(item["kind"], item["metadata"]["name"]) for item in items}
    for aim in request.aims:
        kind = "Rollout" if aim.plural == ROLLOUTS else KINDS[aim.plural].kind
        suffix = ": it has no rollout yet" if aim.plural == ROLLOUTS else ""
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


def _check_reachable(item: dict[str, Any], request: WaitRequest) -> None:
    for goal in request.goals:
        cause = goal.why_unreachable(item)
        if cause:
            name = item["metadata"]["name"]
            step = (
                f"See `fleetctl why {name}`; `fleetctl rollout resume {name}` continues,"
                f" `fleetctl rollback {name}` returns to the previous revision."
            )
            raise FleetError(f"rollout {name} {cause}", subject=f"Rollout {name}", next_step=step)


def _late(request: WaitRequest, amount: int, missing: list[str], limit: float) -> DeadlineError:
    if len(missing) > 1:  # a single one is the subject of the error
        for text in missing[:_MOST_SHOWN]:
            say(f"  {text}")
    if len(missing) > _MOST_SHOWN:
        say(f"  {count_hidden(len(missing) - _MOST_SHOWN)}")
    summary = (
        f"not {request.text} within {format_duration(int(limit))}: {len(missing)} of"
        f" {max(amount, len(missing))}"
    )
    step = "Look with `fleetctl status`, or give it a longer --timeout."
    subject = missing[0] if len(missing) == 1 else ""
    return DeadlineError(summary, subject=subject, next_step=step)
