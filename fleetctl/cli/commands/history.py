"""`fleetctl bundle history`, `fleetctl cluster history` and `fleetctl rollback`: what was told, and
going back to it.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Column, Format, age
from fleetctl.cli.session import (
    ContextName,
    DryRun,
    NoHeaders,
    Output,
    Selector,
    Session,
    Workspace,
    counted,
    opened,
)
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import UsageError

BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")]
Clusters = Annotated[
    list[str] | None,
    typer.Option("--cluster", metavar="NAME", help="Only on this cluster; may be repeated."),
]
Partition = Annotated[
    str,
    typer.Option(
        "--partition", metavar="NAME", help="Only on the clusters of this partition of its rollout."
    ),
]


def _pinned(revision: dict[str, Any]) -> str:
    own = counted(revision["pinnedClusters"], "cluster") if revision["pinnedClusters"] else ""
    return ", ".join(filter(None, ("bundle" if revision["pinned"] else "", own)))


def _number(item: dict[str, Any]) -> str:
    return str(item["number"] or "")


def _message(item: dict[str, Any]) -> str:
    """What was wrong, after what brought it when that was no commit; else what the commit says of
    itself.
    """
    cause = "" if item["cause"] in {"", "commit"} else item["cause"]
    by = f" by {item['who']}" if item["who"] and cause else ""
    why = f" ({item['reason']})" if item["reason"] and cause else ""
    return ": ".join(filter(None, (f"{cause}{by}{why}", item["message"]))) or str(item["subject"])


_REVISIONS = [
    Column("REV", lambda r: f"{r['number']}{'*' if r['current'] else ''}"),
    Column("COMMIT", lambda r: r["commit"][:7]),
    Column("TAKEN", lambda r: age(r["taken"])),
    Column("READY", lambda r: f"{r['ready']}/{r['clusters']}"),
    Column("PINNED", _pinned),
    Column("AUTHOR", lambda r: r["author"], flexible=True),
    Column("SUBJECT", lambda r: r["subject"], flexible=True),
]
_DECISIONS = [
    Column("WHEN", lambda d: age(d["at"])),
    Column("WHAT", lambda d: d["cause"]),
    Column("REV", _number),
    Column("BY", lambda d: d["author"] if d["cause"] == "commit" else d["who"], flexible=True),
    Column(
        "REASON", lambda d: d["subject"] if d["cause"] == "commit" else d["reason"], flexible=True
    ),
]
_TOLD = [
    Column("REV", _number),
    Column("COMMIT", lambda i: i["commit"][:7]),
    Column("AUTHOR", lambda i: i["author"], flexible=True),
    Column("DELIVERED", lambda i: age(i["told"])),
    Column("RESULT", lambda i: i["result"]),
    Column("AT", lambda i: age(i["readyAt"] if i["result"] == "Ready" else i["since"])),
    Column("MESSAGE", _message, flexible=True),
]
# Of many bundles: the author is told with -o wide.
_TOLD_OF_ALL = [
    Column("BUNDLE", lambda i: i["bundle"]),
    *(c._replace(wide=c.title == "AUTHOR") for c in _TOLD),
]


def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle.")],
    cluster: Annotated[
        str,
        typer.Option(
            "--cluster", metavar="NAME", help="What this cluster was told, and what came of it."
        ),
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """What a bundle has been, newest first; `*` is what its clusters should have. `fleetctl
    rollback` goes back.
    """
    with opened(context, workspace) as session:
        params = {"cluster": cluster} if cluster else None
        found = session.client.call("GET", f"{_path(session, name)}/history", params=params)
    if cluster:
        _told(
            found["items"],
            output,
            f"Cluster {cluster} was never told bundle {name}.",
            _TOLD,
            headers=not no_headers,
        )
    elif not out.answered(found, output, (item["number"] for item in found["items"])):
        out.table(_REVISIONS, found["items"], headers=not no_headers, wide=output is Format.WIDE)
        said = [one for one in found["decisions"] if one["cause"] != "commit"]
        if said or output is Format.WIDE:
            out.line()
            out.table(
                _DECISIONS,
                found["decisions"] if output is Format.WIDE else said,
                headers=not no_headers,
            )


def cluster_history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The cluster.")],
    bundle: Annotated[
        str, typer.Option("--bundle", metavar="NAME", help="Only of this bundle.")
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """What a cluster was told of its bundles, newest first, by whom, and what came of it."""
    with opened(context, workspace) as session:
        path = relative("clusters", session.workspace, name, "history")
        items = session.client.call("GET", path, params={"bundle": bundle} if bundle else None)[
            "items"
        ]
    what = f"bundle {bundle}" if bundle else "of any bundle"
    _told(
        items,
        output,
        f"Cluster {name} was never told {what}.",
        _TOLD_OF_ALL,
        headers=not no_headers,
    )


def _told(
    items: list[dict[str, Any]], form: Format, nothing: str, columns: list[Column], *, headers: bool
) -> None:
    if out.answered(
        {"items": items}, form, (f"{item['bundle']}/{item['number'] or '-'}" for item in items)
    ):
        return
    if items:
        out.table(columns, items, headers=headers, wide=form is Format.WIDE)
    else:
        out.say(nothing)


def rollback(
    name: BundleName,
    to: Annotated[
        int,
        typer.Option(
            "--to",
            metavar="REV",
            show_default=False,
            help="The revision; without it the one before the present one.",
        ),
    ] = 0,
    cluster: Clusters = None,
    selector: Selector = "",
    partition: Partition = "",
    release: Annotated[bool, typer.Option("--release", help="Follow Git again.")] = False,
    all_: Annotated[
        bool,
        typer.Option("--all", help="With --release: also where clusters have a pin of their own."),
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Shown to everybody who looks.")
    ] = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Give clusters an earlier revision of a bundle, until it is released; newer commits wait
    meanwhile.
    """
    chosen = {"clusters": list(cluster or []), "selector": selector, "partition": partition}
    _check(to, release=release, every=all_, some=sum(map(bool, chosen.values())))
    body = {
        "to": to,
        "reason": reason,
        "release": release,
        "all": all_,
        "dryRun": dry_run,
        **chosen,
    }
    with opened(context, workspace) as session:
        done = session.client.call("POST", f"{_path(session, name)}/rollback", body)
    if not out.answered(done, output, [f"bundle/{name}"]):
        for text in _sentences(name, done, some=any(chosen.values()), release=release):
            out.line(text)


