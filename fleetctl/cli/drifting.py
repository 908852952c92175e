"""`fleetctl bundle diff`: what somebody changed on clusters, and the rule for fleet.yaml that makes it count no more."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from fleetctl.cli import output as out
from fleetctl.cli.common import ContextName, Workspace, opened
from fleetctl.core.errors import NotFound

DIFFERS = 1
_BY_BUNDLE = "fleet.cattle.io/bundle-name="


def diff(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle.")],
    cluster: Annotated[str, typer.Option("--cluster", metavar="NAME", help="Only on this cluster.")] = "",
    ignore_rule: Annotated[
        bool, typer.Option("--ignore-rule", help="Print the `diff:` for fleet.yaml that lets these fields be, with the rules it has.")
    ] = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> int:
    """What live objects have otherwise than Git: pointers and live values. Exit status 1 when there is any."""
    with opened(context, workspace) as session:
        session.client.get("bundles", session.workspace, name)
        filters = {"workspace": session.workspace, "selector": f"{_BY_BUNDLE}{name}"} | ({"cluster": cluster} if cluster else {})
        items = session.client.list("bundledeployments", **filters)
    if not items:
        raise NotFound("it is on no such cluster", subject=f"Bundle {name}", next_step=f"See `fleetctl bundle status {name}`.")
    if ignore_rule:
        rules = merged(items)
        if rules:
            out.document({"diff": {"comparePatches": rules}}, out.Format.YAML)
        else:
            out.say("Nothing differs, and there are no rules.")
        return 0
    return DIFFERS if sum(_shown(item) for item in items) else 0


def _shown(item: dict[str, Any]) -> int:
    """How many objects differ."""
    found = item["status"].get("modifiedStatus") or []
    for one in found:
        where = "/".join(part for part in (one.get("namespace", ""), one["name"]) if part)
        out.line(f"{item['spec']['cluster']}: {one['kind']} {where} is {one['state']}")
        for pointer, live in _fields(one).items():
            out.line(f"    {pointer}: {'is missing' if live is None else 'is ' + json.dumps(live, ensure_ascii=False)}")
    return len(found)


def merged(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules that are there, with one for each object that differs; an object's fields join the rule that it has."""
    rules: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in items:
        for rule in ((item["spec"].get("options") or {}).get("diff") or {}).get("comparePatches") or []:
            rules.setdefault(_key(rule), dict(rule))
        for one in item["status"].get("modifiedStatus") or []:
            pointers = list(_fields(one))
            if pointers:
                mine = {key: one[key] for key in ("apiVersion", "kind", "namespace", "name") if one.get(key)}
                rule = rules.setdefault(_key(mine), mine)
                rule["jsonPointers"] = sorted({*(rule.get("jsonPointers") or []), *pointers})
    return list(rules.values())


def _key(rule: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(rule.get(key) or "") for key in ("apiVersion", "kind", "namespace", "name"))


def _fields(one: dict[str, Any]) -> dict[str, Any]:
    """{pointer: live value}; the report may have been cut."""
    try:
        found = json.loads(one.get("patch") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
