"""Options and arguments that several commands have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fleetctl.cli.display.output import Format
from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.duration import parse_duration

Output = Annotated[Format, typer.Option("-o", "--output", help="Output format.")]
Workspace = Annotated[
    str,
    typer.Option(
        "-n",
        "--workspace",
        "--namespace",
        metavar="NAME",
        help="Workspace. The default is the workspace of the context.",
    ),
]
Everywhere = Annotated[
    bool, typer.Option("-A", "--all-workspaces", help="Show objects of all workspaces.")
]
Selector = Annotated[
    str,
    typer.Option(
        "-l",
        "--selector",
        metavar="SELECTOR",
        help="Label selector: env=prod,tier!=gold,region in (eu,us).",
    ),
]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Keep running and show each change.")]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="Do not print the column titles.")]
SortBy = Annotated[
    str,
    typer.Option(
        "--sort-by",
        metavar="COLUMN",
        help=("A column, or a path such as .metadata.name. `status` puts the worst state first."),
    ),
]
States = Annotated[
    str,
    typer.Option(
        "--state",
        metavar="A,B",
        help="Only objects in these states, for example Modified,ErrApplied.",
    ),
]
NotReady = Annotated[bool, typer.Option("--not-ready", help="Only objects that are not Ready.")]
Limit = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=0, help="Show at most N objects. 0 shows all."),
]
ChunkSize = Annotated[
    int,
    typer.Option(
        "--chunk-size",
        metavar="N",
        min=0,
        max=1000,
        help="Request lists in pages of N objects. 0 requests all objects at once.",
    ),
]
ContextName = Annotated[
    str,
    typer.Option("--context", metavar="NAME", help="Context to use instead of the current one."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="The names.")]
OptionalNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="The names. Or use -l or --all."),
]
Every = Annotated[bool, typer.Option("--all", help="All objects of the kind in the workspace.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")
]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "-f", "--filename", metavar="FILE", help="File, directory, or - for standard input."
    ),
]
BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")]
OnClusters = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster", metavar="NAME", help="Only on this cluster. It can be given several times."
    ),
]
Partition = Annotated[
    str,
    typer.Option(
        "--partition", metavar="NAME", help="Only on the clusters of this partition of the rollout."
    ),
]


def labels_of(pairs: Sequence[str], *, removing: bool = False) -> dict[str, str | None]:
    """Parse `k=v` pairs, each text one or several with commas between them. With `removing`, `k-`
    removes a label. Raises UsageError.
    """
    labels: dict[str, str | None] = {}
    for text in (part for pair in pairs for part in pair.split(",") if part):
        key, sign, value = text.partition("=")
        if sign and key:
            labels[key] = value
        elif removing and text.endswith("-") and len(text) > 1:
            labels[text[:-1]] = None
        else:
            step = "Write it as key=value" + (", or key- to remove it." if removing else ".")
            raise UsageError(f"{text!r} is not a label", next_step=step)
    return labels


def seconds(text: str, *, option: str) -> float:
    """Go's durations (`15s`, `1h30m`), days (`30d`) and plain seconds (`90`). Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return float(text)
    try:
        return parse_duration(text, days=True)
    except ValueError as error:
        raise UsageError(
            str(error), subject=option, next_step="Write it like 90s, 15m or 1h30m."
        ) from error
