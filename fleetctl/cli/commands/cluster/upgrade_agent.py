"""`fleetctl cluster upgrade-agent`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Output, Selector, Workspace
from fleetctl.cli.session import opened
from fleetctl.core.model.errors import UsageError


def upgrade_agent(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of clusters.")
    ] = None,
    selector: Selector = "",
    version: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="The version that they should run.")
    ] = "",
    off: Annotated[
        bool,
        typer.Option("--off", help="Take the wish back: agents stay at the version that they run."),
    ] = False,
    most: Annotated[
        str,
        typer.Option(
            "--max",
            metavar="N|P%",
            help="So many at once; the next begins when one has come back with the new version.",
        ),
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Say which agent version clusters should run. Each agent checks the release key's signature
    itself.
    """
    if bool(names) == bool(selector):
        raise UsageError(
            "say which clusters, by name or by label",
            subject="NAME",
            next_step="Write names, or -l SELECTOR.",
        )
    if bool(version) == off:
        raise UsageError(
            "say which version, or --off", subject="--to", next_step="Write --to VERSION."
        )
    with opened(context, workspace) as session:
        body = {
            "workspace": session.workspace,
            "names": names or [],
            "selector": selector,
            "version": version,
            "most": most,
        }
        told = session.client.call("POST", "agent-wishes", body)
    if output in {Format.JSON, Format.YAML}:
        out.document(told, output)
        return
    for text in _said(told, off=off):
        out.line(text)


def _said(told: dict[str, Any], *, off: bool) -> list[str]:
    if not told["clusters"]:
        return ["no cluster is meant"]
    if off:
        return [f"{format_count(len(told['clusters']), 'cluster')}: agents stay as they are"]
    lines = [
        f"{format_count(len(told['wanted']), 'cluster')}: agent version {told['version']} is wanted"
    ]
    if told["queued"]:
        amount = format_count(len(told["queued"]), "cluster")
        lines.append(f"{amount}: queued, at most {told['most']} at once")
    return lines
