"""Administrators' tokens that are created on the manager's host: at the first start, and by
`fleet-manager admin-token`.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from fleetctl.core.model.errors import Conflict, FleetError, RefusedError, UsageError
from fleetctl.durable import write_whole

from .. import log
from ..clock import rfc3339, until
from ..store import migrate
from ..store.commands import tokens as token_commands
from ..store.connection import Writer
from ..store.data_directory import DATABASE
from ..store.engine import Store
from ..store.queries import tokens as token_queries
from ..store.queries.tokens import TokenRow
from .tokens import Tokens, hash_token, new_row

FILE = "admin.token"
_SOON_SECONDS = 30 * 86400
TTL_SECONDS, FIRST_TTL_SECONDS = 24 * 3600, 10 * 365 * 86400


@dataclass(frozen=True)
class NewToken:
    """A token whose value is in `file`."""

    file: Path
    name: str
    expires: str


async def create(data_dir: Path, *, now: float, ttl: int = TTL_SECONDS) -> NewToken:
    """Write a new token to `admin.token`. Raises Conflict when the token there is valid, UsageError
    without a database.
    """
    database, file = data_dir / DATABASE, data_dir / FILE
    if not database.exists():
        raise UsageError(
            f"{database} does not exist",
            subject="--data-dir",
            next_step="Name the data directory of a manager.",
        )
    value = secrets.token_urlsafe(32)
    store = Store(database)
    await store.open(create=False)
    try:
        token = await store.write(lambda writer: _insert(writer, value, file, now, until(now, ttl)))
        write_whole(file, value.encode() + b"\n")
    finally:
        await store.close()
    return token


def _insert(writer: Writer, value: str, file: Path, now: float, expires: str) -> NewToken:
    _check_schema_version(writer)
    rows = token_queries.list_tokens(writer)
    _refuse_second_token(rows, file, rfc3339(now))
    name = _free_name({row.name for row in rows})
    row = new_row(name, value, now=rfc3339(now), expires=expires)
    token_commands.insert_token(writer, row)
    return NewToken(file, name, expires)


def _check_schema_version(writer: Writer) -> None:
    if migrate.version(writer) != migrate.HEAD:
        step = "Start the manager of this version once; it migrates the database."
        raise RefusedError(
            "the database has the tables of another version", subject=DATABASE, next_step=step
        )


def _refuse_second_token(rows: Iterable[TokenRow], file: Path, now: str) -> None:
    """Raises Conflict when the token in `file` is valid for an administrator of all workspaces."""
    value = _read(file)
    for row in rows:
        is_administrator = row.role == "admin" and not row.workspace
        if value and row.hash == hash_token(value) and is_administrator and row.expires_at > now:
            step = (
                f"Use it: `fleetctl login URL --token-file {file}`. Or revoke it: `fleetctl token"
                f" revoke {row.name}`."
            )
            raise Conflict(
                f"the token in {file} is valid until {row.expires_at}",
                subject=row.name,
                next_step=step,
            )


def _free_name(names: Collection[str]) -> str:
    """`admin`, else the first of `admin-2`, `admin-3`, … that no token has."""
    if "admin" not in names:
        return "admin"
    return next(name for n in itertools.count(2) if (name := f"admin-{n}") not in names)


def _read(file: Path) -> str:
    return file.read_bytes().decode("ascii", "replace").strip() if file.exists() else ""


async def ensure(tokens: Tokens, data_dir: Path) -> bool:
    """Create `admin.token` when no administrator has a valid token. Returns whether it was created.

    The mark beside it shows a start that ended before the file was written.
    """
    path, mark = data_dir / FILE, data_dir / f".{FILE}.begun"
    if mark.exists() and not path.exists():
        with contextlib.suppress(FleetError):
            await tokens.revoke("admin")
    elif await _has_administrator(tokens, path):
        return False
    write_whole(mark, b"")
    token, _ = await _create_named(tokens)
    write_whole(path, token.encode() + b"\n")
    mark.unlink()
    return True


async def _create_named(tokens: Tokens) -> tuple[str, str]:
    try:
        return await tokens.create("admin", "admin", "", FIRST_TTL_SECONDS)
    except Conflict:  # a token with fewer rights has the name
        return await tokens.create(f"admin-{secrets.token_hex(4)}", "admin", "", FIRST_TTL_SECONDS)


async def _has_administrator(tokens: Tokens, path: Path) -> bool:
    """Whether an administrator of all workspaces has a valid token. Warns when the one in `path` is
    not valid.
    """
    value = _read(path)
    person = await tokens.check(value) if value else None
    if person is not None and person.role == "admin" and not person.workspace:
        if person.expires < rfc3339(time.time() + _SOON_SECONDS):
            log.warning(
                "admin.token expires soon",
                expires=person.expires,
                next="create another: fleetctl token create",
            )
        return True
    now = rfc3339(time.time())
    valid = [
        t
        for t in await tokens.list()
        if t["role"] == "admin" and not t["workspace"] and t["expires"] > now
    ]
    if valid and value:
        step = f"delete it, or replace it with: fleet-manager admin-token --data-dir {path.parent}"
        log.warning("admin.token is not valid", file=str(path), next=step)
    return bool(valid)
