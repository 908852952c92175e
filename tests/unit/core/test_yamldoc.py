"""YAML is read as helm reads it, and nothing that is small takes long."""

from __future__ import annotations

import pytest

from fleetctl.core.errors import InvalidFile
from fleetctl.core.yamldoc import YamlLimits, dump, load, load_all, places

# What `helm template` made of the same values (helm 4.2.3, `toJson .Values`).
HELM = [
    ("0644", 420), ("no", False), ("y", True), ("2001-01-01", "2001-01-01"), ("1e3", 1000), ("0o17", 15), ("1:30", "1:30"), ("=", "="),
    ("08", 8), ("0x_1f", 31), ("-017", -15), ("1_000", 1000), (".5", 0.5), ("1.", 1), ("0b11", 3), ('"0644"', "0644"), ("", None),
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
        ("!!python/object:os.system x", "could not determine a constructor"),
        ("a: " + "[" * 300, "200 levels"),
        ("a: .inf", "no form in JSON"),
        ("a: 99999999999999999999", "beyond 64 bits"),
        ("- !!int x", "not readable"),
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


def test_a_key_that_stands_twice():
    """The last one counts, as in helm; what people write for fleetctl itself is read strictly."""
    assert load("a: 1\na: 2") == {"a": 2}
    with pytest.raises(InvalidFile, match="key 'a' stands twice") as caught:
        load("a: 1\na: 2", strict=True)
    assert (caught.value.line, caught.value.column) == (2, 1)
