"""A commit for very many clusters, in the manager's own store: planned, admitted, summed up, with
and without agents that report.

The clusters are rows, written by SQL as the manager would have written them; everything after that
is the manager's own code with its own transactions. The peer is one UPDATE of the same columns of
as many rows in the same file with the same pragmas, after it, without the triggers that keep the
counts.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model import wire
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, Digest, RepoName, Workspace
from fleetctl.core.model.status import Report, State
from fleetctl.core.rollout.strategy import place
from fleetctl.core.targeting.target import picking
from fleetctl.sources.git.store import About
from manager.commands.rollout_loop import RolloutLoop
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.presence import Presence, PresenceTable
from manager.rollout import staging
from manager.rollout.desired import find_deployments
from manager.service import Service
from manager.store.commands.delivery import want_columns
from manager.store.engine import Store
from manager.store.queries import Scope, fleet_clusters
from manager.store.schema import bundles, deployments, meta, repos
from manager.store.schema import options as options_table
from manager.views import fleet_status
from manager.views.states import fleet_view
from tests.bench.figures import COUNT, MAP, Figure, enrolled, served
from tests.servers.gitserver import GitServer
from tests.support.gitrepo import Clone
from tests.support.manager.rows import NOW, SPACE, add_clusters, cluster_id

REPO = RepoSpec(
    workspace=Workspace(SPACE),
    name=RepoName("apps"),
    spec=GitRepoSpec(repo="https://example.com/apps"),
)
AT_ONCE: dict[str, Any] = {"autoPartitionThreshold": 0}
"""All clusters in one partition, all of which may change at once: the most that can be handed
out.
"""


class Scene:
    """A store with so many bundles on so many clusters, all Ready, and everybody heard just now."""

    def __init__(
        self, folder: Path, many_bundles: int, many_clusters: int, strategy: dict[str, Any] | None
    ) -> None:
        self.names = [BundleName(f"b{n:02}") for n in range(many_bundles)]
        self.clusters, self.strategy, self.path = many_clusters, strategy, folder / "fleet.db"
        self.store = Store(self.path)
        self.live = PresenceTable(time.time())
        self.rolling = RolloutLoop(self.store, self.live, time.time)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Scene]:
        await self.store.open()
        try:
            await self.store.write(self._fill)
            now = time.time()
            for n in range(self.clusters):
                self.live.place(cluster_id(n), Presence(b"k", last_seen=now))
            await self.rolling.look()
            await self.store.write(lambda connection: connection.exec_driver_sql("PRAGMA optimize"))
            yield self
        finally:
            await self.store.close()

    def specs(self, version: int) -> list[BundleSpec]:
        head: dict[str, Any] = {
            "workspace": REPO.workspace,
            "repo": REPO.name,
            "commit": CommitId(f"{version:040x}"),
            "size": version,
        }
        head |= {
            "targets": [Target(name="all", cluster_selector={})],
            "rollout_strategy": self.strategy,
        }
        return [
            BundleSpec(**head, name=name, path=name, archive=Digest(f"{version:064x}"))
            for name in self.names
        ]

    def _fill(self, connection: Connection) -> None:
        connection.execute(
            sa.insert(meta), [{"key": "epoch", "value": 1}, {"key": "generation", "value": 1}]
        )
        connection.execute(sa.insert(repos), {"workspace": SPACE, "name": REPO.name})
        apply_scan(
            connection,
            REPO,
            1,
            CompletedScan(CommitId(""), self.specs(1), [], about=About()),
            confirmation=None,
            now=NOW,
        )
        add_clusters(connection, range(self.clusters), region="eu")
        report = msgspec.json.encode(
            Report(bundle=self.names[0], generation=1, applied=1, state=State.READY, ready=True)
        )
        for spec in self.specs(1):
            some = fleet_clusters(connection, Scope(REPO.workspace, clusters=[cluster_id(0)]))
            desired = find_deployments(connection, REPO.workspace, [spec], some, [])
            connection.execute(
                sa.insert(options_table).prefix_with("OR IGNORE"),
                [{"key": k, "json": v} for k, v in desired.texts.items()],
            )
            told = want_columns(desired.wants[some[0].id, spec.name])
            head = {
                "bundle": spec.name,
                "workspace": SPACE,
                "repo": REPO.name,
                "generation": 1,
                "is_removed": False,
                "state": "Ready",
            }
            head |= {
                "applied_generation": 1,
                "reported_generation": 1,
                "reported_at": NOW,
                "message": "",
                "report": report,
                "partition": -1,
                "sent_at": 1,
                **told,
            }
            for start in range(0, self.clusters, 10_000):
                ids = [cluster_id(n) for n in range(start, min(start + 10_000, self.clusters))]
                connection.execute(
                    sa.insert(deployments),
                    [head | {"cluster_id": i, "position": place(spec.name, i)} for i in ids],
                )
        connection.execute(sa.update(bundles).values(matched_targeting=picking(self.specs(1)[0])))
        for spec in self.specs(1):
            staging.begin_rollouts(connection, REPO.workspace, [spec], NOW)

    async def commit(self, version: int) -> None:
        """As a scan does, to the last cluster that may go now."""
        taken = CompletedScan(CommitId(f"{version:040x}"), self.specs(version), [], about=About())
        touched, _ = await self.store.write(
            lambda c: apply_scan(c, REPO, version, taken, confirmation=None, now=NOW)
        )
        self.live.mark_changed(touched)
        await self.rolling.look()

    def told(self, version: int) -> Callable[[Connection], int]:
        where = deployments.c.archive == f"{version:064x}"
        return lambda connection: connection.execute(
            sa.select(sa.func.count()).select_from(deployments).where(where)
        ).scalar_one()


def plain_update(connection: Connection) -> float:
    """Seconds for what a hand-out sets, in one statement over all rows."""
    for name in ("deployments_inserted", "deployments_deleted", "deployments_updated"):
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    values: dict[str, Any] = {
        "archive": "e" * 64,
        "size": 7,
        "options_digest": "d" * 64,
        "options_key": "c" * 64,
        "target": "all",
    }
    values |= {
        "customization": "",
        "commit": "b" * 40,
        "bundle_facts": b"[{},[],false]",
        "keep_resources": False,
        "decision": 9,
    }
    values |= {
        "generation": 1_000_000,
        "state": State.WAIT_APPLIED.value,
        "staged_key": "",
        "sent_at": 1,
        "state_since": 1,
        "first_ready_at": 0,
    }
    began = time.monotonic()
    connection.execute(sa.update(deployments).values(**values))
    return time.monotonic() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fifty_by_ten_thousand(folder: Path) -> Iterable[Figure]:
    """Fleet's default: a quarter of the clusters of each bundle may go at once."""
    return asyncio.run(_planned(folder, 50, 10_000, None))


