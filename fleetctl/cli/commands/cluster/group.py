"""The sub-commands of `fleetctl cluster`."""

from __future__ import annotations

from fleetctl.cli.commands.cluster.delete import delete
from fleetctl.cli.commands.cluster.get import explain_clusters
from fleetctl.cli.commands.cluster.history import cluster_history
from fleetctl.cli.commands.cluster.label import label
from fleetctl.cli.commands.cluster.register import register
from fleetctl.cli.commands.cluster.upgrade_agent import upgrade_agent
from fleetctl.cli.help import new_group
from fleetctl.cli.objects.kind_commands import get_command, list_command, pause_command

app = new_group("Clusters.")
app.command("register")(register)
app.command("upgrade-agent")(upgrade_agent)
app.command("history")(cluster_history)
app.command("label")(label)
app.command("pause")(
    pause_command(
        "clusters",
        ("Change nothing on a cluster until it is resumed. Deployed objects stay."),
        is_paused=True,
    )
)
app.command("resume")(pause_command("clusters", "Resume a paused cluster.", is_paused=False))
app.command("list")(
    list_command(
        "clusters", ("List clusters with their number of ready bundles and their last report.")
    )
)
app.command("get")(
    get_command("clusters", "Show clusters and their bundles, worst state first.", explain_clusters)
)
app.command("delete")(delete)
