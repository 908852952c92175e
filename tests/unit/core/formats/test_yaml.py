"""YAML is read as helm reads it, and nothing that is small takes long."""

from __future__ import annotations

import pytest

from fleetctl.core.formats.yaml import YamlLimits, dump, json_for_yaml, load, load_all, places
from fleetctl.core.model.errors import InvalidFile

# What `helm template` made of the same values (helm 4.2.3, `toJson .Values`).
HELM = [
    ("0644", 420), ("no", False), ("y", True), ("2001-01-01", "2001-01-01"), ("1e3", 1000), ("0o17", 15), ("1:30", "1:30"), ("=", "="),  # noqa: E501
    ("08", 8), ("0x_1f", 31), ("-017", -15), ("1_000", 1000), (".5", 0.5), ("1.", 1), ("0b11", 3), ('"0644"', "0644"), ("", None),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), HELM)
def test_scalars_mean_what_they_mean_to_helm(text, value):
    """Each plain scalar has the value and the type that helm gives it."""
    got = load(f"a: {text}")["a"]
    assert (got, type(got)) == (value, type(value))


def test_keys_become_text():
    """A number or a boolean as a key is text, as in JSON."""
    assert load("1: a\ntrue: b\nn: c") == {"1": "a", "true": "b", "false": "c"}


def test_a_merge_key_is_merged_and_may_be_overridden():
    """`<<` brings keys in; one that is written again wins and is no duplicate."""
    assert load("d: &a {x: 1, y: 2}\ne: {<<: *a, x: 3}")["e"] == {"x": 3, "true": 2}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [", "not valid YAML"),
        ("a: &a [*a]", "alias *a"),
        (b"a\n\xff\xfe", ":2: is not UTF-8"),
        ("? [a]\n: 1", "a key must be text"),
        ("a: " + "[" * 300, "200 levels"),
        ("a: .inf", "no form in JSON"),
        ("- !!int x", "cannot decode 'x' as a !!int"),
        ("a: b\x07", ":1:5: not valid YAML: the control character U+0007"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text, place):
    """Every refusal is an InvalidFile that names the file and says what is wrong."""
    with pytest.raises(InvalidFile) as caught:
        load(text, file="values.yaml")
    assert place in str(caught.value)
    assert str(caught.value).startswith("values.yaml")
    assert "\n" not in str(caught.value)


def test_an_alias_bomb_is_refused_before_it_grows():
    """Forty doublings are counted, not built."""
    bomb = "a0: &a0 [x,x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1},*a{i - 1}]\n" for i in range(1, 40))
    with pytest.raises(InvalidFile, match="more than 200000 values"):
        load(bomb)


def test_limits_hold_at_the_limit_and_one_past_it():
    """Five documents pass a limit of five; six do not."""
    limits = YamlLimits(documents=5)
    assert len(load_all("--- 1\n" * 5, limits=limits)) == 5
    with pytest.raises(InvalidFile, match="5 documents"):
        load_all("--- 1\n" * 6, limits=limits)


def test_places_are_counted_from_one():
    """A key's place is where its first letter stands."""
    found = places("a:\n  b: [1, {c: 2}]\n")
    assert (found["a", "b"].line, found["a", "b"].column) == (2, 3)
    assert ("a", "b", 1, "c") in found


def test_text_that_looks_like_something_else_is_quoted_when_written():
    """What dump writes, load reads back."""
    value = {"a": "no", "b": "0644", "c": "y", "d": ["1e3", None, 1.5], "e": "2001-01-01"}
    assert load(dump(value)) == value


def test_an_alias_chain_does_not_get_deeper_than_the_limit():
    """Nesting counts with aliases expanded: what reads the value may recurse."""
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300))
    with pytest.raises(InvalidFile, match="200 levels"):
        load(chain)


def test_merge_keys_count_with_what_they_bring_in():
    """A thousand merges of a thousand keys are refused before they are made."""
    wide = "w: &w {" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}\n"
    with pytest.raises(InvalidFile, match="more than 200000 values"):
        load(wide + "m: [" + ", ".join("{<<: *w}" for _ in range(1000)) + "]\n")


def test_an_unknown_tag_on_a_scalar_makes_it_text():
    """As in go-yaml: a tag of another program stops nobody."""
    assert load("a: !vault |\n  x\nb: !Ref 5\nc: !GetAtt [x, z]\nd: !!python/object:os.system x") == {  # noqa: E501
        "a": "x\n", "b": "5", "c": ["x", "z"], "d": "x",
    }  # fmt: skip


def test_a_duplicate_key():
    """The last value counts, as in helm; a strict reader refuses it and names both places."""
    assert load("a: 1\na: 2") == {"a": 2}
    with pytest.raises(InvalidFile, match="duplicate key 'a', first on line 1") as caught:
        load("a: 1\na: 2", strict=True)
    assert (caught.value.line, caught.value.column) == (2, 1)
    assert load("d: &d {a: 1}\ne: {<<: *d, a: 2}", strict=True)["e"] == {"a": 2}


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_go_takes(codec):
    """UTF-8 with or without a byte order mark, and UTF-16 with one, as PowerShell writes it."""
    assert load("a: grün\n".encode(codec)) == {"a": "grün"}


def test_a_byte_order_mark_may_begin_each_document():
    """`cat a.yaml b.yaml` keeps the marks of the files."""
    text = "\ufeffa: 1\n---\n\ufeffa: 2\n\ufeff---\r\n\ufeffa: 3\n"
    assert load_all(text.encode()) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_json_may_write_characters_as_surrogate_pairs():
    """Grafana does. A lone surrogate is U+FFFD, as in Go; an escaped backslash is no escape."""
    text = r'{"a": "\ud83d\ude00", "b": "\ud83d", "c": "\\ud83d\\ude00", "d": "\/"}'
    assert load(text) == {"a": "😀", "b": "�", "c": r"\ud83d\ude00", "d": "/"}
    with pytest.raises(InvalidFile, match="invalid Unicode"):
        load(r'a: "\ud83d"')


def test_places_are_those_of_the_keys_that_load_gives():
    """A key that is no text in YAML is found by its text."""
    assert places("y: 1\n0x10: {1e6: a}\n").keys() == {("true",), ("16",), ("16", "1e+06")}


@pytest.mark.parametrize(
    "char", [*map(chr, range(0x20)), "\x7f", "\x85", "\x9f", "\u2028", "\ufeff", "\uffff"]
)
def test_values_reach_go_unchanged(char):
    """The JSON that helm reads as YAML has no raw character that YAML folds or refuses."""
    text = json_for_yaml({"a": f"x{char}y"})
    assert load(text) == {"a": f"x{char}y"}
    assert char.encode() not in text.replace(b'{"a":"x', b"").replace(b'y"}', b"")
