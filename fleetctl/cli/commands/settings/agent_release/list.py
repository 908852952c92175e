"""`fleetctl agent-release list`: the agent versions that the manager holds."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_age
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.options import ContextName, NoHeaders, Output
from fleetctl.cli.session import open_session

_COLUMNS = [
    Column("VERSION", lambda row: str(row["version"])),
    Column("PYTHON", lambda row: str(row["python"])),
    Column("PLATFORM", lambda row: str(row["platform"])),
    Column("KEY", lambda row: str(row.get("keyId") or "")),
    Column("CLUSTERS", lambda row: str(row["wantedBy"])),
    Column("REPLACES-NEWER", lambda row: "yes" if row["replacesNewer"] else "no", wide=True),
    Column("SIZE", lambda row: str(row["size"]), wide=True),
    Column("SHA256", lambda row: str(row["sha256"]), wide=True),
    Column("ADDED", lambda row: format_age(str(row["added"])), moving=True),
]


def list_(
    output: Output = Format.TABLE, no_headers: NoHeaders = False, context: ContextName = ""
) -> None:
    """List agent versions that clusters can run, and the number of clusters with each target
    version.
    """
    with open_session(context) as session:
        rows: list[dict[str, Any]] = session.client.call("GET", "agent-releases")["items"]
    if not rows and output in {Format.TABLE, Format.WIDE}:
        out.say("No agent releases. Add one with `fleetctl agent-release add FILE`.")
    elif not out.print_for_scripts(rows, output, (row["version"] for row in rows)):
        print_table(_COLUMNS, rows, headers=not no_headers, wide=output is Format.WIDE)
