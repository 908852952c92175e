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
            "fleet.yaml:2:3: helm.timeoutSeconds: expected a whole number, got text",
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


DIFF = "diff: {comparePatches: [{kind: A, apiVersion: v1, %s}]}"


class TestDiffEntries:
    """The scan warns of operations and pointers of `diff.comparePatches` that leave nothing out."""

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            (
                "operations: [{op: move, path: /spec/a}]",
                "`op: move` leaves nothing out, in Fleet too",
            ),
            ("operations: [{op: copy, path: /spec/a}]", "`op: copy` leaves nothing out"),
            ("operations: [{op: test, path: /spec/a, value: b}]", "`op: test` leaves nothing out"),
            ("operations: [{path: /spec/a}]", "is none of add, remove, replace, ignore"),
            ("operations: [{op: remove, path: spec.a}]", "'spec.a' is no JSON pointer"),
            ("jsonPointers: [spec/a]", "'spec/a' is no JSON pointer"),
        ],
    )
    @pytest.mark.parametrize(
        "head", [DIFF + "\n", "targetCustomizations: [{name: a, clusterName: a, " + DIFF + "}]\n"]
    )
    def test_one_without_effect_is_a_warning(self, head: str, entry: str, words: str) -> None:
        (note,) = parse((head % entry).encode()).notes
        assert (note.code, words in note.summary) == ("diff-operation", True), note
        assert "comparePatches[0]" in note.summary
        assert note.place.line == 1

    def test_those_with_an_effect_are_none(self) -> None:
        entry = (
            "operations: [{op: ignore}, {op: add, path: /a}, {op: remove, path: /b}, {op: replace,"
            " path: /c}], jsonPointers: [/d]"
        )
        assert (
            parse(
                f"diff: {{comparePatches: [{{kind: A, apiVersion: v1, {entry}}}]}}\n".encode()
            ).notes
            == []
        )
