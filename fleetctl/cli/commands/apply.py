"""`fleetctl apply`: creates or changes objects from files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from shlex import quote
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.objects.files import FileObject, read_objects
from fleetctl.cli.options import ContextName, DryRun, Files, Output, Workspace
from fleetctl.cli.parallel import each
from fleetctl.cli.session import Session, opened
from fleetctl.core.model.errors import FleetError, UsageError


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
    given = read_objects(file or [], workspace)
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


def _written(
    session: Session, given: list[FileObject]
) -> Iterator[tuple[FileObject, dict[str, Any]]]:
    """Write the objects. Clusters, of which a file may hold thousands, go several at once; all
    others in their order.
    """
    for plural, group in groupby(given, key=lambda one: one.plural):
        some = list(group)
        if plural == "clusters":
            yield from each(some, lambda one: _put(session, one, dry_run=False), "applied")
        else:
            yield from ((one, _put(session, one, dry_run=False)) for one in some)


def _tell(one: FileObject, answer: dict[str, Any], *, dry_run: bool) -> None:
    """At once for each, so that an error in the middle leaves known what is done."""
    out.line(
        f"{one.doc['kind'].lower()}/{one.name} {answer['result']}{' (dry run)' if dry_run else ''}"
    )
    for warning in answer.get("warnings") or []:
        out.say(f"warning: {one.place}: {one.doc['kind']} {one.name}: {warning}")
    if answer.get("token") and not dry_run:
        out.say("Its token follows; it is not shown again.")
        out.line(answer["token"])


def _put(session: Session, one: FileObject, *, dry_run: bool) -> dict[str, Any]:
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
