"""Rules join a fleet.yaml, and everything else in the file stays as a person wrote it."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from fleetctl.cli.commands.bundle.fleet_yaml_edit import add_rules
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.errors import InvalidFile

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "web"}
RULE: dict[str, Any] = CONFIG | {"jsonPointers": ["/data/a"]}
MISSING = {
    "apiVersion": "v1",
    "kind": "Secret",
    "namespace": "shop",
    "name": "gone",
    "operations": [{"op": "ignore"}],
}
NEW_BLOCK = """\
diff:
  comparePatches:
    - apiVersion: v1
      kind: ConfigMap
      namespace: shop
      name: web
      jsonPointers:
        - /data/a
"""


def edit(text: str, *rules: dict[str, Any]) -> str:
    """The new text; a second edit with the same rules changes nothing."""
    once = add_rules(text.encode(), rules or [RULE], file="fleet.yaml")
    again = add_rules(once.text.encode(), rules or [RULE], file="fleet.yaml")
    assert (again.text, again.added_rules, again.extended_rules) == (once.text, 0, 0)
    return once.text


def test_a_file_without_diff_gets_a_block_at_its_end() -> None:
    text = dedent("""\
        # Who owns this: team-a
        namespace:   "shop"   # quoted, with spaces
        helm: {releaseName: web, values: {replicas: 2}}
    """)
    assert edit(text) == f"{text}{NEW_BLOCK}"


def test_an_empty_file_gets_only_the_block() -> None:
    assert edit("") == NEW_BLOCK
    assert edit("# nothing yet\n") == f"# nothing yet\n\n{NEW_BLOCK}"


def test_a_last_line_without_a_line_break_gets_one() -> None:
    assert edit("namespace: shop") == f"namespace: shop\n{NEW_BLOCK}"


COMMENTED = """\
namespace: shop
# What may differ.
diff:   # agreed with the DBAs
  comparePatches:
  # the autoscaler owns this
  - apiVersion: 'apps/v1'
    kind: "Deployment"
    name: web   # both of them
    jsonPointers:
    - "/spec/replicas"   # HPA
# The chart.
helm:
  chart: ./chart   # local
"""


def test_comments_quotes_and_order_stay() -> None:
    """A new rule comes behind the others, in the indentation that the block has."""
    rule = """\
  - apiVersion: v1
    kind: ConfigMap
    namespace: shop
    name: web
    jsonPointers:
    - /data/a
"""
    assert edit(COMMENTED) == COMMENTED.replace("# The chart.\n", f"{rule}# The chart.\n")


def test_fields_join_the_rule_of_their_object() -> None:
    rule = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "jsonPointers": ["/spec/replicas", "/spec/paused"],
    }
    expected = COMMENTED.replace("# HPA\n", "# HPA\n    - /spec/paused\n")
    assert edit(COMMENTED, rule) == expected


def test_keys_count_in_any_letter_case() -> None:
    text = "Diff:\n  comparepatches:\n    - APIVersion: v1\n      Kind: ConfigMap\n"
    text += "      namespace: shop\n      name: web\n      JSONPointers:\n        - /data/z\n"
    assert edit(text) == f"{text}        - /data/a\n"


@pytest.mark.parametrize("empty", ["diff:\n", "diff: {}\n", "diff:\n  comparePatches:\n"])
def test_an_empty_diff_is_filled(empty: str) -> None:
    text = edit(f"namespace: shop\n{empty}paused: true\n")
    assert text == f"namespace: shop\n{NEW_BLOCK}paused: true\n"


def test_a_flow_list_stays_a_flow_list() -> None:
    text = "diff: {comparePatches: [{kind: Pod, apiVersion: v1, operations: [{op: ignore}]}]}\n"
    result = edit(text)
    assert result.count("\n") == 1
    assert load(result)["diff"]["comparePatches"][1] == RULE


def test_windows_line_breaks_stay() -> None:
    text = COMMENTED.replace("\n", "\r\n")
    assert edit(text) == edit(COMMENTED).replace("\n", "\r\n")


def test_texts_that_look_like_other_values_are_quoted() -> None:
    """Kubernetes objects may be called `yes` or 0123."""
    for name in ("yes", "0123", "1e3", "null", "~", "a: b", "2001-01-01"):
        rule = RULE | {"name": name}
        assert load(edit("namespace: shop\n", rule))["diff"]["comparePatches"] == [rule]


def test_anchors_elsewhere_in_the_file_stay() -> None:
    text = "labels: &labels {team: a}\nhelm:\n  values: *labels\n"
    assert edit(text) == f"{text}{NEW_BLOCK}"


def test_several_rules_are_counted() -> None:
    first = add_rules(b"", [RULE], file="fleet.yaml")
    more = RULE | {"jsonPointers": ["/data/b"]}
    second = add_rules(first.text.encode(), [more, MISSING], file="fleet.yaml")
    assert (second.added_rules, second.extended_rules) == (1, 1)
    both = RULE | {"jsonPointers": ["/data/a", "/data/b"]}
    assert load(second.text) == {"diff": {"comparePatches": [both, MISSING]}}


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("diff: &all\n  comparePatches: []\n", "anchor or an alias"),
        ("diff:\n  comparePatches:\n  - &a {kind: Pod}\n  - *a\n", "anchor or an alias"),
        ("labels: &a {b: c}\n<<: *a\n", "merges keys at the top level"),
        ("{namespace: shop}\n", "do not begin in column 1"),
        ("  namespace: shop\n", "do not begin in column 1"),
        ("namespace: a\n---\nnamespace: b\n", "2 documents"),
        ("diff: [a]\n", "diff"),
        ("namspace: a\n", "namspace"),
        ("a: [\n", "not valid YAML"),
        ("\ufeffnamespace: shop\n", "not plain UTF-8"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_refused(text: str, summary: str) -> None:
    with pytest.raises(InvalidFile) as refusal:
        add_rules(text.encode(), [RULE], file="apps/fleet.yaml")
    assert "apps/fleet.yaml" in f"{refusal.value.summary} {refusal.value.subject}"
    assert summary in f"{refusal.value.summary} {refusal.value.next_step}"


def test_a_rule_with_control_characters_is_refused() -> None:
    rule = RULE | {"jsonPointers": ["/data/\u202egnp.exe"]}
    with pytest.raises(InvalidFile, match="control characters"):
        add_rules(b"", [rule], file="fleet.yaml")


def test_merge_bombs_come_to_an_end() -> None:
    """Nested merge keys make ruamel.yaml hang; the guarded reader refuses them first."""
    names = [f"a{at}" for at in range(30)]
    lines = ["values: &a0 {b: 1}"]
    lines += [
        f"x{at}: &{name} {{<<: [*{names[at]}, *{names[at]}]}}" for at, name in enumerate(names[1:])
    ]
    with pytest.raises(InvalidFile):
        add_rules("\n".join([*lines, "diff: {}"]).encode(), [RULE], file="fleet.yaml")
