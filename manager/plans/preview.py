"""What a scan's result would change: the questions that taking it over asks
(manager/ingest/apply_scan.py, manager/reconcile/reconcile.py), with nothing stored.

Rule: reads only, on one snapshot, one bundle after the other, so that a plan holds as much at once
as a bundle has clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.errors import DeadlineError
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.plan import Change, Have, Key, Want, decide
from fleetctl.core.rollout import impact as core
from fleetctl.core.rollout.impact import Impact, Plan, PlanFacts, PlanTrouble, PlanWait, What
from fleetctl.core.rollout.strategy import partitions_of
from fleetctl.core.scan.problems import ScanProblem

from ..ingest.apply_scan import CompletedScan, ScanComparison, compare_with_store, needs_reconcile
from ..reconcile.removal_guard import TargetedKeys, preview_removals
from ..rollout import staging
from ..rollout.desired import find_deployments
from ..rollout.partitions import safe_strategy
from ..store import Reader
from ..store.queries import Scope, kube_versions
from ..store.queries.deployments import options_texts
from ..store.queries.ingest.gitrepos import scanned_commit
from ..store.queries.targeting import sent_deployments
from .removals import hold_reason, plan_removals
from .snapshot import BundleLosses, Look, PlanSnapshot, gather_snapshot


def preview_scan(reader: Reader, repo: RepoSpec, scan: CompletedScan, look: Look) -> Plan:
    """The plan; what it says of deployments is what taking `scan` over would store. Raises
    DeadlineError.
    """
    comparison = compare_with_store(reader, repo, scan)
    fresh = [
        spec
        for spec in comparison.specs
        if needs_reconcile(comparison.bundles.get(spec.name), spec)
    ]
    if repo.spec.paused:
        fresh = [msgspec.structs.replace(spec, paused=True) for spec in fresh]
    world = gather_snapshot(reader, repo.workspace, comparison, fresh, look)
    impacts: list[Impact] = []
    for spec in fresh:
        if look.is_late():
            step = "Plan fewer bundles at once, or try again when the manager has less to do."
            raise DeadlineError(
                f"the plan took too long: {len(impacts)} of {len(fresh)} bundles were checked",
                next_step=step,
            )
        impacts.append(
            _impact_of_change(
                reader,
                world,
                spec,
                is_new=spec.name not in comparison.bundles and spec.name not in world.were,
            )
        )
    world.hold_reason = hold_reason(reader, repo, scan, comparison)
    impacts = _with_losses(reader, world, impacts, comparison, look.now)
    impacts += [
        _removal_impact(reader, world, name, comparison.bundles[name].spec)
        for name in comparison.removals
    ]
    after = {impact.bundle: impact.after for impact in impacts}
    cyclic_bundles = set(core.circle(after))
    impacts = [
        _with_circle(impact) if impact.bundle in cyclic_bundles else impact for impact in impacts
    ]
    option_keys = {
        side.options
        for impact in impacts
        for group in impact.groups
        for side in (group.old, group.new)
        if side
    }
    representatives = {group.representative for impact in impacts for group in impact.groups}
    before = scanned_commit(reader, repo.workspace, repo.name)
    dependencies = {name for names in after.values() for name in names}
    steps = core.order_by_dependency(
        {name: names for name, names in after.items() if names or name in dependencies}
    )
    return Plan(
        workspace=repo.workspace,
        gitrepo=repo.name,
        commit=scan.commit,
        before=before,
        bundles=sorted(impacts, key=lambda i: i.bundle),
        unchanged=len(comparison.specs) - len(fresh),
        clusters=len(world.changed_clusters),
        removals=plan_removals(reader, repo, scan, comparison, fresh, world, impacts),
        order=steps if any(after.values()) else [],
        problems=_troubles(comparison.problems),
        warnings=_troubles(scan.warnings),
        options=_options(reader, option_keys, world.texts),
        facts=_facts(reader, [c for c in world.fleet if c.name in representatives]),
    )


def _facts(reader: Reader, representatives: Sequence[Cluster]) -> dict[str, PlanFacts]:
    versions = kube_versions(reader, [cluster.id for cluster in representatives])
    return {
        c.name: PlanFacts(
            labels=c.labels,
            annotations=c.annotations,
            values=c.values,
            kube_version=versions.get(c.id, ""),
        )
        for c in representatives
    }


def _impact_of_change(
    reader: Reader, world: PlanSnapshot, spec: BundleSpec, *, is_new: bool
) -> Impact:
    # One that has another name now is compared under its old one: what it keeps of it, it keeps on
    # both sides.
    old_name = world.were.get(spec.name, spec.name)
    old_spec = msgspec.structs.replace(spec, name=old_name)
    deployments = find_deployments(reader, world.workspace, [old_spec], world.fleet, world.groups)
    world.texts.update(deployments.texts)
    wants = deployments.wants
    current_spec = deployments.specs[0]
    have = sent_deployments(reader, Scope(world.workspace, bundles=[old_name]))
    world.target_clusters |= {cluster for cluster, _ in wants}
    differences = decide(wants, have)
    losses = [
        change for change in differences if change.want is None and have[change.key].generation
    ]
    if losses:
        world.losing[spec.name] = BundleLosses(
            losses, {change.key: have[change.key] for change in losses}
        )
    changes = [
        change
        for change in differences
        if change.want is not None or not have[change.key].generation
    ]
    groups = _count_groups(world, changes, have)
    if old_name != spec.name:
        groups = core.in_order(
            [*groups, *_rename_groups(world, wants, have, {change.key for change in differences})]
        )
    redeployed_clusters = {c.key[0] for c in changes if c.want is not None and c.redeploy}
    kind = (
        What.ADDED
        if is_new
        else What.CHANGED
        if any(g.what is not What.TOLD for g in groups)
        else What.TOLD
    )
    dependencies, missing_names = core.needs(spec, world.labels)
    after = [name for name in dependencies if name in world.waits and name != spec.name]
    members = {key[0] for key in wants}
    is_gated = redeployed_clusters and (
        staging.bundles_with_rollouts(
            reader, world.workspace, [current_spec], {old_name: len(wants)}
        )
        or world.scheduled_clusters & redeployed_clusters
    )
    parts = (
        partitions_of(
            safe_strategy(current_spec),
            spec.name,
            [c for c in world.fleet if c.id in members],
            world.groups,
        )
        if is_gated
        else []
    )
    return Impact(
        bundle=spec.name,
        path=spec.path,
        what=kind,
        clusters=len(wants),
        had=_count_present(have),
        groups=groups,
        stages=core.stages_of(parts, redeployed_clusters),
        waits=[
            *world.waits[spec.name],
            *_own_waits(spec, dependencies, after, missing_names),
            *_window_waits(world, redeployed_clusters),
        ],
        after=after,
    )


def _rename_groups(
    world: PlanSnapshot, wants: dict[Key, Want], have: dict[Key, Have], changed_keys: set[Key]
) -> list[core.ImpactGroup]:
    """Clusters that have it, and of which nothing changes but what it is called."""
    unchanged_keys = [
        key
        for key in wants
        if key in have
        and key not in changed_keys
        and have[key].generation > 0
        and not have[key].removed
    ]
    world.changed_clusters |= {cluster for cluster, _ in unchanged_keys}
    groups = core.group_changes(
        [Change(key, wants[key], redeploy=False) for key in unchanged_keys], have, world.standing
    )
    return [msgspec.structs.replace(group, why=[*group.why, "name"]) for group in groups]


def _with_losses(
    reader: Reader, world: PlanSnapshot, impacts: list[Impact], comparison: ScanComparison, now: str
) -> list[Impact]:
    """The same, with the clusters that lose a bundle that stays; what is held already is no news of
    this commit.
    """
    if not world.losing:
        return impacts
    removed_names = set() if world.hold_reason else set(comparison.removals)
    names = {impact.bundle for impact in impacts}
    scope = Scope(world.workspace, bundles=sorted(names | removed_names | set(world.were.values())))
    targets = TargetedKeys(
        [(cluster, BundleName("")) for cluster in world.target_clusters], names, set(world.standing)
    )
    losses = {
        change.key
        for losing in world.losing.values()
        for change in losing.changes
        if change.key[0] in world.standing
    }
    verdict, held_before = preview_removals(reader, scope, targets, losses, now)
    causes = {key: cause.value for key, cause in verdict.held.items()}
    return [
        _with_loss(world, impact, causes, held_before) if impact.bundle in world.losing else impact
        for impact in impacts
    ]


def _with_loss(
    world: PlanSnapshot, impact: Impact, causes: dict[Key, str], held_before: set[Key]
) -> Impact:
    losing = world.losing[impact.bundle]
    changes = [change for change in losing.changes if change.key not in held_before]
    groups = _count_groups(world, changes, losing.have, causes)
    kind = What.CHANGED if groups and impact.what is What.TOLD else impact.what
    return msgspec.structs.replace(
        impact, groups=core.in_order([*impact.groups, *groups]), what=kind
    )


def _removal_impact(
    reader: Reader, world: PlanSnapshot, name: BundleName, spec: BundleSpec
) -> Impact:
    have = sent_deployments(reader, Scope(world.workspace, bundles=[name]))
    changes = decide({}, have)
    causes = (
        {change.key: core.BUNDLES for change in changes if have[change.key].generation}
        if world.hold_reason
        else {}
    )
    groups = _count_groups(world, changes, have, causes)
    return Impact(
        bundle=name, path=spec.path, what=What.REMOVED, had=_count_present(have), groups=groups
    )


def _count_present(have: dict[Key, Have]) -> int:
    return sum(
        1 for deployment in have.values() if not deployment.removed and deployment.generation > 0
    )


def _count_groups(
    world: PlanSnapshot,
    changes: Sequence[Change],
    have: dict[Key, Have],
    causes: dict[Key, str] | None = None,
) -> list[core.ImpactGroup]:
    world.changed_clusters.update(change.key[0] for change in changes)
    world.losses.update(change.key[0] for change in changes if change.want is None)
    world.gains.update(
        c.key[0]
        for c in changes
        if c.want is not None and ((old := have.get(c.key)) is None or old.removed)
    )
    return core.group_changes(changes, have, world.standing, causes)


def _own_waits(
    spec: BundleSpec,
    dependencies: Iterable[BundleName],
    after: Iterable[BundleName],
    missing: Iterable[str],
) -> list[PlanWait]:
    waits = []
    if spec.paused:
        waits.append(
            PlanWait(
                code="paused", text="paused in Git or by its GitRepo: held until it is resumed"
            )
        )
    for name in dependencies:
        text = (
            f"waits for {name}, which changes too"
            if name in set(after)
            else f"waits for {name} to be Ready"
        )
        waits.append(PlanWait(code="depends-on", text=text))
    text_of_missing = "depends on {}, which is no bundle: clusters would wait for ever"
    return [
        *waits,
        *(
            PlanWait(code="missing-dependency", text=text_of_missing.format(name))
            for name in missing
        ),
    ]


def _window_waits(world: PlanSnapshot, clusters: set[ClusterId]) -> list[PlanWait]:
    verdicts = [
        world.barred_clusters.closed_windows[cluster]
        for cluster in clusters
        if cluster in world.barred_clusters.closed_windows
    ]
    if not verdicts:
        return []
    next_open = min(
        verdicts, key=lambda verdict: (verdict.until is None, verdict.until or 0, verdict.why)
    )
    return [
        PlanWait(
            code="window",
            text=f"{len(verdicts)} clusters are outside their window: {next_open.why}",
        )
    ]


def _with_circle(impact: Impact) -> Impact:
    wait = PlanWait(
        code="circle",
        text=f"waits for itself through {', '.join(impact.after)}: it would never be applied",
    )
    return msgspec.structs.replace(impact, waits=[*impact.waits, wait])


def _options(
    reader: Reader, keys: Iterable[str], texts: dict[str, bytes]
) -> dict[str, msgspec.Raw]:
    options = {key: texts[key] for key in sorted(keys) if key in texts}
    options |= options_texts(reader, set(keys) - set(options))
    return {key: msgspec.Raw(text) for key, text in options.items()}


def _troubles(problems: Iterable[ScanProblem]) -> list[PlanTrouble]:
    return [
        PlanTrouble(path=p.path, code=p.code, summary=p.summary, next_step=p.next_step)
        for p in problems
    ]
