"""`fleetctl status`: the whole fleet on one screen."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import ORDER, short
from fleetctl.cli.display.output import Column, Format, ages, counted
from fleetctl.cli.objects.list_view import View, Want, follow, read
from fleetctl.cli.options import ContextName, Everywhere, Output, Watch, Workspace
from fleetctl.cli.session import opened

_MOST, _LEAST_SHOWN = 20, 3
_KINDS = (
    ("GitRepos", "gitrepos"),
    ("Bundles", "bundles"),
    ("Clusters", "clusters"),
    ("Deployments", "deployments"),
)
_COUNTS = [
    Column("", lambda row: str(row["what"])),
    Column("TOTAL", lambda row: str(row["total"])),
    Column("READY", lambda row: str(row["ready"])),
    Column("NOT READY", lambda row: str(row["rest"]), flexible=True),
]
_ROLLOUTS = [
    Column("ROLLOUT", lambda row: str(row.get("name", ""))),
    Column("STATUS", lambda row: str(row.get("state", ""))),
    Column("DELIVERED", lambda row: str(row.get("clusters", ""))),
    Column("WAITS FOR", lambda row: str(row.get("message") or ""), flexible=True),
]
_WHERE = Column("NAMESPACE", lambda row: str(row.get("namespace", "")))


def status(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    watch: Watch = False,
    context: ContextName = "",
) -> None:
    """The whole fleet on one screen: what is in which state, and what needs attention, worst first.

    `-o name` prints the names of all GitRepos, bundles and clusters.
    """
    with opened(context, workspace) as session:
        if output is Format.NAME:
            wants = [Want(plural) for plural in ("gitrepos", "bundles", "clusters")]
            read(session, wants, View(output, everywhere, watch))
            return
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
            if not everywhere and not shown and not any(found.get(key) for _, key in _KINDS):
                session.warn_if_empty()
            shown[:] = [told]
            if not out.answered(found, output, ()):
                _screen(found, session.client.url, output)

        follow(session, look, show, watch=watch)


def _screen(found: dict[str, Any], url: str, form: Format) -> None:
    space = found.get("workspace")
    uptime = f", up {out.duration(int(found['uptimeSeconds']))}" if "uptimeSeconds" in found else ""
    out.line(
        f"{url}, version {found.get('version', '?')}{uptime},"
        f" {f'workspace {space}' if space else 'all workspaces'}"
    )
    out.line()
    out.table(_COUNTS, [_counted(title, found.get(key) or {}) for title, key in _KINDS])
    wide = form is Format.WIDE
    used = 8 + _notes(found) + _rollouts(found, wide=wide, spaces=not space)
    _attention(found, wide=wide, most=_room(used), spaces=not space)


def _room(used: int) -> int:
    """How many entries of two lines fit below; a file gets more."""
    return max(_LEAST_SHOWN, (out.lines() - used - 3) // 2) if out.redraws() else _MOST


def _notes(found: dict[str, Any]) -> int:
    """One line each for what is held back on purpose; how many lines."""
    closed, pins = found.get("windows") or {}, found.get("pins") or {}
    said = []
    if pauses := _pauses(found.get("paused") or {}):
        said.append(f"paused: {pauses}; `fleetctl get gr,cl,b` marks them")
    if closed.get("closed"):
        said.append(
            f"{counted(closed['closed'], 'cluster')} outside of a window: {closed['message']};"
            " `fleetctl schedule list`"
        )
    if pins.get("bundles") or pins.get("clusters"):
        whole = f"{counted(pins['bundles'], 'bundle')} pinned" if pins.get("bundles") else ""
        own = (
            f"{counted(pins['clusters'], 'cluster')} on revisions of their own"
            if pins.get("clusters")
            else ""
        )
        names = ", ".join(item["name"] for item in (pins.get("items") or [])[:3])
        said.append(
            f"{', and '.join(filter(None, (whole, own)))}: {names}; `fleetctl rollback BUNDLE"
            " --release`"
        )
    for text in said:
        out.line()
        out.cut(ages(text))
    return 2 * len(said)


def _pauses(paused: dict[str, Any]) -> str:
    """`gitrepo/apps, cluster/prod and 3 more` of each kind that has paused objects."""
    texts = []
    for kind in ("gitrepos", "clusters", "bundles"):
        names, count = (
            (paused.get(kind) or {}).get("names") or [],
            (paused.get(kind) or {}).get("count", 0),
        )
        more = f" and {count - len(names)} more" if count > len(names) else ""
        if names:
            texts.append(", ".join(f"{kind.removesuffix('s')}/{name}" for name in names) + more)
    return ", ".join(texts)


def _rollouts(found: dict[str, Any], *, wide: bool, spaces: bool) -> int:
    """Those that are not through, the ones that wait for a person first; how many lines."""
    rollouts = found.get("rollouts") or {}
    items = rollouts.get("items") or []
    if not items:
        return 0
    shown = items if wide else items[:_LEAST_SHOWN]
    out.line()
    out.table([_WHERE, *_ROLLOUTS] if spaces else _ROLLOUTS, shown, wide=wide)
    steps = [item["next"] for item in shown if item.get("waitsForYou")]
    for step in steps:
        out.line(f"  {step}")
    left = len(items) - len(shown) + int(rollouts.get("omitted") or 0)
    if left:
        out.line(f"… and {left} more: `fleetctl rollout status`")
    return 2 + len(shown) + len(steps) + bool(left)


def _attention(found: dict[str, Any], *, wide: bool, most: int, spaces: bool) -> None:
    """Two lines each: what is wrong, and what comes next."""
    attention = found.get("attention") or []
    shown = attention if wide else attention[:most]
    if shown:
        out.line()
    width = max((len(str(item.get("state", ""))) for item in shown), default=0)
    for item in shown:
        out.entry(
            str(item.get("state", "")),
            width,
            f"{_what(item, spaces=spaces)}  {ages(short(str(item.get('message') or '')))}",
            wide=wide,
        )
        if item.get("next"):
            out.line(f"{' ' * width}   {item['next']}")
    left = len(attention) - len(shown) + int(found.get("attentionOmitted") or 0)
    if left:
        out.line(f"… and {left} more: `fleetctl get all --not-ready`, or -o wide")


def _what(item: dict[str, Any], *, spaces: bool) -> str:
    kind, name, count = (
        str(item.get("kind", "")).lower(),
        str(item.get("name", "")),
        int(item.get("count") or 1),
    )
    where = f"{item.get('namespace', '')}/" if spaces else ""
    return f"{kind}/{where}{name}" if count == 1 else f"{kind}/{where}{name} and {count - 1} more"


def _counted(title: str, counts: dict[str, int]) -> dict[str, Any]:
    rest = sorted(
        (state for state in counts if state != "Ready"),
        key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s),
    )
    said = ", ".join(f"{counts[state]} {state}" for state in rest if counts[state])
    return {
        "what": title,
        "total": sum(counts.values()),
        "ready": counts.get("Ready", 0),
        "rest": said,
    }
