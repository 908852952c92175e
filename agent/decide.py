"""What this agent should do next: pure, from the desired document, the journal and the time.

Rule: a bundle is changed when its generation is above the one applied, and then only when what it depends on is in an accepted state;
only a tombstone removes. A failure is tried again with growing waits, not at each poll.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.journal import Entry, Order, is_applied
from fleetctl.core.ids import BundleName
from fleetctl.core.status import State
from fleetctl.core.wire import Dependency, Desired, DesiredBundle, Tombstone

RETRY_SECONDS = (5.0, 600.0)


@dataclass(frozen=True)
class Install:
    bundle: DesiredBundle


@dataclass(frozen=True)
class Remove:
    tombstone: Tombstone


@dataclass(frozen=True)
class Wait:
    """Why the bundle stays as it is."""

    bundle: DesiredBundle
    reason: str


Action = Install | Remove | Wait


@dataclass(frozen=True)
class World:
    """`states`: of each bundle as it was last seen. `retry_at`: before which a failed one is left alone. `again`: drifted.
    `floors`: the highest order that a bundle was ever at here; what is lower is left alone (I4).
    """

    entries: Mapping[BundleName, Entry]
    states: Mapping[BundleName, State]
    retry_at: Mapping[BundleName, float]
    busy: Collection[BundleName]
    again: Collection[BundleName] = ()
    removed: Collection[tuple[BundleName, int]] = ()
    floors: Mapping[BundleName, Order] = field(default_factory=dict)


def decide(wanted: Desired, world: World, now: float) -> list[Action]:
    """The actions that may begin now, removals first so that what moves between bundles is free before it is taken."""
    actions: list[Action] = []
    for tombstone in wanted.tombstones:
        done = (tombstone.name, tombstone.generation) in world.removed
        behind = is_behind(wanted, tombstone.generation, world.floors.get(tombstone.name))
        if not done and not behind and tombstone.name not in world.busy and world.retry_at.get(tombstone.name, 0) <= now:
            actions.append(Remove(tombstone))
    known = {bundle.name: bundle for bundle in wanted.bundles}
    for bundle in wanted.bundles:
        behind = is_behind(wanted, bundle.generation, world.floors.get(bundle.name))
        if bundle.name in world.busy or behind or not _differs(bundle, world, wanted):
            continue
        reason = _blocked(bundle, known, world)
        if reason:
            actions.append(Wait(bundle, reason))
        elif world.retry_at.get(bundle.name, 0) <= now:
            actions.append(Install(bundle))
    return actions


def retry_seconds(failures: int, spread: float) -> float:
    """Wait after the n-th failure in a row; `spread` between 0 and 1 is full jitter over the upper half."""
    low, high = RETRY_SECONDS
    return float(min(high, low * 2.0 ** min(20, max(0, failures - 1))) * (0.5 + spread / 2))


def is_behind(wanted: Desired, generation: int, floor: Order | None) -> bool:
    """Whether the document asks for less than was accepted here before: a manager that was restored, and whose epoch nobody has raised."""
    return floor is not None and (wanted.epoch, generation) < floor


def _differs(bundle: DesiredBundle, world: World, wanted: Desired) -> bool:
    entry = world.entries.get(bundle.name)
    if entry is None:
        return not bundle.paused
    if bundle.paused:
        return False
    return not is_applied(entry, (wanted.epoch, bundle.generation)) or entry.began or bundle.name in world.again


def _blocked(bundle: DesiredBundle, known: Mapping[BundleName, DesiredBundle], world: World) -> str:
    """Which dependency is not in an accepted state, or ""."""
    cycle = _cycle(bundle, known)
    if cycle:
        return f"waits for itself: {' waits for '.join(cycle)}"
    for dependency in bundle.depends_on:
        wanted = [b for b in known.values() if b.name != bundle.name and _is_meant(dependency, b)]
        accepted = dependency.accepted_states or [State.READY]
        if not wanted:
            return f"no bundle {dependency.name or 'with these labels'} is meant for this cluster"
        for other in wanted:
            entry = world.entries.get(other.name)
            current = entry is not None and entry.applied >= other.generation
            state = world.states.get(other.name, State.WAIT_APPLIED) if current else State.WAIT_APPLIED
            if state not in accepted:
                return f"waits for bundle {other.name}, which is {state.value}"
    return ""


def _cycle(bundle: DesiredBundle, known: Mapping[BundleName, DesiredBundle]) -> list[BundleName]:
    """The names from the bundle back to itself, or nothing."""
    open_: list[tuple[DesiredBundle, list[BundleName]]] = [(bundle, [bundle.name])]
    seen: set[BundleName] = set()
    while open_:
        one, path = open_.pop()
        for dependency in one.depends_on:
            for other in (b for b in known.values() if _is_meant(dependency, b)):
                if other.name == bundle.name and (len(path) > 1 or dependency.name == bundle.name):
                    return [*path, bundle.name]
                if other.name not in seen:
                    seen.add(other.name)
                    open_.append((other, [*path, other.name]))
    return []


def _is_meant(dependency: Dependency, bundle: DesiredBundle) -> bool:
    if dependency.name and dependency.name != bundle.name:
        return False
    return dependency.selector is None or _matches(dependency.selector, bundle.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A LabelSelector of dependsOn."""
    if any(labels.get(key) != str(value) for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        key, values = str(term.get("key")), [str(v) for v in term.get("values") or []]
        held = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not held.get(str(term.get("operator")), False):
            return False
    return True
