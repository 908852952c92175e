"""What bundles mean for clusters: the texts, digests and flags that each is to be told. Reads only;
nothing of it is stored here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import Digest, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.model.plan import Key, Want

from ..revisions import pins
from ..security.secret_sealing import sources, version_of

Sources = Mapping[tuple[str, str], Any]


def copied_by(connection: Connection, workspace: Workspace, specs: Iterable[BundleSpec]) -> Sources:
    """The Secrets and ConfigMaps that the bundles want copied."""
    every = (
        options
        for spec in specs
        for options in (spec.options, *(t.options for t in (*spec.targets, *spec.customizations)))
    )
    wanted = [
        one
        for options in every
        if options.downstream_resources
        for one in opts.downstream_of(options)
    ]
    return sources(connection, workspace, wanted) if wanted else {}


def intended(
    connection: Connection,
    workspace: Workspace,
    stored: list[BundleSpec],
    fleet: Sequence[Cluster],
    known: Sequence[Group],
    texts: dict[str, bytes],
) -> tuple[list[BundleSpec], dict[Key, Want]]:
    """What the clusters of `fleet` should be told when these are the workspace's bundles, and the
    bundles as they count for that: pinned ones with the content of their revision. Reads only: a
    plan asks this for bundles that are not stored. `texts` receives the options' JSON by its key.
    """
    orders = pins.orders(connection, workspace, stored, fleet)
    wanted = wanted_by(
        orders,
        fleet,
        known,
        texts,
        copied_by(connection, workspace, [order.spec for order in orders]),
    )
    return [order.spec for order in orders if order.only is None], wanted


def wanted_by(
    orders: Iterable[pins.Order],
    fleet: Sequence[Cluster],
    known: Sequence[Group],
    texts: dict[str, bytes],
    copied: Sources,
) -> dict[Key, Want]:
    """Every deployment that should be; `texts` receives the options' JSON by its key."""
    wanted: dict[Key, Want] = {}
    for order in orders:
        spec = order.spec
        # a thousand clusters with the same options cost one digest
        made: dict[tuple[int, str, str], Want] = {}
        for match in order.matches(fleet, known):
            key = (id(match.options), match.target, match.customization)
            if key not in made:
                made[key] = want_of(
                    order, (match.target, match.customization), match.options, texts, copied
                )
            wanted[match.cluster.id, spec.name] = made[key]
    return wanted


def shown_of(spec: BundleSpec) -> str:
    """What agents are told of a bundle beside its options."""
    return msgspec.json.encode([spec.labels, spec.depends_on, spec.paused]).decode()


def want_of(
    order: pins.Order,
    names: tuple[str, str],
    options: Options,
    texts: dict[str, bytes],
    copied: Sources,
) -> Want:
    """A content that is copied counts as one of the options: another one is deployed again."""
    spec = order.spec
    version = version_of(opts.downstream_of(options), copied)
    text = opts.to_json(options)
    key = hashlib.sha256(text).hexdigest()
    texts[key] = text
    return Want(
        archive=spec.archive,
        options_digest=Digest(
            hashlib.sha256(f"{opts.digest(options)}\n{version}".encode()).hexdigest()
        )
        if version
        else opts.digest(options),
        options_key=key,
        size=spec.size,
        target=names[0],
        customization=names[1],
        commit=spec.commit,
        keep_resources=bool(options.keep_resources),
        shown=shown_of(spec),
        decision=order.decision,
    )
