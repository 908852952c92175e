"""People's tokens: 256 bits, stored as a hash, with a name, a role, a workspace and an expiry."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

from fleetctl.core.model.errors import Conflict, NotFound

from ..clock import Clock, rfc3339, until
from ..store.commands import tokens as token_commands
from ..store.connection import Writer
from ..store.engine import Store
from ..store.queries import tokens as token_queries
from ..store.queries.tokens import TokenRow

_LOOKUP_INTERVAL_SECONDS = 0.2


@dataclass(frozen=True)
class Person:
    """Who calls. `role`: admin or read; `workspace` "" means all workspaces; `expires` RFC 3339."""

    name: str
    role: str
    workspace: str
    expires: str


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def new_row(
    name: str, value: str, *, now: str, expires: str, role: str = "admin", workspace: str = ""
) -> TokenRow:
    """The row of a new token; only the hash of its value is stored."""
    return TokenRow(name, hash_token(value), role, workspace, now, expires)


class Tokens:
    """Holds all tokens in memory by their hash, so that a request with a valid token needs no query
    of the database.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._people: dict[bytes, Person] = {}
        self._next_lookup = 0.0

    async def load(self) -> None:
        rows = await self._store.read(token_queries.list_tokens)
        self._people = {row.hash: _person(row) for row in rows}

    async def check(self, token: str) -> Person | None:
        """The person who has this valid token."""
        token_hash = hash_token(token)
        person = self._people.get(token_hash) or await self._find(token_hash)
        return person if person and person.expires > rfc3339(self._clock()) else None

    async def _find(self, token_hash: bytes) -> Person | None:
        """Look up a token that `fleet-manager admin-token` created while this manager runs. At most
        five lookups a second reach the database.
        """
        now = time.monotonic()
        if now < self._next_lookup:
            return None
        self._next_lookup = now + _LOOKUP_INTERVAL_SECONDS
        row = await self._store.read(lambda reader: token_queries.find_token(reader, token_hash))
        if row is None:
            return None
        self._people[token_hash] = _person(row)
        return self._people[token_hash]

    async def create(
        self, name: str, role: str, workspace: str, ttl_seconds: int
    ) -> tuple[str, str]:
        """(value, expiry). Raises Conflict when a valid token has the name."""
        value, now = secrets.token_urlsafe(32), rfc3339(self._clock())
        expires = until(self._clock(), ttl_seconds)
        row = new_row(name, value, now=now, expires=expires, role=role, workspace=workspace)
        await self._store.write(lambda writer: _insert_unique(writer, row))
        self._people[row.hash] = _person(row)
        return value, expires

    async def list(self) -> list[dict[str, Any]]:
        rows = await self._store.read(token_queries.list_tokens)
        return [
            {
                "name": row.name,
                "role": row.role,
                "workspace": row.workspace,
                "created": row.created_at,
                "expires": row.expires_at,
            }
            for row in rows
        ]

    async def revoke(self, name: str) -> None:
        """Raises NotFound."""
        deleted = await self._store.write(lambda writer: token_commands.delete_token(writer, name))
        self._people = {key: person for key, person in self._people.items() if person.name != name}
        if not deleted:
            raise NotFound(
                f"there is no token named {name}",
                subject=f"token {name}",
                next_step="See `fleetctl token list`.",
            )


def _person(row: TokenRow) -> Person:
    return Person(row.name, row.role, row.workspace, row.expires_at)


def _insert_unique(writer: Writer, row: TokenRow) -> None:
    token_commands.delete_expired_tokens(writer, row.created_at)
    if token_queries.has_token_name(writer, row.name):
        raise Conflict(
            f"there is a token named {row.name} already",
            subject=f"token {row.name}",
            next_step=f"Revoke it with `fleetctl token revoke {row.name}`, or choose another name.",
        )
    token_commands.insert_token(writer, row)
