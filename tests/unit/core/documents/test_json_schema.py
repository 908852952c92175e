"""One table of keys: the structs that read the documents, the words about them, and the JSON Schema
say the same.
"""

from __future__ import annotations

import json
from typing import Any

import fastjsonschema
import pytest

from fleetctl.core.documents.fleet_yaml import KEYS
from fleetctl.core.documents.json_schema import documents, find, json_schema, walk
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.errors import UsageError
from tests.support.pages.cases import cases
from tests.support.pages.fleet_yaml import PAGE, page


def compiled(name: str) -> Any:
    """The schema as a function."""
    return fastjsonschema.compile(json_schema(documents()[name]))


FITS = compiled("fleet.yaml")


def problem(document: Any) -> str:
    try:
        FITS(json.loads(json.dumps(document)))
    except fastjsonschema.JsonSchemaValueException as why:
        return str(why)
    return ""


def test_every_key_that_is_read_is_described() -> None:
    """And in a sentence."""
    nodes = {node.path.replace("[]", ""): node for node in walk(documents()["fleet.yaml"].root)}
    assert sorted(set(KEYS) - set(nodes)) == []
    for document in documents().values():
        for node in walk(document.root):
            assert node.field.text.endswith("."), node.path


def test_the_schema_is_one() -> None:
    """A validator can be made of each."""
    for name in documents():
        assert callable(compiled(name))


@pytest.mark.parametrize(
    "case", [c for c in cases() if "refused" not in c.expect], ids=lambda c: c.name
)
def test_what_works_fits_the_schema(case) -> None:
    """Every fleet.yaml of the corpus without a warning, but for numbers where text is wanted."""
    document = load(case.files.get("fleet.yaml", ""))
    if (
        document is not None
        and case.name != "numbers-where-text-is-wanted"
        and "warned" not in case.expect
    ):
        assert problem(document) == ""


@pytest.mark.parametrize(
    "text",
    ["nam: x", "helm: {atomic: 5}", "targetCustomizationMode: Last", "helm: {valuesFiles: a}"],
)
def test_what_is_refused_does_not_fit_the_schema(text: str) -> None:
    """Unknown keys, types, words."""
    assert problem(load(text))


@pytest.mark.parametrize(
    ("topic", "path"),
    [
        ("fleet.yaml", ""),
        ("fleet.yaml.helm.values", "helm.values"),
        ("helm.valuesFiles", "helm.valuesFiles[]"),
        ("gr.spec.paths", "spec.paths[]"),
    ],
)
def test_topics_are_found(topic: str, path: str) -> None:
    """With and without the document's name."""
    assert find(topic)[1].path == path


@pytest.mark.parametrize(
    ("topic", "near"),
    [("helm.valus", "helm.values"), ("gitrepo.spec.path", "paths"), ("hlem", "helm")],
)
def test_unknown_topics_name_the_nearest(topic: str, near: str) -> None:
    """As a usage error."""
    with pytest.raises(UsageError) as caught:
        find(topic)
    assert near in caught.value.next_step


def test_the_page_is_current() -> None:
    """docs/fleet-yaml.md is written from the table."""
    assert PAGE.read_text("utf-8") == page()
