"""`fleetctl bundle`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.commands import bundle_correct, bundle_diff, bundle_moved, history
from fleetctl.cli.display import output as out
from fleetctl.cli.display import reasons_text
from fleetctl.cli.display.columns import rank
from fleetctl.cli.display.list_view import Items, View, Want, getter, read
from fleetctl.cli.display.output import Format
from fleetctl.cli.session import (
    ContextName,
    Everywhere,
    NoHeaders,
    NotReady,
    Output,
    Selector,
    Session,
    SortBy,
    States,
    Watch,
    Workspace,
    new_group,
    opened,
)
from fleetctl.core.model.status import State

app = new_group()
app.info.help = "What was made of a repository."
Repo = Annotated[str, typer.Option("--repo", metavar="NAME", help="Only bundles of this GitRepo.")]
Cluster = Annotated[str, typer.Option("--cluster", metavar="NAME", help="Only on this cluster.")]
_MOST = 20
_NOT_READY = ",".join(state for state in State if state is not State.READY)
_BY_BUNDLE = "fleet.cattle.io/bundle-name="


@app.command("list")
def list_(
    output: Output = Format.TABLE,
    repo: Repo = "",
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    state: States = "",
    not_ready: NotReady = False,
    watch: Watch = False,
    sort_by: SortBy = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """The bundles and on how many clusters each is ready."""
    with opened(context, workspace) as session:
        if not everywhere:
            _check_filters(session, repo=repo)
        view = View(output, everywhere, watch, not no_headers, sort_by, state, not_ready)
        read(session, [Want("bundles", filters={"selector": selector, "repo": repo})], view)


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only this bundle.")] = "",
    output: Output = Format.TABLE,
    cluster: Cluster = "",
    repo: Repo = "",
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    state: States = "",
    not_ready: NotReady = False,
    watch: Watch = False,
    sort_by: SortBy = "status",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """Each bundle on each cluster, worst first: state, commit, and what is wrong."""
    with opened(context, workspace) as session:
        if name:
            # a wrong name is an error, not an empty table
            session.client.get("bundles", session.workspace, name)
        if not everywhere:
            _check_filters(session, repo=repo, cluster=cluster)
        filters = {
            "cluster": cluster,
            "repo": repo,
            "selector": f"{_BY_BUNDLE}{name}" if name else "",
        }
        view = View(output, everywhere, watch, not no_headers, sort_by, state, not_ready)
        read(session, [Want("bundledeployments", filters=filters)], view)


def _check_filters(session: Session, *, repo: str = "", cluster: str = "") -> None:
    """Raises NotFound for a GitRepo or cluster that does not exist, which would pick nothing."""
    for plural, name in (("gitrepos", repo), ("clusters", cluster)):
        if name:
            session.client.get(plural, session.workspace, name)


def _wrong(session: Session, bundles: Items) -> None:
    """Why, for all clusters; then the objects on the first of them."""
    for bundle in bundles:
        reasons_text.show(bundle)
        name = bundle["metadata"]["name"]
        for word in ("problem", "warning"):
            for item in bundle["status"].get(f"{word}s") or []:
                out.line(f"{word}: {item['summary']}")
                out.line(
                    f"  {item.get('nextStep') or item.get('next_step') or 'Correct it and push.'}"
                )
        if bundle["status"].get("display", {}).get("state") == "Ready":
            continue
        asked = {
            "workspace": session.workspace,
            "selector": f"{_BY_BUNDLE}{name}",
            "state": _NOT_READY,
        }
        found = sorted(session.client.list("bundledeployments", **asked), key=rank)
        for item in found[:_MOST]:
            _explain(item)
        if len(found) > _MOST:
            out.line(
                f"and {len(found) - _MOST} more clusters: `fleetctl bundle status {name}"
                " --not-ready`"
            )


def _explain(item: dict[str, Any]) -> None:
    """The objects of one deployment that are not as they should be, and what somebody changed in
    them.
    """
    cluster, status = item["spec"]["cluster"], item["status"]
    if status.get("message"):
        out.line(f"{cluster}: {status['display']['state']}: {out.ages(status['message'])}")
    changed = status.get("modifiedStatus") or []
    for found in status.get("nonReadyStatus") or []:
        where = "/".join(part for part in (found.get("namespace", ""), found["name"]) if part)
        said = f": {found['message']}" if found.get("message") else ""
        if not found.get("differences"):
            out.line(f"{cluster}: {found['kind']} {where} is {found['state']}{said}")
    for found in changed:
        out.line(f"{cluster}: {bundle_diff.title(found)}")
        for text in bundle_diff.lines(found):
            out.line(f"    {text}")


app.command("get")(
    getter("bundles", "Bundles, and the objects that are not as they should be.", _wrong)
)
app.command("diff")(bundle_diff.diff)
app.command("correct")(bundle_correct.correct)
app.command("history")(history.history)
app.command("moved")(bundle_moved.moved)
