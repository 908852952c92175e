"""A manager in memory for the HTTP side: it answers every call and does none of the work."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.formats.bundle_archive import archive_digest
from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.errors import Conflict, LoginError, NotFound
from fleetctl.core.model.ids import ClusterId, ClusterName, Digest, Epoch, Workspace
from fleetctl.core.rollout.impact import Plan
from manager.agents.agent_upgrades import UpgradeRequest
from manager.agents.desired_state import SignedDocument
from manager.agents.requests import Registration
from manager.api.collaborators import Collaborators
from manager.commands.objects import Put
from manager.commands.removals import Labels
from manager.commands.rollback import RollbackRequest, RollbackResult
from manager.plans import planner
from manager.security.signing import Signer, verify
from manager.security.tokens import Person
from tests.support.fakecollaborators import collaborators_of

CLUSTER = ClusterId("c-" + "1" * 20)


class FakeService:
    """Objects in a dict, one enrolled agent, one document, one archive."""

    epoch = 1

    @property
    def collaborators(self) -> Collaborators:
        """What the routes call: each forwards to this service."""
        return collaborators_of(self)

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or Signer.generate()
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.tokens: dict[str, Person] = {}
        self.agents: dict[ClusterId, bytes] = {}
        self.enrol_tokens: set[str] = set()
        self.reports: list[wire.StatusRequest] = []
        self.rollouts: list[dict[str, Any]] = []
        self.held: list[dict[str, Any]] = []
        self.corrections: list[tuple[str, str, tuple[str, ...], str]] = []
        self.whys: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[str] = []
        self.got: list[str] = []
        self.releases: dict[str, AgentRelease] = {}
        self.planned: Plan | None = None
        self.revision = 1
        self.twin = ""
        self.broken: Exception | None = None
        self.changed = asyncio.Event()
        self._folder = Path(tempfile.mkdtemp(prefix="fakeservice-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.archive = b"tar" * 50_000
        self.digest = archive_digest(self.archive)
        (self._folder / self.digest).write_bytes(self.archive)
        self.document = self._document("one")

    def _document(self, text: str) -> SignedDocument:
        payload = text.encode()
        signature = wire.b64(self.signer.sign(wire.desired_bytes(payload)))
        envelope = wire.Envelope(key_id=self.signer.key_id, payload=text, signature=signature)
        etag = f'"{hashlib.sha256(payload).hexdigest()[:32]}"'
        return SignedDocument(etag, msgspec.json.encode(envelope))

    def change(self, text: str) -> None:
        self.document = self._document(text)
        self.revision += 1
        self.changed.set()

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    async def list_objects(
        self, kind: str, *, workspace: str | None = None, **asked: Any
    ) -> list[dict[str, Any]]:
        self.calls.append(f"list {kind} {workspace} {asked}")
        if self.broken:
            raise self.broken
        return [
            doc for (k, w, _), doc in self.objects.items() if k == kind and workspace in {None, w}
        ]

    async def list_workspaces(self) -> list[str]:
        return sorted({workspace for _, workspace, _ in self.objects})

    async def get_object(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        self.got.append(f"{kind} {name}")
        if (kind, workspace, name) not in self.objects:
            raise NotFound(
                f"no {kind} {name} in {workspace}",
                subject=f"{kind} {name}",
                next_step=f"Run `fleetctl get {kind.lower()}s`.",
            )
        return self.objects[kind, workspace, name]

    async def put_object(
        self, kind: str, workspace: str, name: str, doc: dict[str, Any], *, dry_run: bool = False
    ) -> Put:
        new = (kind, workspace, name) not in self.objects
        if not dry_run:
            self.objects[kind, workspace, name] = doc
        return Put(
            "created" if new else "configured",
            doc,
            "once" if kind == "ClusterRegistrationToken" else None,
        )

    async def patch_labels(
        self, kind: str, workspace: str, name: str, changes: dict[str, str | None]
    ) -> dict[str, Any]:
        labels = (
            (await self.get_object(kind, workspace, name))
            .setdefault("metadata", {})
            .setdefault("labels", {})
        )
        labels.update(changes)
        return self.objects[kind, workspace, name]

    async def removal(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        await self.get_object(kind, workspace, name)
        return {"bundles": [], "deployments": 0, "clusters": []}

    async def delete_object(
        self, kind: str, workspace: str, name: str, *, uninstall: bool = False
    ) -> dict[str, Any]:
        gone = await self.removal(kind, workspace, name)
        del self.objects[kind, workspace, name]
        return gone

    async def sync(self, workspace: str, name: str) -> None:
        await self.get_object("GitRepo", workspace, name)

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        self.calls.append(f"confirm {removals} {commit}")

    async def register(
        self, workspace: str, name: str, *, labels: dict[str, str], ttl_seconds: int, replace: bool
    ) -> Registration:
        token = secrets.token_urlsafe(32)
        self.enrol_tokens.add(token)
        return Registration(token, "2030-01-01T00:00:00Z")

    async def plan(self, asked: planner.PlanQuery) -> Plan:
        self.calls.append(f"plan {asked.workspace}/{asked.name} {asked.ref}".strip())
        if self.broken:
            raise self.broken
        return self.planned or Plan(workspace=asked.workspace, gitrepo=asked.name)

    def keep(self, data: bytes) -> Digest:
        """One more archive."""
        digest = archive_digest(data)
        (self._folder / digest).write_bytes(data)
        return digest

    async def plan_archive(self, workspace: str | None, digest: Digest) -> Path:
        if not (self._folder / digest).exists():
            raise NotFound(
                "no such archive",
                subject=f"archive {digest[:12]}",
                next_step="Make the plan again.",
            )
        return self._folder / digest

    async def add_release(self, release: AgentRelease, data: bytes) -> dict[str, Any]:
        self.releases[release.version] = release
        self.calls.append(f"add release {release.version} {len(data)}")
        return self._shown_release(release)

    async def list_releases(self) -> list[dict[str, Any]]:
        return [self._shown_release(release) for release in self.releases.values()]

    async def delete_release(self, version: str) -> list[dict[str, Any]]:
        if version not in self.releases:
            raise NotFound(
                f"there is no agent version {version}",
                subject=f"agent {version}",
                next_step="List them.",
            )
        return [self._shown_release(self.releases.pop(version))]

    def _shown_release(self, release: AgentRelease) -> dict[str, Any]:
        fields: dict[str, Any] = {"replacesNewer": release.replaces_newer} | msgspec.to_builtins(
            release
        )
        return fields | {"added": "2026-01-01T00:00:00Z", "wantedBy": 0}

    async def wish_agents(self, asked: UpgradeRequest) -> dict[str, Any]:
        self.calls.append(
            f"wish {asked.workspace} {list(asked.names)} {asked.selector} {asked.version}"
            f" {asked.most}"
        )
        names = list(asked.names) or ["picked"]
        return {
            "version": asked.version,
            "clusters": names,
            "wanted": names[:1],
            "queued": names[1:],
            "number": 1,
            "most": 1,
        }

    async def status(self, workspace: str | None) -> dict[str, Any]:
        return {"gitrepos": {}, "bundles": {}, "clusters": {}, "deployments": {}, "attention": []}

    async def held_removals(self, workspace: str | None) -> list[dict[str, Any]]:
        return [one for one in self.held if workspace in {None, one["workspace"]}]

    async def confirm_held(
        self, workspace: str, bundle: str, removals: int, digest: str
    ) -> dict[str, Any]:
        self.calls.append(f"confirm held {workspace}/{bundle} {removals} {digest}".strip())
        if not any(
            (one["workspace"], one["bundle"], one["removals"]) == (workspace, bundle, removals)
            for one in self.held
        ):
            raise Conflict(
                f"nothing is held, not {removals}",
                subject=f"bundle {workspace}/{bundle}",
                next_step="Look again.",
            )
        return {"confirmed": removals}

    async def bundle_moved(
        self, workspace: str, old: str, new: str, *, taken_back: bool = False
    ) -> dict[str, Any]:
        self.calls.append(f"moved {workspace}/{old} {new} {taken_back}")
        await self.get_object("Bundle", workspace, old)
        return {"old": old, "new": new, "said": not taken_back}

    async def label_clusters(self, labels: Labels) -> dict[str, Any]:
        self.calls.append(
            f"label {list(labels.names)} {labels.selector} {labels.changes} {labels.dry_run}"
            f" {labels.removals}"
        )
        picked = list(labels.names) or [name for kind, _, name in self.objects if kind == "Cluster"]
        for name in picked:
            found = await self.get_object("Cluster", labels.workspace, name)
            if not labels.dry_run:
                found.setdefault("metadata", {}).setdefault("labels", {}).update(labels.changes)
        return {
            "picked": len(picked),
            "clusters": len(picked),
            "names": picked[:20],
            "removals": sum(one["removals"] for one in self.held),
            "held": 0 if labels.removals is not None else sum(one["removals"] for one in self.held),
            "bundles": [{"name": one["bundle"], "removals": one["removals"]} for one in self.held],
            "effects": [_removed_everywhere(one) for one in self.held],
            "moreEffects": 0,
            "holds": self.held,
            "dryRun": labels.dry_run,
        }

    async def why(self, workspace: str, *, cluster: str, bundle: str, name: str) -> dict[str, Any]:
        self.calls.append(f"why {workspace} {cluster} {bundle} {name}")
        if self.broken:
            raise self.broken
        return self.whys.get(
            (cluster, bundle or name),
            {"kind": "Why", "ready": True, "state": "Ready", "lines": [], "next": {"text": ""}},
        )

    async def list_rollouts(self, workspace: str | None, bundle: str = "") -> list[dict[str, Any]]:
        return [
            r
            for r in self.rollouts
            if workspace in {None, r["metadata"]["namespace"]}
            and bundle in {"", r["metadata"]["name"]}
        ]

    async def command_rollout(
        self, workspace: str, bundle: str, verb: str, reason: str, who: str = ""
    ) -> dict[str, Any]:
        self.calls.append(f"rollout {verb} {workspace}/{bundle} {reason}".strip())
        found = await self.list_rollouts(workspace, bundle)
        if not found:
            raise NotFound(
                f"bundle {bundle} does not exist in workspace {workspace}",
                subject=f"bundle {bundle}",
            )
        return found[0]

    async def bundle_history(self, workspace: str, bundle: str) -> list[dict[str, Any]]:
        await self.get_object("Bundle", workspace, bundle)
        return []

    async def bundle_decisions(self, workspace: str, bundle: str) -> list[dict[str, Any]]:
        return []

    async def cluster_history(
        self, workspace: str, cluster: str, bundle: str = ""
    ) -> list[dict[str, Any]]:
        await self.get_object("Cluster", workspace, cluster)
        return []

    async def go_back(
        self, workspace: str, bundle: str, ask: RollbackRequest, *, dry_run: bool = False
    ) -> RollbackResult:
        self.calls.append(f"{'release' if ask.release else 'rollback'} {workspace}/{bundle} {ask}")
        return RollbackResult(
            0 if ask.release else ask.number or 1,
            1,
            1,
            0,
            list(ask.clusters.names),
            [],
            resumed=False,
        )

    async def correct_drift(
        self, workspace: str, bundle: str, names: Sequence[str], selector: str
    ) -> dict[str, Any]:
        self.corrections.append((workspace, bundle, tuple(names), selector))
        return {"clusters": len(names), "names": list(names)}

    async def changes(self, since: int, wait: float) -> int:
        if since >= self.revision and wait:
            self.changed.clear()
            await self._until_changed(wait)
        return self.revision

    async def _until_changed(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.changed.wait(), seconds)
        except TimeoutError:
            return

    async def check_token(self, token: str) -> Person | None:
        return self.tokens.get(token)

    async def create_token(
        self, name: str, role: str, workspace: str, ttl_seconds: int
    ) -> tuple[str, str]:
        token = secrets.token_urlsafe(32)
        self.tokens[token] = Person(name, role, workspace, "2030-01-01T00:00:00Z")
        return token, "2030-01-01T00:00:00Z"

    async def list_tokens(self) -> list[dict[str, Any]]:
        return [
            {"name": p.name, "role": p.role, "workspace": p.workspace, "expires": p.expires}
            for p in self.tokens.values()
        ]

    async def revoke_token(self, name: str) -> None:
        self.tokens = {t: p for t, p in self.tokens.items() if p.name != name}

    async def enrol(self, request: wire.EnrolRequest, *, address: str) -> wire.EnrolAnswer:
        key = wire.unb64(request.public_key)
        proven = verify(
            key, wire.unb64(request.proof), wire.enrol_bytes(request.token, request.public_key)
        )
        if request.token not in self.enrol_tokens or not proven:
            raise LoginError(
                "the registration token is wrong, expired or used",
                next_step="Run `fleetctl cluster register NAME`.",
            )
        self.enrol_tokens.discard(request.token)
        self.agents[CLUSTER] = key
        keys = [wire.VerifyKey(id=self.signer.key_id, public_key=wire.b64(self.signer.public_key))]
        return wire.EnrolAnswer(
            cluster_id=CLUSTER,
            cluster=ClusterName("paris"),
            workspace=Workspace("fleet-default"),
            epoch=Epoch(1),
            keys=keys,
            poll_seconds=15,
        )

    async def prepare(self, cluster_id: ClusterId) -> None:
        """Every cluster is in memory."""

    def key_of(self, cluster_id: ClusterId) -> bytes | None:
        return self.agents.get(cluster_id)

    async def desired(self, cluster_id: ClusterId, held: str = "") -> SignedDocument:
        return self.document

    async def wait_desired(
        self, cluster_id: ClusterId, etag: str, seconds: float
    ) -> SignedDocument:
        self.calls.append("wait")
        if self.document.etag == etag:
            self.changed.clear()
            await self._until_changed(seconds)
        return self.document

    async def archive_path(self, cluster_id: ClusterId, digest: Digest) -> Path:
        if digest != self.digest:
            raise NotFound("no such archive", next_step="Fetch the desired state again.")
        return self._folder / digest

    async def report(self, cluster_id: ClusterId, request: wire.StatusRequest) -> None:
        self.reports.append(request)

    async def ready(self) -> str | None:
        return None

    async def metrics(self) -> dict[str, float]:
        return {'fleet_clusters{state="Ready"}': 1.0}


def _removed_everywhere(hold: dict[str, Any]) -> dict[str, Any]:
    """The effect of a change of labels that would remove the held bundle."""
    return {"bundle": hold["bundle"], "what": "removed", "clusters": hold["removals"], "names": []}
