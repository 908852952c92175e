"""Statements that read, one module per aggregate. Each function takes a `Reader` and returns typed
rows.
"""

from .targeting import (
    Scope,
    bundle_specs,
    cluster_of,
    fleet_clusters,
    groups,
    kube_versions,
    last_generation,
    next_generation,
    paused_repos,
    shown_labels,
    with_repo_pause,
)

__all__ = [
    "Scope",
    "bundle_specs",
    "cluster_of",
    "fleet_clusters",
    "groups",
    "kube_versions",
    "last_generation",
    "next_generation",
    "paused_repos",
    "shown_labels",
    "with_repo_pause",
]
