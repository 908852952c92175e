"""`fleetctl cluster label`: sets labels of clusters, and first shows the effect on bundles."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.options import ContextName, DryRun, Workspace, Yes, labels_of
from fleetctl.cli.prompt import confirm
from fleetctl.cli.session import Session, open_session
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.text.listing import list_names

_MOST_EFFECTS = 20


def label(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME…] K=V…",
            help="Cluster names, then key=value to set a label or key- to remove it.",
        ),
    ],
    selector: Annotated[
        str,
        typer.Option(
            "-l",
            "--selector",
            metavar="SELECTOR",
            help="Clusters with these labels, instead of names.",
        ),
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Set or remove labels of clusters. Targets apply at once; --dry-run prints which bundles
    clusters would gain, lose or change.

    The command asks before it removes many deployments, or the last one of a cluster.
    """
    names = [word for word in words if "=" not in word and not word.endswith("-")]
    changes = labels_of([word for word in words if word not in names], removing=True)
    if not changes:
        raise UsageError(
            "no label is named",
            subject="cluster label",
            next_step="Write key=value to set one, key- to remove it.",
        )
    if bool(names) == bool(selector):
        step = (
            "Write `fleetctl cluster label NAME key=value` or `fleetctl cluster label -l SELECTOR"
            " key=value`."
        )
        raise UsageError(
            "name clusters, or select them with -l, but not both",
            subject="cluster label",
            next_step=step,
        )
    request: dict[str, Any] = {"labels": changes, "names": names, "selector": selector}
    with open_session(context, workspace) as session:
        preview = _call(session, request | {"dryRun": True})
        if selector and not preview["picked"]:
            step = "See `fleetctl get clusters -o wide`."
            raise NotFound(
                f"no cluster is selected by {selector}",
                subject=f"workspace {session.workspace}",
                next_step=step,
            )
        if dry_run:
            _report(preview, changes)
            return
        if preview["held"]:
            _warn(preview)
            confirm(f"Remove {format_count(preview['removals'], 'deployment')}?", yes=yes)
            request["removals"] = preview["removals"]
        _report(_call(session, request), changes)


def _call(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = session.client.call(
        "POST", relative("clusters", session.workspace, "labels"), request
    )
    return answer


def _warn(preview: dict[str, Any]) -> None:
    for hold in preview["holds"]:
        out.say(f"bundle {hold['bundle']} {hold['message']}")


def _already(changes: dict[str, str | None]) -> str:
    """The reason why a cluster does not change."""
    present = ", ".join(f"{key}={value}" for key, value in changes.items() if value is not None)
    absent = ", ".join(key for key, value in changes.items() if value is None)
    texts = [f"already has {present}"] if present else []
    return " and ".join([*texts, *([f"has no label {absent}"] if absent else [])])


def _report(answer: dict[str, Any], changes: dict[str, str | None]) -> None:
    """Print which clusters change, and what the change does to bundles."""
    dry = " (dry run)" if answer["dryRun"] else ""
    verb = "unlabeled" if all(value is None for value in changes.values()) else "labeled"
    for name in answer["names"]:
        out.line(f"cluster/{name} {verb}{dry}")
    unnamed, unchanged = (
        answer["clusters"] - len(answer["names"]),
        answer["picked"] - answer["clusters"],
    )
    if unnamed > 0:
        out.line(f"and {unnamed} more {verb}{dry}")
    if unchanged > 0:
        out.line(f"{format_count(unchanged, 'cluster')} not changed: {_already(changes)}")
    effects = answer.get("effects") or []
    for effect in effects[:_MOST_EFFECTS]:
        out.line(effect_line(effect, dry_run=answer["dryRun"]))
    unnamed = len(effects) - _MOST_EFFECTS + answer.get("moreEffects", 0)
    if unnamed > 0:
        out.line(f"and {unnamed} more changes of bundles")
    # an older manager does not send effects
    if answer["dryRun"] and not effects and "effects" in answer:
        out.line("no bundle would change")
    if answer["dryRun"] and answer["held"]:
        out.line(f"needs confirmation: {format_count(answer['held'], 'removal')}; --yes confirms")


_VERBS = {"added": "deploy", "changed": "redeploy", "removed": "remove", "told": "update"}


def effect_line(effect: dict[str, Any], *, dry_run: bool) -> str:
    """For example `would redeploy bundle/web on 2 clusters (paris, rome): target dev -> prod`."""
    kind, count, names = effect["what"], effect["clusters"], effect["names"]
    verb = f"would {_VERBS[kind]}" if dry_run else f"{_VERBS[kind]}s"
    preposition = {"added": "to", "removed": "from"}.get(kind, "on")
    names_text = list_names(names, count=count)
    suffix = f" ({names_text})" if names else ""
    line = (
        f"{verb} bundle/{effect['bundle']} {preposition} {format_count(count, 'cluster')}{suffix}"
    )
    line += " without deploying again" if kind == "told" else ""
    parts = _sources(effect.get("old"), effect.get("new")) if kind != "removed" else []
    parts += [word for word in effect.get("why") or [] if word not in {"target", "customization"}]
    return f"{line}: {', '.join(parts)}" if parts else line


def _sources(old: dict[str, str] | None, new: dict[str, str] | None) -> list[str]:
    """The target and the customization, each with its change."""
    parts = []
    for key in ("target", "customization"):
        after = (new or {}).get(key, "")
        before = old.get(key, "") if old else after
        if before != after:
            parts.append(f"{key} {before or '(no name)'} -> {after or '(no name)'}")
        elif after and not old:
            parts.append(f"{key} {after}")
    return parts
