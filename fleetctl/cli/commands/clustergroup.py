"""`fleetctl clustergroup`."""

from __future__ import annotations

from fleetctl.cli.display import output as out
from fleetctl.cli.help import new_group
from fleetctl.cli.objects.kind_commands import get_command, list_command
from fleetctl.cli.objects.removal import RemovalTarget, remove
from fleetctl.cli.options import ContextName, DryRun, Name, Names, Selector, Workspace, Yes
from fleetctl.cli.session import open_session
from fleetctl.core.model.errors import UsageError

app = new_group("Groups of clusters.")


@app.command()
def create(
    name: Name,
    selector: Selector = "",
    dry_run: DryRun = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Create a group of all clusters that match a label selector."""
    from fleetctl.client import place
    from fleetctl.core.model.cluster import parse_selector

    if not selector:
        raise UsageError(
            "a group needs a selector", subject="-l", next_step="Give for example -l env=prod."
        )
    spec = {"selector": parse_selector(selector)}
    with open_session(context, workspace) as session:
        meta = {"name": name, "namespace": session.workspace}
        doc = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "ClusterGroup",
            "metadata": meta,
            "spec": spec,
        }
        params = {"dryRun": "true"} if dry_run else None
        answer = session.client.call(
            "PUT", place("clustergroups", session.workspace, name), doc, params=params
        )
    out.line(f"clustergroup/{name} {answer['result']}{' (dry run)' if dry_run else ''}")


app.command("list")(
    list_command("clustergroups", "List groups with their number of ready clusters.")
)
app.command("get")(get_command("clustergroups", "Show groups by name."))


@app.command()
def delete(
    names: Names, yes: Yes = False, workspace: Workspace = "", context: ContextName = ""
) -> None:
    """Delete a group. Targets that name it then match no cluster."""
    with open_session(context, workspace) as session:
        remove(session, [RemovalTarget("clustergroups", name) for name in names], yes=yes)