def one_by_a_million(folder: Path) -> Iterable[Figure]:
    """Everybody may go, and before that the state of all is summed up."""
    return asyncio.run(_planned(folder, 1, 1_000_000, AT_ONCE, summed=True))


async def _planned(
    folder: Path,
    many_bundles: int,
    many_clusters: int,
    strategy: dict[str, Any] | None,
    *,
    summed: bool = False,
) -> list[Figure]:
    async with Scene(folder, many_bundles, many_clusters, strategy).open() as scene:
        found = await _summed(scene) if summed else []
        shape = f"{many_bundles} x {many_clusters:,}"
        before, began, longest = _peak(), time.monotonic(), Longest(scene.store)
        await longest.during(scene.commit(2))
        ours, after = time.monotonic() - began, _peak()
        gone = await scene.store.read(scene.told(2))
        began = time.monotonic()
        await scene.store.write(plain_update)  # with its commit
        peer = time.monotonic() - began
        return [
            *found,
            Figure(f"{shape}: plan, admit {gone:,} (UPDATE of all)", ours, peer, 9.0),
            Figure(f"{shape}: longest wait of another write, s", longest.seconds, 0.0, 0.0),
            Figure(f"{shape}: memory more than before, MiB", after - before, 0.0, 0.0),
            Figure(f"{shape}: memory in all, MiB", after, 0.0, 0.0),
        ]


