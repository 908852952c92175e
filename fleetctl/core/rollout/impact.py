"""What a commit would change, said before it does: values in, a Plan out. Pure.

Rule: a plan is the difference that reconciling would store (core/plan.py), counted and put into
groups, never another opinion of it. Clusters stand in one group when they go from the same archive
and options to the same archive and options; one of them speaks for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Digest
from fleetctl.core.model.plan import Change, Have, Key, Want
from fleetctl.core.rollout.strategy import Partition
from fleetctl.core.targeting.dependencies import is_meant

# Names that a group lists; its count is always whole.
MOST_NAMES = 100
HEARD = "heard"
# Why a removal is held beside the causes of core/holds.py: whole bundles go, too many at once or a
# cluster's last.
BUNDLES = "bundles"


class What(StrEnum):
    ADDED = "added"  # the cluster gains the bundle
    CHANGED = "changed"  # it is deployed again
    REMOVED = "removed"  # the cluster loses it
    TOLD = "told"  # the cluster is told something else of it, and nothing is deployed again


class _Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Part of the answer of `POST /api/v1/plan` (docs/api.md)."""


class Standing(msgspec.Struct, frozen=True):
    """What a plan must know of a cluster. `health`: heard, unknown or offline; `closed`: outside
    its window.
    """

    name: str
    health: str = HEARD
    paused: bool = False
    closed: bool = False


class Side(_Output, frozen=True, kw_only=True):
    """What a cluster has, or would have: `options` is the key of Plan.options."""

    archive: Digest
    options: str
    customization: str = ""


class ImpactGroup(_Output, frozen=True, kw_only=True):
    """Clusters with one and the same change. `why`: what differs, in words of fleet.yaml; `names`:
    the first of them; `representative`: who is rendered for all. Of them are `offline`, `paused`,
    outside their window (`closed`), and `behind`: never told the version before this one. `held`:
    why the manager would ask a person before they lose it (core/holds.py), or "".
    """

    what: What
    why: list[str] = []
    clusters: int
    names: list[str]
    representative: str
    offline: int = 0
    paused: int = 0
    closed: int = 0
    behind: int = 0
    held: str = ""
    old: Side | None = None
    new: Side | None = None


class Stage(_Output, frozen=True, kw_only=True):
    """One partition of the rollout: of its `clusters` so many are `told` something new, `at_once`
    may be unavailable. `soak` in seconds.
    """

    name: str
    clusters: int
    told: int
    at_once: int
    soak: float = 0.0
    approval: bool = False


class PlanWait(_Output, frozen=True, kw_only=True):
    """What holds a change back, or orders it: `code` for programs, `text` for people."""

    code: str
    text: str


class Impact(_Output, frozen=True, kw_only=True):
    """The change of one bundle. `clusters`: number that have it afterwards; `had`: number before.
    `stages` is empty if all clusters receive it at once.
    """

    bundle: BundleName
    path: str = ""
    what: What
    clusters: int = 0
    had: int = 0
    groups: list[ImpactGroup] = []
    stages: list[Stage] = []
    waits: list[PlanWait] = []
    after: list[BundleName] = []  # changed bundles that it waits for

    def count(self, what: What) -> int:
        return sum(group.clusters for group in self.groups if group.what is what)


class PlannedMove(_Output, frozen=True, kw_only=True):
    """A removed bundle and an added bundle that are probably the same bundle. `why`: the reason in
    words.
    """

    old: BundleName
    new: BundleName
    why: str


class Removals(_Output, frozen=True, kw_only=True):
    """What would be deleted. `emptied`: clusters that lose their last bundle, the first of
    `emptied_count`; `held`: why the manager would wait for a person, "" when it would not;
    `refused`: why a plan wants to hear the number, "" when it does not.
    """

    deployments: int = 0
    of_deployments: int = 0
    bundles: list[BundleName] = []
    of_bundles: int = 0
    emptied: list[str] = []
    emptied_count: int = 0
    moves: list[PlannedMove] = []
    held: str = ""
    refused: str = ""


