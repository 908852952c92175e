"""Law of the documents: the content of a cluster's document never changes without its revision.

`FLEETCTL_ROLLOUT_EXAMPLES=500` tries more and other sequences.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model import wire
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.ids import ClusterId, CommitId, Digest
from fleetctl.core.model.options import DownstreamResource, Options
from fleetctl.sources.git.store import About
from manager.agents import desired_state
from manager.agents.agent_upgrades import UpgradeRequest
from manager.clock import rfc3339
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.store.schema import agent_releases
from tests.support.rollouts.world import BUNDLE, REPO, SPACE, World

EXAMPLES = int(os.environ.get("FLEETCTL_ROLLOUT_EXAMPLES", "0"))
NAMES = ["c0", "c1", "c2"]
RINGS = [{"name": f"ring{n}", "clusterSelector": {"matchLabels": {"ring": str(n)}}} for n in (1, 2)]
STRATEGY = {"maxUnavailable": 1, "partitions": RINGS}
names = st.sampled_from(NAMES)


class Documents(RuleBasedStateMachine):
    """Any command may come; then each document is built and compared with the one before."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-documents-"))
        self.world = World(self.folder / "m", STRATEGY)
        self.world.repository()
        for number, name in enumerate(NAMES):
            self.world.join(name, ring=str(number))
        self.documents: dict[ClusterId, wire.Desired] = {}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder)

    @rule(content=st.integers(0, 2), copies=st.sampled_from(["", "copied"]), paused=st.booleans())
    def commit(self, content: int, copies: str, paused: bool) -> None:
        """A commit with the bundle; `copies`: the Secret that it copies to clusters."""
        resources = [DownstreamResource(kind="Secret", name=copies)] if copies else None
        self._scan(
            [
                BundleSpec(
                    workspace=SPACE,
                    name=BUNDLE,
                    repo=REPO,
                    path="web",
                    commit=CommitId(str(self.world.version + 1)),
                    targets=[Target(name="all", cluster_selector={})],
                    archive=Digest(f"{content:064x}"),
                    rollout_strategy=STRATEGY,
                    options=Options(downstream_resources=resources),
                    paused=paused,
                )
            ]
        )

    @rule()
    def commit_without_bundle(self) -> None:
        self._scan([])

    def _scan(self, specs: list[BundleSpec]) -> None:
        self.world.version += 1
        self.world.broken[self.world.version] = set()
        repo = RepoSpec(workspace=SPACE, name=REPO, spec=GitRepoSpec(repo="https://git.test/apps"))
        scan = CompletedScan(CommitId(str(self.world.version)), specs, [], about=About())
        changed_clusters, _ = self.world.run(
            self.world.service._store.write(
                lambda c: apply_scan(
                    c, repo, 1, scan, confirmation=None, now=rfc3339(self.world.now)
                )
            )
        )
        self.world.service._live.mark_changed(changed_clusters)

    @rule(content=st.sampled_from(["a", "b"]))
    def put_secret(self, content: str) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "copied", "namespace": SPACE},
            "stringData": {"key": content},
        }
        self.world.run(self.world.service.objects.put("Secret", SPACE, "copied", document))

    @rule(name=names, ring=st.sampled_from("123"))
    def label(self, name: str, ring: str) -> None:
        self.world.label(name, ring=ring)

    @rule(name=names, on=st.booleans())
    def pause(self, name: str, on: bool) -> None:
        self.world.pause(name, on=on)

    @rule(name=names, value=st.integers(0, 2))
    def set_values(self, name: str, value: int) -> None:
        views, objects = self.world.service.views, self.world.service.objects
        document: dict[str, Any] = self.world.run(views.get_object("Cluster", SPACE, name))
        head = {key: document[key] for key in ("apiVersion", "kind", "metadata")}
        spec = {"templateValues": {"value": value}}
        self.world.run(objects.put("Cluster", SPACE, name, {**head, "spec": spec}))

    @rule(name=names)
    def enrol_again(self, name: str) -> None:
        """The cluster gets another key."""
        labels = self.world.sites[name].labels
        self.world.run(
            self.world.service.agents.register(
                SPACE, name, labels=labels, ttl_seconds=600, replace=True
            )
        )

    @rule(name=names)
    def poll(self, name: str) -> None:
        if self.world.sites[name].id in self.world.service._live.clusters:
            self.world.poll(name)

    @rule()
    def advance_rollouts(self) -> None:
        self.world.run(self.world.service._rollout_loop.look())

    @rule(verb=st.sampled_from(["pause", "resume", "approve", "abort"]))
    def command_rollout(self, verb: str) -> None:
        if self.world.rollout():
            self.world.say(verb)

    @rule(release=st.booleans())
    def roll_back(self, release: bool) -> None:
        if self.world.rollout():
            self.world.go_back(release=release)

    @rule(selected=st.sets(names, min_size=1), version=st.sampled_from(["2.0", ""]))
    def upgrade_agents(self, selected: Collection[str], version: str) -> None:
        self.world.run(self.world.service._store.write(_add_release))
        request = UpgradeRequest(SPACE, names=sorted(selected), version=version, most="1")
        self.world.run(self.world.service.upgrades.request(request))

    @rule()
    def renew(self) -> None:
        self.world.now += 16 * 86400
        self.world.run(self.world.service._desired_state.renew())

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def a_changed_document_has_another_revision(self) -> None:
        if not hasattr(self, "documents"):
            return
        service = self.world.service
        sealer, epoch = service._desired_state._sealer, service._desired_state.epoch
        for site in self.world.sites.values():
            document = self.world.run(
                service._store.read(
                    lambda c, site=site: desired_state.load(c, site.id, epoch, sealer)  # type: ignore[misc]
                )
            )
            before = self.documents.get(site.id)
            if before is not None:
                assert document.revision >= before.revision
                if document.revision == before.revision:
                    assert document == before
            self.documents[site.id] = document

    @invariant()
    def the_served_document_is_the_present_one(self) -> None:
        """No cache serves an older document."""
        if not hasattr(self, "documents"):
            return
        service = self.world.service
        for cluster, document in self.documents.items():
            if cluster not in service._live.clusters:
                continue
            served = self.world.run(service.agents.get_document(cluster))
            assert served.etag == wire.document_etag(document.epoch, document.revision)
            envelope = msgspec.json.decode(served.body, type=wire.Envelope)
            assert msgspec.json.decode(envelope.payload, type=wire.Desired) == msgspec.json.decode(
                msgspec.json.encode(document), type=wire.Desired
            )


def _add_release(writer: sa.Connection) -> None:
    row = {
        "sha256": "1" * 64,
        "version": "2.0",
        "python": "3.12",
        "platform": "linux",
        "size": 1,
        "replaces_newer": False,
        "key_id": "k",
        "signature": "s",
        "added_at": "",
    }
    writer.execute(sa.insert(agent_releases).prefix_with("OR IGNORE"), row)


TestDocuments = Documents.TestCase
TestDocuments.settings = settings(
    max_examples=EXAMPLES or 8,
    stateful_step_count=25,
    derandomize=not EXAMPLES,
    phases=[Phase.generate],  # a failure is printed as it was found
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
