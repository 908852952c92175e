"""Fleet's arithmetic, and who belongs to which partition."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName, GroupName, Workspace
from fleetctl.core.rollout.strategy import (
    REST,
    limit,
    partitions_of,
    place,
    policy_of,
    seconds,
    spread,
    strategy_of,
)

WEB, W = BundleName("web"), Workspace("w")


def cluster(name: str, **labels: str) -> Cluster:
    return Cluster(workspace=W, name=ClusterName(name), id=ClusterId(f"c-{name}"), labels=labels)


def names(
    stated: dict[str, Any], clusters: list[Cluster], groups: list[Group] | None = None
) -> list[tuple[str, set[str], int]]:
    made = partitions_of(strategy_of(stated), WEB, clusters, groups or [])
    return [
        (p.name, {str(m).removeprefix("c-") for m in p.members}, p.max_unavailable) for p in made
    ]


@pytest.mark.parametrize(
    ("amount", "count", "wanted"),
    [
        ("0%", 10, 1),
        ("-5%", 10, 1),
        ("25%", 10, 2),
        ("1%", 10, 1),
        ("100%", 7, 7),
        (3, 10, 3),
        (30, 10, 10),
        (-1, 10, 0),
        ("4", 10, 4),
    ],
)
def test_limits_are_fleets(amount: int | str, count: int, wanted: int) -> None:
    """Percentages round down and are 1 at least; numbers are capped, and below 0 they are 0."""
    assert limit(amount, count, "100%") == wanted


@pytest.mark.parametrize(
    "stated",
    [
        {"maxUnavailable": "many"},
        {"partitions": [{"maxUnavailable": "1.5.5%"}]},
        {"soak": "10 minutes"},
        {"soak": "9" * 400 + "h"},
        {"soak": "999999999999h"},
        {"maxUnavailable": "9" * 5000},
        {"approval": "always"},
        {"onFailure": "ignore"},
        {"maxNew": "50x"},
        {"partitions": {"name": "a"}},
        {"maxUnavailible": 1},
        {"partitions": [{"clusterLabel": "x"}]},
    ],
)
def test_what_is_wrong_is_named(stated: dict[str, Any]) -> None:
    """As a usage error of rolloutStrategy."""
    with pytest.raises(UsageError, match="rolloutStrategy: "):
        strategy_of(stated)


def test_durations() -> None:
    """In Go's syntax."""
    assert (seconds("1h30m"), seconds("90s"), seconds("1.5m"), seconds(None)) == (
        5400.0,
        90.0,
        90.0,
        0.0,
    )


class TestPartitions:
    def test_few_clusters_are_one_partition(self) -> None:
        """Below autoPartitionThreshold; all may change at once unless said otherwise."""
        assert names({}, [cluster("a"), cluster("b")]) == [("All", {"a", "b"}, 2)]

    def test_many_clusters_are_quarters(self) -> None:
        """At the threshold, and of the size that is asked for; the last one is what is left."""
        clusters = [cluster(f"{n}") for n in range(10)]
        sizes = [
            len(p[1])
            for p in names({"autoPartitionThreshold": 10, "autoPartitionSize": "30%"}, clusters)
        ]
        assert sizes == [3, 3, 3, 1]
        assert [
            p[0] for p in names({"autoPartitionThreshold": 10, "autoPartitionSize": 5}, clusters)
        ] == [
            "Partition 1 of 2",
            "Partition 2 of 2",
        ]

    @pytest.mark.parametrize(
        "off",
        [{"autoPartitionThreshold": 0}, {"autoPartitionThreshold": 1, "autoPartitionSize": 0}],
    )
    def test_automatic_partitions_can_be_switched_off(self, off: dict[str, Any]) -> None:
        """As in Fleet, by a threshold or a size of nothing."""
        assert [p[0] for p in names(off, [cluster(f"{n}") for n in range(300)])] == ["All"]

    def test_manual_ones_by_every_criterion_and_nobody_is_forgotten(self) -> None:
        """By label, name, group and a group's labels; the first that picks a cluster has it, and
        what nobody picks comes last.
        """
        stated = {
            "maxUnavailable": 1,
            "partitions": [
                {
                    "name": "canary",
                    "clusterSelector": {"matchLabels": {"canary": "yes"}},
                    "maxUnavailable": "100%",
                },
                {"name": "one", "clusterName": "b"},
                {"clusterGroup": "eu"},
                {"name": "gold", "clusterGroupSelector": {"matchLabels": {"tier": "gold"}}},
            ],
        }
        groups = [
            Group(workspace=W, name=GroupName("eu"), selector={"matchLabels": {"region": "eu"}}),
            Group(
                workspace=W,
                name=GroupName("vip"),
                selector={"matchLabels": {"vip": "1"}},
                labels={"tier": "gold"},
            ),
        ]
        clusters = [
            cluster("a", canary="yes", region="eu"),
            cluster("b"),
            cluster("c", region="eu"),
            cluster("d", vip="1"),
            cluster("e"),
        ]
        assert names(stated, clusters, groups) == [
            ("canary", {"a"}, 1),
            ("one", {"b"}, 1),
            ("partition 3", {"c"}, 1),
            ("gold", {"d"}, 1),
            (REST, {"e"}, 1),
        ]

    def test_approval_first_is_asked_after_the_canary(self) -> None:
        """`first` lets the first partition go, and asks before the second; `each` before every one;
        a partition may say otherwise.
        """
        three: list[dict[str, Any]] = [{"clusterName": n} for n in "abc"]
        clusters = [cluster(n) for n in "abc"]

        def asked(**stated: Any) -> list[bool]:
            return [
                p.approval
                for p in partitions_of(
                    strategy_of({"partitions": three, **stated}), WEB, clusters, []
                )
            ]

        assert asked(approval="first") == [False, True, False]
        assert asked(approval="each") == [True, True, True]
        assert asked() == [False, False, False]
        three[2]["approval"] = True
        assert asked() == [False, False, True]


def test_the_order_follows_no_name_and_differs_by_bundle() -> None:
    """The same at each look; another one for another bundle."""
    clusters = [cluster(f"{n:02}") for n in range(40)]
    one, other = ([c.name for c in spread(BundleName(b), clusters)] for b in ("web", "db"))
    assert one == [c.name for c in spread(WEB, list(reversed(clusters)))]
    assert one != sorted(one)
    assert one != other


def test_the_policy_counts_partitions_and_clusters() -> None:
    """Percentages of partitions for one, of clusters for the other."""
    found = policy_of(
        strategy_of(
            {"maxUnavailablePartitions": "50%", "maxFailures": "10%", "progressDeadline": "1h"}
        ),
        4,
        200,
    )
    assert (
        found.max_unavailable_partitions,
        found.max_failures,
        found.deadline,
        found.on_failure,
    ) == (2, 20, 3600.0, "pause")
    assert policy_of(strategy_of({}), 4, 200).max_failures is None


def test_nobody_moves_when_others_come() -> None:
    """The order of those who stay is the same, and so is each one's place: a cluster that is added
    changes one row, not thousands.
    """
    some = [cluster(f"c{n}") for n in range(50)]
    ids = [c.id for c in some]
    assert [c.id for c in spread(WEB, [*some, cluster("new")]) if c.id in ids] == [
        c.id for c in spread(WEB, some)
    ]
    assert [c.id for c in spread(WEB, some)] == sorted(ids, key=lambda i: place(WEB, i))
