"""`fleetctl cluster upgrade-agent`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Output, Selector, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.model.errors import UsageError


def upgrade_agent(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Names of clusters.")
    ] = None,
    selector: Selector = "",
    version: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="The version to run.")
    ] = "",
    off: Annotated[
        bool,
        typer.Option(
            "--off", help="Remove the target version: agents keep the version that they run."
        ),
    ] = False,
    limit: Annotated[
        str,
        typer.Option(
            "--max",
            metavar="N|P%",
            help=(
                "Number or share of clusters to upgrade at once. The next one starts when one "
                "reports the new version."
            ),
        ),
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Set the agent version of clusters. Each agent checks the signature of the version itself."""
    if bool(names) == bool(selector):
        raise UsageError(
            "no clusters, by name or by label",
            subject="NAME",
            next_step="Write names, or -l SELECTOR.",
        )
    if bool(version) == off:
        raise UsageError(
            "no version, and no --off", subject="--to", next_step="Write --to VERSION."
        )
    with open_session(context, workspace) as session:
        body = {
            "workspace": session.workspace,
            "names": names or [],
            "selector": selector,
            "version": version,
            "most": limit,
        }
        answer = session.client.call("POST", "agent-wishes", body)
    if output in {Format.JSON, Format.YAML}:
        out.document(answer, output)
        return
    for text in _sentences(answer, off=off):
        out.line(text)


def _sentences(answer: dict[str, Any], *, off: bool) -> list[str]:
    if not answer["clusters"]:
        return ["no cluster is selected"]
    if off:
        return [f"{format_count(len(answer['clusters']), 'cluster')}: agents stay as they are"]
    amount = format_count(len(answer["wanted"]), "cluster")
    lines = [f"{amount}: agent version {answer['version']} is wanted"]
    if answer["queued"]:
        amount = format_count(len(answer["queued"]), "cluster")
        lines.append(f"{amount}: queued, at most {answer['most']} at once")
    return lines
