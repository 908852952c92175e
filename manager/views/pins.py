"""Shows pins on the bundle, its rollout, its deployments and the clusters (docs/api.md). A person
who looks at any of them must see that it does not follow Git, which revision it has instead, and
by whom and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetctl.core.rollout.schedule import ScheduleVerdict

from ..store.connection import Reader
from ..store.queries.deployments import DeploymentRow
from ..store.queries.pins import count_cluster_pins, list_bundle_pins, list_cluster_pins
from .metadata import Document

_MAX_MESSAGES = 3
_NEXT = "is sent as soon as the budget of its partition and pauses allow"


@dataclass(frozen=True)
class Pin:
    """A revision that a bundle, or (`on_cluster`) one cluster, has in place of the newest."""

    revision: int
    author: str
    reason: str
    at: str
    on_cluster: bool

    def describe(self) -> str:
        by = f" by {self.author}" if self.author else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"pinned to revision {self.revision}{by}{reason}"

    def document(self) -> Document:
        return {
            "number": self.revision,
            "who": self.author,
            "reason": self.reason,
            "at": self.at,
            "of": "cluster" if self.on_cluster else "bundle",
        }


@dataclass(frozen=True)
class BundlePins:
    """The pin of a bundle as a whole, and how many clusters have their own, by revision."""

    whole: Pin | None
    clusters: Sequence[tuple[int, int]] = ()

    def describe(self, commit: str = "") -> str:
        """`commit`: what Git is at, "" to leave it out."""
        texts = [
            f"{_count_clusters(number)} pinned to revision {revision}"
            for revision, number in self.clusters
        ]
        if self.whole:
            git = f", Git is at {commit[:7]}" if commit else ""
            texts.insert(0, f"{self.whole.describe()}{git}")
        return "; ".join(texts)

    def fields(self) -> Document:
        """`pin` and `pinnedClusters` of a status."""
        return {
            "pin": self.whole.document() if self.whole else None,
            "pinnedClusters": [
                {"number": revision, "clusters": number} for revision, number in self.clusters
            ],
        }


NO_PINS = BundlePins(None)


def _count_clusters(number: int) -> str:
    return f"{number} cluster" + ("" if number == 1 else "s")


def pins_by_bundle(reader: Reader, workspace: str | None) -> dict[tuple[str, str], BundlePins]:
    """By workspace and name: the bundles that are pinned as a whole or on clusters."""
    clusters: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in count_cluster_pins(reader, workspace):
        clusters.setdefault((row.workspace, row.bundle), []).append((row.revision, row.clusters))
    wholes = _bundle_pins(reader, workspace)
    return {
        key: BundlePins(wholes.get(key), clusters.get(key, ()))
        for key in clusters.keys() | wholes.keys()
    }


def _bundle_pins(reader: Reader, workspace: str | None) -> dict[tuple[str, str], Pin]:
    """By workspace and bundle."""
    return {
        (row.workspace, row.bundle): Pin(
            row.revision, row.author, row.reason, row.decided_at, on_cluster=False
        )
        for row in list_bundle_pins(reader, workspace)
    }


def _cluster_pins(
    reader: Reader, workspace: str | None, ids: Sequence[str]
) -> dict[tuple[str, str], Pin]:
    """By cluster id and bundle."""
    return {
        (row.cluster_id, row.bundle): Pin(
            row.revision, row.author, row.reason, row.decided_at, on_cluster=True
        )
        for row in list_cluster_pins(reader, workspace, ids)
    }


def add_to_bundle(status: Document, pins: BundlePins) -> None:
    """Add the pins to a bundle's status, first in its message."""
    status |= pins.fields()
    _set_message(status["display"], pins.describe(status["commit"]), status["display"]["message"])


def add_to_rollout(status: Document, pins: BundlePins) -> None:
    """Add the pins to a rollout's status, after what it waits for."""
    status |= pins.fields()
    _set_message(status["display"], status["display"]["message"], pins.describe())


def _set_message(fields: Document, *texts: str) -> None:
    fields["message"] = "; ".join(filter(None, texts))


def add_to_deployments(
    reader: Reader,
    workspace: str | None,
    deployments: Sequence[tuple[DeploymentRow, Document]],
    closed_windows: Mapping[str, ScheduleVerdict],
) -> None:
    """Add the pins to the documents. `closed_windows`: clusters outside their schedule windows."""
    bundle_pins = _bundle_pins(reader, workspace)
    ids = sorted({row.cluster_id for row, _ in deployments})
    cluster_pins = _cluster_pins(reader, workspace, ids)
    for row, document in deployments:
        cluster_pin = cluster_pins.get((row.cluster_id, row.bundle))
        pin = cluster_pin or bundle_pins.get((row.workspace, row.bundle))
        _add_to_deployment(row, document["status"], pin, closed_windows.get(row.cluster_id))


def _add_to_deployment(
    row: DeploymentRow, status: Document, pin: Pin | None, window: ScheduleVerdict | None
) -> None:
    status["pin"] = pin.document() if pin else None
    if pin is None:
        return
    message, reason = status["message"], status["reason"]
    waits = row.staged_key and row.generation > 0 and reason and reason["code"] == "held"
    if pin.on_cluster and waits:
        # the pin does not wait for what the rollout waits for
        message = reason["cause"] = window.why if window else _NEXT
    _set_message(status, message, pin.describe())


def add_to_clusters(
    reader: Reader, workspace: str | None, clusters: Sequence[tuple[str, Document]]
) -> None:
    """Add the pins that clusters have of their own. `clusters`: ids and documents."""
    texts: dict[str, list[str]] = {}
    pins = _cluster_pins(reader, workspace, [cluster for cluster, _ in clusters])
    for (cluster, bundle), pin in sorted(pins.items()):
        texts.setdefault(cluster, []).append(f"{bundle} {pin.describe()}")
    for cluster, document in clusters:
        status, messages = document["status"], texts.get(cluster, [])
        status["pinnedBundles"] = len(messages)
        if len(messages) > _MAX_MESSAGES:
            suffix = f"{len(messages) - _MAX_MESSAGES} more bundles are pinned"
            messages = [*messages[:_MAX_MESSAGES], suffix]
        _set_message(status["display"], status["display"]["message"], *messages)
