"""The sub-commands of `fleetctl gitrepo`."""

from __future__ import annotations

from fleetctl.cli.commands.gitrepo.add import add
from fleetctl.cli.commands.gitrepo.confirm import confirm
from fleetctl.cli.commands.gitrepo.delete import delete
from fleetctl.cli.commands.gitrepo.get import explain_gitrepos
from fleetctl.cli.commands.gitrepo.sync import sync
from fleetctl.cli.help import new_group
from fleetctl.cli.objects.kind_commands import get_command, list_command, pause_command

_PAUSE = (
    "Deploy no new version of a repository until it is resumed. Deployed objects "
    "stay, and Git is still polled."
)

app = new_group("Git repositories.")
app.command("add")(add)
app.command("pause")(pause_command("gitrepos", _PAUSE, is_paused=True))
app.command("resume")(pause_command("gitrepos", "Resume a paused repository.", is_paused=False))
app.command("list")(list_command("gitrepos", "List repositories with their commit and state."))
app.command("get")(
    get_command("gitrepos", "Show repositories and the problems that they have.", explain_gitrepos)
)
app.command("delete")(delete)
app.command("sync")(sync)
app.command("confirm")(confirm)
