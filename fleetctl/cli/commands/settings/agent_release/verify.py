"""`fleetctl agent-release verify`: checks a signature without a manager."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetctl.cli.commands.settings.agent_release.sign import File
from fleetctl.cli.display import output as out

Signature = Annotated[
    Path | None,
    typer.Option(
        "--signature", metavar="FILE", help="File with the signature. The default is FILE.sig."
    ),
]


def verify(
    file: File,
    key: Annotated[str, typer.Option("--key", metavar="FILE|KEY", help="The public release key.")],
    signature: Signature = None,
) -> None:
    """Check the signature of an agent file with a release key. Needs no manager."""
    from fleetctl.cli.commands.settings.agent_release.signing import (
        check_file,
        public_key,
        signature_of,
    )
    from fleetctl.cli.commands.settings.agent_release.signing import verify as verified

    release = signature_of(file, signature)
    verified(release, public_key(key))
    check_file(release, file)
    back = "; may replace a newer version" if release.replaces_newer else ""
    out.line(
        f"good: version {release.version} for {release.runtime}, by key {release.key_id}{back}"
    )
