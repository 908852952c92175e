"""The hint of a template that fails is a template that works."""

from __future__ import annotations

import re

import pytest

from fleetctl.core.gotemplate import TemplateError, render

CONTEXT = {"ClusterValues": {"a": {}}, "ClusterLabels": {}}


@pytest.mark.parametrize(
    ("text", "hint", "result"),
    [
        (
            "${ .ClusterValues.count | default 3 }",
            '${ get .ClusterValues "count" | default 3 }',
            "3",
        ),
        (
            '${ default "x y" .ClusterValues.count }',
            '${ get .ClusterValues "count" | default "x y" }',
            "x y",
        ),
        (
            "${ .ClusterValues.a.b.c | default 3 | quote }",
            '${ dig "b" "c" 3 .ClusterValues.a }',
            "3",
        ),
        (
            "${ with .ClusterValues }${ .q | default true }${ end }",
            '${ get . "q" | default true }',
            "",
        ),
        ("${ $v := .ClusterLabels }${ $v.q | default 1.5 }", '${ get $v "q" | default 1.5 }', ""),
        ("rate(x[${__interval}])", '${ "${__interval}" }', "${__interval}"),
        ("${HOSTNAME}", '${ "${HOSTNAME}" }', "${HOSTNAME}"),
    ],
)
def test_the_hint_can_be_written_in_place_of_the_template(text, hint, result):
    """With the default that the template has; a text that only looks like a template is quoted."""
    with pytest.raises(TemplateError) as caught:
        render(text, CONTEXT)
    [shown] = re.findall(r"`(.*)`", caught.value.next_step)
    assert shown == hint
    if result:
        assert render(hint, CONTEXT) == result


def test_switching_templates_off_is_the_other_way():
    """For charts with many such texts."""
    with pytest.raises(TemplateError) as caught:
        render("${__interval}", CONTEXT)
    assert "helm.disablePreProcess" in caught.value.next_step
