"""What charts see of a cluster in previews."""

from __future__ import annotations

import pytest

from fleetctl.core.charts.capabilities import (
    Capabilities,
    capabilities_of_version,
    parse_capabilities,
)
from fleetctl.core.model.errors import UsageError


def test_the_flags_are_those_of_helm() -> None:
    assert parse_capabilities("", []) == Capabilities()
    found = parse_capabilities(
        "v1.31.4", ["example.com/v1/Widget,example.com/v2", "batch/v1", "batch/v1"]
    )
    assert found == Capabilities("v1.31.4", ("example.com/v1/Widget", "example.com/v2", "batch/v1"))


@pytest.mark.parametrize("version", ["1", "1.x", "latest", "1.31 --debug", ">=1.31"])
def test_what_is_no_version_of_kubernetes_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match="not a version of Kubernetes"):
        parse_capabilities(version, [])
    assert capabilities_of_version(version) == Capabilities()


@pytest.mark.parametrize("name", ["", "a b", "--debug/v1 x", "a/b/c/d"])
def test_what_is_no_api_version_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not an API version"):
        parse_capabilities("", [name])


@pytest.mark.parametrize(
    "version", ["v1.36.1", "v1.30.2+k3s1", "v1.29.6-eks-1552ad0", "v1.31.0-rc.1+rke2r1"]
)
def test_versions_of_distributions_are_taken(version: str) -> None:
    assert capabilities_of_version(version).kube_version == version