def _check(to: int, *, release: bool, every: bool, some: int) -> None:
    """Raises UsageError."""
    if to < 0:
        raise UsageError(
            "revisions count from 1",
            subject="--to",
            next_step="See `fleetctl bundle history BUNDLE`.",
        )
    if release and to:
        raise UsageError("--release takes no --to", subject="rollback", next_step="Leave it out.")
    if some > 1:
        raise UsageError(
            "clusters are chosen in two ways at once",
            subject="rollback",
            next_step="Give one of --cluster, -l, --partition.",
        )
    if every and (not release or some):
        raise UsageError(
            "--all goes with --release alone",
            subject="rollback",
            next_step="Without clusters, a rollback is of all.",
        )


def _sentences(name: str, done: dict[str, Any], *, some: bool, release: bool) -> list[str]:
    """What was done (or would be), on how many clusters, and how to take it back."""
    where = f"bundle/{name}" + (f" on {_clusters(done)}" if some else "")
    plural = some and done["clusters"] != 1
    if done["dryRun"]:
        state = (
            "would follow Git again" if release else f"would be pinned to revision {done['pinned']}"
        )
    else:
        is_, follows = ("are", "follow") if plural else ("is", "follows")
        state = f"{follows} Git again" if release else f"{is_} pinned to revision {done['pinned']}"
    found = [f"{where} {state}: {_amounts(done)}"]
    if done["resumed"]:
        found.append(
            f"its pause {'would end' if done['dryRun'] else 'has ended'}; `fleetctl rollout pause"
            f" {name}` holds later commits"
        )
    for one in done["own"]:
        stays = "keeps its own pin" if one["clusters"] == 1 else "keep their own pin"
        found.append(
            f"{counted(one['clusters'], 'cluster')} {stays} to revision {one['number']}; `--release"
            " --all` takes it away"
        )
    if not release and not done["dryRun"]:
        found.append(f"{_back(name, done, some=some)} follows Git again")
    return found


def _back(name: str, done: dict[str, Any], *, some: bool) -> str:
    """The command that takes it back; it is short when few clusters are meant."""
    few = some and len(done["names"]) == done["clusters"] <= 3
    which = "".join(f" --cluster {one}" for one in done["names"]) if few else ""
    return f"`fleetctl rollback {name} --release{which}`" + (
        " with the same choice of clusters" if some and not few else ""
    )


def _clusters(done: dict[str, Any]) -> str:
    shown = ", ".join(done["names"][:3])
    return (
        f"{counted(done['clusters'], 'cluster')} ({shown}{', …' if done['clusters'] > 3 else ''})"
    )


def _amounts(done: dict[str, Any]) -> str:
    """`3 clusters change now, 5 as their rollout allows, 2 have it already`."""
    same = max(0, done["clusters"] - done["told"] - done["waiting"])
    would = "would " if done["dryRun"] else ""
    parts = [
        (
            f"{counted(done['told'], 'cluster')}"
            f" {would}change{'s' if done['told'] == 1 and not would else ''} now"
            if done["told"]
            else ""
        ),
        f"{counted(done['waiting'], 'cluster')} as the rollout allows" if done["waiting"] else "",
        f"{same} {'has' if same == 1 else 'have'} it already" if same else "",
    ]
    return ", ".join(filter(None, parts)) or "no cluster gets it"


def _path(session: Session, name: str) -> str:
    return relative("bundles", session.workspace, name)
