"""`fleetctl rollback`: returns clusters to an earlier revision of a bundle."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import (
    BundleName,
    ContextName,
    DryRun,
    OnClusters,
    Output,
    Partition,
    Selector,
    Workspace,
)
from fleetctl.cli.session import opened
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import UsageError


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
    cluster: OnClusters = None,
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
        done = session.client.call(
            "POST", relative("bundles", session.workspace, name, "rollback"), body
        )
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
        amount = format_count(one["clusters"], "cluster")
        found.append(
            f"{amount} {stays} to revision {one['number']}; `--release --all` takes it away"
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
    more = ", …" if done["clusters"] > 3 else ""
    return f"{format_count(done['clusters'], 'cluster')} ({shown}{more})"


def _amounts(done: dict[str, Any]) -> str:
    """`3 clusters change now, 5 as their rollout allows, 2 have it already`."""
    same = max(0, done["clusters"] - done["told"] - done["waiting"])
    would = "would " if done["dryRun"] else ""
    parts = [
        (
            f"{format_count(done['told'], 'cluster')}"
            f" {would}change{'s' if done['told'] == 1 and not would else ''} now"
            if done["told"]
            else ""
        ),
        f"{format_count(done['waiting'], 'cluster')} as the rollout allows"
        if done["waiting"]
        else "",
        f"{same} {'has' if same == 1 else 'have'} it already" if same else "",
    ]
    return ", ".join(filter(None, parts)) or "no cluster gets it"
