"""A raw bundle states each object once."""

from __future__ import annotations

import pytest

from fleetctl.core.model.bundle import File
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering.duplicate_objects import find_duplicates

SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n"


def config_map(name="settings", namespace="", version="v1"):
    text = f"apiVersion: {version}\nkind: ConfigMap\nmetadata:\n  name: {name}\n"
    return text + (f"  namespace: {namespace}\n" if namespace else "")


def duplicates(files, **options):
    tree = {path: File(text.encode()) for path, text in files.items()}
    return [
        (d.first_file, d.first_place.line, d.file, d.place.line)
        for d in find_duplicates(tree, Options(**options))
    ]


def test_both_places_of_an_object_in_two_files_are_named():
    [duplicate] = find_duplicates(
        {
            "a.yaml": File(SETTINGS.encode()),
            "sub/b.yaml": File(b"---\n# again\n" + config_map(namespace="web").encode()),
        },
        Options(default_namespace="web"),
    )
    assert duplicate.describe("x/") == (
        "ConfigMap web/settings is already in x/a.yaml:2; only one of the two can take effect"
    )
    assert (duplicate.file, duplicate.place.line) == ("sub/b.yaml", 4)


def test_the_third_document_refers_to_the_first():
    files = {"a.yaml": f"{SETTINGS}---\n{SETTINGS}---\n{SETTINGS}"}
    assert duplicates(files) == [("a.yaml", 2, "a.yaml", 7), ("a.yaml", 2, "a.yaml", 12)]


@pytest.mark.parametrize(
    "text",
    [
        config_map("other"),
        config_map(namespace="elsewhere"),
        config_map(version="example.com/v1"),
        SETTINGS.replace("ConfigMap", "Secret"),
        "settings: {name: settings, kind: ConfigMap, apiVersion: v1}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: [unreadable\n",
    ],
)
def test_another_object_is_no_duplicate(text):
    """Group, kind, namespace and name tell objects apart; a file that is no YAML is not judged."""
    assert duplicates({"a.yaml": SETTINGS, "b.yaml": text}) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("b.json", '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}'),
        ("b.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}\n"),
        ("b.yaml", SETTINGS.replace("name: settings", 'labels: {a: b}\n  "name": settings')),
        ("b.yaml", SETTINGS.replace("name: settings", "labels:\n    name: x\n  name: &n settings")),
        ("b.yaml", SETTINGS.replace("name: settings", "labels:\n    name: x\n  name: 'settings'")),
        ("b.yaml", SETTINGS.replace("\n", " # why\r\n")),
        ("b.yaml", "data: {a: b}\n" + SETTINGS.removesuffix("\n")),
        (
            "b.yaml",
            "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: settings}\n",
        ),
        ("b.yaml", config_map(version="v1beta1")),
    ],
)
def test_every_style_of_yaml_is_compared(file, text):
    [(_, _, second_file, _)] = duplicates({"a.yaml": SETTINGS, file: text})
    assert second_file == file


def test_one_namespace_for_all_objects_makes_duplicates():
    """`namespace` of fleet.yaml puts each object there, whatever its manifest states."""
    files = {"a.yaml": config_map(namespace="a"), "b.yaml": config_map(namespace="b")}
    assert duplicates(files) == []
    assert duplicates(files, namespace="web") == [("a.yaml", 2, "b.yaml", 2)]


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("kustomization.yaml", {}),
        ("Chart.yaml", {}),
        ("other.txt", {"helm": HelmOptions(chart="web", repo="https://charts.example")}),
    ],
)
def test_a_bundle_of_helm_or_kustomize_is_not_judged(file, options):
    """Their files need not be the objects that they render."""
    assert duplicates({"a.yaml": SETTINGS, "b.yaml": SETTINGS, file: ""}, **options) == []


def test_templates_overlays_and_inner_bundles_are_not_judged():
    inner_paths = ("templates/b.yaml", "overlays/x/b.yaml", "in/b.yaml")
    files = {"a.yaml": SETTINGS, "in/fleet.yaml": "", **dict.fromkeys(inner_paths, SETTINGS)}
    assert duplicates(files) == []
