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
from fleetctl.cli.parallel import run_parallel
from fleetctl.cli.session import Session, open_session
from fleetctl.core.model.errors import FleetError, UsageError


def apply(
    extra: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    file: Files = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Create or change objects. The command checks all objects before it writes the first one."""
    if extra:
        step = f"Write `fleetctl apply -f {' -f '.join(map(quote, extra))}`."
        raise UsageError("files are given with -f", subject=" ".join(extra), next_step=step)
    objects = read_objects(file or [], workspace)
    results = []
    with open_session(context, workspace) as session:
        checks = [
            answer
            for _, answer in run_parallel(
                objects, lambda item: _put(session, item, dry_run=True), "checked"
            )
        ]
        for item, answer in (
            zip(objects, checks, strict=True) if dry_run else _write(session, objects)
        ):
            results.append(answer["object"])
            if output in {Format.TABLE, Format.WIDE}:
                _report(item, answer, dry_run=dry_run)
    if output not in {Format.TABLE, Format.WIDE}:
        out.objects(results, output, single=len(results) == 1)


def _write(
    session: Session, objects: list[FileObject]
) -> Iterator[tuple[FileObject, dict[str, Any]]]:
    """Write the objects. Several clusters are written at once, because a file may hold thousands of
    them; all other objects are written in their order.
    """
    for plural, group in groupby(objects, key=lambda item: item.plural):
        members = list(group)
        if plural == "clusters":
            yield from run_parallel(
                members, lambda item: _put(session, item, dry_run=False), "applied"
            )
        else:
            yield from ((item, _put(session, item, dry_run=False)) for item in members)


def _report(item: FileObject, answer: dict[str, Any], *, dry_run: bool) -> None:
    """Print the result of one object at once, so that after an error it is known what is done."""
    suffix = " (dry run)" if dry_run else ""
    out.line(f"{item.doc['kind'].lower()}/{item.name} {answer['result']}{suffix}")
    for warning in answer.get("warnings") or []:
        out.say(f"warning: {item.place}: {item.doc['kind']} {item.name}: {warning}")
    if answer.get("token") and not dry_run:
        out.say("Its token follows; it is not shown again.")
        out.line(answer["token"])


def _put(session: Session, item: FileObject, *, dry_run: bool) -> dict[str, Any]:
    from fleetctl.client import place

    path = place(item.plural, item.workspace or session.workspace, item.name)
    try:
        answer: dict[str, Any] = session.client.call(
            "PUT", path, item.doc, params={"dryRun": "true"} if dry_run else None
        )
    except FleetError as error:
        error.subject = f"{item.place}: {error.subject or item.name}"
        raise
    return answer
