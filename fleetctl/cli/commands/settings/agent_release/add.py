"""`fleetctl agent-release add`: uploads a signed agent file to the manager."""

from __future__ import annotations

from fleetctl.cli.commands.settings.agent_release.sign import File
from fleetctl.cli.commands.settings.agent_release.verify import Signature
from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Output
from fleetctl.cli.session import open_session


def add(
    file: File,
    signature: Signature = None,
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Upload a signed agent file to the manager, so that clusters can run it."""
    from fleetctl.cli.commands.settings.agent_release.signing import check_file, signature_of
    from fleetctl.core.model import wire
    from fleetctl.core.model.agent_release import to_file

    release = signature_of(file, signature)
    data = check_file(release, file)
    with open_session(context) as session:
        answer = session.client.upload(
            "agent-releases", data, {"fleet-release": wire.b64(to_file(release))}
        )
    if output in {Format.JSON, Format.YAML}:
        out.document(answer, output)
    else:
        out.line(f"agent version {release.version} for {release.runtime} added")
