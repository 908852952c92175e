"""The sub-commands of `fleetctl agent-release`.

keygen, sign and verify need no manager and belong on another machine; add, list and delete talk to
the manager.
"""

from __future__ import annotations

from fleetctl.cli.commands.settings.agent_release.add import add
from fleetctl.cli.commands.settings.agent_release.delete import delete
from fleetctl.cli.commands.settings.agent_release.keygen import keygen
from fleetctl.cli.commands.settings.agent_release.list import list_
from fleetctl.cli.commands.settings.agent_release.sign import sign
from fleetctl.cli.commands.settings.agent_release.verify import verify
from fleetctl.cli.help import new_group

app = new_group("Agent releases: keys, signatures, and the versions that clusters can run.")
app.command("keygen")(keygen)
app.command("sign")(sign)
app.command("verify")(verify)
app.command("add")(add)
app.command("list")(list_)
app.command("delete")(delete)
