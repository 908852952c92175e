"""Reads clusters and cluster groups from a file, and selects clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetctl.cli.options import labels_of
from fleetctl.cli.preview.request import DEFAULT_WORKSPACE, PreviewRequest, text_of
from fleetctl.core.documents.convert import Origin
from fleetctl.core.documents.manifests import cluster_of, group_of, kind_of, objects
from fleetctl.core.formats.yaml import read
from fleetctl.core.model.cluster import Cluster, Group, matches, parse_selector
from fleetctl.core.model.errors import InvalidFile, NotFound, UsageError
from fleetctl.core.model.ids import ClusterName, Workspace


@dataclass
class Fleet:
    clusters: list[Cluster] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


def fleet_of(path: Path | None, workspace: str) -> Fleet:
    """Read the clusters and groups of a file; other kinds are skipped. Raises InvalidFile."""
    fleet = Fleet()
    for document in read(text_of(path), file=str(path), strict=True, places=True) if path else []:
        for value, under in objects(document.value):
            if kind_of(value) in {"Cluster", "ClusterGroup"}:
                _take(
                    fleet,
                    value,
                    Origin(str(path), document.places, under),
                    workspace or DEFAULT_WORKSPACE,
                )
    if path and not fleet.clusters:
        step = (
            "Write documents with `apiVersion: fleet.cattle.io/v1alpha1`, `kind: Cluster`, name and"
            " labels."
        )
        raise InvalidFile("contains no Cluster", file=str(path), next_step=step)
    return fleet


def _take(fleet: Fleet, value: dict[str, Any], origin: Origin, workspace: str) -> None:
    if value["kind"] == "Cluster":
        fleet.clusters.append(cluster_of(value, origin, workspace))
    elif value["kind"] == "ClusterGroup":
        fleet.groups.append(group_of(value, origin, workspace))


def select_clusters(
    fleet: Fleet, names: Sequence[str], selector: dict[str, Any] | None
) -> list[Cluster]:
    """Select clusters by name and labels. Raises NotFound with the names that exist."""
    clusters = {str(c.name): c for c in fleet.clusters}
    for name in names:
        if name not in clusters:
            step = (
                f"There are {', '.join(sorted(clusters)[:10])}."
                if clusters
                else "Add --clusters FILE, or --label K=V to define a cluster."
            )
            raise NotFound(f"there is no cluster {name!r}", subject="--cluster", next_step=step)
    selected_clusters = [clusters[name] for name in names] if names else fleet.clusters
    selected_clusters = [
        c for c in selected_clusters if selector is None or matches(selector, c.labels)
    ]
    if not selected_clusters:
        raise NotFound(
            "no cluster matches",
            subject="-l",
            next_step="Correct the selector, or add --clusters FILE.",
        )
    return selected_clusters


def select_fleet(
    path: Path | None, names: list[str], selector: str, labels: list[str], request: PreviewRequest
) -> tuple[Fleet, list[Cluster]]:
    """The fleet and the selected clusters. Without a file, one cluster made from --cluster and
    --label.
    """
    fleet = fleet_of(path, request.repo.workspace)
    if path is None:
        if len(names) > 1:
            raise UsageError(
                "several clusters need a file",
                subject="--cluster",
                next_step="Add --clusters FILE.",
            )
        label_values = {k: v or "" for k, v in labels_of(labels).items()}
        cluster = Cluster(
            workspace=Workspace(request.repo.workspace),
            name=ClusterName(names[0] if names else "local"),
            labels=label_values,
        )
        fleet.clusters.append(cluster)
    elif labels:
        raise UsageError(
            "--label is for a cluster without a file",
            subject="--label",
            next_step="Write the labels into the file.",
        )
    return fleet, select_clusters(fleet, names, parse_selector(selector) if selector else None)
