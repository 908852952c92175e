"""Secrets on this disk: no value is plain, and a changed one is seen all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from agent.drift.diff import differences
from agent.state.last_applied import LastApplied
from agent.state.secret_masking import Hiding
from fleetctl.core.model.ids import BundleName

SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s"},
    "type": "Opaque",
}
MANIFEST = """apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: aHVudGVyMjIyMg==}
stringData: {b: hunter3333, a: hunter4444}
"""


def changed(hiding: Hiding, wanted: dict[str, Any], live: dict[str, Any]) -> list[str]:
    return sorted(differences(*hiding.comparable(wanted, live)))


def test_no_value_is_on_the_disk(tmp_path: Path) -> None:
    """Neither plain nor in base64, and `stringData` has become data as at the API server."""
    wanted = LastApplied(tmp_path / "objects")
    wanted.keep(BundleName("web"), MANIFEST, "default")
    kept = wanted.get(BundleName("web"))
    assert kept is not None
    (item,) = kept.objects
    assert sorted(item["data"]) == ["a", "b"]
    assert "stringData" not in item
    text = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [word for word in (b"hunter", b"aHVudGVy") if word in text]
    live = {**SECRET, "data": {"a": "aHVudGVyNDQ0NA==", "b": "aHVudGVyMzMzMw==", "more": "eA=="}}
    assert changed(wanted.hiding, item, live) == []
    assert changed(wanted.hiding, item, {**live, "data": {**live["data"], "b": "eA=="}}) == [
        "/data/b"
    ]
    assert changed(wanted.hiding, item, {**live, "data": {"a": "aHVudGVyNDQ0NA=="}}) == ["/data/b"]


def test_a_lost_key_makes_no_secret_look_changed(tmp_path: Path) -> None:
    """Nothing can be said of it until it is deployed again; its other fields still count."""
    hiding = Hiding(tmp_path)
    item = hiding.hide({**SECRET, "data": {"a": "eA=="}})
    (tmp_path / "values.key").unlink()
    assert changed(hiding, item, {**SECRET, "data": {"a": "eQ=="}}) == []
    assert changed(hiding, item, {**SECRET, "type": "x", "data": {"a": "eQ=="}}) == ["/type"]


def test_what_an_older_agent_has_kept_is_compared_too(tmp_path: Path) -> None:
    """It lies there plain until the next deployment."""
    hiding = Hiding(tmp_path)
    old = {**SECRET, "data": {"a": "eA=="}, "stringData": {"b": "y"}}
    assert changed(hiding, old, {**SECRET, "data": {"a": "eA==", "b": "eQ=="}}) == []
    assert changed(hiding, old, {**SECRET, "data": {"a": "eQ==", "b": "eQ=="}}) == ["/data/a"]


def test_other_kinds_stay_as_they_are(tmp_path: Path) -> None:
    """And what is no base64 is no reason to fail."""
    hiding = Hiding(tmp_path)
    assert hiding.hide({"kind": "ConfigMap", "data": {"a": "x"}}) == {
        "kind": "ConfigMap",
        "data": {"a": "x"},
    }
    assert (
        "hmac:"
        in msgspec.json.encode(hiding.hide({**SECRET, "data": {"a": "no base64!"}})).decode()
    )
