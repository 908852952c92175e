"""Lists bundles as documents."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleetctl.core.formats.redact import redacted_login
from fleetctl.core.model.reasons import ReasonGroup, message_of, wire_reasons
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import summarize, worst_of

from ..store.connection import Reader
from ..store.queries import bundles
from ..store.queries.bundles import BundleRow
from ..store.queries.deployments import DeploymentScope
from ..store.queries.ingest.gitrepos import list_scans
from . import pins
from .metadata import Document, ListFilter, assemble_document, condition
from .reasons import bundle_key, count_resources, group_reasons
from .removals import held as held_removals
from .states import UNCOUNTED_MESSAGE, FleetView, StateCounts


def list_bundles(fleet: FleetView, query: ListFilter) -> list[Document]:
    counts = fleet.count_states(
        lambda count_key: (count_key.workspace, count_key.bundle), query.name
    )
    scope = DeploymentScope(query.workspace, query.repo, query.name)
    groups = group_reasons(fleet.reasons, scope, bundle_key)
    pinned_bundles = pins.pins_by_bundle(fleet.reader, query.workspace)
    problems = _scan_problems(fleet.reader, query)
    documents = []
    filters = query.workspace, query.name, query.repo, query.keys
    for row in bundles.list_bundles(fleet.reader, *filters):
        spec, key = msgspec.json.decode(row.spec), (row.workspace, row.name)
        scan = problems.get((row.workspace, row.repo, spec.get("path", "")), {})
        is_complete = key not in fleet.uncounted_bundles
        status = _bundle_status(row, counts.get(key, {}), groups.get(key, []), scan, is_complete)
        pins.add_to_bundle(status, pinned_bundles.get(key, pins.NO_PINS))
        held_removals.add_to_bundle(status, fleet.holds.get(key))
        if query.name:
            status["resourceCounts"] = count_resources(fleet.reader, scope)
        labels = {
            "fleet.cattle.io/repo-name": row.repo,
            "fleet.cattle.io/bundle-path": spec.get("path", ""),
        } | spec.get("labels", {})
        head = {"labels": labels, "annotations": {}}
        documents.append(assemble_document("Bundle", row, _fleet_spec(spec), status, head))
    return documents


def _bundle_status(
    row: BundleRow,
    states: StateCounts,
    groups: Sequence[ReasonGroup],
    scan: Document,
    is_complete: bool,
) -> Document:
    """`scan`: the problems and warnings of its directory. `counted`: `states` has all of its
    deployments.
    """
    state, message = worst_of(states).value, message_of(groups)
    if not is_complete and state == State.READY.value:
        state, message = State.PENDING.value, UNCOUNTED_MESSAGE
    if scan.get("problems"):
        # An earlier commit is deployed: nobody should take it for the newest.
        state, message = "Stalled", scan["problems"][0]["summary"]
    total = sum(states.values())
    return {
        "display": {
            "readyClusters": f"{states.get(State.READY, 0)}/{total}",
            "state": state,
            "message": message,
        },
        "summary": summarize(states),
        "conditions": [condition("Ready", ok=state == "Ready", message=message)],
        "commit": row.commit,
        "archive": row.archive,
        "clusters": total,
        "pinned": row.pinned_revision,
        **wire_reasons(groups),
        **scan,
    }


def _scan_problems(reader: Reader, query: ListFilter) -> dict[tuple[str, str, str], Document]:
    """By workspace, GitRepo and directory: `warnings` and `problems` of the last scan, where there
    are some.
    """
    problems: dict[tuple[str, str, str], Document] = {}
    for scan in list_scans(reader, query.workspace, query.repo):
        for problem in msgspec.json.decode(scan.problems) or []:
            lists = problems.setdefault((scan.workspace, scan.name, problem["path"]), {})
            name = "warnings" if problem.get("warning") else "problems"
            lists.setdefault(name, []).append(problem)
    return problems


def _fleet_spec(spec: Document) -> Document:
    """Fleet's keys: the options stand beside targets, and customizations come before the GitRepo's
    targets.
    """
    fields: Document = {**spec.get("options", {})}
    fields |= _redact_helm(fields)
    targets = [*spec.get("customizations", []), *spec.get("targets", [])]
    fields["targets"] = [_fleet_target(target) for target in targets]
    for key in ("dependsOn", "paused", "rolloutStrategy"):
        if spec.get(key):
            fields[key] = spec[key]
    return fields


def _fleet_target(target: Document) -> Document:
    options = target.get("options", {})
    fields: Document = {key: value for key, value in target.items() if key != "options"}
    fields |= options
    return fields | _redact_helm(options)


def _redact_helm(options: Document) -> Document:
    """The helm options without logins in addresses. Bundles may hold logins that were stored
    before the scan refused them.
    """
    helm = options.get("helm")
    if not helm:
        return {}
    addresses = {key: redacted_login(helm[key]) for key in ("repo", "chart") if helm.get(key)}
    return {"helm": helm | addresses}
