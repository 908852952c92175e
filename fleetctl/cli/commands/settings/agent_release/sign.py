"""`fleetctl agent-release sign`: signs an agent file without a manager."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.prompt import secret_line

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="fleet-agent.pyz, as `make agent` makes it.")
]


def sign(
    file: File,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The private release key.")],
    signature: Annotated[
        Path | None,
        typer.Option(
            "--signature", metavar="FILE", help="File for the signature. The default is FILE.sig."
        ),
    ] = None,
    replaces_newer: Annotated[
        bool,
        typer.Option(
            "--replaces-newer", help="Allow agents to return to this version from a newer one."
        ),
    ] = False,
) -> None:
    """Sign an agent file with a release key, so that agents may run it. Needs no manager."""
    from fleetctl.cli.commands.settings.agent_release.signing import private_key, read_release
    from fleetctl.cli.commands.settings.agent_release.signing import sign as signed
    from fleetctl.core.model.agent_release import to_file
    from fleetctl.core.model.errors import UsageError

    release, _ = read_release(file)
    signed_release = signed(
        release,
        private_key(key, lambda: secret_line(None, option="--passphrase")),
        replaces_newer=replaces_newer,
    )
    place = signature or file.with_name(file.name + ".sig")
    try:
        place.write_bytes(to_file(signed_release))
    except OSError as error:
        raise UsageError(
            f"{place} cannot be written: {error.strerror}",
            subject="--signature",
            next_step="Correct the path.",
        ) from error
    version, runtime = signed_release.version, signed_release.runtime
    out.line(f"{place}: version {version} for {runtime}, by key {signed_release.key_id}")
