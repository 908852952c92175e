"""What the commands share: options, the chosen context, lists that are shown or watched, and the question before a removal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from fleetctl.cli import config, output
from fleetctl.cli.kinds import COLUMNS, KINDS, NAMESPACE
from fleetctl.cli.output import Format
from fleetctl.client import Client, place
from fleetctl.core.errors import NotFound, RefusedError, UsageError

Output = Annotated[Format, typer.Option("-o", "--output", help="Form of the answer.")]
Workspace = Annotated[str, typer.Option("-n", "--workspace", "--namespace", help="Workspace; the context's own when not given.")]
Everywhere = Annotated[bool, typer.Option("-A", "--all-workspaces", help="Look into all workspaces.")]
Selector = Annotated[str, typer.Option("-l", "--selector", help="Label selector: env=prod,tier!=gold,region in (eu,us).")]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on and show every change.")]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="Leave out the titles of the columns.")]
ContextName = Annotated[str, typer.Option("--context", help="Context to use instead of the current one.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do it without asking.")]


@dataclass
class Session:
    """One command's client and workspace."""

    client: Client
    workspace: str

    @classmethod
    def open(cls, context: str = "", workspace: str = "") -> Session:
        found = config.chosen(context)
        return cls(Client(found.url, found.token, found.ca), workspace or found.workspace)


@dataclass(frozen=True)
class Asked:
    """What a read wants."""

    plural: str
    names: Sequence[str] = ()
    form: Format = Format.TABLE
    everywhere: bool = False
    watch: bool = False
    headers: bool = True
    filters: tuple[tuple[str, str], ...] = ()


def read(session: Session, asked: Asked) -> None:
    """Show objects once, or again at each change with --watch."""
    columns = COLUMNS[asked.plural]
    if asked.everywhere:
        columns = [NAMESPACE, *columns]

    def look() -> list[dict[str, Any]]:
        if asked.names:
            return [session.client.get(asked.plural, session.workspace, name) for name in asked.names]
        workspace = "" if asked.everywhere else session.workspace
        return session.client.list(asked.plural, workspace=workspace, **dict(asked.filters))

    def show(items: list[dict[str, Any]]) -> None:
        if not items and asked.form in {Format.TABLE, Format.WIDE}:
            where = "any workspace" if asked.everywhere else f"workspace {session.workspace}"
            output.say(f"No {KINDS[asked.plural][0]} in {where}.")
            return
        output.show(items, columns, asked.form, headers=asked.headers, single=len(asked.names) == 1)

    follow(session, look, show, watch=asked.watch)


def follow(session: Session, look: Callable[[], Any], show: Callable[[Any], None], *, watch: bool) -> None:
    """Show, and with `watch` show again whenever it is another answer. Ends with Ctrl-C."""
    revision = changes(session, 0, 0) if watch else 0
    last: Any = object()
    while True:
        seen = look()
        if seen != last:
            output.clear() if watch else None
            show(seen)
            last = seen
        if not watch:
            return
        revision = changes(session, revision, 30)


def changes(session: Session, since: int, wait: int) -> int:
    """The fleet's revision; returns as soon as it is above `since`, or after `wait` seconds."""
    found = session.client.call("GET", "changes", params={"since": str(since), "wait": str(wait)}, seconds=wait + 15)
    return int(found["revision"])


def labels_of(pairs: Sequence[str], *, removing: bool = False) -> dict[str, str | None]:
    """`k=v` pairs, each text or several joined by commas; with `removing`, `k-` takes one away. Raises UsageError."""
    found: dict[str, str | None] = {}
    for text in (part for pair in pairs for part in pair.split(",") if part):
        key, sign, value = text.partition("=")
        if sign and key:
            found[key] = value
        elif removing and text.endswith("-") and len(text) > 1:
            found[text[:-1]] = None
        else:
            raise UsageError(
                f"{text!r} is not a label", next_step="Write it as key=value" + (", or key- to remove it." if removing else ".")
            )
    return found


def remove(session: Session, plural: str, names: Sequence[str], *, yes: bool, uninstall: bool = False) -> None:
    """Say what would go, ask, and do it."""
    kind = KINDS[plural][0]
    for name in names:
        gone = session.client.call("GET", place(plural, session.workspace, name) + "/removal")
        _announce(kind, name, gone, uninstall=uninstall)
        confirm(f"Delete {kind} {name}?", yes=yes)
        session.client.call("DELETE", place(plural, session.workspace, name), params={"uninstall": "true"} if uninstall else None)
        print(f"{kind.lower()}/{name} deleted")


def _announce(kind: str, name: str, gone: dict[str, Any], *, uninstall: bool) -> None:
    bundles, clusters = gone.get("bundles") or [], gone.get("clusters") or []
    if kind == "Cluster" and not uninstall:
        output.say(f"Cluster {name}: its agent's key is revoked; {len(bundles)} bundles keep running there (--uninstall removes them).")
    elif bundles:
        shown = ", ".join(bundles[:5]) + (f" and {len(bundles) - 5} more" if len(bundles) > 5 else "")
        output.say(f"{kind} {name}: {len(bundles)} bundles ({shown}) are removed from {len(clusters)} clusters.")


def confirm(question: str, *, yes: bool) -> None:
    """Raises RefusedError when nobody can answer, or the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError("nobody is there to be asked", subject=question, next_step="Add --yes.")
    output.say(f"{question} [y/N] ")
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise RefusedError("not done", subject=question, next_step="Answer y, or add --yes.")


def first(items: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    if not items:
        raise NotFound(f"{what} does not exist", next_step="Look with `fleetctl get`.")
    return items[0]