class PlanTrouble(_Output, frozen=True, kw_only=True):
    """A problem or a warning about a bundle."""

    path: str
    code: str
    summary: str
    next_step: str = ""


class PlanFacts(_Output, frozen=True, kw_only=True):
    """What is true of a representative; its templates are evaluated with it."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    values: dict[str, Any] = {}
    kube_version: str = ""  # as its agent reports it


class Plan(_Output, frozen=True, kw_only=True):
    """`commit` "" is a working copy. `before`: the commit that the fleet follows now. `clusters`:
    touched by at least one change.
    """

    workspace: str
    gitrepo: str
    commit: str = ""
    before: str = ""
    ref: str = ""
    bundles: list[Impact] = []
    unchanged: int = 0
    clusters: int = 0
    removals: Removals = Removals()
    order: list[list[BundleName]] = []
    problems: list[PlanTrouble] = []
    warnings: list[PlanTrouble] = []
    options: dict[str, msgspec.Raw] = {}
    facts: dict[str, PlanFacts] = {}

    @property
    def changes(self) -> bool:
        return bool(self.bundles)

    def deployments(self, what: What) -> int:
        return sum(impact.count(what) for impact in self.bundles)


class _ChangeKind(msgspec.Struct, frozen=True):
    """What makes a group one."""

    what: What
    why: tuple[str, ...]
    old: Side | None
    new: Side | None
    held: str = ""


def group_changes(
    changes: Iterable[Change],
    have: Mapping[Key, Have],
    standing: Mapping[ClusterId, Standing],
    held: Mapping[Key, str] | None = None,
) -> list[ImpactGroup]:
    """The changes of one bundle. `held`: removals that would wait, and why."""
    alike: dict[tuple[int, int, str], list[Change]] = {}  # thousands share one Want and one Have
    for change in changes:
        mark = id(change.want), id(have.get(change.key)), held.get(change.key, "") if held else ""
        alike.setdefault(mark, []).append(change)
    keys_by_kind: dict[_ChangeKind, list[Key]] = {}
    for (_, _, waits), group_keys in alike.items():
        keys_by_kind.setdefault(
            _kind(group_keys[0], have.get(group_keys[0].key), waits), []
        ).extend(change.key for change in group_keys)
    return in_order(_group(kind, keys, have, standing) for kind, keys in keys_by_kind.items())


def _kind(change: Change, old: Have | None, held: str) -> _ChangeKind:
    return _ChangeKind(
        kind_of_change(change, old),
        tuple(change_reasons(change.want, old)),
        _side_of_have(old),
        _side_of_want(change.want),
        held,
    )


def in_order(groups: Iterable[ImpactGroup]) -> list[ImpactGroup]:
    """Those that deploy first, the largest group of each kind first."""
    return sorted(groups, key=lambda g: (list(What).index(g.what), -g.clusters, g.names))


def _group(
    kind: _ChangeKind,
    keys: Sequence[Key],
    have: Mapping[Key, Have],
    standing: Mapping[ClusterId, Standing],
) -> ImpactGroup:
    members = sorted(
        (standing.get(cluster) or Standing(cluster, "offline") for cluster, _ in keys),
        key=lambda s: s.name,
    )
    behind = sum(1 for key in keys if kind.what is What.CHANGED and have[key].staged)
    return ImpactGroup(
        what=kind.what,
        why=list(kind.why),
        clusters=len(members),
        names=[member.name for member in members[:MOST_NAMES]],
        representative=next((m.name for m in members if m.health == HEARD), members[0].name),
        offline=sum(1 for m in members if m.health != HEARD),
        paused=sum(1 for m in members if m.paused),
        closed=sum(1 for m in members if m.closed),
        behind=behind,
        held=kind.held,
        old=kind.old,
        new=kind.new,
    )


def kind_of_change(change: Change, old: Have | None) -> What:
    if change.want is None:
        return What.TOLD if old is not None and not old.generation else What.REMOVED
    if old is None or old.removed or old.generation < 1:
        return What.ADDED
    return What.CHANGED if change.redeploy else What.TOLD


def _side_of_have(old: Have | None) -> Side | None:
    if old is None or old.removed or old.generation < 1:
        return None
    return Side(archive=old.archive, options=old.options_key, customization=old.customization)


def _side_of_want(want: Want | None) -> Side | None:
    return (
        Side(archive=want.archive, options=want.options_key, customization=want.customization)
        if want
        else None
    )


def change_reasons(want: Want | None, old: Have | None) -> list[str]:
    """What differs."""
    if want is None:
        return ["never got it"] if old is not None and not old.generation else []
    if old is None or old.removed or old.generation < 1:
        return []
    tests = (
        ("files", want.archive != old.archive),
        (
            "options",
            want.options_digest != old.options_digest and want.options_key != old.options_key,
        ),
        (
            "copied content",
            want.options_digest != old.options_digest and want.options_key == old.options_key,
        ),
        (
            "diff or correctDrift",
            want.options_digest == old.options_digest and want.options_key != old.options_key,
        ),
        ("target", want.target != old.target),
        ("customization", want.customization != old.customization),
        ("keepResources", want.keep_resources != old.keep_resources),
        *_sent_differences(want.bundle_facts, old.bundle_facts),
    )
    reasons = [word for word, differs in tests if differs]
    return reasons or (["a version that was held back is dropped"] if old.staged else [])


def _sent_differences(new: str, old: str) -> list[tuple[str, bool]]:
    """Differences in what an agent receives besides the options (manager/reconcile/reconcile.py):
    labels, dependencies, pause.
    """
    words = ("labels", "dependsOn", "paused")
    if new == old:
        return []
    try:
        now, then = msgspec.json.decode(new), msgspec.json.decode(old or "[{}, [], false]")
        return [(word, now[at] != then[at]) for at, word in enumerate(words)]
    except (msgspec.DecodeError, IndexError, TypeError, KeyError):
        return [("labels, dependsOn or paused", True)]


def stages_of(partitions: Sequence[Partition], changed_clusters: set[ClusterId]) -> list[Stage]:
    return [
        Stage(
            name=part.name,
            clusters=len(part.members),
            told=sum(1 for member in part.members if member in changed_clusters),
            at_once=part.max_unavailable,
            soak=part.soak,
            approval=part.approval,
        )
        for part in partitions
    ]


def needs(
    spec: BundleSpec, labels: Mapping[BundleName, Mapping[str, str]]
) -> tuple[list[BundleName], list[str]]:
    """(bundles that `spec` depends on, names of some that there are not). `labels`: of every bundle
    of the workspace.
    """
    needed_bundles: dict[BundleName, None] = {}
    missing: list[str] = []
    for dependency in spec.depends_on:
        if dependency.name and dependency.name not in labels:
            missing.append(dependency.name)
        matching_names = (name for name in sorted(labels) if name != spec.name or dependency.name)
        needed_bundles |= dict.fromkeys(
            name for name in matching_names if is_meant(dependency, name, labels[name])
        )
    return list(needed_bundles), missing


def order_by_dependency(after: Mapping[BundleName, Iterable[BundleName]]) -> list[list[BundleName]]:
    """Steps of bundles, each after those it waits for; those of a circle, which never begin, stand
    in no step.
    """
    open_needs = {name: set(needs) & set(after) - {name} for name, needs in after.items()}
    steps: list[list[BundleName]] = []
    while ready := sorted(name for name, needs in open_needs.items() if not needs):
        steps.append(ready)
        open_needs = {
            name: needs - set(ready) for name, needs in open_needs.items() if name not in ready
        }
    return steps


def circle(after: Mapping[BundleName, Iterable[BundleName]]) -> list[BundleName]:
    """The bundles that wait for themselves, or for some that do."""
    free = {name for step in order_by_dependency(after) for name in step}
    return sorted(set(after) - free)


def option_paths(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two options differ, as in `helm.values.image.tag`."""
    paths: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        old_value, new_value = old.get(key), new.get(key)
        if old_value == new_value:
            continue
        if isinstance(old_value, dict) and isinstance(new_value, dict):
            paths += option_paths(old_value, new_value, f"{prefix}{key}.")
        else:
            paths.append(prefix + key)
    return paths
