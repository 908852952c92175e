"""Which key may speak for a cluster after any order of register, enrol, delete, apply, expiry,
replacement and restart.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fleetctl.core.model.errors import Conflict, LoginError, UsageError
from manager.clock import rfc3339
from manager.security.signing import Signer
from manager.service import Service, ServiceSettings
from manager.store.schema import clusters
from tests.support.depth import depth
from tests.support.manager.real_service import answer, serving

T = TypeVar("T")
SPACE = "fleet-default"
KEYS = [Ed25519PrivateKey.generate() for _ in range(3)]
NAMES = ("a", "b")
TTL = 600
names, keys = st.sampled_from(NAMES), st.integers(0, len(KEYS) - 1)


def cluster_document(name: str) -> dict[str, Any]:
    head = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Cluster"}
    return {**head, "metadata": {"name": name, "namespace": SPACE}, "spec": {}}


def shared_token(name: str, **spec: Any) -> dict[str, Any]:
    head = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "ClusterRegistrationToken"}
    return {**head, "metadata": {"name": name, "namespace": SPACE}, "spec": spec}


def public(number: int) -> bytes:
    return KEYS[number].public_key().public_bytes_raw()


@dataclass
class Cluster:
    """`key`: number of the enrolled key, None for none. `token`: the last registration, None when
    there is none.
    """

    id: str = ""
    key: int | None = None
    token: Token | None = None


@dataclass
class Token:
    value: str
    cluster: Cluster
    expires: float
    spent_by: int | None = None


class Orders(RuleBasedStateMachine):
    """The model says which enrolments are accepted; the service must agree, and know no other
    key.
    """

    @initialize()
    def begin(self) -> None:
        self.folder, self.loop, self.now = (
            Path(tempfile.mkdtemp(prefix="fleet-orders-")),
            asyncio.new_event_loop(),
            1_800_000_000.0,
        )
        self.clusters: dict[str, Cluster] = {}
        self.tokens: list[Token] = []
        self.deleted: set[str] = set()
        self.service = self._started()

    def _started(self) -> Service:
        signer = Signer.load_or_create(self.folder)
        service = Service(
            self.folder, signer=signer, clock=lambda: self.now, settings=ServiceSettings()
        )
        self.loop.run_until_complete(service.start())
        return service

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.loop.run_until_complete(self.service.stop())
            self.loop.close()
            shutil.rmtree(self.folder)

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    @rule(name=names, replace=st.booleans())
    def register(self, name: str, replace: bool) -> None:
        request = self.service.agents.register(
            SPACE, name, labels={}, ttl_seconds=TTL, replace=replace
        )
        cluster = self.clusters.get(name)
        if cluster is not None and cluster.key is not None and not replace:
            with pytest.raises(Conflict):
                self.run(request)
            return
        cluster = self.clusters.setdefault(name, Cluster())
        cluster.key = None
        cluster.token = Token(self.run(request).token, cluster, self.now + TTL)
        self.tokens.append(cluster.token)
        self._read_id(name)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), key=keys)
    def enrol(self, data: st.DataObject, key: int) -> None:
        token = self.tokens[data.draw(st.integers(0, len(self.tokens) - 1))]
        cluster = token.cluster
        valid = (
            cluster in self.clusters.values()
            and cluster.token is token
            and self.now < token.expires
        )
        if not (valid and (token.spent_by is None or token.spent_by == key == cluster.key)):
            with pytest.raises(LoginError):
                self.run(answer(self.service, token.value, KEYS[key]))
            return
        assert self.run(answer(self.service, token.value, KEYS[key])).cluster_id == cluster.id
        token.spent_by = cluster.key = key

    @rule(name=names)
    def apply(self, name: str) -> None:
        self.run(self.service.objects.put("Cluster", SPACE, name, cluster_document(name)))
        self.clusters.setdefault(name, Cluster())
        self._read_id(name)

    @precondition(lambda self: self.clusters)
    @rule(data=st.data(), uninstall=st.booleans())
    def delete(self, data: st.DataObject, uninstall: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.clusters)))
        self.run(self.service.objects.delete("Cluster", SPACE, name, uninstall=uninstall))
        self.deleted.add(self.clusters.pop(name).id)

    @rule(seconds=st.sampled_from([1, TTL - 1, TTL]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.run(self.service.stop())
        self.service = self._started()

    def _read_id(self, name: str) -> None:
        query = sa.select(clusters.c.id).where(clusters.c.name == name)
        self.clusters[name].id = self.run(
            self.service._store.read(lambda c: c.execute(query).scalar_one())
        )

    @invariant()
    def each_cluster_has_the_key_of_the_model_and_no_other(self) -> None:
        for cluster in getattr(self, "clusters", {}).values():
            assert self.service.agents.key_of(cluster.id) == (
                None if cluster.key is None else public(cluster.key)
            )
        for identifier in getattr(self, "deleted", ()):
            assert self.service.agents.key_of(identifier) is None


class TestOrders(Orders.TestCase):
    settings = settings(
        max_examples=depth(8, 60),
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def in_service(folder: Path, work: Callable[[Service, list[float]], Awaitable[None]]) -> None:
    now = [1_800_000_000.0]

    async def main() -> None:
        async with serving(folder, lambda: now[0]) as service:
            await work(service, now)

    asyncio.run(main())


def test_the_agent_of_a_deleted_cluster_stays_out_when_the_name_is_applied_again(
    tmp_path: Path,
) -> None:
    """By its spent token, its expired one, one that was never spent, and after a restart."""

    async def work(service: Service, now: list[float]) -> None:
        spent = await service.agents.register(SPACE, "a", labels={}, ttl_seconds=TTL, replace=False)
        await answer(service, spent.token, KEYS[0])
        unspent = await service.agents.register(
            SPACE, "b", labels={}, ttl_seconds=TTL, replace=False
        )
        for name in NAMES:
            await service.objects.delete("Cluster", SPACE, name)
            await service.objects.put("Cluster", SPACE, name, cluster_document(name))
        for seconds in (0, TTL + 1):
            now[0] += seconds
            for token in (spent.token, unspent.token):
                with pytest.raises(LoginError):
                    await answer(service, token, KEYS[0])

    in_service(tmp_path / "data", work)


def test_a_shared_token_creates_clusters_and_takes_none_over(tmp_path: Path) -> None:
    """A repeated request spends no use; a key that was revoked by --replace is refused; expiry and
    uses count.
    """

    async def work(service: Service, now: list[float]) -> None:
        put = await service.objects.put(
            "ClusterRegistrationToken", SPACE, "t", shared_token("t", ttl="1h", uses=2)
        )
        token = put.token or ""
        first = await answer(service, token, KEYS[0])
        assert await answer(service, token, KEYS[0]) == first
        await answer(service, token, KEYS[1])
        with pytest.raises(LoginError, match="used up"):
            await answer(service, token, KEYS[2])
        await service.agents.register(
            SPACE, first.cluster, labels={}, ttl_seconds=TTL, replace=True
        )
        with pytest.raises(LoginError, match="does not have this key"):
            await answer(service, token, KEYS[0])
        now[0] += 3601
        with pytest.raises(LoginError, match="expired"):
            await answer(service, token, KEYS[1])

    in_service(tmp_path / "data", work)


def test_a_repeated_enrolment_does_not_clear_the_mark_of_a_duplicate_agent(tmp_path: Path) -> None:
    async def work(service: Service, _now: list[float]) -> None:
        made = await service.agents.register(SPACE, "a", labels={}, ttl_seconds=TTL, replace=False)
        cluster = (await answer(service, made.token, KEYS[0])).cluster_id
        for stamp, instance in enumerate(("i1", "i2", "i1")):
            twin = await service.agents.note_contact(
                cluster, instance=instance, address="10.0.0.1", stamp=stamp
            )
        await answer(service, made.token, KEYS[0])
        assert twin
        assert (
            await service.agents.note_contact(cluster, instance="i9", address="::1", stamp=9)
            == twin
        )

    in_service(tmp_path / "data", work)


ODD_LIMITS = [
    {"ttl": 0},
    {"ttl": "0s"},
    {"ttl": "-1h"},
    {"ttl": "soon"},
    {"ttl": True},
    {"ttl": 1e9},
    {"ttl": ""},
    {"ttl": ["1h"]},
    {"ttl": "99999999h"},
    {"uses": 0},
    {"uses": -5},
    {"uses": True},
    {"uses": 1000.0},
    {"uses": "abc"},
    {"uses": 10**30},
    {"uses": [1]},
    {"labels": ["a"]},
]


def test_limits_of_a_shared_token_are_checked_and_have_defaults(tmp_path: Path) -> None:
    """A day and 1,000 enrolments; a changed object changes the limits of the token."""

    async def work(service: Service, now: list[float]) -> None:
        for spec in ODD_LIMITS:
            with pytest.raises(UsageError):
                await service.objects.put(
                    "ClusterRegistrationToken", SPACE, "t", shared_token("t", **spec)
                )
        put = await service.objects.put("ClusterRegistrationToken", SPACE, "t", shared_token("t"))
        assert put.object["status"] == {"expires": rfc3339(now[0] + 86400), "usesLeft": 1000}
        put = await service.objects.put(
            "ClusterRegistrationToken", SPACE, "t", shared_token("t", ttl="1h30m", uses=3)
        )
        assert put.object["status"] == {"expires": rfc3339(now[0] + 5400), "usesLeft": 3}

    in_service(tmp_path / "data", work)
