"""Who is told what of a bundle that is pinned."""

from __future__ import annotations

from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName, CommitId, Workspace
from fleetctl.core.model.options import Options
from manager.revisions.pins import Order, content_of

FLEET = [
    Cluster(
        workspace=Workspace("w"), name=ClusterName(name), id=ClusterId(name), labels={"n": name}
    )
    for name in "abc"
]
EVERY = Target(name="every", cluster_selector={})


def spec(
    commit: str,
    *customizations: Target,
    targets: tuple[Target, ...] = (EVERY,),
    namespace: str = "",
) -> BundleSpec:
    head = {
        "workspace": Workspace("w"),
        "name": BundleName("web"),
        "commit": CommitId(commit),
        "targets": list(targets),
    }
    return BundleSpec(
        **head,
        options=Options(default_namespace=namespace or None),
        customizations=list(customizations),
    )


def barred(name: str) -> Target:
    return Target(cluster_name=name, do_not_deploy=True)


def got(order: Order) -> dict[str, str]:
    return {
        match.cluster.name: str(match.options.default_namespace)
        for match in order.matches(FLEET, [])
    }


def pinned(then: BundleSpec, now: BundleSpec) -> Order:
    return Order(content_of(then, now), now=now)


class TestMatches:
    def test_who_gets_it_is_as_git_says_now(self) -> None:
        """Targets and doNotDeploy of the newest revision count, those of the pinned one do not;
        options are the pinned one's.
        """
        then = spec("1", barred("a"), namespace="old", targets=(Target(cluster_name="c"),))
        assert got(pinned(then, spec("2", barred("b"), namespace="new"))) == {
            "a": "old",
            "c": "old",
        }

    def test_an_order_for_some_is_for_them_alone(self) -> None:
        then, now = spec("1", namespace="old"), spec("2", barred("b"), namespace="new")
        some = Order(content_of(then, now), 7, frozenset({ClusterId("b"), ClusterId("c")}), now)
        assert got(some) == {"c": "old"}
