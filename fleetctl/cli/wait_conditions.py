"""What `fleetctl wait --for` may ask of an object, and what an object lacks of it, in words. Pure.

`ready`: its state is Ready (of a rollout: Completed). `synced`: every cluster that gets it was told
its newest version. `applied`: and has applied it, ready or not. `completed`: a rollout has reached
everybody. `commit=SHA`: what Git says was taken. Or a condition, or a state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetctl.cli.display.columns import STATES, short, state_of
from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.suggest import did_you_mean

WORDS = ("ready", "synced", "applied", "completed", "deleted")

_PHASES = ("Progressing", "Paused", "Failed", "Aborted", "Completed")
_PENDING_STATES = {
    "pending": "Pending",
    "outOfSync": "OutOfSync",
    "waitingForWindow": "WaitingForWindow",
}
_UNAPPLIED_STATES = {
    **_PENDING_STATES,
    "waitApplied": "WaitApplied",
    "errApplied": "ErrApplied",
    "waitingForDependency": "WaitingForDependency",
    "offline": "Offline",
}
_OF_GIT = frozenset({"GitUpdating", "Stalled", "Held"})
_CAUSES = 3
# What a rollout does not leave by itself.
_FINAL_STATES = frozenset({"Failed", "Aborted"})


@dataclass(frozen=True)
class Goal:
    """`want`: a word of WORDS, `condition=TYPE[=STATUS]`, `commit=SHA` or a state in small
    letters.
    """

    want: str

    def missing(self, item: dict[str, Any]) -> str:
        """Describe what `item` lacks; "" when it has reached the goal."""
        if self.want.startswith("condition="):
            return _condition(item, self.want.removeprefix("condition="))
        if self.want.startswith("commit="):
            at = commit_of(item)
            return (
                ""
                if at.startswith(self.want.removeprefix("commit=")) and at
                else f"is at {at[:12] or 'no commit'}"
            )
        rollout = item["kind"] == "Rollout"
        if self.want == "completed" or (rollout and self.want in {"ready", "applied"}):
            return _missing_state(item, "completed")
        if self.want == "synced":
            return (
                _missing_deliveries(item) if rollout else _missing_by_count(item, _PENDING_STATES)
            )
        if self.want == "applied":
            return _missing_by_count(item, _UNAPPLIED_STATES)
        return _missing_state(item, self.want)

    def why_unreachable(self, item: dict[str, Any]) -> str:
        """Describe why the goal cannot be reached without a person; "" when it can."""
        state = state_of(item)
        if (
            item["kind"] != "Rollout"
            or state not in _FINAL_STATES
            or self.want not in {"ready", "synced", "applied", "completed"}
        ):
            return ""
        return f"is {state}" + _because(item) if self.missing(item) else ""


def goal_of(text: str) -> Goal:
    """Parse a goal. Raises UsageError with the nearest word."""
    want = text.strip()
    kind, sign, rest = want.partition("=")
    if sign and kind in {"condition", "commit"} and rest:
        return Goal(f"{kind}={rest.lower() if kind == 'commit' else rest}")
    want = want.removeprefix("state=").lower()
    want = "deleted" if want == "delete" else want
    words = {*WORDS, *(state.lower() for state in (*STATES, *_PHASES))}
    if want in words:
        return Goal(want)
    step = did_you_mean(want, sorted(words))
    step += f"Valid: {', '.join(WORDS)}, condition=TYPE, commit=SHA, and states such as Modified."
    raise UsageError(f"unknown condition {text[:80]!r}", subject="--for", next_step=step)


def commit_of(item: dict[str, Any]) -> str:
    return str((item.get("status") or {}).get("commit") or "").lower()


def _because(item: dict[str, Any]) -> str:
    message = short(str(((item.get("status") or {}).get("display") or {}).get("message") or ""))
    return f": {message}" if message else ""


def _missing_state(item: dict[str, Any], want: str) -> str:
    state = state_of(item)
    return "" if state.lower() == want else f"is {state or 'in no state'}" + _because(item)


def _missing_deliveries(item: dict[str, Any]) -> str:
    updated, _, of = str(
        ((item.get("status") or {}).get("display") or {}).get("clusters") or ""
    ).partition("/")
    return "" if updated == of else f"{updated} of {of} clusters are updated" + _because(item)


def _missing_by_count(item: dict[str, Any], counters: dict[str, str]) -> str:
    """Judge an object of many deployments by its summary, a deployment by its own state."""
    status = item.get("status") or {}
    state, summary = state_of(item), status.get("summary")
    if state in _OF_GIT or state == "WaitCheckIn":
        return f"is {state}" + _because(item)
    if summary is None:
        return f"is {state}" + _because(item) if state in counters.values() else ""
    amounts = {word: summary[counter] for counter, word in counters.items() if summary.get(counter)}
    if not amounts:
        return ""
    amounts_text = ", ".join(f"{count} {word}" for word, count in amounts.items())
    causes = [
        f"{r['cause']} ({(r.get('example') or {}).get('cluster', '')})"
        for r in status.get("reasons") or []
        if r["state"] in amounts
    ]
    cause_text = f": {'; '.join(causes[:_CAUSES])}" if causes else _because(item)
    return f"has {amounts_text} of {summary.get('desiredReady', '?')}{cause_text}"


def _condition(item: dict[str, Any], want: str) -> str:
    kind, _, status = want.partition("=")
    has = [
        c
        for c in (item.get("status") or {}).get("conditions") or []
        if str(c.get("type", "")).lower() == kind.lower()
    ]
    if has and str(has[0].get("status", "")).lower() == (status or "true").lower():
        return ""
    return f"has {kind}={has[0].get('status')}" if has else f"has no condition {kind}"
