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
from fleetctl.core.rollout.impact import Facts, Impact, Plan, Trouble, Wait, What
from fleetctl.core.rollout.strategy import partitions_of
from fleetctl.core.scan.problems import Problem

from ..ingest.apply_scan import CompletedScan, ScanComparison, compare_with_store, needs_reconcile
from ..reconcile.removal_guard import TargetedKeys, preview_removals
from ..rollout import staging
from ..rollout.desired import desired_deployments
from ..rollout.partitions import safe_strategy
from ..store import Reader
from ..store.queries import Scope, kube_versions
from ..store.queries.deployments import options_texts
from ..store.queries.gitrepos import scanned_commit
from ..store.queries.targeting import sent_deployments
from .removals import held_bundles, removals
from .snapshot import Look, Losing, World, gathered


def weigh(reader: Reader, repo: RepoSpec, scan: CompletedScan, look: Look) -> Plan:
    """The plan; what it says of deployments is what taking `scan` over would store. Raises
    DeadlineError.
    """
    comparison = compare_with_store(reader, repo, scan)
    fresh = [
        spec for spec in comparison.specs if needs_reconcile(comparison.stored.get(spec.name), spec)
    ]
    if repo.spec.paused:
        fresh = [msgspec.structs.replace(spec, paused=True) for spec in fresh]
    world = gathered(reader, repo.workspace, comparison, fresh, look)
    found: list[Impact] = []
    for spec in fresh:
        if look.is_late():
            step = "Plan fewer bundles at once, or try again when the manager has less to do."
            raise DeadlineError(
                f"the plan took too long: {len(found)} of {len(fresh)} bundles were looked at",
                next_step=step,
            )
        found.append(
            _changed(
                reader,
                world,
                spec,
                is_new=spec.name not in comparison.stored and spec.name not in world.were,
            )
        )
    world.held = held_bundles(reader, repo, scan, comparison)
    found = _with_losses(reader, world, found, comparison, look.now)
    found += [
        _gone(reader, world, name, comparison.stored[name].spec) for name in comparison.removed
    ]
    after = {impact.bundle: impact.after for impact in found}
    stuck = set(core.circle(after))
    found = [_with_circle(impact) if impact.bundle in stuck else impact for impact in found]
    used = {
        side.options
        for impact in found
        for group in impact.groups
        for side in (group.old, group.new)
        if side
    }
    chosen = {group.representative for impact in found for group in impact.groups}
    before = scanned_commit(reader, repo.workspace, repo.name)
    waited = {name for names in after.values() for name in names}
    steps = core.order_by_dependency(
        {name: names for name, names in after.items() if names or name in waited}
    )
    return Plan(
        workspace=repo.workspace,
        gitrepo=repo.name,
        commit=scan.commit,
        before=before,
        bundles=sorted(found, key=lambda i: i.bundle),
        unchanged=len(comparison.specs) - len(fresh),
        clusters=len(world.touched),
        removals=removals(reader, repo, scan, comparison, fresh, world, found),
        order=steps if any(after.values()) else [],
        problems=_troubles(comparison.problems),
        warnings=_troubles(scan.warnings),
        options=_options(reader, used, world.texts),
        facts=_facts(reader, [c for c in world.fleet if c.name in chosen]),
    )


def _facts(reader: Reader, representatives: Sequence[Cluster]) -> dict[str, Facts]:
    versions = kube_versions(reader, [cluster.id for cluster in representatives])
    return {
        c.name: Facts(
            labels=c.labels,
            annotations=c.annotations,
            values=c.values,
            kube_version=versions.get(c.id, ""),
        )
        for c in representatives
    }


def _changed(reader: Reader, world: World, spec: BundleSpec, *, is_new: bool) -> Impact:
    # One that has another name now is compared under its old one: what it keeps of it, it keeps on
    # both sides.
    was = world.were.get(spec.name, spec.name)
    mine = msgspec.structs.replace(spec, name=was)
    desired = desired_deployments(reader, world.workspace, [mine], world.fleet, world.groups)
    world.texts.update(desired.texts)
    wanted = desired.wants
    now = desired.specs[0]
    have = sent_deployments(reader, Scope(world.workspace, bundles=[was]))
    world.served |= {cluster for cluster, _ in wanted}
    every = decide(wanted, have)
    lost = [change for change in every if change.want is None and have[change.key].generation]
    if lost:
        world.losing[spec.name] = Losing(lost, {change.key: have[change.key] for change in lost})
    changes = [
        change for change in every if change.want is not None or not have[change.key].generation
    ]
    found = _counted(world, changes, have)
    if was != spec.name:
        found = core.in_order(
            [*found, *_renamed(world, wanted, have, {change.key for change in every})]
        )
    redeployed = {c.key[0] for c in changes if c.want is not None and c.redeploy}
    what = (
        What.ADDED
        if is_new
        else What.CHANGED
        if any(g.what is not What.TOLD for g in found)
        else What.TOLD
    )
    needed, missing = core.needs(spec, world.labels)
    after = [name for name in needed if name in world.said and name != spec.name]
    members = {key[0] for key in wanted}
    gated = redeployed and (
        staging.bundles_with_rollouts(reader, world.workspace, [now], {was: len(wanted)})
        or world.scheduled & redeployed
    )
    parts = (
        partitions_of(
            safe_strategy(now), spec.name, [c for c in world.fleet if c.id in members], world.groups
        )
        if gated
        else []
    )
    return Impact(
        bundle=spec.name,
        path=spec.path,
        what=what,
        clusters=len(wanted),
        had=_had(have),
        groups=found,
        stages=core.stages_of(parts, redeployed),
        waits=[
            *world.said[spec.name],
            *_own_waits(spec, needed, after, missing),
            *_closed(world, redeployed),
        ],
        after=after,
    )


