"""`fleetctl status`: the whole fleet on one screen."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import ORDER, short
from fleetctl.cli.display.humanize import format_count, format_duration, format_times
from fleetctl.cli.display.live_screen import open_screen
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.objects.list_request import ListRequest, View
from fleetctl.cli.objects.list_view import follow, read
from fleetctl.cli.options import ContextName, Everywhere, Output, Watch, Workspace
from fleetctl.cli.session import Session, open_session
from fleetctl.core.text.listing import count_hidden, list_names

_MOST_ENTRIES, _LEAST_SHOWN = 20, 3
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
_NAMESPACE_COLUMN = Column("NAMESPACE", lambda row: str(row.get("namespace", "")))


def status(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    watch: Watch = False,
    context: ContextName = "",
) -> None:
    """Show the whole fleet on one screen: the number of objects in each state, and what needs
    attention, worst first.

    `-o name` prints the names of all GitRepos, bundles and clusters.
    """
    with open_session(context, workspace) as session:
        if output is Format.NAME:
            wants = [ListRequest(plural) for plural in ("gitrepos", "bundles", "clusters")]
            read(session, wants, View(output, everywhere, watch))
            return
        is_live = watch and out.redraws() and output in {Format.TABLE, Format.WIDE}
        with open_screen(is_live=is_live) as screen:
            view = _StatusView(session, output, everywhere=everywhere, is_live=is_live)
            follow(
                session,
                view.look,
                lambda answer: screen.draw(lambda: view.show(answer)),
                watch=watch,
            )


class _StatusView:
    """Reads and shows the status. A watch without a live screen shows only what changed."""

    def __init__(self, session: Session, form: Format, *, everywhere: bool, is_live: bool) -> None:
        self._session, self._form = session, form
        self._everywhere, self._is_live = everywhere, is_live
        self._last: dict[str, Any] | None = None

    def look(self) -> dict[str, Any]:
        params = {} if self._everywhere else {"workspace": self._session.workspace}
        answer: dict[str, Any] = self._session.client.call("GET", "status", params=params)
        return answer

    def show(self, answer: dict[str, Any]) -> None:
        content = {key: value for key, value in answer.items() if key != "uptimeSeconds"}
        if content == self._last and not self._is_live:
            return
        is_empty = not any(answer.get(key) for _, key in _KINDS)
        if self._last is None and is_empty and not self._everywhere:
            self._session.warn_if_empty()
        self._last = content
        if not out.print_for_scripts(answer, self._form, ()):
            _screen(answer, self._session.client.url, self._form)


def _screen(answer: dict[str, Any], url: str, form: Format) -> None:
    space = answer.get("workspace")
    uptime = (
        f", up {format_duration(int(answer['uptimeSeconds']))}" if "uptimeSeconds" in answer else ""
    )
    out.line(
        f"{url}, version {answer.get('version', '?')}{uptime},"
        f" {f'workspace {space}' if space else 'all workspaces'}"
    )
    out.line()
    print_table(_COUNTS, [_count_row(title, answer.get(key) or {}) for title, key in _KINDS])
    wide = form is Format.WIDE
    lines = 8 + _notes(answer) + _rollouts(answer, wide=wide, spaces=not space)
    _attention(answer, wide=wide, limit=_room(lines), spaces=not space)


def _room(lines: int) -> int:
    """How many entries of two lines fit below; a file gets more."""
    return max(_LEAST_SHOWN, (out.lines() - lines - 3) // 2) if out.redraws() else _MOST_ENTRIES


def _notes(answer: dict[str, Any]) -> int:
    """One line each for what is held back on purpose; how many lines."""
    windows, pins = answer.get("windows") or {}, answer.get("pins") or {}
    notes = []
    if pauses := _pauses(answer.get("paused") or {}):
        notes.append(f"paused: {pauses}; `fleetctl get gr,cl,b` marks them")
    if windows.get("closed"):
        amount = format_count(windows["closed"], "cluster")
        notes.append(
            f"{amount} outside of a window: {windows['message']}; `fleetctl schedule list`"
        )
    if pins.get("bundles") or pins.get("clusters"):
        whole = f"{format_count(pins['bundles'], 'bundle')} pinned" if pins.get("bundles") else ""
        clusters = (
            f"{format_count(pins['clusters'], 'cluster')} pinned to other revisions"
            if pins.get("clusters")
            else ""
        )
        names = ", ".join(item["name"] for item in (pins.get("items") or [])[:3])
        notes.append(
            f"{', and '.join(filter(None, (whole, clusters)))}: {names}; `fleetctl rollback BUNDLE"
            " --release`"
        )
    for text in notes:
        out.line()
        out.print_cut_line(format_times(text))
    return 2 * len(notes)


def _pauses(pauses: dict[str, Any]) -> str:
    """`gitrepo/apps, cluster/prod and 3 more` of each kind that has paused objects."""
    texts = []
    for kind in ("gitrepos", "clusters", "bundles"):
        names, count = (
            (pauses.get(kind) or {}).get("names") or [],
            (pauses.get(kind) or {}).get("count", 0),
        )
        if names:
            objects = [f"{kind.removesuffix('s')}/{name}" for name in names]
            texts.append(list_names(objects, count=count))
    return ", ".join(texts)


def _rollouts(answer: dict[str, Any], *, wide: bool, spaces: bool) -> int:
    """Those that are not through, the ones that wait for a person first; how many lines."""
    rollouts = answer.get("rollouts") or {}
    items = rollouts.get("items") or []
    if not items:
        return 0
    visible = items if wide else items[:_LEAST_SHOWN]
    out.line()
    print_table([_NAMESPACE_COLUMN, *_ROLLOUTS] if spaces else _ROLLOUTS, visible, wide=wide)
    steps = [item["next"] for item in visible if item.get("waitsForYou")]
    for step in steps:
        out.line(f"  {step}")
    hidden_amount = len(items) - len(visible) + int(rollouts.get("omitted") or 0)
    if hidden_amount:
        out.line(f"{count_hidden(hidden_amount)}: `fleetctl rollout status`")
    return 2 + len(visible) + len(steps) + bool(hidden_amount)


def _attention(answer: dict[str, Any], *, wide: bool, limit: int, spaces: bool) -> None:
    """Two lines each: what is wrong, and what comes next."""
    attention = answer.get("attention") or []
    visible = attention if wide else attention[:limit]
    if visible:
        out.line()
    width = max((len(str(item.get("state", ""))) for item in visible), default=0)
    for item in visible:
        message = format_times(short(str(item.get("message") or "")))
        text = f"{_object_name(item, spaces=spaces)}  {message}"
        out.entry(str(item.get("state", "")), width, text, wide=wide)
        if item.get("next"):
            out.line(f"{' ' * width}   {item['next']}")
    hidden_amount = len(attention) - len(visible) + int(answer.get("attentionOmitted") or 0)
    if hidden_amount:
        out.line(f"{count_hidden(hidden_amount)}: `fleetctl get all --not-ready`, or -o wide")


def _object_name(item: dict[str, Any], *, spaces: bool) -> str:
    kind, name, count = (
        str(item.get("kind", "")).lower(),
        str(item.get("name", "")),
        int(item.get("count") or 1),
    )
    prefix = f"{item.get('namespace', '')}/" if spaces else ""
    return list_names([f"{kind}/{prefix}{name}"], count=count)


def _count_row(title: str, counts: dict[str, int]) -> dict[str, Any]:
    rest = sorted(
        (state for state in counts if state != "Ready"),
        key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s),
    )
    text = ", ".join(f"{counts[state]} {state}" for state in rest if counts[state])
    return {
        "what": title,
        "total": sum(counts.values()),
        "ready": counts.get("Ready", 0),
        "rest": text,
    }
