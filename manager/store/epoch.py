"""The epoch: what a person raises after a restore, so that agents which are ahead of the backup
follow it again (I4).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.status import State

from ..clock import rfc3339
from .commands.clusters import forget_reporters
from .commands.documents import mark_every_document_changed
from .engine import Store
from .schema import deployments, meta, registrations, tokens


@dataclass(frozen=True)
class RaisedEpoch:
    """`tokens` and `registrations`: names of the valid people's tokens, and what each registration
    token is for.
    """

    old: int
    new: int
    tokens: list[str]
    registrations: list[str]


async def raise_epoch(path: Path, *, now: float, revoke: bool = False) -> RaisedEpoch:
    """Raise the epoch of the database at `path`, which no manager may have open. Raises UsageError.

    The backup may hold tokens that were revoked after it was made: they are listed, and removed
    when `revoke` is set.
    """
    _must_exist(path)
    store = Store(path)
    await store.open()
    try:
        old, new = await store.write(lambda connection: _raise(connection, rfc3339(now)))
        names, claims = await store.write(
            lambda connection: _tokens(connection, rfc3339(now), revoke=revoke)
        )
        return RaisedEpoch(old, new, names, claims)
    finally:
        await store.close()


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise UsageError(
            f"{path} does not exist",
            subject="--data-dir",
            next_step="Give the data directory of a manager that has run.",
        )


def _tokens(connection: Connection, now: str, *, revoke: bool) -> tuple[list[str], list[str]]:
    t, r = tokens.c, registrations.c
    names = sorted(connection.execute(sa.select(t.name).where(t.expires_at > now)).scalars())
    rows = connection.execute(
        sa.select(r.workspace, r.cluster, r.source).where(r.expires_at > now, r.remaining_uses > 0)
    ).all()
    claims = sorted(f"{row.workspace}/{row.cluster or row.source}" for row in rows)
    if revoke:
        connection.execute(sa.delete(tokens))
        connection.execute(sa.delete(registrations))
    return names, claims


def _raise(connection: Connection, now: str) -> tuple[int, int]:
    """In the new epoch nobody has reported anything yet (I8), and each document is another one."""
    condition = meta.c.key == "epoch"
    old = int(
        connection.execute(sa.select(meta.c.value).where(condition)).scalar_one_or_none() or 1
    )
    connection.execute(
        sa.insert(meta).prefix_with("OR REPLACE"), {"key": "epoch", "value": old + 1}
    )
    blank = {
        "state": State.WAIT_APPLIED.value,
        "reported_generation": 0,
        "applied_generation": 0,
        "message": "",
        "report": b"",
    }
    connection.execute(sa.update(deployments).where(~deployments.c.is_removed).values(**blank))
    mark_every_document_changed(connection, now)
    forget_reporters(connection)
    return old, old + 1
