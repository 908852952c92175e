"""What may be made anew, and when drift is put right."""

from __future__ import annotations

import pytest

from fleetctl.core.model.errors import HelmFailed
from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.tools.helm_errors import ImmutableRefusal, immutable_refusals

WEB = BundleName("web")
ONE = Generation(1)
# As helm 4.2.3 says it.
SELECTOR = (
    "UPGRADE FAILED: server-side apply failed for object shop/cm /v1, Kind=ConfigMap: ConfigMap"
    ' "cm" is invalid: data: Forbidden: field is immutable when `immutable` is set && server-side'
    ' apply failed for object shop/web apps/v1, Kind=Deployment: Deployment.apps "web" is invalid:'
    ' spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable'
)
STATEFUL = (
    "UPGRADE FAILED: server-side apply failed for object shop/db apps/v1, Kind=StatefulSet:"
    ' StatefulSet.apps "db" is invalid: spec: Forbidden: updates to statefulset spec for fields'
    " other than 'replicas', 'ordinals', 'template' are forbidden"
)
ROLE = (
    "UPGRADE FAILED: server-side apply failed for object /all rbac.authorization.k8s.io/v1,"
    ' Kind=ClusterRoleBinding: ClusterRoleBinding.rbac.authorization.k8s.io "all" is invalid:'
    ' roleRef: Invalid value: {"kind":"x"}: cannot change roleRef'
)
WRONG = (
    ' && server-side apply failed for object shop/x /v1, Kind=Service: Service "x" is invalid:'
    " spec.ports: Required value"
)

PATCHED = (
    'UPGRADE FAILED: cannot patch "web" with kind Deployment: Deployment.apps "web" is invalid:'
    ' spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable'
)


def find_refusals(output: str) -> list[ImmutableRefusal]:
    error = HelmFailed("helm failed")
    error.output = output
    return immutable_refusals(error)


class TestRefusals:
    def test_every_object_and_its_field_is_found_in_helms_words(self) -> None:
        """With the API group, so that it can be addressed."""
        found = find_refusals(SELECTOR)
        assert [(r.api_version, r.display_name, r.field, r.reason) for r in found] == [
            ("v1", "ConfigMap shop/cm", "data", "field is immutable when `immutable` is set"),
            ("apps/v1", "Deployment shop/web", "spec.selector", "field is immutable"),
        ]

    @pytest.mark.parametrize(
        ("said", "shown", "field"),
        [
            (STATEFUL, "StatefulSet shop/db", "spec"),
            (ROLE, "ClusterRoleBinding all", "roleRef"),
            (PATCHED, "Deployment web", "spec.selector"),
        ],
    )
    def test_the_ways_of_saying_it(self, said: str, shown: str, field: str) -> None:
        """Kubernetes has several."""
        (found,) = find_refusals(said)
        assert (found.display_name, found.field) == (shown, field)

    def test_nothing_is_made_anew_when_something_else_is_wrong_too(self) -> None:
        """The new object might be refused as well."""
        assert find_refusals(SELECTOR + WRONG) == []
        assert (
            find_refusals("UPGRADE FAILED: failed to create resource: namespaces is immutable")
            == []
        )
