"""People's tokens: 256 bits, kept as a hash, with a name, a role, a workspace and an end."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.errors import Conflict, NotFound

from .clock import Clock, rfc3339, until
from .store.base import Store
from .store.schema import tokens


@dataclass(frozen=True)
class Person:
    name: str
    role: str
    workspace: str
    expires: str


def hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


class Tokens:
    """All tokens are held in memory by their hash: a request asks no database."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._people: dict[bytes, Person] = {}

    async def load(self) -> None:
        rows = await self._store.read(lambda c: c.execute(sa.select(tokens)).all())
        self._people = {r.hash: Person(r.name, r.role, r.workspace, r.expires) for r in rows}

    async def check(self, token: str) -> Person | None:
        found = self._people.get(hashed(token))
        return found if found and found.expires > rfc3339(self._clock()) else None

    async def create(self, name: str, role: str, workspace: str, ttl_seconds: int) -> tuple[str, str]:
        """(value, end). Raises Conflict when a living token has the name."""
        value, now = secrets.token_urlsafe(32), rfc3339(self._clock())
        person = Person(name, role, workspace, until(self._clock(), ttl_seconds))

        def write(connection: Connection) -> None:
            connection.execute(sa.delete(tokens).where(tokens.c.expires <= now))
            if connection.execute(sa.select(tokens.c.name).where(tokens.c.name == name)).first():
                step = f"Revoke it with `fleetctl token revoke {name}`, or choose another name."
                raise Conflict(f"there is a token named {name} already", subject=f"token {name}", next_step=step)
            row = {"name": name, "hash": hashed(value), "role": role, "workspace": workspace, "created": now, "expires": person.expires}
            connection.execute(sa.insert(tokens), row)

        await self._store.write(write)
        self._people[hashed(value)] = person
        return value, person.expires

    async def list(self) -> list[dict[str, Any]]:
        rows = await self._store.read(lambda c: c.execute(sa.select(tokens).order_by(tokens.c.name)).all())
        return [{"name": r.name, "role": r.role, "workspace": r.workspace, "created": r.created, "expires": r.expires} for r in rows]

    async def revoke(self, name: str) -> None:
        """Raises NotFound."""
        gone = await self._store.write(lambda c: c.execute(sa.delete(tokens).where(tokens.c.name == name)).rowcount)
        self._people = {key: person for key, person in self._people.items() if person.name != name}
        if not gone:
            raise NotFound(f"there is no token named {name}", subject=f"token {name}", next_step="See `fleetctl token list`.")
