"""Reads the names in a path, and checks that the caller may use the workspace."""

from __future__ import annotations

import re

from starlette.requests import Request

from fleetctl.core.model.errors import RefusedError, UsageError

from ..security.tokens import Person
from .auth import Gate

_NAME_IN_PATH = re.compile(r"[^\x00-\x20/\x7f]{1,253}")


def path_name(request: Request, key: str) -> str:
    """The part `key` of the path. Raises UsageError when it cannot be a name."""
    text: str = request.path_params[key]
    if not _NAME_IN_PATH.fullmatch(text):
        raise UsageError(
            f"{text[:80]!r} is not a name", next_step="Use small letters, digits, - and dots."
        )
    return text


def scope(person: Person, workspace: str | None) -> str | None:
    """The workspace to look into; None means all. Raises RefusedError outside the caller's own."""
    if not person.workspace:
        return workspace or None
    if workspace and workspace != person.workspace:
        raise RefusedError(
            f"token {person.name} is bound to workspace {person.workspace}",
            subject=f"workspace {workspace[:80]}",
            next_step=f"Name workspace {person.workspace}, or use another token.",
        )
    return person.workspace


async def object_place(gate: Gate, request: Request) -> tuple[Person, str, str]:
    """(caller, workspace, name) of the path. Raises RefusedError when the caller may not use the
    workspace.
    """
    person, _ = await gate.person(request)
    workspace = path_name(request, "workspace")
    scope(person, workspace)
    return person, workspace, path_name(request, "name")


async def unbound_person(gate: Gate, request: Request, *, admin: bool = False) -> Person:
    """The caller of a route that concerns all workspaces. Raises RefusedError for a token that is
    bound to one workspace, and with `admin` for a reader.
    """
    person, _ = await gate.person(request)
    if person.workspace or (admin and person.role != "admin"):
        raise RefusedError(
            f"token {person.name} may not see all workspaces"
            if person.workspace
            else f"token {person.name} may read only",
            subject=f"token {person.name}",
            next_step="Use an admin token without a workspace.",
        )
    return person
