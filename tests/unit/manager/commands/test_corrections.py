"""Which deployments a person's correction reaches."""

from __future__ import annotations

import pytest

from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.status import ResourceStatus
from manager.commands.corrections import select_drifted
from manager.store.queries.bundle_deployments import ReportedDeployment

BUNDLE = (Workspace("w"), BundleName("web"))


def deployment(name: str, state: str = "Modified", owner: str = "") -> ReportedDeployment:
    resource = ResourceStatus(
        api_version="v1", kind="ConfigMap", name="x", state=state, owner=owner
    )
    return ReportedDeployment(ClusterId(f"id-{name}"), name, {"env": name}, 0, [resource])


FLEET = [
    deployment("a"),
    deployment("b", state="Ready"),
    deployment("c", state="Orphaned"),
    deployment("d", owner="other"),
    deployment("e", state="Missing"),
]


def selected(names: tuple[str, ...] = (), selector: str = "") -> list[str]:
    return [row.name for row in select_drifted(BUNDLE, FLEET, names, selector)]


def test_only_drift_that_is_the_bundles_own_is_corrected() -> None:
    assert selected() == ["a", "e"]


def test_clusters_are_selected_by_name_or_label() -> None:
    assert selected(names=("e", "b")) == ["e"]
    assert selected(selector="env in (a,b)") == ["a"]


def test_a_cluster_without_the_bundle_is_not_found() -> None:
    with pytest.raises(NotFound, match="not on cluster z"):
        selected(names=("z",))
    with pytest.raises(NotFound, match="on no cluster"):
        select_drifted(BUNDLE, [], (), "")
