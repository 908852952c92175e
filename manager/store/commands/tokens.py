"""Writes people's tokens and registration tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from ..connection import Writer
from ..queries.tokens import RegistrationRow, TokenRow
from ..schema import registrations, tokens

_USE = "UPDATE registrations SET remaining_uses = remaining_uses - ? WHERE hash = ?"


def insert_token(writer: Writer, token: TokenRow) -> None:
    writer.execute(sa.insert(tokens), msgspec.structs.asdict(token))


def delete_expired_tokens(writer: Writer, now: str) -> None:
    writer.execute(sa.delete(tokens).where(tokens.c.expires_at <= now))


def delete_token(writer: Writer, name: str) -> bool:
    """Whether a token had the name."""
    return writer.execute(sa.delete(tokens).where(tokens.c.name == name)).rowcount > 0


def insert_registration(writer: Writer, registration: RegistrationRow) -> None:
    writer.execute(sa.insert(registrations), msgspec.structs.asdict(registration))


def use_registrations(writer: Writer, token_hashes: Iterable[bytes]) -> None:
    """Count one enrolment for each of the hashes."""
    uses = Counter(token_hashes)
    if uses:
        writer.exec_driver_sql(_USE, [(number, token_hash) for token_hash, number in uses.items()])


def delete_registrations_of_cluster(writer: Writer, cluster_id: str, *, now: str) -> None:
    """Remove the registrations of the cluster, and every expired one."""
    r = registrations.c
    where = (r.expires_at <= now) | (r.cluster_id == cluster_id)
    writer.execute(sa.delete(registrations).where(where))


def set_registration_limits(
    writer: Writer, workspace: str, source: str, *, labels: bytes, expires: str, uses: int
) -> None:
    """Change the registrations of one ClusterRegistrationToken."""
    r = registrations.c
    update = sa.update(registrations).where(r.workspace == workspace, r.source == source)
    writer.execute(update.values(labels=labels, expires_at=expires, remaining_uses=uses))


def delete_registrations_of_source(writer: Writer, workspace: str, source: str) -> None:
    """Remove the registrations of one ClusterRegistrationToken."""
    r = registrations.c
    writer.execute(sa.delete(registrations).where(r.workspace == workspace, r.source == source))
