"""`fleetctl bundle`."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.common import Asked, ContextName, Everywhere, NoHeaders, Output, Selector, Session, Watch, Workspace, read
from fleetctl.cli.output import Format, clean

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Repo = Annotated[str, typer.Option(help="Only bundles of this GitRepo.")]
Cluster = Annotated[str, typer.Option(help="Only on this cluster.")]


@app.command("list")
def list_(
    output: Output = Format.TABLE,
    repo: Repo = "",
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    watch: Watch = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """The bundles and on how many clusters each is ready."""
    asked = Asked("bundles", (), output, everywhere, watch, not no_headers, (("selector", selector), ("repo", repo)))
    read(Session.open(context, workspace), asked)


@app.command()
def status(
    name: Annotated[str, typer.Argument(help="Only this bundle.")] = "",
    output: Output = Format.TABLE,
    cluster: Cluster = "",
    repo: Repo = "",
    workspace: Workspace = "",
    watch: Watch = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """Each bundle on each cluster: state, commit, and what is wrong."""
    session = Session.open(context, workspace)
    selector = f"fleet.cattle.io/bundle-name={name}" if name else ""
    filters = (("cluster", cluster), ("repo", repo), ("selector", selector))
    if name:
        session.client.get("bundles", session.workspace, name)
    read(session, Asked("bundledeployments", (), output, False, watch, not no_headers, filters))


@app.command()
def get(name: str, output: Output = Format.TABLE, workspace: Workspace = "", context: ContextName = "") -> None:
    """One bundle, and the objects that are not as they should be."""
    session = Session.open(context, workspace)
    read(session, Asked("bundles", (name,), output))
    if output not in {Format.TABLE, Format.WIDE}:
        return
    found = session.client.list("bundledeployments", workspace=session.workspace, selector=f"fleet.cattle.io/bundle-name={name}")
    for item in found:
        status = item["status"]
        for resource in [*status["nonReadyStatus"], *status["modifiedStatus"]]:
            place = "/".join(part for part in (resource.get("namespace", ""), resource["name"]) if part)
            print(f"{item['spec']['cluster']}: {resource['kind']} {clean(place)} {resource['state']}: {clean(resource.get('message', ''))}")
            if resource.get("patch"):
                print(f"    now {clean(resource['patch'])}")
