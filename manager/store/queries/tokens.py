"""Reads people's tokens and registration tokens. The database holds only hashes of their values."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from ..bulk import in_parts
from ..connection import Reader
from ..rows import columns_of, fetch_all, fetch_first
from ..schema import registrations, tokens


class TokenRow(msgspec.Struct, frozen=True):
    """A person's token. Times are RFC 3339; workspace "" means all workspaces."""

    name: str
    hash: bytes
    role: str
    workspace: str
    created_at: str
    expires_at: str


class RegistrationRow(msgspec.Struct, frozen=True):
    """A registration token. `cluster_id` None lets the manager create clusters; `source` is the
    name of its ClusterRegistrationToken, "" for a token of one cluster.
    """

    hash: bytes
    workspace: str
    cluster: str
    cluster_id: str | None
    source: str
    labels: bytes
    expires_at: str
    remaining_uses: int
    replace: bool


_TOKENS = sa.select(*columns_of(TokenRow, tokens))
_REGISTRATIONS = sa.select(*columns_of(RegistrationRow, registrations))


def list_tokens(reader: Reader) -> list[TokenRow]:
    """All tokens of people, expired ones too, by name."""
    return fetch_all(reader, _TOKENS.order_by(tokens.c.name), TokenRow)


def find_token(reader: Reader, token_hash: bytes) -> TokenRow | None:
    return fetch_first(reader, _TOKENS.where(tokens.c.hash == token_hash), TokenRow)


def has_token_name(reader: Reader, name: str) -> bool:
    return reader.execute(sa.select(tokens.c.name).where(tokens.c.name == name)).first() is not None


def find_registrations(
    reader: Reader, token_hashes: Collection[bytes]
) -> dict[bytes, RegistrationRow]:
    """The registrations of these tokens by hash; an unknown token is missing."""
    return {
        row.hash: row
        for part in in_parts(sorted(token_hashes))
        for row in fetch_all(
            reader, _REGISTRATIONS.where(registrations.c.hash.in_(part)), RegistrationRow
        )
    }
