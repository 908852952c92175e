"""`fleetctl cluster history`: the deliveries to one cluster, newest first."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.display.delivery_table import ALL_DELIVERIES, show_deliveries
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, NoHeaders, Output, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative


def cluster_history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The cluster.")],
    bundle: Annotated[str, typer.Option("--bundle", metavar="NAME", help="Only this bundle.")] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """List the bundle versions that were delivered to a cluster, newest first: who caused each, and
    its result.
    """
    with open_session(context, workspace) as session:
        path = relative("clusters", session.workspace, name, "history")
        items = session.client.call("GET", path, params={"bundle": bundle} if bundle else None)[
            "items"
        ]
    subject = f"bundle {bundle}" if bundle else "of any bundle"
    show_deliveries(
        items,
        output,
        f"Cluster {name} never got {subject}.",
        ALL_DELIVERIES,
        headers=not no_headers,
    )
