"""Documents of a stream keep their bytes, and none is lost."""

from __future__ import annotations

import pytest

from fleetctl.core.formats.yaml import load
from fleetctl.core.formats.yaml_stream import flatten, objects_of

ONE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
TWO = ONE.replace("one", "two")
JSON = (
    '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"a":'
    ' "\\ud83d\\ude00\\/"}}'
)


def names(data: bytes) -> list[str]:
    """Each part read alone, as helm reads it."""
    return [load(text)["metadata"]["name"] for text in objects_of(data, "a.yaml")]


def test_documents_keep_their_bytes():
    """Comments, spaces and forms of numbers stay."""
    text = f"# head\n---\n{ONE}x: 0644 # c\n--- # next\n{TWO}"
    assert objects_of(text.encode(), "a.yaml") == [f"{ONE}x: 0644 # c\n".encode(), TWO.encode()]


@pytest.mark.parametrize(
    "text",
    [
        f"--- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: one}}}}\n---\n{TWO}",
        f"\ufeff{ONE}---\n\ufeff{TWO}",
        f"\ufeff---\r\n{ONE}\ufeff---\r\n\ufeff{TWO}",
        f"%YAML 1.2\n---\n{ONE}...\n---\n{TWO}",
        f"{ONE}...\n# c\n--- # d\n{TWO}...\n",
        f"{ONE}---\n{TWO}".replace("\n", "\r"),
        f"{ONE}---\n{TWO}".replace("\n", "\r\n"),
        f"{ONE}\x85---\n{TWO}",
        f"{ONE}---\n{JSON}",
        f"---\n---\n# c\n---\n{ONE}---\n~\n---\n{TWO}---\n",
        f"--- !!map\n{ONE}--- &a\n{TWO}",
        f"--- |\n text\n---\n{ONE}--- >-\n text\n--- \n{TWO}",
    ],
)
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_no_document_is_lost(text, codec):
    """Whatever stands between and behind the separators, and in both encodings."""
    assert names(text.encode(codec)) == ["one", "two"]


def test_json_escapes_that_yaml_refuses_are_written_in_another_way():
    """A dashboard in a ConfigMap reaches helm, which reads it as YAML."""
    (text,) = objects_of(JSON.encode(), "a.json")
    assert load(text)["data"] == {"a": "\U0001f600/"}
    assert b"ud83d" not in text
    assert b"\\/" not in text


def test_items_of_a_list_get_the_kind_of_their_list() -> None:
    """As Kubernetes derives it, at any depth; an item without metadata or kind of its own is no
    reason to miss the others.
    """
    inner = {
        "apiVersion": "v1",
        "kind": "ConfigMapList",
        "items": [{"metadata": {"name": "a"}}, {"apiVersion": "v1", "kind": "Secret"}, 3],
    }
    assert flatten({"kind": "List", "items": [inner, {"kind": "Pod"}, {"x": 1}]}) == [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Secret"},
        {"kind": "Pod"},
    ]
    assert flatten({"kind": "IPAllowList", "spec": {}}) == [{"kind": "IPAllowList", "spec": {}}]
    assert flatten({"x": 1}) == flatten(None) == []
