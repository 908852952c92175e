"""Any text is a template or a mistake, within the limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.core.gotemplate import TemplateError, TemplateLimits, render
from tests.support.depth import depth

SMALL = TemplateLimits(steps=2_000, size=20_000, items=1_000)
CONTEXT = {
    "ClusterName": "dev",
    "ClusterLabels": {"env": "dev"},
    "ClusterValues": {"n": 4, "l": [1, "x"]},
}
SIGNS = [
    "${",
    "}",
    "${-",
    "-}",
    ".",
    ":=",
    "=",
    "|",
    "(",
    ")",
    ",",
    "/*",
    "*/",
    '"a"',
    "`b`",
    "'c'",
    "1",
    "-2.5",
    "0x1F",
    '"%d"',
    '"%999d"',
    '"(a+)+"',
]
KEYS = [
    "if",
    "else",
    "end",
    "range",
    "with",
    "define",
    "template",
    "block",
    "break",
    "continue",
    "nil",
    "true",
    ".ClusterName",
    "$x",
    ".ClusterLabels",
]
CALLS = [
    "printf",
    "repeat",
    "until",
    "list",
    "dict",
    "join",
    "regexReplaceAll",
    "eq",
    "and",
    "not",
    "index",
    "set",
    "toJson",
]
WORDS = st.sampled_from([*SIGNS, *KEYS, *CALLS])


@settings(max_examples=depth(400, 4000), deadline=2000)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(WORDS, max_size=14).map(" ".join),
        st.lists(WORDS, max_size=14).map("".join),
    )
)
def test_any_text_is_a_text_or_a_mistake(text: str) -> None:
    """Never another exception, never beyond the limits."""
    try:
        made = render(text, CONTEXT, limits=SMALL)
    except TemplateError:
        return
    assert len(made) <= SMALL.size
    if "${" not in text:
        assert made == text


@pytest.mark.parametrize(
    "text",
    [
        '${ repeat 1000000000 "aaaaaaaaaa" }',
        "${ until 1000000000 }",
        "${ range until 1000 }${ range until 1000 }x${ end }${ end }",
        '${ define "a" }${ template "a" . }${ end }${ template "a" . }',
        '${ printf "%999999999d" 1 }',
        '${ $d := dict }${ $_ := set $d "d" $d }${ toJson $d }',
        '${ $s := "aaaaaaaaaa" }${ range until 900 }${ $s = print $s $s }${ end }',
        '${ replace "" (repeat 10000 "x") (repeat 10000 "y") }',
        "${ " + "(" * 500 + "1" + ")" * 500 + " }",
        "${ if true }" * 500 + "${ end }" * 500,
        "${ seq 1 1 100000000 }",
        "${ indent 100000000 .ClusterName }",
    ],
)
def test_what_would_take_for_ever_is_refused(text: str) -> None:
    """At once, in one line."""
    with pytest.raises(TemplateError) as caught:
        render(text, CONTEXT, limits=SMALL)
    assert "\n" not in caught.value.summary


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: b\nc: ${ .ClusterLabels.regoin }",
            'map has no entry for key "regoin" in ${ .ClusterLabels.regoin }',
        ),
        ("${ nosuch }", 'function "nosuch" not defined'),
        ("${ toYaml . }", 'function "toYaml" not defined'),
        ("${ now }", "now would give another value each time"),
        ('${ env "HOME" }', "function 'env' is not allowed here"),
        ("x ${ .ClusterName", "unclosed action"),
        ("${ if true }x", "an `end` is missing"),
    ],
)
def test_mistakes_name_the_place(text: str, problem: str) -> None:
    """The piece of the template and the line."""
    with pytest.raises(TemplateError) as caught:
        render(text, CONTEXT)
    assert problem in caught.value.summary
    assert caught.value.line == text.count("\n") + 1
    assert caught.value.next_step
