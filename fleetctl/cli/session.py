"""What the commands share: options, the chosen context, and the question before a removal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetctl.cli import config
from fleetctl.cli.display import output
from fleetctl.cli.display.columns import KINDS
from fleetctl.cli.display.output import Format
from fleetctl.cli.help import Group
from fleetctl.cli.parallel import each
from fleetctl.core.model.errors import FleetError, NotFound, RefusedError, UsageError
from fleetctl.core.text.suggest import nearest

if TYPE_CHECKING:
    from fleetctl.client import Client

Output = Annotated[Format, typer.Option("-o", "--output", help="Form of the answer.")]
Workspace = Annotated[
    str,
    typer.Option(
        "-n",
        "--workspace",
        "--namespace",
        metavar="NAME",
        help="Workspace; the context's own when not given.",
    ),
]
Everywhere = Annotated[
    bool, typer.Option("-A", "--all-workspaces", help="Look into all workspaces.")
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
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on and show every change.")]
NoHeaders = Annotated[
    bool, typer.Option("--no-headers", help="Leave out the titles of the columns.")
]
SortBy = Annotated[
    str,
    typer.Option(
        "--sort-by",
        metavar="COLUMN",
        help="Column, or a path like .metadata.name; status puts the worst first.",
    ),
]
States = Annotated[
    str,
    typer.Option(
        "--state", metavar="A,B", help="Only in these states, for example Modified,ErrApplied."
    ),
]
NotReady = Annotated[bool, typer.Option("--not-ready", help="Only what is not Ready.")]
ContextName = Annotated[
    str,
    typer.Option("--context", metavar="NAME", help="Context to use instead of the current one."),
]
Name = Annotated[str, typer.Argument(metavar="NAME")]
Names = Annotated[list[str], typer.Argument(metavar="NAME")]
OptionalNames = Annotated[list[str] | None, typer.Argument(metavar="NAME")]
Every = Annotated[bool, typer.Option("--all", help="All of the kind in the workspace.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do it without asking.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
]


HELP = {"help_option_names": ["-h", "--help"]}


@dataclass
class Session:
    """One command's client and workspace."""

    client: Client
    workspace: str

    def warn_if_empty(self) -> None:
        """Print to stderr that the workspace has no objects, if so: its name may have a typing
        error.
        """
        if hint := self.hint_if_empty():
            output.say(hint)

    def hint_if_empty(self) -> str:
        """A sentence with the workspace that was probably meant, or "" when this one has
        objects.
        """
        try:
            names = [item["name"] for item in self.client.call("GET", "workspaces")["items"]]
        except FleetError:  # an older manager does not have the list
            return ""
        return "" if self.workspace in names else empty_workspace(self.workspace, names)


@contextmanager
def opened(context: str = "", workspace: str | None = None) -> Iterator[Session]:
    """A session with the manager of the chosen context. Raises LoginError, NotFound.

    `workspace` None: the command does not concern a workspace; "": the context's own.
    """
    from fleetctl.client import Client

    found = config.chosen(context)
    with Client(found.url, found.token, found.ca) as client:
        session = Session(client, workspace or config.workspace() or found.workspace)
        try:
            yield session
        except NotFound as error:
            has_name = error.next_step.startswith("Did you mean")  # the manager knows a near name
            if workspace is not None and not has_name and (hint := session.hint_if_empty()):
                error.next_step = hint
            raise


_MOST_WORKSPACES = 10


def empty_workspace(name: str, known: Sequence[str]) -> str:
    """For example `workspace "fleet-defalt" has no objects; did you mean "fleet-default"?`."""
    text = f'workspace "{name}" has no objects; '
    if near := nearest(name, known):
        return f'{text}did you mean "{near}"?'
    if not known:
        return f"{text}neither has any other workspace that this login can see"
    more = f" and {len(known) - _MOST_WORKSPACES} more" if len(known) > _MOST_WORKSPACES else ""
    return f"{text}workspaces with objects: {', '.join(known[:_MOST_WORKSPACES])}{more}"


def new_group() -> typer.Typer:
    return typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=HELP,
    )


def labels_of(pairs: Sequence[str], *, removing: bool = False) -> dict[str, str | None]:
    """`k=v` pairs, each text or several joined by commas; with `removing`, `k-` takes one away.
    Raises UsageError.
    """
    found: dict[str, str | None] = {}
    for text in (part for pair in pairs for part in pair.split(",") if part):
        key, sign, value = text.partition("=")
        if sign and key:
            found[key] = value
        elif removing and text.endswith("-") and len(text) > 1:
            found[text[:-1]] = None
        else:
            step = "Write it as key=value" + (", or key- to remove it." if removing else ".")
            raise UsageError(f"{text!r} is not a label", next_step=step)
    return found


def picked(
    session: Session, plural: str, names: Sequence[str] | None, selector: str, *, every: bool
) -> list[str]:
    """The objects that a command is about: named, picked by a selector, or all. Raises UsageError,
    NotFound.
    """
    kind = KINDS[plural]
    if sum((bool(names), bool(selector), every)) != 1:
        step = "Give names, -l SELECTOR or --all, and only one of them."
        what = (
            "nothing is named"
            if not names and not selector and not every
            else "more than one way to pick objects"
        )
        raise UsageError(what, subject=kind.many, next_step=step)
    if names:
        return list(dict.fromkeys(names))
    items = session.client.list(plural, workspace=session.workspace, selector=selector)
    if not items:
        by = f" with labels {selector}" if selector else ""
        step = f"See `fleetctl get {plural} -n {session.workspace} -o wide`."
        raise NotFound(
            f"no {kind.kind}{by} in workspace {session.workspace}",
            subject=kind.many,
            next_step=step,
        )
    return [item["metadata"]["name"] for item in items]


