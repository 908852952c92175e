"""`fleetctl status` and `fleetctl version`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli import output as out
from fleetctl.cli.common import ContextName, Everywhere, Output, Watch, Workspace, opened
from fleetctl.cli.kinds import ORDER, short
from fleetctl.cli.output import Column, Format
from fleetctl.cli.reading import follow

_MOST = 20
_KINDS = (("GitRepos", "gitrepos"), ("Bundles", "bundles"), ("Clusters", "clusters"), ("Deployments", "deployments"))
_COUNTS = [
    Column("", lambda row: str(row["what"])),
    Column("TOTAL", lambda row: str(row["total"])),
    Column("READY", lambda row: str(row["ready"])),
    Column("NOT READY", lambda row: str(row["rest"]), flexible=True),
]
_ATTENTION = [
    Column("STATUS", lambda row: str(row.get("state", ""))),
    Column("WHAT", lambda row: f"{str(row.get('kind', '')).lower()}/{row.get('name', '')}"),
    Column("MESSAGE", lambda row: short(str(row.get("message") or "")), flexible=True),
]
_WHERE = Column("NAMESPACE", lambda row: str(row.get("namespace", "")))


def status(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    watch: Watch = False,
    context: ContextName = "",
) -> None:
    """The whole fleet on one screen: what is in which state, and what needs attention, worst first."""
    with opened(context, workspace) as session:
        asked = {} if everywhere else {"workspace": session.workspace}
        shown: list[Any] = []

        def look() -> dict[str, Any]:
            found: dict[str, Any] = session.client.call("GET", "status", params=asked)
            return found

        def show(found: dict[str, Any]) -> None:
            told = {key: value for key, value in found.items() if key != "uptimeSeconds"}
            redraws = out.redraws() and output in {Format.TABLE, Format.WIDE}
            if watch and redraws:
                out.clear()
            elif told in shown:
                return
            shown[:] = [told]
            if output in {Format.JSON, Format.YAML}:
                out.document(found, output)
            elif output is Format.NAME:
                for item in found.get("attention") or []:
                    out.line(_ATTENTION[1].cell(item))
            else:
                _screen(found, session.client.url, output)

        follow(session, look, show, watch=watch)


def _screen(found: dict[str, Any], url: str, form: Format) -> None:
    space = found.get("workspace")
    uptime = f", up {out.duration(int(found['uptimeSeconds']))}" if "uptimeSeconds" in found else ""
    out.line(f"{url}, version {found.get('version', '?')}{uptime}, {f'workspace {space}' if space else 'all workspaces'}")
    out.line()
    out.table(_COUNTS, [_counted(title, found.get(key) or {}) for title, key in _KINDS])
    attention, wide = found.get("attention") or [], form is Format.WIDE
    if not attention:
        return
    out.line()
    columns = _ATTENTION if space else [_WHERE, *_ATTENTION]
    out.table(columns, attention if wide else attention[:_MOST], wide=wide)
    if len(attention) > _MOST and not wide:
        out.line(f"… and {len(attention) - _MOST} more: `fleetctl get all --not-ready`, or -o wide")


def _counted(title: str, counts: dict[str, int]) -> dict[str, Any]:
    rest = sorted((state for state in counts if state != "Ready"), key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s))
    said = ", ".join(f"{counts[state]} {state}" for state in rest if counts[state])
    return {"what": title, "total": sum(counts.values()), "ready": counts.get("Ready", 0), "rest": said}


def version(
    client: Annotated[bool, typer.Option("--client", help="Only this program's.")] = False,
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Versions of this program and of the manager."""
    from fleetctl.cli import app

    document = output in {Format.JSON, Format.YAML}
    found: dict[str, Any] = {"client": {"version": app.version()}}
    if not document:
        out.line(f"fleetctl  {app.version()}")
    if not client:
        with opened(context) as session:
            found["manager"] = session.client.call("GET", "version")
        if not document:
            out.line(f"manager   {found['manager']['version']} (epoch {found['manager']['epoch']})")
    if document:
        out.document(found, output)
