"""A fleet.yaml is taken as Fleet takes it, and where Fleet is silent about a mistake, we are
not.
"""

from __future__ import annotations

import pytest

from fleetctl.core.documents.fleet_yaml import parse
from fleetctl.core.model.errors import InvalidFile


def test_options_and_customizations_are_kept_apart():
    """Top-level options are the bundle's; those under a customization are that one's."""
    got = parse(
        b"namespace: web\ntargetCustomizations:\n- name: prod\n  clusterSelector: {}\n  helm:"
        b" {values: {n1: 0644}}\n"
    )
    assert got.options.namespace == "web"
    assert got.customizations[0].options.helm.values == {"n1": 420}
    assert got.customizations[0].options.namespace is None


@pytest.mark.parametrize(
    ("text", "summary", "step"),
    [
        (
            b"helm:\n  valeus: {}\n",
            "fleet.yaml:2:3: unknown key `helm.valeus`",
            "Did you mean `values`?",
        ),
        (
            b"targetCustomizations:\n- name: x\n  clusterSelectr: {}\n",
            "fleet.yaml:3:3: unknown key",
            "Did you mean `clusterSelector`?",
        ),
        (
            b"targetCustomizations:\n- name: x\n",
            "fleet.yaml:2:3: states no criterion",
            "clusterSelector: {}",
        ),
        (
            b"helm:\n  timeoutSeconds: soon\n",
            "fleet.yaml:2:3: helm.timeoutSeconds: expected `int",
            "type",
        ),
        (b"dependsOn:\n- nmae: x\n", "fleet.yaml:2:3: unknown key", "Did you mean `name`?"),
        (b"targetCustomizationMode: Some\n", "fleet.yaml:1:1", "FirstMatch or AllMatches"),
        (b"- a\n", "is not a map of keys", "keys"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_do(text, summary, step):
    """File, line, column, the key and a suggestion."""
    with pytest.raises(InvalidFile) as caught:
        parse(text)
    assert summary in str(caught.value)
    assert step in caught.value.next_step


def test_image_scans_are_refused():
    """As in Fleet, where they must be enabled."""
    with pytest.raises(
        InvalidFile, match=r"fleet\.yaml:1:1: imageScans: images are not updated in Git"
    ):
        parse(b"imageScans:\n- {image: x, tagName: t}\n")