async def _summed(scene: Scene) -> list[Figure]:
    """The median of five, each side in its own snapshot."""
    count = "SELECT count(*) FROM deployments INDEXED BY deployments_bundle WHERE workspace = ?"
    shape = f"{len(scene.names) * scene.clusters:,} deployments"

    async def timed(work: Callable[[Connection], Any]) -> float:
        times = []
        for _ in range(5):
            began = time.monotonic()
            await scene.store.read(work)
            times.append(time.monotonic() - began)
        return median(times)

    def states(connection: Connection) -> None:
        whole = fleet_view(connection, scene.live, time.time(), SPACE)
        assert (
            sum(
                sum(counts.values())
                for counts in whole.count_states(lambda count_key: count_key.bundle).values()
            )
            == len(scene.names) * scene.clusters
        )

    peer = await timed(lambda connection: connection.exec_driver_sql(count, (SPACE,)).scalar())
    well = await timed(states)
    page = await timed(
        lambda connection: fleet_status.build_overview(connection, scene.live, SPACE, time.time())
    )
    for n in range(scene.clusters // 100):
        scene.live.start_time = 1.0
        scene.live.place(cluster_id(n), Presence(b"k", last_seen=1.0))
    silent = await timed(states)
    for n in range(scene.clusters // 100):
        scene.live.place(cluster_id(n), Presence(b"k", last_seen=time.time()))
    return [
        Figure(f"{shape}, states summed up (one indexed count)", well, peer, 1.0),
        Figure(f"{shape}, the same with 1 % offline (count)", silent, peer, 3.0),
        Figure(f"{shape}, the whole of `status` (count)", page, peer, 3.0),
    ]


def beside_reports(folder: Path) -> Iterable[Figure]:
    """50 bundles for 50 clusters, from the commit to the last document, beside agents that report a
    thousand changes a second and alone.
    """
    times, rate = {}, 0.0
    for name in ("alone", "beside"):
        (folder / name / "git").mkdir(parents=True)
        (folder / name / "data").mkdir()
        with GitServer(folder / name / "git") as server:
            clone = Clone(server, "apps", folder / name / "clone")
            clone.push({f"b{n}/m.yaml": MAP.format(n=n, value=0) for n in range(COUNT)})
            noise = Noise(clone) if name == "beside" else None
            times[name] = asyncio.run(
                served(folder / name, clone, noise.beside)
                if noise
                else served(folder / name, clone)
            )
            rate = noise.rate if noise else rate
    yield Figure(
        "50 x 50 beside reports, commit to documents (alone)", times["beside"], times["alone"], 4.0
    )
    yield Figure("reports a second that were taken meanwhile (1000)", rate, 0.0, 0.0)


_NOISE = "noise"


class Noise:
    """Clusters of a workspace of their own in the same manager: each report changes a state, a
    thousand a second in all when they are answered in time.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self.rate, self._sent = 0.0, 0

    @asynccontextmanager
    async def beside(self, service: Service) -> AsyncIterator[None]:
        clusters = [await enrolled(service, f"noise{n}", _NOISE) for n in range(50)]
        meta = {"name": "noise", "namespace": _NOISE}
        spec = {
            "repo": self._clone.url,
            "paths": ["b0"],
            "targets": [{"clusterSelector": {}}],
            "pollingInterval": "1h",
        }
        document = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "GitRepo",
            "metadata": meta,
            "spec": spec,
        }
        await service.objects.put("GitRepo", _NOISE, "noise", document)
        while len(await service.views.list_objects("BundleDeployment", workspace=_NOISE)) < len(
            clusters
        ):
            await asyncio.sleep(0.05)
        tasks = [
            asyncio.create_task(self._talk(service, cluster, len(clusters))) for cluster in clusters
        ]
        await asyncio.sleep(0.5)
        self._sent, began = 0, time.monotonic()
        try:
            yield
        finally:
            self.rate = self._sent / (time.monotonic() - began)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(self, service: Service, cluster: ClusterId, of: int) -> None:
        body = msgspec.json.decode(
            (await service.agents.get_document(cluster)).body, type=wire.Envelope
        ).payload
        bundle = msgspec.json.decode(body, type=wire.Desired).bundles[0]
        due = time.monotonic()
        for seq in range(1, 10**9):
            state = State.READY if seq % 2 else State.NOT_READY
            report = Report(
                bundle=bundle.name,
                generation=bundle.generation,
                applied=bundle.generation,
                state=state,
                ready=seq % 2 == 1,
            )
            request = wire.StatusRequest(instance="i", seq=seq, full=seq == 1, deployments=[report])
            await service.agents.report(cluster, request)
            self._sent += 1
            due += of / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Longest:
    """How long a small write waits, at most, while something goes on."""

    def __init__(self, store: Store) -> None:
        self._store, self.seconds = store, 0.0

    async def during(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            began = time.monotonic()
            await self._store.write(
                lambda connection: connection.execute(sa.select(meta.c.value)).first()
            )
            self.seconds = max(self.seconds, time.monotonic() - began)
            await asyncio.sleep(0.02)
        await task
