"""Whatever people write: every reader of the core gives a value or one FleetError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.documents import manifests
from fleetctl.core.documents.bundle_check import check_bundle
from fleetctl.core.documents.fleet_yaml import parse, parse_document
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.documents.json_schema import documents, walk
from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.formats.yaml import SourcePlace, YamlDocument, dump
from fleetctl.core.formats.yaml_stream import objects_of
from fleetctl.core.lint.engine import lint, lint_manifest
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.cluster import Cluster, matches
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import BundleName, ClusterName, Workspace
from fleetctl.core.rollout.strategy import strategy_of
from fleetctl.core.targeting.target import explain

KEYS = sorted(
    {node.name for document in documents().values() for node in walk(document.root)}
    | {"metadata", "spec", "kind", "items"}
)
WORDS = [
    "",
    "x",
    "5x",
    "25%",
    "In",
    "10m",
    "{}",
    "* * * * *",
    "FirstMatch",
    "default",
    "true",
    "\0",
    "é",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
)
keys = st.sampled_from(KEYS) | st.sampled_from(KEYS).map(str.upper) | st.text(max_size=3)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=15,
)
selector_keys = st.sampled_from(
    ["matchLabels", "matchExpressions", "MATCHLABELS", "key", "operator", "values", "env"]
)
parts = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(selector_keys, inner, max_size=3),
    max_leaves=10,
)
selectors = st.dictionaries(selector_keys, parts, max_size=3)
# A tree that follows the keys of fleet.yaml for a few steps gets further than one of any keys.
TOP = sorted(documents()["fleet.yaml"].root.keys)
fleet_trees = st.dictionaries(st.sampled_from(TOP), trees, max_size=3)
KINDS = ["GitRepo", "Cluster", "ClusterGroup", "Schedule", "ClusterRegistrationToken"]


def value_or_refusal(read: Callable[[], Any]) -> None:
    summary = "value"
    try:
        read()
    except FleetError as why:
        summary = why.summary
    assert summary
    assert "\n" not in summary


@given(trees | fleet_trees)
def test_a_fleet_yaml_of_any_form(tree):
    """Also the way through bytes, and `validate`, which refuses whatever the reader refuses."""
    value_or_refusal(lambda: parse_document(YamlDocument(tree, {}, SourcePlace(1, 1))))
    value_or_refusal(lambda: parse(dump(tree).encode()))
    assert all(finding.line for finding in lint(dump(tree).encode()))


@pytest.mark.parametrize("kind", KINDS)
@given(trees, trees)
def test_an_object_of_any_form(kind, spec, meta):
    """Metadata and spec of every kind, in the readers of the manager and of the offline
    commands.
    """
    document = {
        "apiVersion": "fleet.cattle.io/v1alpha1",
        "kind": kind,
        "metadata": meta,
        "spec": spec,
    }
    value_or_refusal(lambda: manifests.meta_of(document, manifests.origin_of(kind, "a.yaml", [])))
    value_or_refusal(lambda: manifests.spec_in(kind, spec, manifests.origin_of(kind, "a.yaml", [])))
    value_or_refusal(lambda: repo_spec(document))
    value_or_refusal(
        lambda: manifests.cluster_of(document, manifests.origin_of(kind, "a.yaml", []), "w")
    )
    value_or_refusal(
        lambda: manifests.group_of(document, manifests.origin_of(kind, "a.yaml", []), "w")
    )
    assert lint_manifest(dump(document).encode(), file="a.yaml") is not None


@given(trees)
def test_values_that_are_stored_or_sent(tree):
    """A strategy, a Schedule and a selector of any form."""
    value_or_refusal(lambda: strategy_of(tree))
    value_or_refusal(lambda: spec_of(tree))
    value_or_refusal(lambda: matches(tree, {"a": "b"}))


spec_keys = sorted(BundleSpec.__struct_encode_fields__)
bundles = st.fixed_dictionaries(
    {"workspace": st.just("w"), "name": st.sampled_from(["web", "", "A", "x" * 60])},
    optional={key: trees for key in spec_keys if key not in {"workspace", "name"}},
)


@given(bundles)
def test_a_bundle_that_is_sent_in(tree):
    """What a plan of bundles that were scanned elsewhere begins with, and the choice of clusters
    after it.
    """
    try:
        spec = msgspec.convert(tree, BundleSpec)
    except msgspec.ValidationError:
        return
    cluster = Cluster(workspace=Workspace("w"), name=ClusterName("c"), labels={"a": "b"})
    value_or_refusal(lambda: explain(check_bundle(spec), [cluster], []))


@given(selectors)
def test_a_selector_that_is_sent_in(selector):
    """Every form of it is refused or can be asked."""
    spec = BundleSpec(
        workspace=Workspace("w"), name=BundleName("b"), targets=[Target(cluster_selector=selector)]
    )
    cluster = Cluster(workspace=Workspace("w"), name=ClusterName("c"), labels={"a": "b"})
    value_or_refusal(lambda: explain(check_bundle(spec), [cluster], []))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_streams_of_any_bytes(data):
    """The objects of a raw bundle."""
    value_or_refusal(lambda: objects_of(data, "a.yaml"))
    value_or_refusal(lambda: objects_of(b"apiVersion: v1\nkind: X\n" + data, "a.yaml"))
