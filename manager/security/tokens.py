"""People's tokens: 256 bits, kept as a hash, with a name, a role, a workspace and an end."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import Conflict, NotFound

from ..clock import Clock, rfc3339, until
from ..store.engine import Store
from ..store.schema import tokens

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Person:
    name: str
    role: str
    workspace: str
    expires: str


def hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def row_of(
    name: str, value: str, *, now: str, expires: str, role: str = "admin", workspace: str = ""
) -> dict[str, Any]:
    """The row of a new token; only the hash of its value is stored."""
    return {
        "name": name,
        "hash": hashed(value),
        "role": role,
        "workspace": workspace,
        "created": now,
        "expires": expires,
    }


class Tokens:
    """All tokens are held in memory by their hash: a request with a known token asks no
    database.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._people: dict[bytes, Person] = {}
        self._next_look = 0.0

    async def load(self) -> None:
        rows = await self._store.read(lambda c: c.execute(sa.select(tokens)).all())
        self._people = {r.hash: Person(r.name, r.role, r.workspace, r.expires) for r in rows}

    async def check(self, token: str) -> Person | None:
        person = self._people.get(hashed(token)) or await self._find(hashed(token))
        return person if person and person.expires > rfc3339(self._clock()) else None

    async def _find(self, token: bytes) -> Person | None:
        """A token that `fleet-manager admin-token` created while this manager runs. At most a few
        look-ups a second.
        """
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + _LOOK_SECONDS
        query = sa.select(tokens).where(tokens.c.hash == token)
        row = await self._store.read(lambda c: c.execute(query).one_or_none())
        if row is None:
            return None
        self._people[token] = Person(row.name, row.role, row.workspace, row.expires)
        return self._people[token]

    async def create(
        self, name: str, role: str, workspace: str, ttl_seconds: int
    ) -> tuple[str, str]:
        """(value, end). Raises Conflict when a living token has the name."""
        value, now = secrets.token_urlsafe(32), rfc3339(self._clock())
        person = Person(name, role, workspace, until(self._clock(), ttl_seconds))

        def write(connection: Connection) -> None:
            connection.execute(sa.delete(tokens).where(tokens.c.expires <= now))
            if connection.execute(sa.select(tokens.c.name).where(tokens.c.name == name)).first():
                step = f"Revoke it with `fleetctl token revoke {name}`, or choose another name."
                raise Conflict(
                    f"there is a token named {name} already",
                    subject=f"token {name}",
                    next_step=step,
                )
            row = row_of(
                name, value, now=now, expires=person.expires, role=role, workspace=workspace
            )
            connection.execute(sa.insert(tokens), row)

        await self._store.write(write)
        self._people[hashed(value)] = person
        return value, person.expires

    async def list(self) -> list[dict[str, Any]]:
        rows = await self._store.read(
            lambda c: c.execute(sa.select(tokens).order_by(tokens.c.name)).all()
        )
        return [
            {
                "name": r.name,
                "role": r.role,
                "workspace": r.workspace,
                "created": r.created,
                "expires": r.expires,
            }
            for r in rows
        ]

    async def revoke(self, name: str) -> None:
        """Raises NotFound."""
        gone = await self._store.write(
            lambda c: c.execute(sa.delete(tokens).where(tokens.c.name == name)).rowcount
        )
        self._people = {key: person for key, person in self._people.items() if person.name != name}
        if not gone:
            raise NotFound(
                f"there is no token named {name}",
                subject=f"token {name}",
                next_step="See `fleetctl token list`.",
            )
