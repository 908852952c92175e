"""`fleetctl why`: what stands in the way of a bundle, on a cluster or as a whole, and the next
thing to happen.

Exit status 0 when what is asked about is Ready and nothing of it is held back, else 1: also when no
target brings the bundle to the cluster.
"""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import plural_of
from fleetctl.cli.display.humanize import format_times
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.safe_text import single_line
from fleetctl.cli.options import ContextName, Workspace
from fleetctl.cli.session import Session, open_session
from fleetctl.core.model.errors import UsageError

_TOPIC, _LEAST_COLUMNS = 12, 40
_PLACES = {"clusters": "cluster", "bundles": "bundle"}


def why(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="CLUSTER|BUNDLE",
            help=(
                "A cluster, a bundle, or both. Write cluster/NAME or bundle/NAME if both have "
                "the same name."
            ),
        ),
    ],
    output: Annotated[
        Format, typer.Option("-o", "--output", help="Output format: table, json or yaml.")
    ] = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Explain the state of a bundle, of a cluster, or of a bundle on a cluster, and what happens
    next.
    """
    params = _parse_words(words)
    with open_session(context, workspace) as session:
        answer = _request(session, params)
    name = "/".join(
        filter(None, ("why", str(answer.get("cluster") or ""), str(answer.get("bundle") or "")))
    )
    if not out.print_for_scripts(answer, output, [name]):
        _show(answer, wide=output is Format.WIDE)
    if not _is_ready(answer):
        raise typer.Exit(1)


def _request(session: Session, params: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = session.client.call(
        "GET", "why", params={"workspace": session.workspace, **params}
    )
    return answer


def _parse_words(words: list[str]) -> dict[str, str]:
    """What the API is asked. Raises UsageError."""
    if len(words) > 2:
        step = "Write `fleetctl why CLUSTER BUNDLE`, or one of them."
        raise UsageError(
            "why explains one bundle on one cluster", subject=" ".join(words), next_step=step
        )
    parts = [_kind(word) for word in words]
    if len(parts) == 1:
        kind, name = parts[0]
        return {kind or "name": name}
    kinds = [kind for kind, _ in parts]
    if kinds[0] == "bundle" or kinds[1] == "cluster":
        parts.reverse()
        kinds.reverse()
    if kinds[0] == "bundle" or kinds[1] == "cluster":
        raise UsageError(
            "two of one kind",
            subject=" ".join(words),
            next_step="Write `fleetctl why CLUSTER BUNDLE`.",
        )
    return {"cluster": parts[0][1], "bundle": parts[1][1]}


def _kind(word: str) -> tuple[str, str]:
    """(cluster, bundle or "" when it is not said, the name). Raises UsageError."""
    kind, slash, name = word.partition("/")
    if not slash:
        return "", word
    plural = plural_of(kind)
    if plural not in _PLACES or not name or "/" in name:
        step = "Write cluster/NAME or bundle/NAME."
        raise UsageError(
            f"{word!r} is neither a cluster nor a bundle", subject="why", next_step=step
        )
    return _PLACES[plural], name


def _is_ready(answer: dict[str, Any]) -> bool:
    return bool(answer.get("ready")) and not answer.get("staged")


def _show(answer: dict[str, Any], *, wide: bool) -> None:
    out.line(f"{_title(answer)}: {answer.get('state') or 'not there'}")
    out.line()
    width = 10**6 if wide else max(_LEAST_COLUMNS, out.columns())
    for line in answer.get("lines") or []:
        _print_wrapped(str(line["topic"]), format_times(str(line["text"])), width)
    out.line()
    _print_wrapped("Next:", format_times(str(answer["next"]["text"])), width, topic=len("Next:"))


def _title(answer: dict[str, Any]) -> str:
    if answer.get("about") == "cluster":
        return f"Cluster {answer['cluster']}"
    if answer.get("about") == "bundle":
        return f"Bundle {answer['bundle']}"
    return f"Bundle {answer.get('bundle')} on cluster {answer.get('cluster')}"


def _print_wrapped(title: str, text: str, width: int, *, topic: int = _TOPIC) -> None:
    """A title, and the text beside it in as many lines as it takes; a word that is longer, as a
    command may be, is never cut.
    """
    head = title.ljust(topic) + " "
    room = max(20, width - len(head))
    rows = textwrap.wrap(
        single_line(text), room, break_long_words=False, break_on_hyphens=False
    ) or [""]
    out.line(head + rows[0])
    for row in rows[1:]:
        out.line(" " * (topic + 1) + row)
