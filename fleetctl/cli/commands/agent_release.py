"""`fleetctl agent-release`: keygen, sign and verify need no manager and belong on another machine;
add, list and delete talk to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Column, Format
from fleetctl.cli.session import (
    ContextName,
    NoHeaders,
    Output,
    Yes,
    confirm,
    counted,
    new_group,
    opened,
    secret_line,
)
from fleetctl.core.formats.url_path import relative

app = new_group()
app.info.help = "Versions of the agent: keys, signatures, and what clusters can be given."

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="fleet-agent.pyz, as `make agent` makes it.")
]
Signature = Annotated[
    Path | None,
    typer.Option("--signature", metavar="FILE", help="Its signature; FILE.sig when not given."),
]
_COLUMNS = [
    Column("VERSION", lambda row: str(row["version"])),
    Column("PYTHON", lambda row: str(row["python"])),
    Column("PLATFORM", lambda row: str(row["platform"])),
    Column("KEY", lambda row: str(row.get("keyId") or "")),
    Column("CLUSTERS", lambda row: str(row["wantedBy"])),
    Column("REPLACES-NEWER", lambda row: "yes" if row["replacesNewer"] else "no", wide=True),
    Column("SIZE", lambda row: str(row["size"]), wide=True),
    Column("SHA256", lambda row: str(row["sha256"]), wide=True),
    Column("ADDED", lambda row: out.age(str(row["added"])), moving=True),
]


@app.command()
def keygen(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Where the private key goes; FILE.pub gets the public one."
        ),
    ],
) -> None:
    """Make a release key. Keep it off the manager and off the clusters; the public key is
    printed.
    """
    from fleetctl.cli.release_signing import make_key

    line = make_key(file)
    out.say(
        f"The private key is in {file}: whoever has it can run programs on clusters that pin it."
        " The public key, for"
    )
    out.say("`fleet-agent run --release-key`:")
    out.line(line)


@app.command()
def sign(
    file: File,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The private release key.")],
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="FILE", help="Where it goes; FILE.sig when not given."),
    ] = None,
    replaces_newer: Annotated[
        bool,
        typer.Option(
            "--replaces-newer", help="Allow agents to go back to this version from a newer one."
        ),
    ] = False,
) -> None:
    """Say with a release key that agents may run this file. Needs no manager."""
    from fleetctl.cli.release_signing import described, private_key
    from fleetctl.cli.release_signing import sign as signed
    from fleetctl.core.model.agent_release import to_file
    from fleetctl.core.model.errors import UsageError

    release, _ = described(file)
    made = signed(
        release,
        private_key(key, lambda: secret_line(None, option="--passphrase")),
        replaces_newer=replaces_newer,
    )
    place = signature or file.with_name(file.name + ".sig")
    try:
        place.write_bytes(to_file(made))
    except OSError as why:
        raise UsageError(
            f"{place} cannot be written: {why.strerror}",
            subject="--signature",
            next_step="Correct the path.",
        ) from why
    out.line(f"{place}: version {made.version} for {made.runtime}, by key {made.key_id}")


@app.command()
def verify(
    file: File,
    key: Annotated[str, typer.Option("--key", metavar="FILE|KEY", help="The public release key.")],
    signature: Signature = None,
) -> None:
    """Check a file against its signature and a release key. Needs no manager."""
    from fleetctl.cli.release_signing import check_file, public_key, signature_of
    from fleetctl.cli.release_signing import verify as verified

    release = signature_of(file, signature)
    verified(release, public_key(key))
    check_file(release, file)
    back = "; may replace a newer version" if release.replaces_newer else ""
    out.line(
        f"good: version {release.version} for {release.runtime}, by key {release.key_id}{back}"
    )


@app.command()
def add(
    file: File,
    signature: Signature = None,
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Give the manager a signed file, so that clusters can be told to run it."""
    from fleetctl.cli.release_signing import check_file, signature_of
    from fleetctl.core.model import wire
    from fleetctl.core.model.agent_release import to_file

    release = signature_of(file, signature)
    data = check_file(release, file)
    with opened(context) as session:
        made = session.client.upload(
            "agent-releases", data, {"fleet-release": wire.b64(to_file(release))}
        )
    if output in {Format.JSON, Format.YAML}:
        out.document(made, output)
    else:
        out.line(f"agent version {release.version} for {release.runtime} added")


@app.command("list")
def list_(
    output: Output = Format.TABLE, no_headers: NoHeaders = False, context: ContextName = ""
) -> None:
    """The versions that clusters can be given, and how many clusters want each."""
    with opened(context) as session:
        rows: list[dict[str, Any]] = session.client.call("GET", "agent-releases")["items"]
    if not rows and output in {Format.TABLE, Format.WIDE}:
        out.say("No agent releases. Add one with `fleetctl agent-release add FILE`.")
    elif not out.answered(rows, output, (row["version"] for row in rows)):
        out.table(_COLUMNS, rows, headers=not no_headers, wide=output is Format.WIDE)


@app.command()
def delete(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version, for every platform.")
    ],
    yes: Yes = False,
    context: ContextName = "",
) -> None:
    """Forget a version; refused while a cluster wants it. Agents that run it go on."""
    with opened(context) as session:
        confirm(f"Delete agent version {version}?", yes=yes)
        gone = session.client.call("DELETE", relative("agent-releases", version))["items"]
    out.line(f"agent version {version} deleted ({counted(len(gone), 'file')})")
