"""Secrets of a workspace that bundles bring to clusters: sealed for each agent, told anew when they
change, shown to nobody.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.controlplane.sealed import open_sealed
from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.sealed_layout import context_of
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import ALL, MAP, add, answer, desired, run, scanned

WORKSPACE = "fleet-default"
FILES = {
    "web/fleet.yaml": (
        "downstreamResources:\n- {kind: Secret, name: db}\n- {kind: configmap, name: motd}\n"
    ),
    "web/m.yaml": MAP.format(name="web"),
    "plain/m.yaml": MAP.format(name="plain"),
}


async def put(service: Service, kind: str, name: str, **data: str) -> None:
    key = "stringData" if kind == "Secret" else "data"
    doc = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": WORKSPACE},
        key: data,
    }
    await service.objects.put(kind, WORKSPACE, name, doc)


async def enrolled(service: Service, name: str) -> tuple[ClusterId, Ed25519PrivateKey]:
    key = Ed25519PrivateKey.generate()
    made = await service.agents.register(WORKSPACE, name, labels={}, ttl_seconds=600, replace=False)
    return (await answer(service, made.token, key)).cluster_id, key


def content(
    document: wire.Desired, bundle: wire.DesiredBundle, at: int, key: Ed25519PrivateKey
) -> dict[str, Any]:
    one = bundle.downstream[at]
    place = context_of(document.cluster_id, bundle.name, bundle.generation, one.kind, one.name)
    found: dict[str, Any] = msgspec.json.decode(open_sealed(key, place, wire.unb64(one.sealed)))
    return found


def bundles(document: wire.Desired) -> dict[str, wire.DesiredBundle]:
    return {bundle.name: bundle for bundle in document.bundles}


def test_each_agent_gets_it_sealed_for_itself(tmp_path: Path, clone: Clone) -> None:
    """The same bytes at each asking and after a restart, other bytes for another cluster, and no
    plain text in a document or a view.
    """
    commit = clone.push(FILES)
    kept: dict[str, Any] = {}

    async def work(service: Service) -> None:
        await put(service, "Secret", "db", password="hunter2222")
        await put(service, "ConfigMap", "motd", text="good morning")
        await add(service, clone.url, paths=["web", "plain"], targets=ALL)
        one, key = await enrolled(service, "one")
        two, _ = await enrolled(service, "two")
        await scanned(service, commit)
        document, body = await desired(service, one), (await service.agents.get_document(one)).body
        web = bundles(document)["apps-web"]
        assert [(r.kind, r.name, r.problem) for r in web.downstream] == [
            ("Secret", "db", ""),
            ("ConfigMap", "motd", ""),
        ]
        assert content(document, web, 0, key) == {
            "type": "Opaque",
            "data": {"password": "aHVudGVyMjIyMg=="},
        }
        assert content(document, web, 1, key)["data"] == {"text": "Z29vZCBtb3JuaW5n"}
        assert bundles(document)["apps-plain"].downstream == []
        assert (
            bundles(await desired(service, two))["apps-web"].downstream[0].sealed
            != web.downstream[0].sealed
        )
        views = [
            await service.views.list_objects(kind)
            for kind in ("GitRepo", "Bundle", "BundleDeployment", "Cluster", "Secret", "ConfigMap")
        ]
        for said in (body.decode(), json.dumps(views)):
            assert not [
                word
                for word in ("hunter2222", "aHVudGVyMjIyMg", "good morning", "Z29vZCBtb3JuaW5n")
                if word in said
            ]
        kept.update(cluster=one, etag=(await service.agents.get_document(one)).etag)

    async def again(service: Service) -> None:
        assert (await service.agents.get_document(kept["cluster"])).etag == kept["etag"]

    run(tmp_path / "data", work)
    run(tmp_path / "data", again)


def test_another_content_is_deployed_again(tmp_path: Path, clone: Clone) -> None:
    """Of the bundles that name it, and only of these; labels of the Secret, or the same content
    once more, deploy nothing.
    """
    commit = clone.push(FILES)

    async def work(service: Service) -> None:
        await put(service, "Secret", "db", password="hunter2222")
        await put(service, "ConfigMap", "motd", text="a")
        await add(service, clone.url, paths=["web", "plain"], targets=ALL)
        one, key = await enrolled(service, "one")
        await scanned(service, commit)
        first = bundles(await desired(service, one))
        await put(service, "Secret", "db", password="hunter2222")
        await service.objects.patch_labels("Secret", WORKSPACE, "db", {"a": "b"})
        await put(service, "Secret", "other", password="x")
        assert bundles(await desired(service, one)) == first
        await put(service, "Secret", "db", password="hunter3333")
        document = await desired(service, one)
        second = bundles(document)
        assert second["apps-web"].generation > first["apps-web"].generation
        assert second["apps-plain"] == first["apps-plain"]
        assert content(document, second["apps-web"], 0, key)["data"] == {
            "password": "aHVudGVyMzMzMw=="
        }
        shown = await service.views.get_object("Secret", WORKSPACE, "db")
        await service.objects.delete("Secret", WORKSPACE, "db")
        third = bundles(await desired(service, one))["apps-web"]
        assert third.generation > second["apps-web"].generation
        assert (
            third.downstream[0].problem
            == "does not exist in workspace fleet-default of the manager"
        )
        await put(service, "Secret", "db", password="hunter3333")
        fourth = bundles(await desired(service, one))["apps-web"]
        assert (fourth.generation > third.generation, fourth.downstream[0].problem) == (True, "")
        assert (await service.views.get_object("Secret", WORKSPACE, "db"))["data"] == shown["data"]

    run(tmp_path / "data", work)


def test_a_new_key_gets_it_sealed_anew(tmp_path: Path, clone: Clone) -> None:
    """An agent that was enrolled again opens it with its new key; nothing is deployed again for
    that.
    """
    commit = clone.push(FILES)

    async def work(service: Service) -> None:
        await put(service, "Secret", "db", password="hunter2222")
        await put(service, "ConfigMap", "motd", text="a")
        await add(service, clone.url, paths=["web"], targets=ALL)
        one, _ = await enrolled(service, "one")
        await scanned(service, commit)
        first = bundles(await desired(service, one))["apps-web"]
        made = await service.agents.register(
            WORKSPACE, "one", labels={}, ttl_seconds=600, replace=True
        )
        key = Ed25519PrivateKey.generate()
        assert (await answer(service, made.token, key)).cluster_id == one
        document = await desired(service, one)
        second = bundles(document)["apps-web"]
        assert content(document, second, 0, key)["data"] == {"password": "aHVudGVyMjIyMg=="}
        assert (second.generation, second.downstream == first.downstream) == (
            first.generation,
            False,
        )

    run(tmp_path / "data", work)


def test_another_workspace_s_secret_is_not_to_be_had(tmp_path: Path, clone: Clone) -> None:
    """A bundle names a Secret by its name alone: that of its own workspace."""
    commit = clone.push(FILES)

    async def work(service: Service) -> None:
        doc = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db", "namespace": "other"},
            "stringData": {"a": "b"},
        }
        await service.objects.put("Secret", "other", "db", doc)
        await add(service, clone.url, paths=["web"], targets=ALL)
        one, _ = await enrolled(service, "one")
        await scanned(service, commit)
        assert [
            r.problem != "" for r in bundles(await desired(service, one))["apps-web"].downstream
        ] == [True, True]

    run(tmp_path / "data", work)


def test_what_is_no_secret_is_a_problem_of_the_repository(tmp_path: Path, clone: Clone) -> None:
    """Its sibling is deployed."""
    commit = clone.push(
        {**FILES, "web/fleet.yaml": "downstreamResources: [{kind: Pod, name: db}]\n"}
    )

    async def work(service: Service) -> None:
        await add(service, clone.url, paths=["web", "plain"], targets=ALL)
        one, _ = await enrolled(service, "one")
        shown = await scanned(service, commit)
        assert "'Pod' 'db' is no Secret or ConfigMap" in json.dumps(shown["status"])
        assert list(bundles(await desired(service, one))) == ["apps-plain"]

    run(tmp_path / "data", work)
