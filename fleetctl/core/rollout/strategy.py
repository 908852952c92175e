"""How a change goes through many clusters: Fleet's `rolloutStrategy`, with what we add, and the
partitions that it makes. Pure.

Arithmetic as in rancher/fleet `internal/cmd/controller/target/partition.go` (`limit`): a percentage
at or below 0 is 1, others are rounded down and are 1 at least; a number is capped at the count, and
below 0 it is 0. Differences: a cluster belongs to the first partition that picks it (Fleet counts
it in each); clusters that no manual partition picks make a last one (Fleet never changes them); the
order inside a partition is spread and the same at each look, where Fleet's is alphabetical, which
makes the canary whoever is called aaa.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.formats.type_errors import describe_with_path
from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster, Group, matches
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.targeting.target import Kind, criteria_match, kinds
from fleetctl.core.text.duration import parse_duration

Amount = int | str
REST = "(rest)"
_PERCENT = re.compile(r"\s*(-?\d{1,6}(?:\.\d{1,6})?)\s*%\s*")
_NEEDS_APPROVAL = ("none", "first", "each")
_AMOUNTS = ("maxUnavailablePartitions", "autoPartitionSize", "maxFailures")
_ON_FAILURE = ("pause", "rollback")


class PartitionSpec(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """One entry of `partitions`; its criteria are those of a target."""

    name: str | None = None
    max_unavailable: Amount | None = None
    cluster_name: str | None = None
    cluster_selector: dict[str, Any] | None = None
    cluster_group: str | None = None
    cluster_group_selector: dict[str, Any] | None = None
    soak: str | None = None
    approval: bool | None = None


class Strategy(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Fleet's keys, and ours: `soak` (how long a finished partition is watched), `progressDeadline`
    (how long one may take), `approval` (which partitions begin only after a person approves them),
    `maxFailures` (clusters that may fail) and `onFailure`.
    """

    max_unavailable: Amount | None = None
    max_unavailable_partitions: Amount | None = None
    auto_partition_size: Amount | None = None
    auto_partition_threshold: int | None = None
    max_new: int | None = None
    partitions: list[PartitionSpec] | None = None
    soak: str | None = None
    progress_deadline: str | None = None
    approval: str | None = None
    max_failures: Amount | None = None
    on_failure: str | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """`members`: in the order in which they change. `soak`: in seconds. `approval`: a person must
    approve the partition before its first cluster changes.
    """

    name: str
    members: tuple[ClusterId, ...]
    max_unavailable: int
    soak: float = 0.0
    approval: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a rollout as a whole; None is no limit. `max_unavailable`: of all clusters,
    beside what each partition may have, as in Fleet. `deadline` in seconds for one partition, 0
    none. `ordered`: the partitions are stated, so that their order means something.
    """

    max_unavailable: int | None = None
    max_unavailable_partitions: int = 0
    max_new: int = 50
    deadline: float = 0.0
    max_failures: int | None = None
    on_failure: str = "pause"
    ordered: bool = True


class StrategyMistake(NamedTuple):
    """What is wrong with one key; `path` is below rolloutStrategy."""

    path: tuple[str | int, ...]
    summary: str
    next_step: str


def strategy_of(mapping: Mapping[str, Any] | None) -> Strategy:
    """Raises UsageError naming the key that is wrong."""
    try:
        strategy = msgspec.convert(dict(mapping or {}), Strategy)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise _wrong(describe_with_path(str(error))) from error
    for mistake in mistakes(mapping or {}):
        raise UsageError(
            f"rolloutStrategy: {mistake.summary}",
            subject="rolloutStrategy",
            next_step=mistake.next_step,
        )
    return strategy


def mistakes(mapping: Mapping[str, Any]) -> Iterator[StrategyMistake]:
    """Every duration, amount and word that is wrong. Values of another type than the key's are left
    to whoever checks types.
    """
    for key, choices in (("approval", _NEEDS_APPROVAL), ("onFailure", _ON_FAILURE)):
        value = mapping.get(key)
        if isinstance(value, str) and value not in choices:
            yield StrategyMistake(
                (key,),
                f"{key} is {value[:40]!r}, not one of {', '.join(choices)}",
                "Correct the word.",
            )
    yield from _values(mapping, (), ("soak", "progressDeadline"), ("maxUnavailable", *_AMOUNTS))
    partitions = mapping.get("partitions")
    for at, partition in enumerate(partitions if isinstance(partitions, list) else ()):
        if isinstance(partition, Mapping):
            yield from _values(partition, ("partitions", at), ("soak",), ("maxUnavailable",))


def _values(
    mapping: Mapping[str, Any],
    path: tuple[str | int, ...],
    durations: Sequence[str],
    amounts: Sequence[str],
) -> Iterator[StrategyMistake]:
    for key, check, step in (
        *((key, seconds, "Write it like 90s, 10m or 1h30m.") for key in durations),
        *((key, _amount, "Write a number, or a share such as `25%`.") for key in amounts),
    ):
        value = mapping.get(key)
        if isinstance(value, str):
            try:
                check(value)
            except UsageError as error:
                yield StrategyMistake(
                    (*path, key), f"{key}: {error.summary.removeprefix('rolloutStrategy: ')}", step
                )


def _amount(value: str) -> int:
    return limit(value, 1, "100%")


def limit(amount: Amount | None, count: int, default: Amount) -> int:
    """Of `count`; Fleet's arithmetic. Raises UsageError on what is neither a number nor a
    percentage.
    """
    value = default if amount is None or amount == "" else amount
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return max(1, int(count * Decimal(match[1]) / 100))
    try:
        number = int(value)
    except ValueError as error:
        raise _wrong(f"{str(value)[:40]!r} is neither a number nor a percentage") from error
    return max(0, min(number, count))


def seconds(text: str | None) -> float:
    """A duration in Go's syntax (`1h30m`, `90s`); nothing is 0. Raises UsageError."""
    if not text:
        return 0.0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise _wrong(str(error)) from error


