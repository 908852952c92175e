"""Odd bodies at every route of the real manager: each is refused with the name of what is wrong, or
taken; none is an error of the manager.

Each case puts one odd value at one place of a body that is right. FLEET_ODD_BODIES=all tries all of
them, else a sample is tried.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from manager.api.app import Parts, build
from manager.api.routes.fleet import ManagerInfo
from manager.api.routes.install import AgentFile
from manager.security.signing import Signer
from manager.service import Service
from tests.support.manager.api_client import signature
from tests.support.manager.real_service import answer, serving

API, HEAD = (
    "fleet.cattle.io/v1alpha1",
    {"name": "x", "namespace": "team-a", "labels": {"a": "b"}, "annotations": {"a": "b"}},
)
SELECTOR = {
    "matchLabels": {"a": "b"},
    "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
}
TARGET = {
    "name": "t",
    "clusterSelector": SELECTOR,
    "clusterGroup": "g",
    "clusterGroupSelector": SELECTOR,
    "clusterName": "c",
}
DIGEST = "a" * 64
GITREPO = {
    "repo": "https://127.0.0.1:1/x.git",
    "branch": "main",
    "paths": ["a"],
    "targets": [TARGET],
    "helmRepoURLRegex": "https://a/.*",
    "clientSecretName": "s",
    "pollingInterval": "15s",
    "paused": True,
    "forceSyncGeneration": 1,
    "correctDrift": {"enabled": True},
    "keepResources": False,
    "serviceAccount": "a",
    "targetNamespace": "n",
}
BUNDLE = {
    "name": "x-a",
    "workspace": "team-a",
    "repo": "x",
    "path": "a",
    "commit": "c" * 40,
    "archive": DIGEST,
    "options": {"defaultNamespace": "n", "helm": {"releaseName": "r", "values": {"a": 1}}},
    "targets": [TARGET],
    "dependsOn": [{"name": "b", "selector": SELECTOR, "acceptedStates": ["Ready"]}],
}
REPORT = {
    "instance": "instance1",
    "seq": 1,
    "full": True,
    "page": 1,
    "pages": 1,
    "agentVersion": "1",
    "tools": {"helm": "4"},
    "deployments": [
        {
            "bundle": "x-a",
            "epoch": 0,
            "generation": 1,
            "applied": 1,
            "state": "Ready",
            "release": {"name": "r", "namespace": "n", "revision": 1},
            "resources": [
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "differences": [{"pointer": "/a"}]}
            ],
            "at": "2026-01-01T00:00:00Z",
        }
    ],
    "troubles": [{"code": "disk-full", "message": "m", "since": "2026-01-01T00:00:00Z"}],
    "upgrade": {"wish": 1, "version": "1", "state": "done"},
}


def manifest(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1" if kind in {"Secret", "ConfigMap"} else API,
        "kind": kind,
        "metadata": HEAD,
        **more,
    }


SCHEDULE = {
    "schedule": "0 2 * * *",
    "duration": "1h",
    "location": "UTC",
    "targets": {"clusters": [TARGET]},
}
OBJECTS = "/api/v1/objects"
ROUTES: list[tuple[str, str, Any]] = [
    ("PUT", f"{OBJECTS}/gitrepos/team-a/x", manifest("GitRepo", spec=GITREPO)),
    (
        "PUT",
        f"{OBJECTS}/clusters/team-a/x",
        manifest(
            "Cluster", spec={"paused": False, "clientID": "i", "templateValues": {"a": {"b": 1}}}
        ),
    ),
    (
        "PUT",
        f"{OBJECTS}/clustergroups/team-a/x",
        manifest("ClusterGroup", spec={"selector": SELECTOR}),
    ),
    (
        "PUT",
        f"{OBJECTS}/clusterregistrationtokens/team-a/x",
        manifest("ClusterRegistrationToken", spec={"ttl": "1h", "uses": 2, "labels": {"a": "b"}}),
    ),
    ("PUT", f"{OBJECTS}/schedules/team-a/x", manifest("Schedule", spec=SCHEDULE)),
    (
        "PUT",
        f"{OBJECTS}/secrets/team-a/x",
        manifest("Secret", type="Opaque", data={"a": "YQ=="}, stringData={"b": "c"}),
    ),
    (
        "PUT",
        f"{OBJECTS}/configmaps/team-a/x",
        manifest("ConfigMap", data={"a": "b"}, binaryData={"c": "YQ=="}),
    ),
    ("PATCH", f"{OBJECTS}/clusters/team-a/here/labels", {"a": "b", "c": None}),
    ("POST", "/api/v1/gitrepos/team-a/x/confirm", {"removals": 1, "commit": "c"}),
    (
        "POST",
        "/api/v1/clusters/team-a/y/register",
        {"labels": {"a": "b"}, "ttlSeconds": 60, "replace": True},
    ),
    ("POST", "/api/v1/rollouts/team-a/x/pause", {"reason": "r"}),
    (
        "POST",
        "/api/v1/tokens",
        {"name": "t", "role": "read", "workspace": "team-a", "ttlSeconds": 60},
    ),
    (
        "POST",
        "/api/v1/agent-wishes",
        {"workspace": "team-a", "names": ["x"], "version": "1", "most": "1"},
    ),
    (
        "POST",
        "/api/v1/agent-wishes",
        {"workspace": "team-a", "selector": "a=b", "version": "1", "most": "1"},
    ),
    ("POST", "/api/v1/held/team-a/x/confirm", {"removals": 1, "digest": "d"}),
    ("POST", "/api/v1/bundles/team-a/x/moved", {"to": "y"}),
    (
        "POST",
        "/api/v1/clusters/team-a/labels",
        {"labels": {"a": "b"}, "names": ["here"], "dryRun": True, "removals": 1},
    ),
    (
        "POST",
        "/api/v1/clusters/team-a/labels",
        {"labels": {"a": "b"}, "selector": "a=b", "dryRun": False},
    ),
    (
        "POST",
        "/api/v1/bundles/team-a/x/rollback",
        {
            "to": 1,
            "reason": "r",
            "clusters": ["a"],
            "selector": "",
            "partition": "",
            "release": False,
            "dryRun": True,
        },
    ),
    (
        "POST",
        "/api/v1/plan",
        {
            "workspace": "team-a",
            "gitrepo": "x",
            "branch": "b",
            "document": manifest("GitRepo", spec=GITREPO),
        },
    ),
    (
        "POST",
        "/api/v1/plan",
        {
            "workspace": "team-a",
            "gitrepo": "x",
            "bundles": [BUNDLE],
            "problems": [{"path": "a", "code": "c", "summary": "s"}],
        },
    ),
    (
        "POST",
        "/agent/v1/enrol",
        {"token": "t", "publicKey": "A" * 43, "proof": "A" * 86, "agentVersion": "1"},
    ),
    ("POST", "/login", {"code": "c"}),
    ("POST", "/agent/v1/status", REPORT),
]
ODD: list[Any] = [
    None,
    True,
    -1,
    2**63,
    2**70,
    1.5,
    1e300,
    "",
    "x" * 5000,
    "a\nb",
    "\x00",
    "${ x }",
    "../..",
    "[",
    "é",
    "0",
    [],
    [1],
    [[]],
    [None],
    {},
]
ODD += [
    {"a": []},
    {"a": {"a": None}},
    {"": ""},
    {"a\n": "b\n"},
    "(" * 2000,
    "*a" * 200,
    "a" * 64,
    ["b", {}],
    [{"key": "a", "operator": "X"}],
]
LISTS = [
    f"{OBJECTS}/{plural}"
    for plural in (
        "gitrepos",
        "clusters",
        "clustergroups",
        "clusterregistrationtokens",
        "schedules",
        "secrets",
    )
]
LISTS += [
    f"{OBJECTS}/configmaps",
    f"{OBJECTS}/bundles",
    "/api/v1/status",
    "/api/v1/held",
    "/api/v1/rollouts",
    "/metrics",
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in items:
        yield from places(part, (*path, key))


def with_odd_value(body: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    changed = copy.deepcopy(body)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    return changed


def cases() -> list[tuple[str, str, Any]]:
    found = [
        (method, path, with_odd_value(body, place, odd))
        for method, path, body in ROUTES
        for place in places(body)
        for odd in ODD
    ]
    rng = random.Random(20261128)
    rng.shuffle(found)
    return (
        found
        if os.environ.get("FLEET_ODD_BODIES") == "all"
        else found[: int(os.environ.get("FLEET_ODD_BODIES", "500"))]
    )


class Caller:
    def __init__(self, service: Service, signer: Signer) -> None:
        about = ManagerInfo("1", "https://fleet.test", "ab" * 32, 0.0, lambda: 1)
        parts = Parts(
            service.collaborators,
            service.ready,
            signer,
            about,
            AgentFile(Path("/nonexistent")),
            b"PEM",
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build(parts)), base_url="https://fleet.test"
        )
        self.key = Ed25519PrivateKey.generate()
        self.token = self.cluster = ""

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        data = msgspec.json.encode(body) if body is not None or method != "GET" else b""
        headers = {"content-type": "application/json"}
        if path.startswith("/agent/v1/status"):
            headers |= signature(self.key, method, path, data, agent=self.cluster)
        elif not path.startswith("/agent/"):
            headers["authorization"] = f"Bearer {self.token}"
        return await self.client.request(method, path, content=data, headers=headers)

    async def lists(self, failures: list[str]) -> None:
        for path in LISTS:
            found = await self.call("GET", path)
            if found.status_code != 200:
                failures.append(f"{found.status_code} GET {path} {found.text[:300]}")


def test_no_odd_body_is_an_error_of_the_manager(tmp_path: Path) -> None:
    """Also every list can be read afterwards: nothing was stored that the manager cannot show."""
    failures: list[str] = []

    async def scene() -> None:
        async with serving(tmp_path / "data") as service:
            caller = Caller(service, Signer.load_or_create(tmp_path / "data"))
            caller.token, _ = await service.tokens.create("root", "admin", "", 600)
            made = await service.agents.register(
                "team-a", "here", labels={}, ttl_seconds=600, replace=False
            )
            caller.cluster = (await answer(service, made.token, caller.key)).cluster_id
            async with caller.client:
                for number, (method, path, body) in enumerate(cases()):
                    found = await caller.call(method, path, body)
                    if found.status_code == 500:  # 502: Git cannot be reached
                        failures.append(
                            f"{found.status_code} {method} {path}"
                            f" {msgspec.json.encode(body)[-260:].decode()} {found.text[:200]}"
                        )
                    elif found.status_code >= 400:
                        problem = found.json()
                        assert "\n" not in problem["summary"], problem
                        assert len(found.content) < 8000, (path, problem)
                    if number % 200 == 0:
                        await caller.lists(failures)
                await caller.lists(failures)

    asyncio.run(scene())
    assert not failures, f"{len(failures)} failures:\n" + "\n".join(failures[:40])
