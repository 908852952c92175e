"""Lists GitRepos as documents: the last scan, what blocks it, and the states of its bundles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleetctl.core.formats.redact import redacted_login
from fleetctl.core.model.reasons import ReasonGroup, message_of, wire_reasons
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import summarize, worst_of
from fleetctl.core.text.listing import count_others

from ..clock import rfc3339
from ..reconcile.held_removals import RemovalHold
from ..store.queries.bundles import count_bundles_by_repo
from ..store.queries.deployments import DeploymentScope
from ..store.queries.ingest.gitrepos import ScanRow, list_scans
from ..store.queries.objects import list_objects
from .metadata import Document, ListFilter, build_document, condition
from .reasons import count_resources, gitrepo_key, group_reasons
from .removals import held as held_removals
from .removals import pending as pending_removals
from .states import UNCOUNTED_MESSAGE, FleetView


def repo_status(
    scan: ScanRow | None, states: Mapping[State, int], bundles: int, generation: int
) -> Document:
    """The status of a GitRepo from its last scan and the states of its deployments. `bundles`:
    their number; `generation`: the GitRepo's.

    `display.state`: GitUpdating until scanned, Stalled when the last scan failed, Held, or the
    worst of its deployments.
    """
    error = msgspec.json.decode(scan.error) if scan else None
    findings = msgspec.json.decode(scan.problems) if scan else []
    problems = [finding for finding in findings if not finding.get("warning")]
    removal = msgspec.json.decode(scan.held_removal) if scan else None
    state, message = worst_of(states).value, ""
    if error:
        state, message = "Stalled", error["summary"]
    elif problems:
        suffix = count_others(len(problems) - 1)
        state, message = "Stalled", problems[0]["summary"] + suffix
    elif removal:
        state, message = "Held", held_removals.describe_scan(removal)
    elif scan is None or scan.scanned_generation < generation:
        state = "GitUpdating"
    return {
        "commit": scan.commit if scan else "",
        "display": {
            "state": state,
            "readyBundleDeployments": f"{states.get(State.READY, 0)}/{sum(states.values())}",
            "message": message,
            "error": bool(error),
        },
        "conditions": _conditions(state, message, error, is_stalled=bool(error or problems)),
        "summary": summarize(states),
        "error": error,
        "problems": problems,
        "warnings": [finding for finding in findings if finding.get("warning")],
        "held": removal,
        "bundles": bundles,
        "lastScanned": scan.scanned_at if scan else "",
        "observedGeneration": scan.scanned_generation if scan else 0,
    }


def _conditions(
    state: str, message: str, error: Document | None, *, is_stalled: bool
) -> list[dict[str, str]]:
    return [
        condition("Ready", ok=state == "Ready", message=message),
        condition("GitPolling", ok=not error, message=error["summary"] if error else ""),
        condition("Stalled", ok=is_stalled, message=message if is_stalled else ""),
        condition("Reconciling", ok=state == "GitUpdating"),
        condition("Accepted", ok=True),
    ]


def list_gitrepos(fleet: FleetView, query: ListFilter) -> list[Document]:
    counts = fleet.count_states(lambda count_key: (count_key.workspace, count_key.repo))
    bundles = count_bundles_by_repo(fleet.reader, query.workspace)
    scans = {
        (scan.workspace, scan.name): scan
        for scan in list_scans(fleet.reader, query.workspace, query.name)
    }
    scope = DeploymentScope(query.workspace, query.name)
    groups = group_reasons(fleet.reasons, scope, gitrepo_key)
    removals = _removals_by_repo(fleet, query)
    holds = _holds_by_repo(fleet.holds.values())
    uncounted_repos = {
        (workspace, repo) for (workspace, _), repo in fleet.uncounted_bundles.items()
    }
    documents = []
    rows = list_objects(fleet.reader, "GitRepo", query.workspace, query.name, query.keys)
    for row in rows:
        key = (row.workspace, row.name)
        reasons = groups.get(key, [])
        status = repo_status(
            scans.get(key), counts.get(key, {}), bundles.get(key, 0), row.generation
        )
        status["display"]["message"] = status["display"]["message"] or message_of(reasons)
        if key in uncounted_repos:
            _mark_uncounted(status)
        held_removals.add_to_repo(status, holds.get(key, []))
        status |= wire_reasons(reasons)
        pending_removals.add_to_repo(status, removals.get(key, []))
        last_poll = fleet.live.poll_times.get(key)
        status["lastPolled"] = rfc3339(last_poll) if last_poll else ""
        if query.name:
            status["resourceCounts"] = count_resources(fleet.reader, scope)
        spec = msgspec.json.decode(row.spec)
        # stored before such addresses were refused
        spec["repo"] = redacted_login(str(spec.get("repo") or ""))
        documents.append(build_document("GitRepo", row, spec, status))
    return documents


def _mark_uncounted(status: Document) -> None:
    """Show Pending in place of Ready while clusters are still being matched."""
    if status["display"]["state"] == State.READY.value:
        status["display"] |= {"state": State.PENDING.value, "message": UNCOUNTED_MESSAGE}
        status["conditions"][0] = condition("Ready", ok=False, message=UNCOUNTED_MESSAGE)


def _removals_by_repo(
    fleet: FleetView, query: ListFilter
) -> dict[tuple[str, str], list[ReasonGroup]]:
    removals: dict[tuple[str, str], list[ReasonGroup]] = {}
    groups = pending_removals.group_removals(fleet.reader, query.workspace)
    for (workspace, repo, _), causes in groups.items():
        removals.setdefault((workspace, repo), []).extend(causes)
    return removals


def _holds_by_repo(holds: Iterable[RemovalHold]) -> dict[tuple[str, str], list[RemovalHold]]:
    by_repo: dict[tuple[str, str], list[RemovalHold]] = {}
    for hold in holds:
        by_repo.setdefault((hold.workspace, hold.repo), []).append(hold)
    return by_repo
