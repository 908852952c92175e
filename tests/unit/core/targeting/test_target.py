"""Who gets a bundle, and how it differs there."""

from __future__ import annotations

from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.cluster import Cluster, Group, parse_selector
from fleetctl.core.model.options import CorrectDrift, HelmOptions, Options, digest, merge
from fleetctl.core.targeting.target import select

DEV, PROD = (Cluster(workspace="w", name=n, labels={"env": n}) for n in ("dev", "prod"))
EVERYWHERE = Target(name="all", cluster_selector={})


def bundle(**more):
    return BundleSpec(**{"workspace": "w", "name": "b", "targets": [EVERYWHERE], **more})


def on(env, **more):
    return Target(name=env, cluster_selector=parse_selector(f"env={env}"), **more)


def test_the_first_matching_customization_changes_the_options():
    """Prod is changed, dev is not, and the name says by what."""
    got = select(
        bundle(customizations=[on("prod", options=Options(namespace="x"))]), [DEV, PROD], []
    )
    assert [(m.cluster.name, m.customization, m.options.namespace) for m in got] == [
        ("dev", "", None),
        ("prod", "prod", "x"),
    ]


def test_all_matches_are_merged_in_order():
    """Later ones win."""
    spec = bundle(
        customizations=[
            on("dev", options=Options(namespace="x")),
            on("dev", options=Options(namespace="y")),
        ]
    )
    assert select(spec, [DEV], [])[0].options.namespace == "x"
    both = bundle(customizations=spec.customizations, customization_mode="AllMatches")
    assert select(both, [DEV], [])[0].options.namespace == "y"


def test_do_not_deploy_leaves_the_cluster_out():
    """Also when it is a customization that says so."""
    assert [
        m.cluster.name
        for m in select(bundle(customizations=[on("dev", do_not_deploy=True)]), [DEV, PROD], [])
    ] == ["prod"]


def test_without_targets_the_group_default_gets_it():
    """As in Fleet."""
    group = Group(workspace="w", name="default", selector=parse_selector("env=dev"))
    assert [m.cluster.name for m in select(bundle(targets=[]), [DEV, PROD], [group])] == ["dev"]


def test_another_workspace_gets_nothing():
    """A bundle stays in its workspace."""
    assert select(bundle(workspace="other"), [DEV], []) == []


def test_a_false_in_a_customization_switches_off():
    """Fleet ORs booleans; here what is stated is meant."""
    base = Options(helm=HelmOptions(atomic=True, values={"a": {"b": 1}}))
    got = merge(base, Options(helm=HelmOptions(atomic=False, values={"a": {"c": 2}})))
    assert (got.helm.atomic, got.helm.values) == (False, {"a": {"b": 1, "c": 2}})


def test_drift_settings_redeploy_nothing():
    """They are not part of the digest."""
    assert digest(Options(correct_drift=CorrectDrift(enabled=True))) == digest(Options())