def secret_line(file: Any, *, option: str) -> str:
    """The first line of a file, or of standard input when `file` is None; a terminal is asked
    without an echo. Raises UsageError.
    """
    try:
        if file is not None:
            text = file.read_text("utf-8").partition("\n")[0]
        elif sys.stdin.isatty():
            from getpass import getpass

            text = getpass(
                f"{option.removeprefix('--').removesuffix('-stdin')}: ", stream=sys.stderr
            )
        else:
            text = sys.stdin.readline()
    except (OSError, UnicodeError) as why:
        said = getattr(why, "strerror", None) or "it is not text"
        raise UsageError(
            f"{file or 'standard input'} cannot be read: {said}",
            subject=option,
            next_step="Correct the path.",
        ) from why
    found: str = text.strip("\r\n")
    if not found.strip():
        raise UsageError(
            f"{file or 'standard input'} is empty",
            subject=option,
            next_step="It holds the secret in its first line.",
        )
    return found


@dataclass(frozen=True)
class Doomed:
    """One object that is to go. `workspace` "" is the session's."""

    plural: str
    name: str
    workspace: str = ""


def remove(
    session: Session,
    doomed: Sequence[Doomed],
    *,
    yes: bool,
    uninstall: bool = False,
    absent_is_fine: bool = False,
) -> None:
    """Say what would go, ask once, and do it. Nothing goes when one of them does not exist."""
    from fleetctl.client import place

    for one in doomed:
        _refuse_derived(one)
    places: dict[str, Doomed] = {}

    def ask(one: Doomed) -> tuple[str, dict[str, Any] | None]:
        path = place(one.plural, one.workspace or session.workspace, one.name)
        try:
            return path, session.client.call("GET", f"{path}/removal")
        except NotFound:
            if not absent_is_fine:
                raise
            return path, None

    for one, (path, gone) in each(doomed, ask, "looked at"):
        if gone is not None:
            kind = KINDS[one.plural].kind
            output.say(f"{kind} {one.name}: {_consequence(kind, gone, uninstall=uninstall)}.")
            places[path] = one
    what = " and ".join(f"{KINDS[one.plural].kind} {one.name}" for one in places.values())
    if places:
        count = len(places)
        confirm(f"Delete {what if count < 3 else f'these {count} objects'}?", yes=yes, number=count)
    params = {"uninstall": "true"} if uninstall else None
    for path, _ in each(
        list(places), lambda path: session.client.call("DELETE", path, params=params), "deleted"
    ):
        output.line(f"{KINDS[places[path].plural].kind.lower()}/{places[path].name} deleted")


# Kinds that the manager makes itself: what to do instead of deleting one.
_DERIVED = {
    "bundles": (
        "Remove its directory from Git, or `fleetctl gitrepo delete NAME` with all of its bundles."
    ),
    "bundledeployments": (
        "Change the bundle's targets in Git, or the labels of the cluster; `fleetctl why` shows"
        " what picks it."
    ),
}


def _refuse_derived(one: Doomed) -> None:
    if one.plural in _DERIVED:
        kind = KINDS[one.plural].kind
        summary = f"a {kind} cannot be deleted: the manager makes it from Git"
        raise RefusedError(summary, subject=f"{kind} {one.name}", next_step=_DERIVED[one.plural])


def _consequence(kind: str, gone: dict[str, Any], *, uninstall: bool) -> str:
    bundles, clusters = gone.get("bundles") or [], gone.get("clusters") or []
    shown = ", ".join(bundles[:5]) + (f" and {len(bundles) - 5} more" if len(bundles) > 5 else "")
    amount = counted(len(bundles), "bundle")
    if kind == "Cluster" and not uninstall:
        return (
            f"its agent is locked out; {amount} stay there as they are (--uninstall removes them)"
        )
    if kind in {"Cluster", "GitRepo"}:
        where = "it" if kind == "Cluster" else counted(len(clusters), "cluster")
        return f"removes {amount}" + (f" ({shown})" if bundles else "") + f" from {where}"
    return "nothing that runs is removed by this"


def counted(amount: int, word: str) -> str:
    return f"{amount} {word}" + ("" if amount == 1 else "s")


# From so many objects on, a person types the number instead of y.
_MANY = 20


def confirm(question: str, *, yes: bool, number: int = 1) -> None:
    """Ask before something is removed. Raises RefusedError without a terminal, or when the answer
    is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(
            "there is no terminal to ask for confirmation", subject=question, next_step="Add --yes."
        )
    if number >= _MANY:
        if output.ask(f"{question} Type {number} to go on:") != str(number):
            raise RefusedError(
                "nothing was done", subject=question, next_step=f"Type {number}, or add --yes."
            )
        return
    if output.ask(f"{question} [y/N]").lower() not in {"y", "yes"}:
        raise RefusedError(
            "nothing was done", subject=question, next_step="Answer y, or add --yes."
        )
