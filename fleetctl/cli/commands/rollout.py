"""`fleetctl rollout`: how far the new version of a bundle is, and what people may say to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import status_text
from fleetctl.cli.display.output import Column, Format, age
from fleetctl.cli.help import new_group
from fleetctl.cli.options import ContextName, Everywhere, NoHeaders, Output, Workspace
from fleetctl.cli.session import Session, opened
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import NotFound

app = new_group("The way of a new version through the clusters.")
Name = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Shown to everybody who looks.")
]
_COLUMNS = [
    Column("BUNDLE", lambda i: i["metadata"]["name"]),
    Column("STATUS", status_text),
    Column("DELIVERED", lambda i: i["status"]["display"]["clusters"]),
    Column("PARTITIONS", lambda i: i["status"]["display"]["partitions"]),
    Column("OFFLINE", lambda i: str(i["status"]["offline"] or ""), wide=True),
    Column("COMMIT", lambda i: i["status"]["commit"][:7]),
    Column("AGE", lambda i: age(i["metadata"]["creationTimestamp"])),
    Column("WAITS FOR", lambda i: i["status"]["display"]["message"], flexible=True),
]


def _waits(partition: dict[str, Any]) -> str:
    outside = int(partition.get("waitingForWindow") or 0)
    said = (
        [str(partition["why"])] if partition["waiting"] > outside or partition.get("asks") else []
    )
    return "; ".join([*said, *([f"{outside} outside their windows"] if outside else [])])


_PARTITIONS = [
    Column("PARTITION", lambda p: p["name"]),
    Column("DELIVERED", lambda p: f"{p['told']}/{p['clusters']}"),
    Column("READY", lambda p: str(p["ready"])),
    Column("DOWN", lambda p: f"{p['unavailable']}/{p['maxUnavailable']}"),
    Column("FAILED", lambda p: str(p["failed"] or "")),
    Column("OFFLINE", lambda p: str(p["offline"] or "")),
    Column("STARTED", lambda p: age(p["startedAt"])),
    Column("FINISHED", lambda p: age(p["finishedAt"])),
    Column("WAITS FOR", _waits, flexible=True),
]


@app.command()
def status(
    name: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="Only this bundle, partition by partition.")
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """How far each rollout is, and what it waits for; of one bundle each partition."""
    with opened(context, workspace) as session:
        params = {"bundle": name} | ({} if everywhere else {"workspace": session.workspace})
        items = session.client.call("GET", "rollouts", params=params)["items"]
        if name and not items:
            session.client.get("bundles", session.workspace, name)
            step = "All clusters are updated at once; see `fleetctl explain rolloutStrategy`."
            raise NotFound(
                f"bundle {name} has no rollout", subject=f"Bundle {name}", next_step=step
            )
        if not items and not everywhere:
            session.warn_if_empty()
    if output not in {Format.TABLE, Format.WIDE}:
        out.objects(items, output, single=bool(name))
        return
    if not items:
        out.say("No bundle has a rollout: all clusters are updated at once.")
        return
    columns = (
        [Column("WORKSPACE", lambda i: i["metadata"]["namespace"]), *_COLUMNS]
        if everywhere
        else _COLUMNS
    )
    out.table(columns, items, headers=not no_headers, wide=output is Format.WIDE)
    for item in items if name else ():
        out.line("" if len(items) == 1 else f"\n{item['metadata']['namespace']}/{name}:")
        out.table(
            _PARTITIONS,
            item["status"]["partitions"],
            headers=not no_headers,
            wide=output is Format.WIDE,
        )
        if any(partition.get("asks") for partition in item["status"]["partitions"]):
            out.line(
                "\nTo start the next partition: fleetctl rollout approve"
                f" {item['metadata']['name']}"
            )


def _say(session: Session, name: str, verb: str, reason: str = "") -> dict[str, Any]:
    path = relative("rollouts", session.workspace, name, verb)
    found: dict[str, Any] = session.client.call("POST", path, {"reason": reason} if reason else {})
    return found


def _told(name: str, done: str, found: dict[str, Any]) -> None:
    display = found["status"]["display"]
    said = f", {display['message']}" if display["message"] else ""
    out.line(
        f"rollout of {name} {done}: {display['state']}, {display['clusters']} clusters"
        f" updated{said}"
    )


@app.command()
def pause(
    name: Name, reason: Reason = "", workspace: Workspace = "", context: ContextName = ""
) -> None:
    """Update no further cluster, now and at later commits, until the rollout is resumed."""
    with opened(context, workspace) as session:
        _told(name, "paused", _say(session, name, "pause", reason))


@app.command()
def resume(name: Name, workspace: Workspace = "", context: ContextName = "") -> None:
    """Go on after a pause, a failure or an abort."""
    with opened(context, workspace) as session:
        _told(name, "resumed", _say(session, name, "resume"))


@app.command()
def approve(name: Name, workspace: Workspace = "", context: ContextName = "") -> None:
    """Let the next partition that waits for approval begin."""
    with opened(context, workspace) as session:
        _told(name, "approved", _say(session, name, "approve"))


@app.command("ignore-windows")
def ignore_windows(
    name: Name,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why it cannot wait; shown to everybody who looks."
        ),
    ],
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """In an emergency: let this one version through closed windows; budgets, approvals and pauses
    hold as ever.
    """
    with opened(context, workspace) as session:
        _told(name, "passes closed windows", _say(session, name, "ignore-windows", reason))


@app.command()
def abort(
    name: Name, reason: Reason = "", workspace: Workspace = "", context: ContextName = ""
) -> None:
    """Tell no further cluster this version. Those that have it keep it; `fleetctl rollback` takes
    it back, the next commit begins anew.
    """
    with opened(context, workspace) as session:
        _told(name, "aborted", _say(session, name, "abort", reason))
