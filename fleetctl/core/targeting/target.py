"""Which clusters get a bundle, and in which configuration.

Rule: the first target that matches a cluster decides whether it gets the bundle; then the first
customization that matches (or, in AllMatches mode, every one in order) changes the options for it.
A bundle without targets goes to the group `default`, as in Fleet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import msgspec

from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.cluster import Cluster, Group, matches, selector_keys
from fleetctl.core.model.ids import GroupName
from fleetctl.core.model.options import Options, merge

DEFAULT_TARGETS = [Target(name="default", cluster_group="default")]
_MOST_TOGETHER = 6  # customizations that may come together in AllMatches mode: 64 combinations


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One BundleDeployment to be. `customization` names what changed the options, or is empty."""

    cluster: Cluster
    target: str
    customization: str
    options: Options


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that does not get the bundle, and why."""

    cluster: Cluster
    why: str


def select(bundle: BundleSpec, clusters: Sequence[Cluster], groups: Sequence[Group]) -> list[Match]:
    """The clusters of the bundle's workspace that get it, in the order given."""
    return [result for result in explain(bundle, clusters, groups) if isinstance(result, Match)]


def explain(
    bundle: BundleSpec, clusters: Sequence[Cluster], groups: Sequence[Group]
) -> list[Match | Miss]:
    """For each cluster whether it gets the bundle, through what, and otherwise why not.

    Clusters of one kind cost one look, and those with the same target and customizations one merge.
    """
    kind = kinds((*(bundle.targets or DEFAULT_TARGETS), *bundle.customizations), groups)
    memo: dict[tuple[int, ...], Options] = {}
    fates: dict[Kind, _Fate] = {}
    results: list[Match | Miss] = []
    for cluster in clusters:
        if cluster.workspace != bundle.workspace:
            results.append(
                Miss(
                    cluster=cluster,
                    why=(
                        f"it is in the workspace {cluster.workspace}, the bundle in"
                        f" {bundle.workspace}"
                    ),
                )
            )
            continue
        key = kind(cluster)
        fate = fates.get(key)
        if fate is None:
            fate = fates[key] = _fate(bundle, cluster, groups, memo)
        if isinstance(fate, str):
            results.append(Miss(cluster=cluster, why=fate))
        else:
            results.append(
                Match(cluster=cluster, target=fate[0], customization=fate[1], options=fate[2])
            )
    return results


Kind = tuple[str | None, ...]
# Why a cluster does not get the bundle, or (target, customization, options).
_Fate = str | tuple[str, str, Options]


def kinds(targets: Sequence[Target], groups: Sequence[Group]) -> Callable[[Cluster], Kind]:
    """Gives a cluster's kind: each of `targets` picks all clusters of one kind, within a workspace,
    or none of them.
    """
    cluster_names = {target.cluster_name for target in targets if target.cluster_name}
    by_group = any(
        target.cluster_group or target.cluster_group_selector is not None for target in targets
    )
    selectors = [
        *(target.cluster_selector for target in targets),
        *(group.selector for group in groups if by_group),
    ]
    keys = sorted({key for selector in selectors for key in selector_keys(selector)})

    def kind(cluster: Cluster) -> Kind:
        return (
            cluster.name if cluster.name in cluster_names else None,
            *map(cluster.labels.get, keys),
        )

    return kind


def _fate(
    bundle: BundleSpec,
    cluster: Cluster,
    groups: Sequence[Group],
    memo: dict[tuple[int, ...], Options],
) -> _Fate:
    cluster_groups = [
        g
        for g in groups
        if g.workspace == cluster.workspace and matches(g.selector, cluster.labels)
    ]
    target = _first(bundle.targets or DEFAULT_TARGETS, cluster, cluster_groups)
    if target is None:
        return "no target matches it" if bundle.targets else "it is not in the group default"
    chosen_targets = _customizations(bundle, cluster, cluster_groups)
    blocker = next((t for t in (target, *chosen_targets) if t.do_not_deploy), None)
    if blocker is not None:
        return f"{blocker.name or 'a target without a name'} has doNotDeploy"
    key = tuple(map(id, (target, *chosen_targets)))
    if key not in memo:
        memo[key] = _options(bundle, target, chosen_targets)
    return target.name, _names_of(chosen_targets), memo[key]


def outcomes(bundle: BundleSpec) -> dict[tuple[str, str], Options] | None:
    """What a cluster may get, by the names that a Match has of it: (target, customization). None
    when two things have the same names, or when there are too many: then only matching the clusters
    tells.
    """
    targets = [t for t in bundle.targets or DEFAULT_TARGETS if not t.do_not_deploy]
    customizations = [c for c in bundle.customizations if not c.do_not_deploy]
    every: list[list[Target]] = [[], *([c] for c in customizations)]
    if bundle.customization_mode == "AllMatches":
        if len(customizations) > _MOST_TOGETHER:
            return None
        every = [
            list(subset)
            for n in range(len(customizations) + 1)
            for subset in combinations(customizations, n)
        ]
    options_by_names: dict[tuple[str, str], Options] = {}
    for target in targets:
        for chosen_targets in every:
            options, key = (
                _options(bundle, target, chosen_targets),
                (target.name, _names_of(chosen_targets)),
            )
            if options_by_names.setdefault(key, options) != options:
                return None
    return options_by_names


def picking(bundle: BundleSpec) -> str:
    """Equal for two versions of a bundle that reach the same clusters, each with the same target
    and customizations.
    """

    def stated_targets(targets: list[Target]) -> list[Target]:
        return [msgspec.structs.replace(target, options=Options()) for target in targets]

    text = msgspec.json.encode(
        [
            stated_targets(bundle.targets or DEFAULT_TARGETS),
            stated_targets(bundle.customizations),
            bundle.customization_mode,
        ]
    )
    return hashlib.sha256(text).hexdigest()[:32]


def _names_of(targets: Sequence[Target]) -> str:
    return ", ".join(c.name or "(without a name)" for c in targets)


def criteria_match(target: Target, cluster: Cluster, groups: Iterable[Group]) -> bool:
    """Whether every stated criterion picks the cluster; `groups` are those that the cluster belongs
    to.
    """
    tests: list[bool] = []
    if target.cluster_name:
        tests.append(target.cluster_name == cluster.name)
    if target.cluster_selector is not None:
        tests.append(matches(target.cluster_selector, cluster.labels))
    if target.cluster_group:
        tests.append(any(g.name == GroupName(target.cluster_group) for g in groups))
    if target.cluster_group_selector is not None:
        tests.append(any(matches(target.cluster_group_selector, g.labels) for g in groups))
    return bool(tests) and all(tests)


def _first(targets: Sequence[Target], cluster: Cluster, groups: list[Group]) -> Target | None:
    return next((t for t in targets if criteria_match(t, cluster, groups)), None)


def _customizations(bundle: BundleSpec, cluster: Cluster, groups: list[Group]) -> list[Target]:
    matching_targets = [t for t in bundle.customizations if criteria_match(t, cluster, groups)]
    return matching_targets if bundle.customization_mode == "AllMatches" else matching_targets[:1]


def _options(bundle: BundleSpec, target: Target, customizations: list[Target]) -> Options:
    """In FirstMatch mode a matched customization replaces the target's own options, as in Fleet."""
    options = bundle.options
    if not customizations or bundle.customization_mode == "AllMatches":
        options = merge(options, target.options)
    for customization in customizations:
        options = merge(options, customization.options)
    return options