def policy_of(strategy: Strategy, partitions: int, clusters: int) -> Policy:
    failures = None if strategy.max_failures is None else limit(strategy.max_failures, clusters, 0)
    return Policy(
        max_unavailable=limit(strategy.max_unavailable, clusters, "100%"),
        max_unavailable_partitions=limit(strategy.max_unavailable_partitions, partitions, 0),
        max_new=50 if strategy.max_new is None else max(1, strategy.max_new),
        deadline=seconds(strategy.progress_deadline),
        max_failures=failures,
        on_failure=strategy.on_failure or "pause",
        ordered=bool(strategy.partitions),
    )


def partitions_of(
    strategy: Strategy, bundle: BundleName, clusters: Sequence[Cluster], groups: Sequence[Group]
) -> list[Partition]:
    """Every cluster in exactly one partition; the same clusters and labels always give the same
    answer.
    """
    clusters_in_order = spread(bundle, clusters)
    if strategy.partitions:
        return _manual(strategy, clusters_in_order, groups)
    return _automatic(strategy, clusters_in_order)


def spread(bundle: BundleName, clusters: Iterable[Cluster]) -> list[Cluster]:
    """An order that follows no name, another one for each bundle: the same cluster is not the
    canary of everything.
    """
    return sorted(clusters, key=lambda c: (place(bundle, c.id), c.id))


def place(bundle: BundleName, cluster: ClusterId) -> int:
    """A cluster's place in that order, in 31 bits: it does not move when others come and go."""
    return (
        int.from_bytes(
            hashlib.blake2b(f"{bundle}\0{cluster}".encode(), digest_size=4).digest(), "big"
        )
        >> 1
    )


