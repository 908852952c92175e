"""What the client sends for each kind of write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.kube import client
from agent.kube.client import METADATA
from agent.kube.no_cluster import NoCluster
from fleetctl.core.model.errors import NotFound

PATH = "/api/v1/namespaces/a/configmaps/m"


class RecordingKube(NoCluster):
    """Keeps the last call; answers with `answer`, or with NotFound."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.method, self.sent_path, self.body = "", "", b""
        self.headers: Mapping[str, str] = {}

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        self.method, self.sent_path, self.body, self.headers = method, path, body, headers or {}
        if self.answer is None:
            raise NotFound(f"{path} does not exist")
        return self.answer


class TestWrites:
    def test_an_apply_takes_the_fields_from_others(self) -> None:
        kube = RecordingKube({})
        asyncio.run(kube.apply(PATH, {"kind": "ConfigMap"}, manager="helm"))
        assert (kube.method, kube.sent_path) == ("PATCH", f"{PATH}?fieldManager=helm&force=true")
        assert kube.headers == {"content-type": "application/apply-patch+yaml"}

    def test_a_dry_run_says_so(self) -> None:
        kube = RecordingKube({})
        asyncio.run(kube.apply(PATH, {}, manager="helm", dry_run=True))
        assert kube.sent_path.endswith("&dryRun=All")

    def test_a_delete_with_uid_is_of_that_very_object(self) -> None:
        kube = RecordingKube({})
        asyncio.run(kube.delete(PATH, uid="u-1", propagation="Background"))
        assert (kube.method, kube.sent_path) == ("DELETE", PATH)
        assert msgspec.json.decode(kube.body) == {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": "u-1"},
        }

    def test_a_delete_without_uid_has_no_precondition(self) -> None:
        kube = RecordingKube({})
        asyncio.run(kube.delete(PATH))
        assert msgspec.json.decode(kube.body) == {"apiVersion": "v1", "kind": "DeleteOptions"}
        with pytest.raises(NotFound):
            asyncio.run(RecordingKube().delete(PATH))


class TestFind:
    def test_an_object_that_does_not_exist_is_none(self) -> None:
        assert asyncio.run(RecordingKube().find(PATH)) is None
        assert asyncio.run(RecordingKube().find_metadata(PATH)) is None

    def test_metadata_is_asked_for_by_its_media_type(self) -> None:
        kube = RecordingKube({"metadata": {"name": "m"}})
        assert asyncio.run(kube.find_metadata(PATH)) == {"name": "m"}
        assert kube.headers == METADATA


def test_the_media_types_stand_in_one_place() -> None:
    """agent/kube/client.py alone spells them."""
    root = Path(client.__file__).parents[1]
    for text in ("application/apply-patch", "as=PartialObjectMetadata"):
        modules = [p for p in root.rglob("*.py") if text in p.read_text()]
        assert [path.name for path in modules] == ["client.py"]
