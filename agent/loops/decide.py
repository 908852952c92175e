"""What this agent should do next: pure, from the desired document, the journal and the time.

Rule: a bundle is changed when its generation is above the one applied, and then only when what it
depends on is in an accepted state; only a tombstone removes. What is removed goes last: a bundle
that is new, or has changed, may take over what the removed one holds, and an object that moves is
not deleted and made again. A failure is tried again with growing waits, not at each poll.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.status import State
from fleetctl.core.model.wire import Desired, DesiredBundle, Tombstone
from fleetctl.core.rendering.render import release_of
from fleetctl.core.targeting.dependencies import cycle, is_meant
from fleetctl.core.timing.backoff import Backoff

from ..state.journal import Entry, Order, is_applied

# States that speak of what is applied, and of nothing that is only wanted.
_OF_WHAT_RUNS = frozenset({State.READY, State.NOT_READY, State.MODIFIED})
_SAYS_WHY = frozenset({State.ERR_APPLIED, State.NOT_READY, State.MODIFIED})

RETRY = Backoff(5.0, 600.0, jitter=0.5)
# a removal waits at most so long for bundles that may take over what it would delete
HOLD_SECONDS = 600.0


@dataclass(frozen=True)
class Install:
    bundle: DesiredBundle


@dataclass(frozen=True)
class Remove:
    tombstone: Tombstone


@dataclass(frozen=True)
class Tidy:
    """Remove what the bundle had under another release name."""

    bundle: DesiredBundle


@dataclass(frozen=True)
class Hold:
    """Why what the tombstone names is still there."""

    tombstone: Tombstone
    reason: str


@dataclass(frozen=True)
class Wait:
    """Why the bundle stays as it is."""

    bundle: DesiredBundle
    reason: str


Action = Install | Tidy | Remove | Hold | Wait


@dataclass(frozen=True)
class World:
    """`states`: of each bundle as it was last seen, `messages`: what was said with it. `retry_at`:
    before which a failed one is left alone. `again`: drifted. `floors`: the highest order that a
    bundle was ever at here; what is lower is left alone (I4). `attempts`: the generation at which a
    bundle failed last. `since`: when a tombstone was first seen. Times in seconds of one clock,
    whichever.
    """

    entries: Mapping[BundleName, Entry]
    states: Mapping[BundleName, State]
    retry_at: Mapping[BundleName, float]
    busy: Collection[BundleName]
    again: Collection[BundleName] = ()
    removals: Collection[tuple[BundleName, int]] = ()
    floors: Mapping[BundleName, Order] = field(default_factory=dict)
    attempts: Mapping[BundleName, int] = field(default_factory=dict)
    since: Mapping[tuple[BundleName, int], float] = field(default_factory=dict)
    messages: Mapping[BundleName, str] = field(default_factory=dict)


def decide(document: Desired, world: World, now: float) -> list[Action]:
    """The actions that may begin now, removals last."""
    actions: list[Action] = []
    coming: list[BundleName] = []
    bundles = {bundle.name: bundle for bundle in document.bundles}
    tombstone_names = {tombstone.name for tombstone in document.tombstones}
    for bundle in document.bundles:
        if is_behind(document, bundle.generation, world.floors.get(bundle.name)):
            continue
        if not _differs(bundle, world, document):
            entry = world.entries.get(bundle.name)
            if (
                entry
                and entry.former
                and bundle.name not in world.busy
                and world.retry_at.get(bundle.name, 0) <= now
            ):
                actions.append(Tidy(bundle))
            continue
        block = (
            None
            if bundle.name in world.busy
            else _block_by_release(bundle, world)
            or _find_block(bundle, bundles, tombstone_names, world)
        )
        if _is_news(bundle, world, document) and (block is None or block.passes):
            coming.append(bundle.name)
        if bundle.name in world.busy:
            continue
        if block:
            actions.append(Wait(bundle, block.reason))
        elif world.retry_at.get(bundle.name, 0) <= now:
            actions.append(Install(bundle))
    return actions + _removals(document, world, coming, now)


def _removals(
    document: Desired, world: World, coming: Sequence[BundleName], now: float
) -> list[Action]:
    actions: list[Action] = []
    for tombstone in document.tombstones:
        name = tombstone.name
        if (
            (name, tombstone.generation) in world.removals
            or name in world.busy
            or world.retry_at.get(name, 0) > now
        ):
            continue
        if is_behind(document, tombstone.generation, world.floors.get(name)):
            continue
        reason = _hold_reason(tombstone, document, world, coming, now)
        actions.append(Hold(tombstone, reason) if reason else Remove(tombstone))
    return actions


def _hold_reason(
    tombstone: Tombstone, document: Desired, world: World, coming: Sequence[BundleName], now: float
) -> str:
    """Which bundle may take over what the tombstone's one holds, and has not been tried yet; "" for
    none. One that is to have the same release is waited for however long it takes: the release is
    wanted, under that bundle's name.
    """
    entry = world.entries.get(tombstone.name)
    if entry is None or not entry.release or entry.removing:
        return ""
    heir = next(
        (b for b in document.bundles if _release_of(b) == (entry.release, entry.namespace)), None
    )
    if heir is not None:
        heir_entry = world.entries.get(heir.name)
        has = (
            heir_entry is not None
            and heir_entry.applied > 0
            and (heir_entry.release, heir_entry.namespace) == (entry.release, entry.namespace)
        )
        return "" if has else f"waits until bundle {heir.name} has taken over its release"
    if coming and now - world.since.get((tombstone.name, tombstone.generation), now) < HOLD_SECONDS:
        return (
            f"waits until bundle {coming[0]} was tried, because that bundle may take over its"
            " objects"
        )
    return ""


def _block_by_release(bundle: DesiredBundle, world: World) -> _Block | None:
    """Its release is being removed under another bundle's name: two may not work on one release
    (I5).
    """
    release = _release_of(bundle)
    for entry in world.entries.values():
        if (
            entry.removing
            and entry.bundle != bundle.name
            and release in ((entry.release, entry.namespace), *entry.former)
        ):
            return _Block(f"waits until bundle {entry.bundle} is removed, which has this release")
    return None


def _release_of(bundle: DesiredBundle) -> tuple[str, str]:
    try:
        return release_of(bundle.options, bundle.name)
    except UsageError:
        return "", ""


def _is_news(bundle: DesiredBundle, world: World, document: Desired) -> bool:
    """Whether the generation is new here and was not tried yet."""
    return (
        not is_applied(world.entries.get(bundle.name), (document.epoch, bundle.generation))
        and world.attempts.get(bundle.name, -1) < bundle.generation
    )


def is_behind(document: Desired, generation: int, floor: Order | None) -> bool:
    """Whether the document asks for less than was accepted here before: a manager that was
    restored, and whose epoch nobody has raised.
    """
    return floor is not None and (document.epoch, generation) < floor


def _differs(bundle: DesiredBundle, world: World, document: Desired) -> bool:
    entry = world.entries.get(bundle.name)
    if entry is None:
        return not bundle.paused
    if bundle.paused:
        return False
    return (
        not is_applied(entry, (document.epoch, bundle.generation))
        or entry.began
        or bundle.name in world.again
    )


class _Block(NamedTuple):
    """`passes`: it is a matter of time, and nobody has to do anything."""

    reason: str
    passes: bool = False


def _find_block(
    bundle: DesiredBundle,
    bundles: Mapping[BundleName, DesiredBundle],
    tombstone_names: Collection[BundleName],
    world: World,
) -> _Block | None:
    """Which dependency is not in an accepted state, and why."""
    circle = cycle(bundle, bundles)
    if circle:
        return _Block(f"waits for itself: {' waits for '.join(circle)}")
    for dependency in bundle.depends_on:
        if not dependency.name and dependency.selector is None:
            continue  # as in Fleet
        dependencies = [
            b
            for b in bundles.values()
            if b.name != bundle.name and is_meant(dependency, b.name, b.labels)
        ]
        if not dependencies:
            leaves = dependency.name in tombstone_names
            description = (
                f"bundle {dependency.name}" if dependency.name else "a bundle with these labels"
            )
            return _Block(
                f"waits for {description}, which is being removed"
                if leaves
                else f"no {description.removeprefix('a ')} is meant for this cluster"
            )
        for other in dependencies:
            block = _block_by_state(other, dependency.accepted_states or [State.READY], world)
            if block:
                return block
    return None


def _block_by_state(
    other: DesiredBundle, accepted_states: Collection[State], world: World
) -> _Block | None:
    """Why a dependency does not do yet. What was seen of an older generation says nothing of the
    present one.
    """
    entry = world.entries.get(other.name)
    current = entry is not None and entry.applied >= other.generation
    state = world.states.get(other.name, State.WAIT_APPLIED)
    if not current and state in _OF_WHAT_RUNS:
        state = State.WAIT_APPLIED
    if state in accepted_states:
        return None
    reason = f"waits for bundle {other.name}, which is {state.value}"
    if other.paused:
        return _Block(
            f"waits for bundle {other.name}, which is paused"
            + (f" and {state.value}" if current else "")
        )
    message = world.messages.get(other.name, "") if state in _SAYS_WHY else ""
    return _Block(
        f"{reason}: {message}" if message else reason,
        passes=state not in {State.ERR_APPLIED, State.WAITING_FOR_DEPENDENCY},
    )
