"""Clusters are looked at by kind, and each gets what it would get alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import BundleName, ClusterName, GroupName, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.rollout.strategy import PartitionSpec, Strategy, chooser
from fleetctl.core.targeting.target import explain

WORKSPACES = (Workspace("w"), Workspace("other"))
words, keys = st.sampled_from(["x", "y", ""]), st.sampled_from(["a", "b", "c"])
labels = st.dictionaries(keys, words)
names = st.sampled_from(["c1", "c2", "c3"])


@st.composite
def selector(draw: st.DrawFn) -> dict[str, Any]:
    terms = draw(
        st.lists(
            st.tuples(
                keys,
                st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
                st.lists(words, min_size=1),
            ),
            max_size=2,
        )
    )
    return {
        "matchLabels": draw(labels),
        "matchExpressions": [{"key": k, "operator": o, "values": v} for k, o, v in terms],
    }


@st.composite
def target(draw: st.DrawFn) -> Target:
    return Target(
        name=draw(words),
        cluster_name=draw(st.sampled_from(["", "", "c1", "c2"])),
        cluster_selector=draw(st.none() | selector()),
        cluster_group=draw(st.sampled_from(["", "", "g1", "default"])),
        cluster_group_selector=draw(st.none() | selector()),
        do_not_deploy=draw(st.booleans()),
        options=Options(namespace=draw(words)),
    )


groups = st.lists(
    st.builds(
        Group,
        workspace=st.sampled_from(WORKSPACES),
        name=st.sampled_from(["g1", "g2", "default"]).map(GroupName),
        selector=selector(),
        labels=labels,
    ),
    max_size=3,
)
clusters = st.lists(
    st.builds(
        Cluster, workspace=st.sampled_from(WORKSPACES), name=names.map(ClusterName), labels=labels
    ),
    max_size=8,
)


@given(
    st.lists(target(), max_size=3),
    st.lists(target(), max_size=3),
    st.sampled_from(["FirstMatch", "AllMatches"]),
    groups,
    clusters,
)
def test_each_cluster_gets_what_it_would_get_alone(
    targets: list[Target],
    customizations: list[Target],
    mode: str,
    known: list[Group],
    fleet: list[Cluster],
) -> None:
    """Or misses it for the same reason."""
    bundle = BundleSpec(
        workspace=WORKSPACES[0],
        name=BundleName("b"),
        targets=targets,
        customizations=customizations,
        customization_mode=mode,
    )
    assert explain(bundle, fleet, known) == [
        explain(bundle, [cluster], known)[0] for cluster in fleet
    ]


@given(st.lists(target(), min_size=1, max_size=3), groups, clusters)
def test_each_cluster_has_the_partition_that_it_would_have_alone(
    targets: list[Target], known: list[Group], fleet: list[Cluster]
) -> None:
    """Whoever was asked for before it."""
    fields = ("cluster_name", "cluster_selector", "cluster_group", "cluster_group_selector")
    strategy = Strategy(
        partitions=[
            PartitionSpec(**{name: getattr(one, name) for name in fields}) for one in targets
        ]
    )
    together = chooser(strategy, known)
    assert [together(cluster) for cluster in fleet] == [
        chooser(strategy, known)(cluster) for cluster in fleet
    ]