def _renamed(
    world: World, wanted: dict[Key, Want], have: dict[Key, Have], changed: set[Key]
) -> list[core.Group]:
    """Clusters that have it, and of which nothing changes but what it is called."""
    same = [
        key
        for key in wanted
        if key in have and key not in changed and have[key].generation > 0 and not have[key].removed
    ]
    world.touched |= {cluster for cluster, _ in same}
    groups = core.group_changes(
        [Change(key, wanted[key], redeploy=False) for key in same], have, world.standing
    )
    return [msgspec.structs.replace(group, why=[*group.why, "name"]) for group in groups]


def _with_losses(
    reader: Reader, world: World, found: list[Impact], comparison: ScanComparison, now: str
) -> list[Impact]:
    """The same, with the clusters that lose a bundle that stays; what is held already is no news of
    this commit.
    """
    if not world.losing:
        return found
    gone = set() if world.held else set(comparison.removed)
    names = {impact.bundle for impact in found}
    scope = Scope(world.workspace, bundles=sorted(names | gone | set(world.were.values())))
    targeted = TargetedKeys(
        [(cluster, BundleName("")) for cluster in world.served], names, set(world.standing)
    )
    lost = {
        change.key
        for losing in world.losing.values()
        for change in losing.changes
        if change.key[0] in world.standing
    }
    verdict, was = preview_removals(reader, scope, targeted, lost, now)
    held = {key: cause.value for key, cause in verdict.held.items()}
    return [
        _with_loss(world, impact, held, was) if impact.bundle in world.losing else impact
        for impact in found
    ]


def _with_loss(world: World, impact: Impact, held: dict[Key, str], was: set[Key]) -> Impact:
    losing = world.losing[impact.bundle]
    changes = [change for change in losing.changes if change.key not in was]
    more = _counted(world, changes, losing.have, held)
    what = What.CHANGED if more and impact.what is What.TOLD else impact.what
    return msgspec.structs.replace(impact, groups=core.in_order([*impact.groups, *more]), what=what)


def _gone(reader: Reader, world: World, name: BundleName, spec: BundleSpec) -> Impact:
    have = sent_deployments(reader, Scope(world.workspace, bundles=[name]))
    changes = decide({}, have)
    held = (
        {change.key: core.BUNDLES for change in changes if have[change.key].generation}
        if world.held
        else {}
    )
    found = _counted(world, changes, have, held)
    return Impact(bundle=name, path=spec.path, what=What.REMOVED, had=_had(have), groups=found)


def _had(have: dict[Key, Have]) -> int:
    return sum(1 for one in have.values() if not one.removed and one.generation > 0)


def _counted(
    world: World,
    changes: Sequence[Change],
    have: dict[Key, Have],
    held: dict[Key, str] | None = None,
) -> list[core.Group]:
    world.touched.update(change.key[0] for change in changes)
    world.lost.update(change.key[0] for change in changes if change.want is None)
    world.gained.update(
        c.key[0]
        for c in changes
        if c.want is not None and ((old := have.get(c.key)) is None or old.removed)
    )
    return core.group_changes(changes, have, world.standing, held)


def _own_waits(
    spec: BundleSpec,
    needed: Iterable[BundleName],
    after: Iterable[BundleName],
    missing: Iterable[str],
) -> list[Wait]:
    found = []
    if spec.paused:
        found.append(
            Wait(
                code="paused", text="paused in Git or by its GitRepo: held until that is taken back"
            )
        )
    for name in needed:
        text = (
            f"waits for {name}, which changes too"
            if name in set(after)
            else f"waits for {name} to be Ready"
        )
        found.append(Wait(code="depends-on", text=text))
    said = "depends on {}, which is no bundle: clusters would wait for ever"
    return [*found, *(Wait(code="missing-dependency", text=said.format(name)) for name in missing)]


def _closed(world: World, redeployed: set[ClusterId]) -> list[Wait]:
    closed = [
        world.barred.closed_windows[cluster]
        for cluster in redeployed
        if cluster in world.barred.closed_windows
    ]
    if not closed:
        return []
    first = min(closed, key=lambda one: (one.until is None, one.until or 0, one.why))
    return [
        Wait(code="window", text=f"{len(closed)} clusters are outside their window: {first.why}")
    ]


def _with_circle(impact: Impact) -> Impact:
    wait = Wait(
        code="circle",
        text=f"waits for itself through {', '.join(impact.after)}: it would never be applied",
    )
    return msgspec.structs.replace(impact, waits=[*impact.waits, wait])


def _options(
    reader: Reader, keys: Iterable[str], texts: dict[str, bytes]
) -> dict[str, msgspec.Raw]:
    found = {key: texts[key] for key in sorted(keys) if key in texts}
    found |= options_texts(reader, set(keys) - set(found))
    return {key: msgspec.Raw(text) for key, text in found.items()}


def _troubles(problems: Iterable[Problem]) -> list[Trouble]:
    return [
        Trouble(path=p.path, code=p.code, summary=p.summary, next_step=p.next_step)
        for p in problems
    ]
