"""`fleetctl bundle diff`: fields that differ between live objects and Git."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.commands.bundle.filters import BY_BUNDLE
from fleetctl.cli.commands.bundle.ignore_rules import ignore_rules, new_rules
from fleetctl.cli.commands.bundle.rule_writer import write_rules
from fleetctl.cli.display import output as out
from fleetctl.cli.options import ContextName, Workspace
from fleetctl.cli.session import Session, open_session
from fleetctl.core.model.errors import NotFound, UsageError

DIFFERS = 1
_MASK, _MOST_FIELDS = "(not shown)", 20


def diff(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle.")],
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="NAME", help="Only on this cluster.")
    ] = "",
    ignore_rule: Annotated[
        bool,
        typer.Option(
            "--ignore-rule",
            help=(
                "Print the `diff:` for fleet.yaml that ignores these fields, with the rules that"
                " the bundle has."
            ),
        ),
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            "--write",
            metavar="FILE",
            help="With --ignore-rule: add the new rules to this fleet.yaml.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --write: print the change, and write nothing.")
    ] = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> int:
    """Show fields that differ between live objects and Git. The exit status is 1 if any differ.

    `--ignore-rule` makes rules for fleet.yaml: fields with a rule do not count as differences.
    """
    _check_options(ignore_rule=ignore_rule, write=write, dry_run=dry_run)
    with open_session(context, workspace) as session:
        deployments = _deployments(session, name, cluster)
    if write is not None:
        write_rules(write, new_rules(deployments), dry_run=dry_run)
    elif ignore_rule:
        rules = ignore_rules(deployments)
        if rules:
            out.document({"diff": {"comparePatches": rules}}, out.Format.YAML)
        else:
            out.say("Nothing differs, and there are no rules.")
    else:
        return DIFFERS if sum(_print_differences(deployment) for deployment in deployments) else 0
    return 0


def _check_options(*, ignore_rule: bool, write: Path | None, dry_run: bool) -> None:
    """Raises UsageError for options that have no effect without another one."""
    if write is not None and not ignore_rule:
        raise UsageError(
            "--write needs --ignore-rule", subject="bundle diff", next_step="Add --ignore-rule."
        )
    if dry_run and write is None:
        raise UsageError(
            "--dry-run needs --write", subject="bundle diff", next_step="Add --write FILE."
        )


def _deployments(session: Session, name: str, cluster: str) -> list[dict[str, Any]]:
    """The deployments of a bundle, on all clusters or one. Raises NotFound."""
    session.client.get("bundles", session.workspace, name)
    filters = {"workspace": session.workspace, "selector": f"{BY_BUNDLE}{name}"} | (
        {"cluster": cluster} if cluster else {}
    )
    deployments = session.client.list("bundledeployments", **filters)
    if not deployments:
        raise NotFound(
            "it is on no such cluster",
            subject=f"Bundle {name}",
            next_step=f"See `fleetctl bundle status {name}`.",
        )
    return deployments


def _print_differences(deployment: dict[str, Any]) -> int:
    """Print the objects of one deployment that differ. Returns their number."""
    objects = deployment["status"].get("modifiedStatus") or []
    for item in objects:
        out.line(f"{deployment['spec']['cluster']}: {difference_title(item)}")
        for text in difference_lines(item):
            out.line(f"    {text}")
    return len(objects)


def difference_title(item: dict[str, Any]) -> str:
    """Name an object that differs from Git, and the kind of the difference."""
    name = "/".join(part for part in (item.get("namespace", ""), item["name"]) if part)
    state = item.get("state", "Ready")
    if item.get("owner"):
        verdict = f"belongs to release {item['owner']} now"
    else:
        verdict = {
            "Missing": "is Missing: Git has it, the cluster has not",
            "Orphaned": "is Orphaned: the cluster has it, marked as this release's, Git has not",
            "Modified": "is Modified",
        }.get(state, f"is Modified, and {state}: {item.get('message', '')}".rstrip(": "))
    return f"{item['kind']} {name} {verdict}"


def difference_lines(item: dict[str, Any]) -> list[str]:
    """Describe each field that differs, with the value in Git and the value on the cluster."""
    differences = item.get("differences") or []
    lines = [
        f"{d['pointer']}: {_compare_values(d.get('wanted', ''), d.get('live', ''))}"
        for d in differences
    ]
    if len(differences) >= _MOST_FIELDS:
        lines.append(
            f"and perhaps more: an agent reports at most {_MOST_FIELDS} fields of an object"
        )
    return lines or ([f"to put it right: {item['patch']}"] if item.get("patch") else [])


def _compare_values(desired: str, live: str) -> str:
    if _MASK in {desired, live}:
        if not desired or not live:
            return (
                f"only {'the cluster' if live else 'Git'} has it (the values of a Secret are not"
                " shown)"
            )
        return "differs (the values of a Secret are not shown)"
    return f"Git says {desired or 'nothing'}, the cluster has {live or 'nothing'}"
