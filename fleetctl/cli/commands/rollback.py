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
from fleetctl.cli.session import open_session
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
            help="The revision. The default is the one before the present one.",
        ),
    ] = 0,
    cluster: OnClusters = None,
    selector: Selector = "",
    partition: Partition = "",
    release: Annotated[
        bool, typer.Option("--release", help="End the pin: follow Git again.")
    ] = False,
    all_: Annotated[
        bool,
        typer.Option("--all", help="With --release: also end the pins of single clusters."),
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="A reason, which everybody can read.")
    ] = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Return clusters to an earlier revision of a bundle, and pin them to it.

    Newer commits wait until `--release` ends the pin.
    """
    selection = {"clusters": list(cluster or []), "selector": selector, "partition": partition}
    _check(to, release=release, every=all_, selections=sum(map(bool, selection.values())))
    body = {
        "to": to,
        "reason": reason,
        "release": release,
        "all": all_,
        "dryRun": dry_run,
        **selection,
    }
    with open_session(context, workspace) as session:
        answer = session.client.call(
            "POST", relative("bundles", session.workspace, name, "rollback"), body
        )
    if not out.print_for_scripts(answer, output, [f"bundle/{name}"]):
        for text in _sentences(name, answer, is_partial=any(selection.values()), release=release):
            out.line(text)


def _check(to: int, *, release: bool, every: bool, selections: int) -> None:
    """Raises UsageError."""
    if to < 0:
        raise UsageError(
            "revisions count from 1",
            subject="--to",
            next_step="See `fleetctl bundle history BUNDLE`.",
        )
    if release and to:
        raise UsageError(
            "--release and --to exclude each other", subject="rollback", next_step="Leave it out."
        )
    if selections > 1:
        raise UsageError(
            "clusters are chosen in two ways at once",
            subject="rollback",
            next_step="Give one of --cluster, -l, --partition.",
        )
    if every and (not release or selections):
        raise UsageError(
            "--all works only with --release",
            subject="rollback",
            next_step="Without clusters, a rollback is of all.",
        )


def _sentences(name: str, answer: dict[str, Any], *, is_partial: bool, release: bool) -> list[str]:
    """What was done (or would be), on how many clusters, and how to take it back."""
    target = f"bundle/{name}" + (f" on {_clusters(answer)}" if is_partial else "")
    plural = is_partial and answer["clusters"] != 1
    if answer["dryRun"]:
        state = (
            "would follow Git again"
            if release
            else f"would be pinned to revision {answer['pinned']}"
        )
    else:
        is_, follows = ("are", "follow") if plural else ("is", "follows")
        state = (
            f"{follows} Git again" if release else f"{is_} pinned to revision {answer['pinned']}"
        )
    lines = [f"{target} {state}: {_amounts(answer)}"]
    if answer["resumed"]:
        lines.append(
            f"its pause {'would end' if answer['dryRun'] else 'has ended'}; `fleetctl rollout pause"
            f" {name}` holds later commits"
        )
    for pin in answer["own"]:
        stays = "keeps its own pin" if pin["clusters"] == 1 else "keep their own pin"
        amount = format_count(pin["clusters"], "cluster")
        lines.append(
            f"{amount} {stays} to revision {pin['number']}; `--release --all` ends the pin"
        )
    if not release and not answer["dryRun"]:
        lines.append(f"{_undo_command(name, answer, is_partial=is_partial)} follows Git again")
    return lines


def _undo_command(name: str, answer: dict[str, Any], *, is_partial: bool) -> str:
    """The command that takes it back; it is short when few clusters are meant."""
    is_short = is_partial and len(answer["names"]) == answer["clusters"] <= 3
    options = "".join(f" --cluster {cluster}" for cluster in answer["names"]) if is_short else ""
    return f"`fleetctl rollback {name} --release{options}`" + (
        " with the same choice of clusters" if is_partial and not is_short else ""
    )


def _clusters(answer: dict[str, Any]) -> str:
    names = ", ".join(answer["names"][:3])
    suffix = ", …" if answer["clusters"] > 3 else ""
    return f"{format_count(answer['clusters'], 'cluster')} ({names}{suffix})"


def _amounts(answer: dict[str, Any]) -> str:
    """`3 clusters change now, 5 as their rollout allows, 2 have it already`."""
    unchanged = max(0, answer["clusters"] - answer["told"] - answer["waiting"])
    would = "would " if answer["dryRun"] else ""
    parts = [
        (
            f"{format_count(answer['told'], 'cluster')}"
            f" {would}change{'s' if answer['told'] == 1 and not would else ''} now"
            if answer["told"]
            else ""
        ),
        f"{format_count(answer['waiting'], 'cluster')} as the rollout allows"
        if answer["waiting"]
        else "",
        f"{unchanged} {'has' if unchanged == 1 else 'have'} it already" if unchanged else "",
    ]
    return ", ".join(filter(None, parts)) or "no cluster gets it"
