"""GitRepos as objects: the last scan, what is in its way, and how its bundles fare."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from fleetctl.core.formats.redact import redacted_login
from fleetctl.core.model.reasons import Group, message_of, shown
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import summarize, worst_of

from ..clock import rfc3339
from ..reconcile.held_removals import Hold
from ..store.schema import bundles, objects, repos
from . import held_removals, metadata, pending_removals, reasons
from .metadata import Asked, Document, condition
from .states import UNCOUNTED, Fleet

_load = msgspec.json.decode


def repo_status(scan: Any, states: dict[State, int], amount: int, generation: int) -> Document:
    """`display.state`: GitUpdating until scanned, Stalled when the last look at Git failed, Held,
    or the worst of its deployments.
    """
    error = _load(scan.error) if scan else None
    told = _load(scan.problems) if scan else []
    problems, warnings = (
        [p for p in told if not p.get("warning")],
        [p for p in told if p.get("warning")],
    )
    held = _load(scan.held) if scan else None
    state, message = worst_of(states).value, ""
    if error:
        state, message = "Stalled", error["summary"]
    elif problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        state, message = "Stalled", problems[0]["summary"] + more
    elif held:
        state, message = "Held", held_removals.words(held)
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
            condition(
                "Stalled", ok=bool(error or problems), message=message if error or problems else ""
            ),
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


def repos_of(whole: Fleet, asked: Asked) -> list[Document]:
    connection = whole.connection
    counts = whole.counted(lambda sort: (sort.workspace, sort.repo))
    b = bundles.c
    grouped = sa.select(b.workspace, b.repo, sa.func.count()).group_by(b.workspace, b.repo)
    held = connection.execute(
        grouped.where(b.workspace == asked.workspace) if asked.workspace else grouped
    )
    amounts = {(row[0], row[1]): row[2] for row in held}
    scans = {(r.workspace, r.name): r for r in metadata.rows(connection, repos, asked)}
    place = reasons.Place(asked.workspace, asked.name)
    why = reasons.grouped(whole.known, place, reasons.BY_REPO)
    going: dict[tuple[str, str], list[Group]] = {}
    for (space, repo, _), some in pending_removals.groups(connection, asked.workspace).items():
        going.setdefault((space, repo), []).extend(some)
    holds: dict[tuple[str, str], list[Hold]] = {}
    for hold in whole.holds.values():
        holds.setdefault((hold.workspace, hold.repo), []).append(hold)
    uncounted = {(workspace, repo) for (workspace, _), repo in whole.uncounted.items()}
    found = []
    for row in metadata.rows(connection, objects, asked, objects.c.kind == "GitRepo"):
        key = (row.workspace, row.name)
        status = repo_status(
            scans.get(key), counts.get(key, {}), amounts.get(key, 0), row.generation
        )
        status["display"]["message"] = status["display"]["message"] or message_of(why.get(key, []))
        if status["display"]["state"] == State.READY.value and key in uncounted:
            pending = {"state": State.PENDING.value, "message": UNCOUNTED}
            status["display"] |= pending
            status["conditions"][0] = condition("Ready", ok=False, message=UNCOUNTED)
        held_removals.on_repo(status, holds.get(key, []))
        status |= shown(why.get(key, []))
        pending_removals.on_repo(status, going.get(key, []))
        polled = whole.live.polled.get(key)
        status["lastPolled"] = rfc3339(polled) if polled else ""
        if asked.name:
            status["resourceCounts"] = reasons.objects_of(connection, place)
        spec = _load(row.spec)
        # stored before such addresses were refused
        spec["repo"] = redacted_login(str(spec.get("repo") or ""))
        found.append(metadata.of_row("GitRepo", row, spec, status, **metadata.head(row)))
    return found
