"""Clusters, bundles and deployments written straight into a store: as many as are wanted, without
agents or repositories.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.rollout.strategy import place
from manager.store.schema import cluster_contacts, clusters, deployments, options

SPACE = "fleet-default"
NOW = "2026-01-01T00:00:00Z"
OPTIONS = "c" * 64


def cluster_id(number: int) -> ClusterId:
    return ClusterId(
        "c-" + hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()[:20]
    )


def add_clusters(
    connection: Connection,
    numbers: Iterable[int],
    *,
    enrolled: bool = True,
    seen: float = 0.0,
    **labels: str,
) -> None:
    head = {
        "workspace": SPACE,
        "generation": 1,
        "created_at": NOW,
        "annotations": b"{}",
        "spec": b"{}",
        "agent": b"{}",
    }
    head |= {
        "labels": msgspec.json.encode(labels),
        "public_key": b"k" * 32 if enrolled else None,
        "enrolled_at": NOW if enrolled else "",
    }
    head |= {"is_leaving": False}
    rows = ({"id": cluster_id(n), "uid": f"u-{n}", "name": f"n-{n:07}", **head} for n in numbers)
    for part in _parts(rows):
        connection.execute(sa.insert(clusters), part)
        if seen:
            ids = [row["id"] for row in part]
            of_part = cluster_contacts.c.cluster_id.in_(ids)
            connection.execute(sa.update(cluster_contacts).where(of_part).values(last_seen_at=seen))


def deployment(number: int, bundle: str, **other: Any) -> dict[str, Any]:
    cluster = cluster_id(number)
    said = {
        "generation": 1,
        "applied_generation": 1,
        "reported_generation": 1,
        "reported_at": NOW,
        "message": "",
        "report": b"",
        "state": State.READY.value,
    }
    told = {
        "archive": "a" * 64,
        "size": 3000,
        "options_digest": "b" * 64,
        "options_key": OPTIONS,
        "target": "default",
    }
    kept = {
        "customization": "",
        "commit": "d" * 40,
        "bundle_facts": b"[{},[],false]",
        "keep_resources": False,
        "is_removed": False,
        "staged_key": "",
    }
    where = {
        "cluster_id": cluster,
        "bundle": bundle,
        "workspace": SPACE,
        "repo": "apps",
        "partition": 0,
    }
    return {
        **where,
        **said,
        **told,
        **kept,
        "position": place(BundleName(bundle), cluster),
        **other,
    }


def add_deployments(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    connection.execute(sa.insert(options).prefix_with("OR IGNORE"), {"key": OPTIONS, "json": b"{}"})
    for part in _parts(rows):
        connection.execute(sa.insert(deployments), part)


def anything(rng: random.Random) -> dict[str, Any]:
    """Columns of a deployment in some state that it may be in."""
    generation = rng.choice([-3, 0, 1, 4])
    return {
        "generation": generation,
        "reported_generation": rng.choice([0, generation, 1]),
        "state": rng.choice(list(State)).value,
        "staged_key": rng.choice(["", "k" * 32]),
        "is_removed": rng.random() < 0.2,
        "partition": rng.randrange(3),
    }


def _parts(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == 5000:
            yield part
            part = []
    if part:
        yield part
