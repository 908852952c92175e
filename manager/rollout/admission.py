"""Which clusters of a rollout go now, by the counts that the store keeps.

Rule: the counts say how many clusters there are with the same key; only clusters about which more
is known than their rows say (silent, paused, outside their window) are looked up, as a set. The
clusters that go come from the index of what is staged, in the order of the partition. So a decision
over a million clusters costs as much as one over ten, and handing out costs as much as there are
clusters that go. One call hands out to a bounded number, so that other writers wait only for a
moment; the next call hands out to the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.rollout.decide import Quota, Tally

from ..presence import HEARD, OFFLINE
from ..store import Reader
from ..store import counts as counting
from ..store.counts import CountKey, Counts, ids_text
from ..store.keys import BundleKey
from ..store.queries.rollout.staged import (
    Candidate,
    Range,
    candidates_by_row,
    candidates_in_order,
)

# Deployments that one transaction changes, at most: about a tenth of a second.
MOST_DEPLOYMENTS = 5000
_WELL = frozenset({State.READY.value, State.MODIFIED.value})

# Why a cluster that is heard may not go: a person has paused it, its window will open, or its
# window is closed for good.
PAUSE, OPENS_LATER, STAYS_CLOSED = "paused", "later", "closed"
# How a cluster is heard, and what bars it ("" for nothing).
GroupKey = tuple[str, str]
_FREE: GroupKey = (HEARD, "")


@dataclass(frozen=True)
class Apart:
    """The clusters about which more is known than their rows say: `silent` (unknown or offline),
    `paused_clusters`, and outside their window (`closed_windows`, whether time alone opens it).
    """

    silent: Mapping[ClusterId, str] = field(default_factory=dict)
    paused_clusters: Collection[ClusterId] = frozenset()
    closed_windows: Mapping[ClusterId, bool] = field(default_factory=dict)

    @cached_property
    def all(self) -> set[ClusterId]:
        return {*self.silent, *self.paused_clusters, *self.closed_windows}

    @cached_property
    def text(self) -> str:
        """All of the clusters, for `json_each`."""
        return ids_text(self.all)

    @cached_property
    def groups(self) -> dict[ClusterId, GroupKey]:
        paused_clusters = set(self.paused_clusters)
        return {
            cluster: (self.silent.get(cluster, HEARD), self._bar(cluster, paused_clusters))
            for cluster in self.all
        }

    def _bar(self, cluster: ClusterId, paused_clusters: Collection[ClusterId]) -> str:
        if cluster in paused_clusters:
            return PAUSE
        if cluster not in self.closed_windows:
            return ""
        return OPENS_LATER if self.closed_windows[cluster] else STAYS_CLOSED

    @cached_property
    def members(self) -> dict[GroupKey, set[ClusterId]]:
        """The clusters of each group; each cluster is in one."""
        members: dict[GroupKey, set[ClusterId]] = {}
        for cluster, group in self.groups.items():
            members.setdefault(group, set()).add(cluster)
        return members


@dataclass(frozen=True)
class Census:
    """The deployments of one bundle by partition and key. `free`: those of clusters that may go;
    `apart_counts`: those of the clusters that are set apart, by group; `pinned_clusters`: those of
    clusters with a pin of their own, whose failures do not count for the rollout.
    """

    apart: Apart
    free: Counts
    apart_counts: Mapping[GroupKey, Counts] = field(default_factory=dict)
    pinned_clusters: Counts = field(default_factory=dict)

    def tallies(self, partitions: int) -> list[Tally]:
        totals: list[Counter[str]] = [Counter() for _ in range(partitions)]
        for (health, bar), counts in {_FREE: self.free, **self.apart_counts}.items():
            for count_key, number in counts.items():
                if 0 <= count_key.partition < partitions:
                    for name in _counters(count_key, health, bar):
                        totals[count_key.partition][name] += number
        for count_key, number in self.pinned_clusters.items():
            is_failed = not count_key.is_staged and "failed" in _down(count_key, HEARD)
            if is_failed and 0 <= count_key.partition < partitions:
                totals[count_key.partition]["failed"] -= number
        return [Tally(**counts) for counts in totals]

    def keys_with_staged(self, partition: int, counter: str) -> list[CountKey]:
        """Those of a partition that are staged and may go, and count as `ready`, `down` or
        `fresh`.
        """
        return [
            count_key
            for count_key in self.free
            if count_key.partition == partition
            and count_key.is_staged
            and _counters(count_key, HEARD, "") == (counter,)
        ]

    def after(self, candidates: Iterable[Candidate]) -> Census:
        """The census after these were handed out. A paused one among them may go, as a person named
        it.
        """
        counts = {_FREE: Counter(self.free)}
        counts |= {group: Counter(count_keys) for group, count_keys in self.apart_counts.items()}
        told_clusters = set()
        for candidate in candidates:
            counts[self.apart.groups.get(candidate.cluster, _FREE)][candidate.count_key] -= 1
            counts[_FREE][_key_after(candidate.count_key)] += 1
            told_clusters.add(candidate.cluster)
        paused_clusters = set(self.apart.paused_clusters) - told_clusters
        apart = Apart(self.apart.silent, paused_clusters, self.apart.closed_windows)
        free = _positive(counts.pop(_FREE))
        rest = {group: _positive(count_keys) for group, count_keys in counts.items()}
        return Census(apart, free, rest, self.pinned_clusters)


def _key_after(count_key: CountKey) -> CountKey:
    """The key of a deployment after its cluster has received the staged version."""
    return count_key._replace(
        state=State.WAIT_APPLIED.value, is_staged=False, is_sent=True, is_current=False
    )


def _positive(counts: Mapping[CountKey, int]) -> Counts:
    return {count_key: number for count_key, number in counts.items() if number > 0}


def gather_census(
    reader: Reader, bundle: BundleKey, apart: Apart, pinned_clusters: Collection[ClusterId] = ()
) -> Census:
    """`pinned_clusters`: the clusters with a pin of their own."""
    free = counting.count_deployments(reader, *bundle)
    apart_counts: dict[GroupKey, Counts] = {}
    for group, clusters in apart.members.items():
        apart_counts[group] = counting.count_on_clusters(reader, clusters, *bundle)
        free = counting.subtract_counts(free, apart_counts[group])
    return Census(
        apart, free, apart_counts, counting.count_on_clusters(reader, pinned_clusters, *bundle)
    )


def _counters(count_key: CountKey, health: str, bar: str) -> tuple[str, ...]:
    """The counters of `Tally` that such a deployment adds to."""
    # Told, and paused before its agent began.
    out_of_sync = bar == PAUSE and count_key.state == State.OUT_OF_SYNC.value
    well = count_key.state in _WELL or out_of_sync
    if not count_key.is_staged:
        if out_of_sync:
            return ("barred_ready",)
        return ("ready_started",) if well and health == HEARD else _down(count_key, health)
    if health != HEARD:
        return (health,)
    if bar:
        name = "barred_ready" if well or not count_key.is_sent else "barred_down"
        return (name, "later") if bar == OPENS_LATER else (name,)
    if not count_key.is_sent:
        return ("fresh",)
    return ("ready",) if well else ("down",)


def _down(count_key: CountKey, health: str) -> tuple[str, ...]:
    conditions = {
        "flying": not count_key.is_current and health != OFFLINE,
        "silent": health == OFFLINE,
        "failed": count_key.is_current and count_key.state == State.ERR_APPLIED.value,
    }
    return ("down_started", *(name for name, is_true in conditions.items() if is_true))


@dataclass(frozen=True)
class HandOutChoice:
    """The deployments that go now. `has_more`: others may go at once after them; `sweep_row`: the
    row up to which all were taken in the order of the rows, 0 for none.
    """

    candidates: list[Candidate]
    has_more: bool
    sweep_row: int = 0


def choose(
    reader: Reader, bundle: BundleKey, census: Census, quotas: Sequence[Quota], sweep_row: int = 0
) -> HandOutChoice:
    """The deployments that go within the quotas, in the order of the partitions, at most
    `MOST_DEPLOYMENTS`. If all that wait may go, and they are many, their order does not matter:
    they are taken row by row from `sweep_row` on, which touches each page of the store once.

    `maxNew` is the size of a batch and no limit: batches follow one another while there is room.
    """
    tallies = census.tallies(len(quotas))
    partitions = [
        number
        for number, (quota, tally) in enumerate(zip(quotas, tallies, strict=True))
        if _all_go(quota, tally)
    ]
    if partitions:
        rows = Range(bundle, census.apart.text, MOST_DEPLOYMENTS)
        candidates = candidates_by_row(reader, rows, partitions, sweep_row)
        if candidates or sweep_row:
            last = candidates[-1].row if len(candidates) == MOST_DEPLOYMENTS else 0
            return HandOutChoice(candidates, True, last)
    candidates = _in_order(reader, bundle, census, quotas)
    return HandOutChoice(candidates, len(candidates) == MOST_DEPLOYMENTS)


def _in_order(
    reader: Reader, bundle: BundleKey, census: Census, quotas: Sequence[Quota]
) -> list[Candidate]:
    candidates: list[Candidate] = []
    for partition, quota in enumerate(quotas):
        limits = {
            "down": MOST_DEPLOYMENTS if quota.down else 0,
            "ready": quota.ready,
            "fresh": MOST_DEPLOYMENTS if quota.fresh else 0,
        }
        for counter, limit in limits.items():
            room = min(limit, MOST_DEPLOYMENTS - len(candidates))
            count_keys = census.keys_with_staged(partition, counter) if room > 0 else []
            rows = Range(bundle, census.apart.text, room)
            candidates += _first(reader, rows, partition, count_keys)
    return candidates


def _all_go(quota: Quota, tally: Tally) -> bool:
    all_ready = (
        quota.ready >= tally.ready
        and (quota.fresh > 0 or not tally.fresh)
        and (quota.down or not tally.down)
    )
    return all_ready and tally.may_go > MOST_DEPLOYMENTS


def _first(
    reader: Reader, rows: Range, partition: int, count_keys: Iterable[CountKey]
) -> list[Candidate]:
    """The first deployments with these keys in the order of the partition."""
    candidates = [
        candidate
        for state, is_sent in sorted(
            {(count_key.state, count_key.is_sent) for count_key in count_keys}
        )
        for candidate in candidates_in_order(reader, rows, partition, state, is_sent=is_sent)
    ]
    candidates.sort(key=lambda candidate: (candidate.position, candidate.cluster))
    return candidates[: rows.limit]


def limit_to_budgets(
    candidates: Sequence[Candidate],
    budgets: tuple[Sequence[int], int],
    may_go: Callable[[ClusterId], bool],
) -> list[Candidate]:
    """The clusters of a rollback by name that change now. They wait for no step of the rollout,
    only for the budget of their partition and of the bundle.
    """
    budget_left, free = list(budgets[0]), budgets[1]
    result: list[Candidate] = []
    for candidate in candidates:
        partition = candidate.count_key.partition
        if not 0 <= partition < len(budget_left) or not may_go(candidate.cluster):
            continue
        if candidate.count_key.state in _WELL:
            if min(free, budget_left[partition]) <= 0:
                continue
            budget_left[partition] -= 1
            free -= 1
        result.append(candidate)
        if len(result) == MOST_DEPLOYMENTS:
            break
    return result
