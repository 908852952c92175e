"""`fleetctl schedule`: when clusters may change, and when a schedule that is being written would
let them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_duration
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.help import new_group
from fleetctl.cli.objects.kind_commands import get_command, list_command
from fleetctl.cli.objects.removal import RemovalTarget, remove
from fleetctl.cli.options import ContextName, Names, NoHeaders, Output, Workspace, Yes
from fleetctl.cli.session import open_session
from fleetctl.core.model.errors import UsageError

app = new_group(
    "Schedules, which state the windows of time in which clusters may change, or may not."
)
_LAST_YEAR = 2900
_COLUMNS = [
    Column("SCHEDULE", lambda i: i["metadata"]["name"]),
    Column("KIND", lambda i: ("deny" if i["deny"] else "allow") + ("*" if i["open"] else "")),
    Column("OPENS", lambda i: i["opens"]),
    Column("OPENS (UTC)", lambda i: i["opensUtc"]),
    Column("LASTS", lambda i: format_duration(i["seconds"]) if i["seconds"] else "for ever"),
    Column("CLOSES", lambda i: i["closes"] or "never", wide=True),
    Column("CLOSES (UTC)", lambda i: i["closesUtc"] or "never", wide=True),
    Column("LOCATION", lambda i: i["location"], wide=True),
]

app.command("list")(
    list_command("schedules", "List schedules: whether they are open, and when they open next.")
)
app.command("get")(get_command("schedules", "Show schedules by name."))


@app.command()
def delete(
    names: Names, yes: Yes = False, workspace: Workspace = "", context: ContextName = ""
) -> None:
    """Delete a schedule. Clusters without another schedule may then change at once."""
    with open_session(context, workspace) as session:
        remove(session, [RemovalTarget("schedules", name) for name in names], yes=yes)


@app.command()
def preview(
    file_or_name: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help=("A file with Schedules, which needs no manager, or the name of a Schedule."),
        ),
    ],
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Start time, for example 2026-03-29T01:30. The default is now.",
        ),
    ] = "",
    count: Annotated[
        int,
        typer.Option(
            "--count", metavar="N", min=1, max=1000, help="Number of windows for each schedule."
        ),
    ] = 5,
    output: Output = Format.TABLE,
    no_headers: NoHeaders = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Show the next windows of a schedule, in local time and in UTC. `*` marks a window that is
    open.

    Changes between winter and summer time are included.
    """
    documents = (
        list(_of_file(file_or_name))
        if _is_file(file_or_name)
        else [_of_manager(file_or_name, workspace, context)]
    )
    rows = [row for document, source in documents for row in _rows(document, source, at, count)]
    if output in {Format.TABLE, Format.WIDE}:
        print_table(_COLUMNS, rows, headers=not no_headers, wide=output is Format.WIDE)
        names = {row["metadata"]["name"] for row in rows}
        for document, _ in documents:
            name = str((document.get("metadata") or {}).get("name") or "")
            if name not in names:
                out.say(f"{name} opens never again.")
        return
    out.objects(rows, output)


def _is_file(text: str) -> bool:
    return text == "-" or Path(text).suffix in {".yaml", ".yml", ".json"} or Path(text).is_file()


def _of_file(source: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every Schedule of the file. Raises UsageError when there is none."""
    from fleetctl.cli.objects.files import documents_of

    schedules = [
        (doc, place)
        for doc, place in documents_of(source)
        if isinstance(doc, dict) and doc.get("kind") == "Schedule"
    ]
    if not schedules:
        raise UsageError(
            "the file has no Schedule",
            subject=source,
            next_step="Write kind: Schedule; see docs/rollouts.md.",
        )
    yield from schedules


def _of_manager(name: str, workspace: str, context: str) -> tuple[dict[str, Any], str]:
    with open_session(context, workspace) as session:
        return session.client.get("schedules", session.workspace, name), f"Schedule {name}"


def _rows(document: dict[str, Any], source: str, at: str, count: int) -> Iterator[dict[str, Any]]:
    from fleetctl.core.documents.schedule import spec_of
    from fleetctl.core.rollout.schedule import spans, window_of
    from fleetctl.zones import zone_of

    name = str((document.get("metadata") or {}).get("name") or "")
    try:
        spec = spec_of(document.get("spec") or {})
        zone = zone_of(spec.location)
    except UsageError as error:
        error.subject = f"{source}: {error.subject}"
        raise
    window, now = window_of(name, spec, zone), _time(at, zone)
    for start, end in spans(window, now, count):
        yield {
            "kind": "Window",
            "metadata": {"name": name},
            "deny": spec.deny,
            "location": window.location,
            "open": start <= now,
            "seconds": None if end is None else end - start,
            "opens": _format_time(start, zone),
            "closes": _format_time(end, zone),
            "opensUtc": _format_time(start, UTC),
            "closesUtc": _format_time(end, UTC),
        }


def _time(text: str, zone: tzinfo) -> int:
    """A time without an offset is the schedule's own. Raises UsageError."""
    if not text:
        return int(time.time())
    moment = None
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
    if moment is None or not 1970 < moment.year < _LAST_YEAR:
        step = "Write it like 2026-03-29T01:30, or with an offset like 2026-03-29T01:30+01:00."
        raise UsageError(f"{text[:40]!r} is not a time", subject="--at", next_step=step)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())


def _format_time(at: int | None, zone: tzinfo) -> str:
    if at is None:
        return ""
    text = datetime.fromtimestamp(at, zone).isoformat()
    return text.removesuffix("+00:00") + "Z" if zone is UTC else text