def chooser(strategy: Strategy, groups: Sequence[Group]) -> Callable[[Cluster], int]:
    """For the manual partitions of `strategy`: a cluster's partition, the first that picks it; one
    more than there are when none does.
    """
    specs = strategy.partitions or []
    targets = [_target(spec) for spec in specs]

    kind = kinds(targets, groups)
    choices: dict[tuple[Workspace, Kind], int] = {}

    def choose(cluster: Cluster) -> int:
        key = cluster.workspace, kind(cluster)
        if key not in choices:
            cluster_groups = [
                g
                for g in groups
                if g.workspace == cluster.workspace and matches(g.selector, cluster.labels)
            ]
            choices[key] = next(
                (
                    i
                    for i, target in enumerate(targets)
                    if criteria_match(target, cluster, cluster_groups)
                ),
                len(specs),
            )
        return choices[key]

    return choose


def automatic_step(strategy: Strategy, count: int) -> int:
    """How many of `count` clusters each automatic partition has, in their order; `count` when they
    make one.
    """
    threshold = (
        200 if strategy.auto_partition_threshold is None else strategy.auto_partition_threshold
    )
    size = strategy.auto_partition_size
    off = threshold <= 0 or (isinstance(size, int) and size <= 0)
    if off or count < threshold:
        return max(1, count)
    return max(1, limit(size, count, "25%"))


def outline_partitions(strategy: Strategy, sizes: Sequence[int]) -> list[Partition]:
    """The partitions of so many clusters each: all that a decision asks of them, `members` being
    names that mean nothing.
    """
    return _name_parts(strategy, [(ClusterId(""),) * size for size in sizes])


def _manual(
    strategy: Strategy, clusters: Sequence[Cluster], groups: Sequence[Group]
) -> list[Partition]:
    choose = chooser(strategy, groups)
    members: list[list[ClusterId]] = [[] for _ in range(len(strategy.partitions or []) + 1)]
    for cluster in clusters:
        members[choose(cluster)].append(cluster.id)
    return _name_parts(strategy, [tuple(part) for part in members])


def _automatic(strategy: Strategy, clusters: Sequence[Cluster]) -> list[Partition]:
    step = automatic_step(strategy, len(clusters))
    parts = [
        tuple(c.id for c in clusters[at : at + step])
        for at in range(0, max(1, len(clusters)), step)
    ]
    return _name_parts(strategy, parts)


def _name_parts(strategy: Strategy, parts: Sequence[tuple[ClusterId, ...]]) -> list[Partition]:
    """Of manual partitions the last one of `parts`, which nothing picks, is none when it is
    empty.
    """
    specs = strategy.partitions or []
    if not specs:
        names = (
            ["All"]
            if len(parts) == 1
            else [f"Partition {i + 1} of {len(parts)}" for i in range(len(parts))]
        )
        return [
            _make_partition(strategy, name, part, i, PartitionSpec())
            for i, (name, part) in enumerate(zip(names, parts, strict=True))
        ]
    partitions = [
        _make_partition(strategy, spec.name or f"partition {i + 1}", parts[i], i, spec)
        for i, spec in enumerate(specs)
    ]
    rest = parts[len(specs)] if len(parts) > len(specs) else ()
    return (
        [*partitions, _make_partition(strategy, REST, rest, len(partitions), PartitionSpec())]
        if rest
        else partitions
    )


def _make_partition(
    strategy: Strategy, name: str, members: tuple[ClusterId, ...], at: int, spec: PartitionSpec
) -> Partition:
    amount = strategy.max_unavailable if spec.max_unavailable is None else spec.max_unavailable
    word = strategy.approval or "none"
    # `first`: after the canary, before everybody else
    needs_approval = word == "each" or (word == "first" and at == 1)
    return Partition(
        name=name,
        members=members,
        max_unavailable=limit(amount, len(members), "100%"),
        soak=seconds(strategy.soak if spec.soak is None else spec.soak),
        approval=needs_approval if spec.approval is None else spec.approval,
    )


def _target(spec: PartitionSpec) -> Target:
    return Target(
        cluster_name=spec.cluster_name or "",
        cluster_selector=spec.cluster_selector,
        cluster_group=spec.cluster_group or "",
        cluster_group_selector=spec.cluster_group_selector,
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _wrong(problem: str) -> UsageError:
    return UsageError(
        f"rolloutStrategy: {problem}",
        subject="rolloutStrategy",
        next_step="See `fleetctl explain rolloutStrategy`.",
    )
