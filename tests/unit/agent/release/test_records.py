"""helm's release records: what they state, and which of them are deleted."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any, cast

import pytest

from agent.kube.client import Kube
from agent.release import records
from agent.release.records import ReleaseRecord, refs_of
from fleetctl.tools.helm import Release

WEB = Release("web", "a")
MANIFEST = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}
- {apiVersion: v1, kind: Secret, metadata: {name: two, namespace: other}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: three, annotations: {helm.sh/resource-policy: keep}}
"""


def secret(content: bytes, **labels: str) -> dict[str, Any]:
    data = base64.b64encode(base64.b64encode(gzip.compress(content))).decode()
    name = f"sh.helm.release.v1.web.v{labels.get('version', '')}"
    return {"metadata": {"name": name, "labels": labels}, "data": {"release": data}}


class SecretStore:
    """The Secrets of one namespace; remembers what is deleted and replaced."""

    def __init__(self, *secrets: dict[str, Any]) -> None:
        self.secrets, self.deletions = list(secrets), list[str]()
        self.replaced: dict[str, Any] = {}

    async def call(self, _method: str, _path: str, *_: Any, **__: Any) -> dict[str, Any]:
        return {"items": self.secrets}

    async def delete(self, path: str) -> None:
        self.deletions.append(path.rpartition("/")[2])

    async def replace(self, path: str, document: dict[str, Any]) -> None:
        self.replaced = document


def read(*secrets: dict[str, Any]) -> list[ReleaseRecord]:
    return asyncio.run(records.read(cast("Kube", SecretStore(*secrets)), WEB))


def revision(version: int, status: str) -> dict[str, Any]:
    return secret(b"{}", version=str(version), status=status)


class TestRead:
    def test_the_objects_of_a_record(self) -> None:
        """Items of Lists stand alone, the release's namespace stands where none is stated, and what
        an uninstall keeps is marked.
        """
        content = json.dumps({"manifest": MANIFEST, "version": 3}).encode()
        [record] = read(secret(content, version="3", status="deployed"))
        assert [str(ref) for ref in record.refs] == [
            "ConfigMap a/one",
            "Secret other/two",
            "ConfigMap a/three",
        ]
        assert [ref.keep for ref in record.refs] == [False, False, True]
        header = record.header
        assert (header.version, header.status, header.bundle) == (3, "deployed", "")

    @pytest.mark.parametrize(
        "item",
        [
            {"metadata": {}, "data": {"release": "!"}},
            {"metadata": {}, "data": {"release": None}},
            {"metadata": {}},
            {"metadata": {}, "data": {}},
        ],
    )
    def test_a_record_that_cannot_be_read_names_nothing(self, item: dict[str, Any]) -> None:
        """An object that nobody names is left where it is."""
        [record] = read(item)
        assert (record.refs, record.header.version) == ((), 0)
        assert records.unpack(item) is None

    def test_records_are_sorted_by_number(self) -> None:
        found = read(revision(10, "deployed"), revision(9, "superseded"))
        assert [record.header.version for record in found] == [9, 10]

    def test_an_object_is_named_once(self) -> None:
        """As the API server has it once."""
        one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
        assert len(refs_of([one, one, None, {}], "a")) == 1


def test_a_record_that_is_replaced_can_be_read_again() -> None:
    store = SecretStore()
    old = secret(b"{}", version="1")
    asyncio.run(records.replace(cast("Kube", store), WEB, old, {"manifest": MANIFEST}))
    assert records.unpack(store.replaced) == {"manifest": MANIFEST}
    assert store.replaced["metadata"] == old["metadata"]


class TestDelete:
    def test_failed_runs_after_the_deployed_revision_are_deleted(self) -> None:
        store = SecretStore(revision(1, "failed"), revision(2, "deployed"), revision(3, "failed"))
        asyncio.run(records.delete_failed(cast("Kube", store), WEB))
        assert store.deletions == ["sh.helm.release.v1.web.v3"]

    def test_without_a_deployed_revision_no_failed_run_is_deleted(self) -> None:
        store = SecretStore(revision(1, "failed"))
        asyncio.run(records.delete_failed(cast("Kube", store), WEB))
        assert store.deletions == []

    def test_all_records_are_deleted_oldest_first(self) -> None:
        store = SecretStore(revision(2, "deployed"), revision(1, "superseded"))
        asyncio.run(records.delete_all(cast("Kube", store), WEB))
        assert store.deletions == ["sh.helm.release.v1.web.v1", "sh.helm.release.v1.web.v2"]
