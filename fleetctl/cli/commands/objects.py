"""`fleetctl apply`, `get` and `delete`: objects of any kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import plural_of, plurals_of
from fleetctl.cli.display.list_view import View, Want, read
from fleetctl.cli.display.output import Format
from fleetctl.cli.parallel import each
from fleetctl.cli.session import (
    ContextName,
    Doomed,
    DryRun,
    Every,
    Everywhere,
    NoHeaders,
    NotReady,
    Output,
    Selector,
    Session,
    SortBy,
    States,
    Watch,
    Workspace,
    Yes,
    opened,
    picked,
    remove,
)
from fleetctl.core.model.errors import FleetError, UsageError

Files = Annotated[
    list[str] | None,
    typer.Option(
        "-f", "--filename", metavar="FILE", help="File, directory, or - for standard input."
    ),
]
_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class _Given:
    """One object of a file, and where it stands."""

    doc: dict[str, Any]
    plural: str
    place: str

    @property
    def name(self) -> str:
        return str(self.doc["metadata"]["name"])

    @property
    def workspace(self) -> str:
        return str(self.doc["metadata"].get("namespace") or "")


def apply(
    extra: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    file: Files = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Create or change objects. All are checked before the first is written."""
    if extra:
        step = f"Write `fleetctl apply -f {' -f '.join(map(quote, extra))}`."
        raise UsageError("files are given with -f", subject=" ".join(extra), next_step=step)
    given = _given(file or [], workspace)
    shown = []
    with opened(context, workspace) as session:
        checked = [
            answer
            for _, answer in each(given, lambda one: _put(session, one, dry_run=True), "checked")
        ]
        for one, answer in (
            zip(given, checked, strict=True) if dry_run else _written(session, given)
        ):
            shown.append(answer["object"])
            if output in {Format.TABLE, Format.WIDE}:
                _tell(one, answer, dry_run=dry_run)
    if output not in {Format.TABLE, Format.WIDE}:
        out.objects(shown, output, single=len(shown) == 1)


def _written(session: Session, given: list[_Given]) -> Iterator[tuple[_Given, dict[str, Any]]]:
    """Write the objects. Clusters, of which a file may hold thousands, go several at once; all
    others in their order.
    """
    for plural, group in groupby(given, key=lambda one: one.plural):
        some = list(group)
        if plural == "clusters":
            yield from each(some, lambda one: _put(session, one, dry_run=False), "applied")
        else:
            yield from ((one, _put(session, one, dry_run=False)) for one in some)


def _tell(one: _Given, answer: dict[str, Any], *, dry_run: bool) -> None:
    """At once for each, so that an error in the middle leaves known what is done."""
    out.line(
        f"{one.doc['kind'].lower()}/{one.name} {answer['result']}{' (dry run)' if dry_run else ''}"
    )
    for warning in answer.get("warnings") or []:
        out.say(f"warning: {one.place}: {one.doc['kind']} {one.name}: {warning}")
    if answer.get("token") and not dry_run:
        out.say("Its token follows; it is not shown again.")
        out.line(answer["token"])


def _put(session: Session, one: _Given, *, dry_run: bool) -> dict[str, Any]:
    from fleetctl.client import place

    path = place(one.plural, one.workspace or session.workspace, one.name)
    try:
        answer: dict[str, Any] = session.client.call(
            "PUT", path, one.doc, params={"dryRun": "true"} if dry_run else None
        )
    except FleetError as error:
        error.subject = f"{one.place}: {error.subject or one.name}"
        raise
    return answer


def _given(files: list[str], workspace: str) -> list[_Given]:
    """Every object of the files. Raises InvalidFile, UsageError."""
    if not files:
        raise UsageError(
            "no file is named",
            subject="-f",
            next_step="Give -f FILE, -f DIR or -f - for standard input.",
        )
    found = [_checked(doc, where, workspace) for file in files for doc, where in documents_of(file)]
    if not found:
        raise UsageError(
            "there is no object in what was given",
            subject=", ".join(files),
            next_step="Look at the file.",
        )
    return found


