"""`fleetctl wait`: looks at each change, never longer than it was told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from fleetctl.cli.common import ContextName, Selector, Session, Workspace, counted, opened
from fleetctl.cli.kinds import KINDS, plurals_of, state_of
from fleetctl.cli.output import duration, say
from fleetctl.cli.reading import changes
from fleetctl.cli.words import seconds
from fleetctl.core.errors import DeadlineError, UnavailableError, UsageError

_WORKSPACE = ("gitrepos", "bundles", "clusters")
# The last answer may come this much after the deadline.
_GRACE = 3.0
_LOOK_SECONDS, _RETRY_SECONDS, _SHOWN = 15, 1.0, 20


@dataclass(frozen=True)
class _Goal:
    """Which objects, and what they shall be."""

    plurals: tuple[str, ...]
    names: tuple[str, ...]
    want: str  # `ready`, `deleted`, `condition=TYPE[=STATUS]` or a state
    filters: dict[str, str] = field(default_factory=dict)
    commit: str = ""

    def missing(self, item: dict[str, Any]) -> str:
        """What `item` lacks, in words; "" when it is as wanted."""
        if self.want.startswith("condition="):
            kind, _, status = self.want.removeprefix("condition=").partition("=")
            has = [c for c in (item.get("status") or {}).get("conditions") or [] if str(c.get("type", "")).lower() == kind.lower()]
            if not has or str(has[0].get("status", "")).lower() != (status or "true").lower():
                return f"has {kind}={has[0].get('status')}" if has else f"has no condition {kind}"
        elif state_of(item).lower() != self.want.lower():
            message = ((item.get("status") or {}).get("display") or {}).get("message") or ""
            return f"is {state_of(item) or 'in no state'}" + (f": {message}" if message else "")
        at = str((item.get("status") or {}).get("commit") or "")
        return f"is at {at[:12] or 'no commit'}" if self.commit and not at.startswith(self.commit) else ""


def wait(
    what: Annotated[list[str] | None, typer.Argument(metavar="KIND[/NAME]", help="Kind and names; nothing is the whole workspace.")] = None,
    for_: Annotated[
        str, typer.Option("--for", metavar="WHAT", help="ready, deleted, condition=TYPE[=STATUS], or a state such as Modified.")
    ] = "ready",
    commit: Annotated[str, typer.Option(metavar="C", help="Also until the GitRepo or bundle is at this commit.")] = "",
    timeout: Annotated[str, typer.Option(metavar="TIME", help="At most this long, then exit status 6; 0 looks once.")] = "5m",
    selector: Selector = "",
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Wait until things are ready. At the deadline it says what is not."""
    goal = _goal(list(what or []), for_, commit, selector)
    limit = seconds(timeout, option="--timeout")
    with opened(context, workspace) as session:
        found = _until(session, goal, limit)
    say(f"{' '.join(what or []) or 'everything'}: {for_}" + (f" ({counted(found, 'object')})" if found != 1 else ""))


def _goal(words: list[str], for_: str, commit: str, selector: str) -> _Goal:
    want = for_.removeprefix("state=").removeprefix("delete") if for_ == "delete" else for_.removeprefix("state=")
    kind, slash, name = (words[0] if words else "all").partition("/")
    names = tuple(([name] if slash else []) + words[1:])
    plurals = tuple(_WORKSPACE if kind.lower() == "all" else plurals_of(kind))
    if names and (len(plurals) > 1 or not all(names)):
        raise UsageError("names belong to one kind", subject=" ".join(words), next_step="Write `fleetctl wait KIND NAME…`.")
    if commit and not set(plurals) <= {"gitrepos", "bundles"}:
        step = "Write `fleetctl wait gitrepo/NAME --commit C`."
        raise UsageError("only GitRepos and bundles have a commit", subject="--commit", next_step=step)
    return _Goal(plurals, names, want or "deleted", {"selector": selector}, commit.lower())


def _until(session: Session, goal: _Goal, limit: float) -> int:
    """The number of objects once all are as wanted. Raises DeadlineError with what is missing on stderr."""
    end, revision, told = time.monotonic() + limit, 0, ""
    session.client.deadline = end + _GRACE
    missing: list[str] = []
    while True:
        try:
            revision = revision or changes(session, 0, 0)
            amount, missing = _look(session, goal)
            if not missing:
                return amount
            left = end - time.monotonic()
            if left <= 0:
                raise _late(goal, amount, missing, limit)
            told = _tell(told, missing)
            revision = changes(session, revision, max(1, min(_LOOK_SECONDS, int(left))))
        except UnavailableError as error:
            if not missing:
                raise
            if time.monotonic() > end:
                raise _late(goal, 0, [error.summary], limit) from error
            told = _tell(told, [error.summary])
            time.sleep(max(0.0, min(_RETRY_SECONDS, end - time.monotonic())))


def _look(session: Session, goal: _Goal) -> tuple[int, list[str]]:
    """(how many objects there are, what is missing in words)."""
    found = [item for plural in goal.plurals for item in session.client.list(plural, workspace=session.workspace, **goal.filters)]
    if goal.names:
        found = [item for item in found if item["metadata"]["name"] in goal.names]
    have = {item["metadata"]["name"] for item in found}
    if goal.want == "deleted":
        return len(goal.names) or 1, [f"{item['kind']} {item['metadata']['name']} exists" for item in found]
    absent = [f"{KINDS[goal.plurals[0]].kind} {name} does not exist" for name in goal.names if name not in have]
    if not found and not absent:
        absent = [f"there are no {' or '.join(KINDS[p].many for p in goal.plurals)} in workspace {session.workspace}"]
    return len(found), absent + [f"{i['kind']} {i['metadata']['name']} {lack}" for i in found if (lack := goal.missing(i))]


def _tell(told: str, missing: list[str]) -> str:
    """One line of progress whenever it is another one."""
    text = missing[0] + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
    if text != told:
        say(f"waiting: {text}")
    return text


def _late(goal: _Goal, amount: int, missing: list[str], limit: float) -> DeadlineError:
    for text in missing[:_SHOWN]:
        say(f"  {text}")
    if len(missing) > _SHOWN:
        say(f"  … and {len(missing) - _SHOWN} more")
    summary = f"not {goal.want} within {duration(int(limit))}: {len(missing)} of {max(amount, len(missing))}"
    step = "Look with `fleetctl status`, or give it a longer --timeout."
    return DeadlineError(summary, subject=missing[0], next_step=step)
