"""A Helm without a cluster: releases in memory, for tests of whoever uses one. The contract suite
holds it to what the real one does.

Rule: it keeps what helm keeps (records, newest last, cut to the history) and refuses what helm
refuses; it renders generated charts only, and of other charts it hands out the templates as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    NotOurs,
    PendingOperation,
    ReleaseNotFound,
    ToolFailed,
)
from fleetctl.tools.helm import Release, Revision, UpgradeFlags

_PENDING = "pending-"
STATUS_UNINSTALLED = "uninstalled"


@dataclass(frozen=True)
class Record:
    """One revision and what it was made with."""

    revision: Revision
    values: bytes
    labels: Mapping[str, str]


def plain(chart: Path) -> bytes:
    """The content of a generated chart, or a chart's templates unrendered."""
    content = chart / "manifests.yaml"
    paths = [content] if content.exists() else sorted((chart / "templates").glob("*.yaml"))
    return b"".join(b"---\n" + path.read_bytes().strip(b"\n") + b"\n" for path in paths)


def _objects(records: Sequence[Record]) -> set[tuple[str, str]]:
    is_installed = records and records[-1].revision.status != STATUS_UNINSTALLED
    return _object_names(records[-1].revision.manifest.encode()) if is_installed else set()


def _object_names(text: bytes) -> set[tuple[str, str]]:
    return {
        (str(d["kind"]), str(d["metadata"]["name"]))
        for d in load_all(text, file="manifest")
        if isinstance(d, dict)
    }


@dataclass
class FakeHelm:
    """`reachable` False is a dead API server; `refusals` are raised by the next upgrades, one each,
    and leave a failed record. `users`: as whom it was told to act, one after the other.
    """

    render: Callable[[Path], bytes] = plain
    reachable: bool = True
    refusals: list[str] = field(default_factory=list)
    records: dict[Release, list[Record]] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)

    def acting_as(self, user: str) -> FakeHelm:
        """The same releases; there are no rights here that could be narrower."""
        self.users.append(user)
        return self

    async def upgrade(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, *, deadline: float
    ) -> Revision:
        """Install or upgrade. Raises ToolFailed and its kinds."""
        records = self._records_of(release)
        if records and records[-1].revision.status.startswith(_PENDING):
            summary = "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"
            raise PendingOperation(
                summary,
                subject=str(release),
                next_step="Wait for it, or let the agent recover the release.",
            )
        number = records[-1].revision.number + 1 if records else 1
        text = self.render(chart)
        if flags.dry_run:
            self._refuse_others(release, text, flags)
            return Revision(
                number,
                "pending-upgrade" if records else "pending-install",
                chart.name,
                text.decode(),
            )
        self._refuse_others(release, text, flags)
        status = "failed" if self.refusals else "deployed"
        new_record = Record(
            Revision(number, status, chart.name, text.decode()), values, dict(flags.labels)
        )
        if not self.refusals:
            records = [self._supersede(record) for record in records]
        self.records[release] = (
            [*records, new_record][-flags.max_history :]
            if flags.max_history
            else [*records, new_record]
        )
        if self.refusals:
            raise ToolFailed(
                self.refusals.pop(0),
                subject=str(release),
                next_step="Correct the bundle.",
            )
        return new_record.revision

    async def uninstall(
        self, release: Release, *, deadline: float, keep_record: bool = False
    ) -> None:
        """Remove it; one that is not there is removed already, and one whose record was kept is
        refused a second time.
        """
        records = self._records_of(release)
        if records and records[-1].revision.status == STATUS_UNINSTALLED and keep_record:
            summary = f'the release named "{release.name}" is already deleted'
            raise ToolFailed(summary, subject=str(release), next_step="Forget its record.")
        self.records.pop(release, None)
        if records and keep_record:
            self.records[release] = [
                *records[:-1],
                replace(
                    records[-1], revision=replace(records[-1].revision, status=STATUS_UNINSTALLED)
                ),
            ]

    async def history(self, release: Release, *, deadline: float) -> Sequence[Revision]:
        """Every record, oldest first; empty when the release does not exist."""
        return [replace(record.revision, manifest="") for record in self._records_of(release)]

    async def manifest(self, release: Release, *, deadline: float) -> bytes:
        """What was applied last. Raises ToolFailed when the release does not exist."""
        records = self._records_of(release)
        if not records:
            raise ReleaseNotFound(
                "release: not found", subject=str(release), next_step="Look with `helm list`."
            )
        return records[-1].revision.manifest.encode()

    def _refuse_others(self, release: Release, text: bytes, flags: UpgradeFlags) -> None:
        """An object that the release has not got, and another of the namespace has."""
        own_objects = _objects(self.records.get(release, []))
        for other, records in self.records.items():
            if other == release or other.namespace != release.namespace or flags.take_ownership:
                continue
            for kind, name in _object_names(text) & _objects(records) - own_objects:
                summary = (
                    f'{kind} "{name}" exists and cannot be imported into the current release:'
                    " invalid ownership metadata"
                )
                raise NotOurs(
                    summary, subject=str(release), next_step="Find the owner of the object."
                )

    def leave_pending(self, release: Release) -> None:
        """As after a helm that was killed while it upgraded: one record more, and the deployed one
        stays.
        """
        last = self.records[release][-1]
        revision = replace(last.revision, number=last.revision.number + 1, status="pending-upgrade")
        self.records[release].append(replace(last, revision=revision))

    def forget_pending(self, release: Release) -> None:
        """As the agent does with the record that a killed helm has left."""
        self.records[release] = [
            r for r in self.records[release] if not r.revision.status.startswith(_PENDING)
        ]

    def _records_of(self, release: Release) -> list[Record]:
        if not self.reachable:
            raise ClusterUnreachable(
                "cluster unreachable",
                subject=str(release),
                next_step="Check the API server and the kubeconfig.",
            )
        return self.records.get(release, [])

    @staticmethod
    def _supersede(record: Record) -> Record:
        if record.revision.status != "deployed":
            return record
        return replace(record, revision=replace(record.revision, status="superseded"))
