"""What stands in a GitRepo's status: its last scan, what is in its way, and how its bundles fare."""

from __future__ import annotations

from typing import Any

import msgspec

from fleetctl.core.status import State
from fleetctl.core.summary import summarize, worst_of
from manager.shown.holdview import words

_load = msgspec.json.decode
Document = dict[str, Any]


def condition(kind: str, *, ok: bool, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True" if ok else "False"} | ({"message": message} if message else {})


def repo_status(scan: Any, states: dict[State, int], amount: int, generation: int) -> Document:
    """`display.state`: GitUpdating until scanned, Stalled when the last look at Git failed, Held, or the worst of its deployments."""
    error = _load(scan.error) if scan else None
    told = _load(scan.problems) if scan else []
    problems, warnings = [p for p in told if not p.get("warning")], [p for p in told if p.get("warning")]
    held = _load(scan.held) if scan else None
    state, message = worst_of(states).value, ""
    if error:
        state, message = "Stalled", error["summary"]
    elif problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        state, message = "Stalled", problems[0]["summary"] + more
    elif held:
        state, message = "Held", words(held)
    elif scan is None or scan.scanned_generation < generation:
        state = "GitUpdating"
    total = sum(states.values())
    return {
        "commit": scan.commit if scan else "",
        "display": {
            "state": state,
            "readyBundleDeployments": f"{states.get(State.READY, 0)}/{total}",
            "message": message,
            "error": bool(error),
        },
        "conditions": [
            condition("Ready", ok=state == "Ready", message=message),
            condition("GitPolling", ok=not error, message=error["summary"] if error else ""),
            condition("Stalled", ok=bool(error or problems), message=message if error or problems else ""),
            condition("Reconciling", ok=state == "GitUpdating"),
            condition("Accepted", ok=True),
        ],
        "summary": summarize(states),
        "error": error,
        "problems": problems,
        "warnings": warnings,
        "held": held,
        "bundles": amount,
        "lastScanned": scan.scanned_at if scan else "",
        "observedGeneration": scan.scanned_generation if scan else 0,
    }
