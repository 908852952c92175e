"""What may be made anew, and when drift is put right."""

from __future__ import annotations

import pytest

from agent.release.immutable import Corrections
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


class TestCorrections:
    def test_the_first_time_at_once_then_after_growing_pauses(self) -> None:
        """What changes it back each second costs few helm runs: 8 in the first quarter of an
        hour.
        """
        fights = Corrections()
        times = [
            now
            for now in range(900)
            if fights.should_correct(WEB, ONE, float(now), is_drifted=True)
        ]
        assert times[:4] == [0, 5, 15, 35]
        assert len(times) == 8
        assert "put right 8 times" in fights.note(WEB)

    def test_the_pause_stops_growing(self) -> None:
        """At ten minutes, so that it is put right some time after the fight has ended."""
        fights = Corrections()
        times = [
            now
            for now in range(0, 20_000, 5)
            if fights.should_correct(WEB, ONE, float(now), is_drifted=True)
        ]
        assert {b - a for a, b in zip(times[-4:], times[-3:], strict=False)} == {600}

    def test_calm_ends_it(self) -> None:
        """A bundle that stayed as it was begins anew, and so does a new generation."""
        fights = Corrections()
        assert fights.should_correct(WEB, ONE, 0.0, is_drifted=True)
        assert not fights.should_correct(WEB, ONE, 30.0, is_drifted=False)
        assert fights.should_correct(WEB, ONE, 31.0, is_drifted=True)
        assert not fights.should_correct(WEB, ONE, 32.0, is_drifted=True)
        assert fights.should_correct(WEB, Generation(2), 33.0, is_drifted=True)
        assert not fights.should_correct(WEB, Generation(2), 200.0, is_drifted=False)
        assert fights.note(WEB) == ""

    def test_who_waits_is_told_once_for_each_pause(self) -> None:
        """One alarm, not one for each look."""
        fights = Corrections()
        fights.should_correct(WEB, ONE, 0.0, is_drifted=True)
        assert [fights.wait(WEB, now) for now in (1.0, 2.0, 9.0)] == [4.0, 0.0, 0.0]