def _checked(doc: Any, where: str, workspace: str) -> _Given:
    if not isinstance(doc, dict) or not isinstance(doc.get("kind"), str):
        raise UsageError(
            "this is not an object",
            subject=where,
            next_step="Give it apiVersion, kind and metadata.",
        )
    try:
        plural = plural_of(doc["kind"])
    except UsageError as error:
        error.subject = where
        raise
    meta = doc.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not meta["name"]:
        raise UsageError(
            f"{doc['kind']} has no metadata.name", subject=where, next_step="Give it a name."
        )
    given = _Given(doc, plural, where)
    if workspace and given.workspace not in {"", workspace}:
        summary = f"its namespace is {given.workspace}, and -n says {workspace}"
        raise UsageError(
            summary, subject=f"{where}: {given.name}", next_step="Leave one of them out."
        )
    return given


def documents_of(source: str) -> Iterator[tuple[Any, str]]:
    """(document, where it stands); a List is its items."""
    from fleetctl.core.formats.yaml import load_all

    for name, text in _texts(source):
        documents = load_all(text, file=name, strict=True)
        for at, document in enumerate(documents, 1):
            where = f"{name} (document {at})" if len(documents) > 1 else name
            if isinstance(document, dict) and document.get("kind") == "List":
                items = document.get("items")
                yield from ((item, where) for item in (items if isinstance(items, list) else []))
            elif document is not None:
                yield document, where


def _texts(source: str) -> list[tuple[str, bytes]]:
    if source == "-":
        return [("standard input", sys.stdin.buffer.read())]
    path = Path(source)
    try:
        if not path.is_dir():
            return [(source, path.read_bytes())]
        files = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
        return [(str(p), p.read_bytes()) for p in files]
    except OSError as why:
        raise UsageError(
            f"{source} cannot be read: {why.strerror}", subject="-f", next_step="Correct the path."
        ) from why


def get(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="Kind or short name, several joined by commas, `all`, or KIND/NAME.",
        ),
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Names; all when none is given.")
    ] = None,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    state: States = "",
    not_ready: NotReady = False,
    watch: Watch = False,
    sort_by: SortBy = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """Show objects of any kind. Short names: gr, cl, cg, crt, b, bd, sch, cm."""
    named = _named(kind, names or [])
    wants = [Want(plural, found, {"selector": selector}) for plural, found in named.items()]
    if everywhere and any(named.values()):
        raise UsageError(
            "a name belongs to one workspace",
            subject="-A",
            next_step="Give -n WORKSPACE, or leave out the name.",
        )
    with opened(context, workspace) as session:
        read(
            session,
            wants,
            View(output, everywhere, watch, not no_headers, sort_by, state, not_ready),
        )


def _named(kind: str, names: list[str]) -> dict[str, list[str]]:
    """Names by plural, of `KIND NAME…` or `KIND/NAME…`. Raises UsageError."""
    if "/" in kind:
        found: dict[str, list[str]] = {}
        for word in [kind, *names]:
            first, slash, name = word.partition("/")
            if not slash or not name:
                raise UsageError(
                    f"{word!r} is not KIND/NAME",
                    subject=kind,
                    next_step="Write either KIND NAME… or KIND/NAME….",
                )
            found.setdefault(plural_of(first), []).append(name)
        return found
    plurals = plurals_of(kind)
    if names and len(plurals) > 1:
        raise UsageError(
            "names belong to one kind", subject=kind, next_step="Write KIND/NAME for each."
        )
    return {plural: list(names) for plural in plurals}


def delete(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Kind, or KIND/NAME.")] = "",
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names.")] = None,
    file: Files = None,
    selector: Selector = "",
    every: Every = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="It is no error when it does not exist.")
    ] = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Delete objects of any kind. Shows first what is removed with them."""
    if bool(kind) == bool(file):
        raise UsageError(
            "give names or a file",
            subject="delete",
            next_step="Write `fleetctl delete KIND NAME` or -f FILE.",
        )
    if file:
        doomed = [Doomed(one.plural, one.name, one.workspace) for one in _given(file, workspace)]
        with opened(context, workspace) as session:
            remove(session, doomed, yes=yes, absent_is_fine=ignore_not_found)
        return
    named = _named(kind, names or [])
    with opened(context, workspace) as session:
        picks = {
            plural: picked(session, plural, found, selector, every=every)
            for plural, found in named.items()
        }
        doomed = [Doomed(plural, name) for plural, found in picks.items() for name in found]
        remove(session, doomed, yes=yes, absent_is_fine=ignore_not_found)
