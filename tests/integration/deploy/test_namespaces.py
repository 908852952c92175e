"""The namespace of a release on a real API server: made, labelled as this cluster's options say,
and left or removed with the bundle.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agent.kube.client import Kube
from agent.release import namespaces
from agent.state.journal import Entry
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.options import Options
from tests.localkube.kubeapi import LocalKube

WEB, DB = BundleName("web"), BundleName("db")


def on(kube: LocalKube, work: Callable[[Kube], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        client = Kube(kube["dev"].kubeconfig)
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(all_of_it())


async def labels(kube: Kube, name: str) -> dict[str, str]:
    found = (await kube.call("GET", f"/api/v1/namespaces/{name}"))["metadata"].get("labels") or {}
    return {key: value for key, value in found.items() if key != "kubernetes.io/metadata.name"}


def test_labels_of_a_bundle_come_and_go_and_others_stay(kube: LocalKube) -> None:
    """Two bundles and a person share a namespace; each takes back its own."""

    async def work(client: Kube) -> None:
        await namespaces.prepare(
            client,
            WEB,
            "ns-labels",
            Options(namespace_labels={"a": "1", "b": "2"}, namespace_annotations={"n": "x"}),
        )
        await namespaces.prepare(client, DB, "ns-labels", Options(namespace_labels={"d": "4"}))
        merge = json.dumps({"metadata": {"labels": {"by-hand": "yes"}}}).encode()
        await client.call(
            "PATCH",
            "/api/v1/namespaces/ns-labels",
            merge,
            {"content-type": "application/merge-patch+json"},
        )
        assert await labels(client, "ns-labels") == {"a": "1", "b": "2", "d": "4", "by-hand": "yes"}
        await namespaces.prepare(client, WEB, "ns-labels", Options(namespace_labels={"a": "9"}))
        assert await labels(client, "ns-labels") == {"a": "9", "d": "4", "by-hand": "yes"}
        await namespaces.prepare(client, WEB, "ns-labels", Options())
        assert await labels(client, "ns-labels") == {"d": "4", "by-hand": "yes"}
        await namespaces.leave(client, Entry(bundle=DB, release="db", namespace="ns-labels"), [])
        assert await labels(client, "ns-labels") == {"by-hand": "yes"}

    on(kube, work)


def test_a_namespace_that_may_not_be_made_is_named(kube: LocalKube) -> None:
    """createNamespace: false on a cluster without it."""

    async def work(client: Kube) -> None:
        with pytest.raises(NotFound, match="namespace ns-none does not exist"):
            await namespaces.prepare(
                client, WEB, "ns-none", Options(create_namespace=False, namespace_labels={"a": "1"})
            )
        await asyncio.gather(
            *(namespaces.prepare(client, WEB, "ns-race", Options()) for _ in range(5))
        )
        await namespaces.prepare(client, WEB, "ns-race", Options(create_namespace=False))

    on(kube, work)


def test_a_namespace_goes_with_its_last_bundle_only(kube: LocalKube) -> None:
    """deleteNamespace while another release lives there takes nothing; `default` is never taken."""

    async def work(client: Kube) -> None:
        await namespaces.prepare(client, WEB, "ns-delete", Options())
        mine = Entry(bundle=WEB, release="web", namespace="ns-delete", delete_namespace=True)
        other = Entry(bundle=DB, release="db", namespace="ns-delete")
        await namespaces.leave(
            client, mine, namespaces.users([mine, other], None, WEB, "ns-delete")
        )
        assert (
            "deletionTimestamp"
            not in (await client.call("GET", "/api/v1/namespaces/ns-delete"))["metadata"]
        )
        await namespaces.leave(client, mine, namespaces.users([mine], None, WEB, "ns-delete"))
        try:
            assert (
                "deletionTimestamp"
                in (await client.call("GET", "/api/v1/namespaces/ns-delete"))["metadata"]
            )
        except NotFound:
            pass  # it had gone already
        await namespaces.leave(
            client, Entry(bundle=WEB, release="web", namespace="default", delete_namespace=True), []
        )
        assert (
            "deletionTimestamp"
            not in (await client.call("GET", "/api/v1/namespaces/default"))["metadata"]
        )

    on(kube, work)


def test_pod_security_is_not_loosened_by_a_repository(kube: LocalKube) -> None:
    """Unless the configuration of the agent allows it."""
    wanted = Options(
        namespace_labels={"pod-security.kubernetes.io/enforce": "privileged", "a": "1"}
    )

    async def work(client: Kube) -> None:
        await namespaces.prepare(client, WEB, "ns-pods", wanted)
        assert await labels(client, "ns-pods") == {"a": "1"}
        rules = namespaces.NamespaceRules(allows_pod_security_labels=True)
        await namespaces.prepare(client, WEB, "ns-pods", wanted, rules=rules)
        assert await labels(client, "ns-pods") == wanted.namespace_labels

    on(kube, work)
