"""`fleetctl rollout`: how far the new version of a bundle is, and what people may say to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import status_text
from fleetctl.cli.display.humanize import format_age
from fleetctl.cli.display.live_screen import open_screen
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.help import new_group
from fleetctl.cli.objects.list_request import Items
from fleetctl.cli.objects.list_view import follow
from fleetctl.cli.options import ContextName, Everywhere, NoHeaders, Output, Watch, Workspace
from fleetctl.cli.session import Session, open_session
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import NotFound

app = new_group("Rollouts, which bring a new version of a bundle to its clusters in steps.")
Name = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="A reason, which everybody can read.")
]
_WORKSPACE_COLUMN = Column("WORKSPACE", lambda i: i["metadata"]["namespace"])
_COLUMNS = [
    Column("BUNDLE", lambda i: i["metadata"]["name"]),
    Column("STATUS", status_text),
    Column("DELIVERED", lambda i: i["status"]["display"]["clusters"]),
    Column("PARTITIONS", lambda i: i["status"]["display"]["partitions"]),
    Column("OFFLINE", lambda i: str(i["status"]["offline"] or ""), wide=True),
    Column("COMMIT", lambda i: i["status"]["commit"][:7]),
    Column("AGE", lambda i: format_age(i["metadata"]["creationTimestamp"])),
    Column("WAITS FOR", lambda i: i["status"]["display"]["message"], flexible=True),
]


def _waits(partition: dict[str, Any]) -> str:
    outside = int(partition.get("waitingForWindow") or 0)
    causes = (
        [str(partition["why"])] if partition["waiting"] > outside or partition.get("asks") else []
    )
    return "; ".join([*causes, *([f"{outside} outside their windows"] if outside else [])])


_PARTITIONS = [
    Column("PARTITION", lambda p: p["name"]),
    Column("DELIVERED", lambda p: f"{p['told']}/{p['clusters']}"),
    Column("READY", lambda p: str(p["ready"])),
    Column("DOWN", lambda p: f"{p['unavailable']}/{p['maxUnavailable']}"),
    Column("FAILED", lambda p: str(p["failed"] or "")),
    Column("OFFLINE", lambda p: str(p["offline"] or "")),
    Column("STARTED", lambda p: format_age(p["startedAt"])),
    Column("FINISHED", lambda p: format_age(p["finishedAt"])),
    Column("WAITS FOR", _waits, flexible=True),
]


@app.command()
def status(
    name: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="Only this bundle, with its partitions.")
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    watch: Watch = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """Show the progress of each rollout and what it waits for. With BUNDLE, also show each
    partition.
    """
    with open_session(context, workspace) as session:
        is_live = watch and out.redraws() and output in {Format.TABLE, Format.WIDE}
        view = _RolloutView(session, name, output, everywhere=everywhere, headers=not no_headers)
        with open_screen(is_live=is_live) as screen:
            follow(
                session,
                view.look,
                lambda items: screen.draw(lambda: view.show(items, is_live=is_live)),
                watch=watch,
            )


class _RolloutView:
    """Reads and shows rollouts. A watch without a live screen shows only what changed."""

    def __init__(
        self, session: Session, bundle: str, form: Format, *, everywhere: bool, headers: bool
    ) -> None:
        self._session, self._bundle, self._form = session, bundle, form
        self._everywhere, self._headers = everywhere, headers
        self._last: Items | None = None

    def look(self) -> Items:
        """The rollouts. Raises NotFound for a bundle without one."""
        space = {} if self._everywhere else {"workspace": self._session.workspace}
        items: Items = self._session.client.call(
            "GET", "rollouts", params={"bundle": self._bundle} | space
        )["items"]
        if self._bundle and not items:
            self._session.client.get("bundles", self._session.workspace, self._bundle)
            summary = f"bundle {self._bundle} has no rollout"
            step = "All clusters are updated at once; see `fleetctl explain rolloutStrategy`."
            raise NotFound(summary, subject=f"Bundle {self._bundle}", next_step=step)
        if not items and not self._everywhere and self._last is None:
            self._session.warn_if_empty()
        return items

    def show(self, items: Items, *, is_live: bool) -> None:
        if items == self._last and not is_live:
            return
        self._last = items
        if self._form not in {Format.TABLE, Format.WIDE}:
            out.objects(items, self._form, single=bool(self._bundle))
        elif not items:
            out.say("No bundle has a rollout: all clusters are updated at once.")
        else:
            self._print_tables(items)

    def _print_tables(self, items: Items) -> None:
        wide = self._form is Format.WIDE
        columns = [_WORKSPACE_COLUMN, *_COLUMNS] if self._everywhere else _COLUMNS
        print_table(columns, items, headers=self._headers, wide=wide)
        for item in items if self._bundle else ():
            space, name = item["metadata"]["namespace"], item["metadata"]["name"]
            partitions = item["status"]["partitions"]
            out.line()
            if len(items) > 1:
                out.line(f"{space}/{name}:")
            print_table(_PARTITIONS, partitions, headers=self._headers, wide=wide)
            if any(partition.get("asks") for partition in partitions):
                out.line()
                out.line(f"To start the next partition: fleetctl rollout approve {name}")


def _send(session: Session, name: str, verb: str, reason: str = "") -> dict[str, Any]:
    path = relative("rollouts", session.workspace, name, verb)
    answer: dict[str, Any] = session.client.call("POST", path, {"reason": reason} if reason else {})
    return answer


def _report(name: str, result: str, answer: dict[str, Any]) -> None:
    display = answer["status"]["display"]
    message = f", {display['message']}" if display["message"] else ""
    out.line(
        f"rollout of {name} {result}: {display['state']}, {display['clusters']} clusters"
        f" updated{message}"
    )


@app.command()
def pause(
    name: Name, reason: Reason = "", workspace: Workspace = "", context: ContextName = ""
) -> None:
    """Update no more clusters, with this or a later commit, until the rollout is resumed."""
    with open_session(context, workspace) as session:
        _report(name, "paused", _send(session, name, "pause", reason))


@app.command()
def resume(name: Name, workspace: Workspace = "", context: ContextName = "") -> None:
    """Continue after a pause, a failure or an abort."""
    with open_session(context, workspace) as session:
        _report(name, "resumed", _send(session, name, "resume"))


@app.command()
def approve(name: Name, workspace: Workspace = "", context: ContextName = "") -> None:
    """Approve the next partition that waits for approval."""
    with open_session(context, workspace) as session:
        _report(name, "approved", _send(session, name, "approve"))


@app.command("ignore-windows")
def ignore_windows(
    name: Name,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why it cannot wait. Everybody can read this."
        ),
    ],
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """In an emergency, deliver this one version outside the windows of schedules.

    Budgets, approvals and pauses still apply.
    """
    with open_session(context, workspace) as session:
        _report(name, "passes closed windows", _send(session, name, "ignore-windows", reason))


@app.command()
def abort(
    name: Name, reason: Reason = "", workspace: Workspace = "", context: ContextName = ""
) -> None:
    """Deliver this version to no more clusters. Clusters that have it keep it.

    `fleetctl rollback` returns them to an earlier revision. The next commit starts a new rollout.
    """
    with open_session(context, workspace) as session:
        _report(name, "aborted", _send(session, name, "abort", reason))
