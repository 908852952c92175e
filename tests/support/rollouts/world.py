"""The real manager, without its loops and with a clock that is told, and clusters whose agents
apply what they are told when they are asked to. What is looked at is what each cluster's document
says; what is known of a cluster is what its agent has reported.

One bundle, whose versions are numbers. A version may be broken on some clusters.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model import wire
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    CommitId,
    Digest,
    Generation,
    RepoName,
    Workspace,
)
from fleetctl.core.model.status import Report, State
from fleetctl.sources.git.store import About
from manager.clock import rfc3339
from manager.commands.rollback import RollbackRequest
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.security.signing import Signer
from manager.service import Service
from manager.store.schema import deployments

T = TypeVar("T")
SPACE, REPO, BUNDLE = Workspace("fleet-default"), RepoName("apps"), BundleName("apps-web")
EPOCH = 1_800_000_000.0
SILENCE = 300.0
NOTHING = Generation(0)


@dataclass
class Site:
    """One cluster and its agent. `told`: version and generation of its document, 0 none; `report`:
    what the manager was told last.
    """

    name: str
    id: ClusterId
    labels: dict[str, str]
    online: bool = True
    paused: bool = False
    told: int = 0
    generation: int = 0
    applied: Generation = NOTHING
    seq: int = 0
    heard: float = 0.0
    report: Report | None = None


@dataclass
class World:
    """`broken`: by version, the names of the clusters that cannot apply it. `strategy` is what the
    next commit states.
    """

    folder: Path
    strategy: Mapping[str, Any] = field(default_factory=dict)
    now: float = EPOCH
    version: int = 0
    paused_in_git: bool = False
    broken: dict[int, set[str]] = field(default_factory=dict)
    # by version: which versions have one content
    archives: dict[int, int] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._signer = Signer.load_or_create(self.folder)
        self.started = self.now
        self.service = self._open()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _open(self) -> Service:
        service = Service(self.folder, signer=self._signer, clock=lambda: self.now)
        self.run(self._begin(service))
        return service

    async def _begin(self, service: Service) -> None:
        """Its loops end before they begin: the machine is the only one who looks."""
        await service.start()
        for task in service._tasks:
            task.cancel()

    def close(self) -> None:
        self.run(self.service.stop())
        self._loop.close()

    # The manager

    def restart(self, away: float = 0.0) -> None:
        """It stops, and another begins `away` seconds later."""
        self.run(self.service.stop())
        self.now += away
        self.started = self.now
        self.service = self._open()

    def twin(self, folder: Path) -> World:
        """The same as if the manager were started anew at this moment, beside this one."""
        self.run(self.service.agents.save_contacts())
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        other = World(
            folder,
            self.strategy,
            self.now,
            self.version,
            self.paused_in_git,
            self.broken,
            self.archives,
        )
        other.sites = {
            name: msgspec.convert(msgspec.to_builtins(site), Site)
            for name, site in self.sites.items()
        }
        return other

    def look(self) -> set[str]:
        """One pass of the loop of the rollouts; the names of the clusters whose document has
        another generation now.
        """
        self.run(self.service._rollout_loop.look())
        return self.read()

    def read(self) -> set[str]:
        """Look at the documents."""
        changed = set()
        for site in self.sites.values():
            bundle = self.document(site)
            version, generation = (int(bundle.commit), bundle.generation) if bundle else (0, 0)
            if generation != site.generation:
                changed.add(site.name)
            site.told, site.generation = version, generation
        return changed

    def document(self, site: Site) -> wire.DesiredBundle | None:
        body = self.run(self.service.agents.get_document(site.id)).body
        desired = msgspec.json.decode(
            msgspec.json.decode(body, type=wire.Envelope).payload, type=wire.Desired
        )
        assert len(desired.bundles) <= 1
        return desired.bundles[0] if desired.bundles else None

    def rollout(self) -> dict[str, Any] | None:
        found = self.run(self.service.views.list_rollouts(SPACE, BUNDLE))
        return found[0] if found else None

    def members(self) -> dict[ClusterId, int]:
        """In which partition each cluster is."""
        d = deployments.c
        rows = self.run(
            self.service._store.read(
                lambda c: c.execute(sa.select(d.cluster_id, d.partition).where(~d.is_removed)).all()
            )
        )
        return {ClusterId(row.cluster_id): row.partition for row in rows}

    def phase(self) -> str:
        found = self.rollout()
        return str(found["status"]["display"]["state"]) if found else ""

    def asking(self) -> int | None:
        """The partition that waits for nothing but a yes."""
        found = self.rollout()
        parts = found["status"]["partitions"] if found else []
        return next(
            (
                at
                for at, part in enumerate(parts)
                if "waits for approval" in part["why"] and part["approval"]
            ),
            None,
        )

    def pinned_version(self) -> int:
        """The version that is pinned, 0 none."""
        history = self.run(self.service.views.bundle_history(SPACE, BUNDLE)) if self.version else []
        return next((int(one["commit"]) for one in history if one["pinned"]), 0)

    def states(self) -> dict[str, str]:
        items = self.run(self.service.views.list_objects("BundleDeployment"))
        return {i["spec"]["cluster"]: i["status"]["display"]["state"] for i in items}

    # People

    def repository(self) -> None:
        meta = {"name": REPO, "namespace": SPACE}
        doc = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "GitRepo",
            "metadata": meta,
            "spec": {"repo": "https://git.test/apps"},
        }
        self.run(self.service.objects.put("GitRepo", SPACE, REPO, doc))

    def commit(self, *, broken: Iterable[str] = (), content: bool = True) -> None:
        """A new version; without `content` only its strategy or its pause is another one."""
        self.version += 1
        fresh = content or self.version == 1
        self.archives[self.version] = self.version if fresh else self.archives[self.version - 1]
        self.broken[self.version] = set(broken) if fresh else set(self.broken[self.version - 1])
        spec = BundleSpec(
            workspace=SPACE,
            name=BUNDLE,
            repo=REPO,
            path="web",
            commit=CommitId(str(self.version)),
            targets=[Target(name="all", cluster_selector={})],
            archive=Digest(f"{self.archives[self.version]:064x}"),
            rollout_strategy=dict(self.strategy),
            paused=self.paused_in_git,
        )
        repo = RepoSpec(workspace=SPACE, name=REPO, spec=GitRepoSpec(repo="https://git.test/apps"))
        taken = CompletedScan(spec.commit, [spec], [], about=About())
        touched, _ = self.run(
            self.service._store.write(
                lambda c: apply_scan(c, repo, 1, taken, confirmation=None, now=rfc3339(self.now))
            )
        )
        self.service._live.mark_changed(touched)

    def say(self, verb: str) -> bool:
        """`pause`, `resume`, `approve` or `abort`; whether it was accepted."""
        try:
            self.run(self.service.rollouts.command(SPACE, BUNDLE, verb, "said so"))
        except RefusedError:
            return False
        return True

    def go_back(self, *, release: bool = False) -> bool:
        try:
            self.run(self.service.rollouts.go_back(SPACE, BUNDLE, RollbackRequest(release=release)))
        except RefusedError:
            return False
        return True

    # Clusters

    def join(self, name: str, **labels: str) -> Site:
        self.run(self._enrol(name, labels))
        self.read()
        return self.sites[name]

    async def _enrol(self, name: str, labels: dict[str, str]) -> None:
        made = await self.service.agents.register(
            SPACE, name, labels=labels, ttl_seconds=600, replace=False
        )
        key = Ed25519PrivateKey.generate()
        public = wire.b64(key.public_key().public_bytes_raw())
        proof = wire.b64(key.sign(wire.enrol_bytes(made.token, public)))
        answer = await self.service.agents.enrol(
            wire.EnrolRequest(token=made.token, public_key=public, proof=proof), address="::1"
        )
        self.sites[name] = Site(name, answer.cluster_id, labels, heard=self.now)

    def leave(self, name: str) -> None:
        self.run(self.service.objects.delete("Cluster", SPACE, name))
        del self.sites[name]

    def label(self, name: str, **labels: str) -> None:
        self.run(self.service.objects.patch_labels("Cluster", SPACE, name, dict(labels)))
        self.sites[name].labels |= labels

    def pause(self, name: str, *, on: bool) -> None:
        doc = self.run(self.service.views.get_object("Cluster", SPACE, name))
        kept = {key: doc[key] for key in ("apiVersion", "kind", "metadata")}
        self.run(self.service.objects.put("Cluster", SPACE, name, {**kept, "spec": {"paused": on}}))
        self.sites[name].paused = on

    def poll(self, name: str) -> None:
        """The agent asks, applies and reports, when its cluster is there."""
        site = self.sites[name]
        if site.online:
            self.run(self._poll(site, self.document(site)))

    async def _poll(self, site: Site, bundle: wire.DesiredBundle | None) -> None:
        site.seq += 1
        instance = f"i-{site.name}"
        reports = [self._applied(site, bundle)] if bundle else []
        await self.service.agents.note_contact(
            site.id, instance=instance, address="::1", stamp=int(self.now)
        )
        request = wire.StatusRequest(
            instance=instance, seq=site.seq, full=True, deployments=reports
        )
        await self.service.agents.report(site.id, request)
        site.heard, site.report = self.now, reports[0] if reports else None

    def _applied(self, site: Site, bundle: wire.DesiredBundle) -> Report:
        said = Report(
            bundle=bundle.name,
            generation=bundle.generation,
            applied=site.applied,
            state=State.ERR_APPLIED,
        )
        if bundle.paused and site.applied < bundle.generation:
            return msgspec.structs.replace(said, state=State.OUT_OF_SYNC, code="paused")
        if site.name in self.broken[int(bundle.commit)]:
            return msgspec.structs.replace(said, message="it does not start")
        site.applied = bundle.generation
        return msgspec.structs.replace(
            said, applied=bundle.generation, state=State.READY, ready=True
        )
