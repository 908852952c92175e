"""What is said of a target that does not match is what targeting decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import ClusterName, GroupName, Workspace
from fleetctl.core.targeting.selector_mismatch import wanted_labels, why_not
from fleetctl.core.targeting.target import criteria_match

SPACE = Workspace("fleet-default")


def cluster(**labels: str) -> Cluster:
    return Cluster(workspace=SPACE, name=ClusterName("paris"), labels=labels)


def group(name: str = "europe", **labels: str) -> Group:
    return Group(workspace=SPACE, name=GroupName(name), selector={}, labels=labels)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target(cluster_name="oslo"), ["it is for cluster oslo"]),
        (
            Target(cluster_selector={"matchLabels": {"env": "prod", "tier": "gold"}}),
            ["label env is dev, not prod", "label tier is not set, not gold"],
        ),
        (Target(cluster_group="asia"), ["the cluster is not in group asia"]),
        (
            Target(cluster_group_selector={"matchLabels": {"a": "b"}}),
            ["its groups (europe) have other labels"],
        ),
        (Target(), ["it names no criterion"]),
        (Target(cluster_name="paris", cluster_group="asia"), ["the cluster is not in group asia"]),
        (
            Target(
                cluster_selector={
                    "matchExpressions": [
                        {"key": "env", "operator": "In", "values": ["prod", "test"]},
                        {"key": "env", "operator": "NotIn", "values": ["dev"]},
                        {"key": "gpu", "operator": "Exists"},
                        {"key": "env", "operator": "DoesNotExist"},
                    ]
                }
            ),
            [
                "label env is dev, not one of prod, test",
                "label env is dev, which is one of dev",
                "it has no label gpu",
                "it has the label env",
            ],
        ),
    ],
)
def test_each_criterion_in_words(target: Target, said: list[str]) -> None:
    """By name, label, expression and group."""
    assert why_not(target, cluster(env="dev"), [group()]) == said


def test_labels_are_proposed_only_when_they_are_enough() -> None:
    """A target that asks for a name or a group too is not met by a label."""
    selector = {"matchLabels": {"env": "prod"}}
    assert wanted_labels(Target(cluster_selector=selector)) == {"env": "prod"}
    assert wanted_labels(Target(cluster_selector=selector, cluster_group="europe")) == {}
    assert (
        wanted_labels(
            Target(
                cluster_selector=selector
                | {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
            )
        )
        == {}
    )
    assert wanted_labels(Target(cluster_name="paris")) == {}


words = st.sampled_from(["a", "b", "c"])
labels = st.dictionaries(words, words, max_size=3)
expressions = st.lists(
    st.fixed_dictionaries(
        {
            "key": words,
            "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
            "values": st.lists(words, max_size=2),
        }
    ),
    max_size=2,
)
selectors: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.fixed_dictionaries(
    {"matchLabels": labels, "matchExpressions": expressions}
)
targets = st.builds(
    Target,
    cluster_name=st.sampled_from(["", "paris", "oslo"]),
    cluster_selector=selectors,
    cluster_group=st.sampled_from(["", "europe", "asia"]),
    cluster_group_selector=selectors,
)


@given(targets, labels, st.lists(st.builds(group, st.sampled_from(["europe", "south"]))))
def test_there_are_words_exactly_when_it_does_not_match(
    target: Target, has: dict[str, str], mine: list[Group]
) -> None:
    """Whatever the target asks for."""
    one = cluster(**has)
    assert (why_not(target, one, mine) == []) == criteria_match(target, one, mine)
