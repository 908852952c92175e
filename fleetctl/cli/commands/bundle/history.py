"""`fleetctl bundle history`: the revisions of a bundle, or its deliveries to one cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.delivery_table import DELIVERIES, revision_number, show_deliveries
from fleetctl.cli.display.humanize import format_age, format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.options import ContextName, NoHeaders, Output, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative


def _pin_text(revision: dict[str, Any]) -> str:
    clusters = (
        format_count(revision["pinnedClusters"], "cluster") if revision["pinnedClusters"] else ""
    )
    return ", ".join(filter(None, ("bundle" if revision["pinned"] else "", clusters)))


_REVISIONS = [
    Column("REV", lambda r: f"{r['number']}{'*' if r['current'] else ''}"),
    Column("COMMIT", lambda r: r["commit"][:7]),
    Column("TAKEN", lambda r: format_age(r["taken"])),
    Column("READY", lambda r: f"{r['ready']}/{r['clusters']}"),
    Column("PINNED", _pin_text),
    Column("AUTHOR", lambda r: r["author"], flexible=True),
    Column("SUBJECT", lambda r: r["subject"], flexible=True),
]
_DECISIONS = [
    Column("WHEN", lambda d: format_age(d["at"])),
    Column("WHAT", lambda d: d["cause"]),
    Column("REV", revision_number),
    Column("BY", lambda d: d["author"] if d["cause"] == "commit" else d["who"], flexible=True),
    Column(
        "REASON", lambda d: d["subject"] if d["cause"] == "commit" else d["reason"], flexible=True
    ),
]


def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle.")],
    cluster: Annotated[
        str,
        typer.Option(
            "--cluster",
            metavar="NAME",
            help="Show the deliveries to this cluster and their results instead.",
        ),
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """List the revisions of a bundle, newest first. `*` marks the revision that its clusters should
    have.

    `fleetctl rollback` returns to an earlier revision.
    """
    with open_session(context, workspace) as session:
        params = {"cluster": cluster} if cluster else None
        answer = session.client.call(
            "GET", relative("bundles", session.workspace, name, "history"), params=params
        )
    if cluster:
        show_deliveries(
            answer["items"],
            output,
            f"Cluster {cluster} never got bundle {name}.",
            DELIVERIES,
            headers=not no_headers,
        )
    elif not out.print_for_scripts(answer, output, (item["number"] for item in answer["items"])):
        print_table(_REVISIONS, answer["items"], headers=not no_headers, wide=output is Format.WIDE)
        decisions = [decision for decision in answer["decisions"] if decision["cause"] != "commit"]
        if decisions or output is Format.WIDE:
            out.line()
            print_table(
                _DECISIONS,
                answer["decisions"] if output is Format.WIDE else decisions,
                headers=not no_headers,
            )
