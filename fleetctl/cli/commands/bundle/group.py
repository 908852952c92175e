"""The sub-commands of `fleetctl bundle`."""

from __future__ import annotations

from fleetctl.cli.commands.bundle.correct import correct
from fleetctl.cli.commands.bundle.diff import diff
from fleetctl.cli.commands.bundle.get import explain_bundles
from fleetctl.cli.commands.bundle.history import history
from fleetctl.cli.commands.bundle.list import list_
from fleetctl.cli.commands.bundle.moved import declare_move
from fleetctl.cli.commands.bundle.status import status
from fleetctl.cli.help import new_group
from fleetctl.cli.objects.kind_commands import get_command

app = new_group("Bundles, which a scan makes from the directories of a repository.")
app.command("list")(list_)
app.command("status")(status)
app.command("get")(
    get_command(
        "bundles",
        "Show bundles, and their objects that are not ready or differ from Git.",
        explain_bundles,
    )
)
app.command("diff")(diff)
app.command("correct")(correct)
app.command("history")(history)
app.command("moved")(declare_move)
