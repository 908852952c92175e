"""`fleetctl status`, `apply`, `get`, `delete`, `version`, `completion`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli import output as out
from fleetctl.cli.common import (
    Asked,
    ContextName,
    Everywhere,
    NoHeaders,
    Output,
    Selector,
    Session,
    Watch,
    Workspace,
    Yes,
    follow,
    read,
    remove,
)
from fleetctl.cli.kinds import KINDS, plural_of
from fleetctl.cli.output import Format, clean
from fleetctl.client import place
from fleetctl.core.errors import FleetError, UsageError
from fleetctl.core.yamldoc import dump_all, load_all


def status(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    watch: Watch = False,
    context: ContextName = "",
) -> None:
    """The whole fleet on one screen: what is in which state, and what needs attention, worst first."""
    session = Session.open(context, workspace)

    def look() -> dict[str, Any]:
        found: dict[str, Any] = session.client.call("GET", "status", params={} if everywhere else {"workspace": session.workspace})
        found.pop("uptimeSeconds", None)
        return found

    def show(found: dict[str, Any]) -> None:
        if output is Format.JSON:
            print(json.dumps(found, indent=2))
        elif output is Format.YAML:
            print(dump_all([found]), end="")
        else:
            _screen(found, session.client.url)

    follow(session, look, show, watch=watch)


def _screen(found: dict[str, Any], url: str) -> None:
    print(f"{url}  workspace {found.get('workspace') or 'all'}  version {found.get('version', '')}\n")
    rows = []
    for title, key in (("Repositories", "gitrepos"), ("Bundles", "bundles"), ("Clusters", "clusters"), ("Deployments", "deployments")):
        counts: dict[str, int] = found.get(key) or {}
        states = ", ".join(f"{n} {state}" for state, n in sorted(counts.items(), key=lambda item: (item[0] == "Ready", item[0])))
        rows.append([title, str(sum(counts.values())), states or "-"])
    out.table(["WHAT", "COUNT", "STATES"], rows)
    attention = found.get("attention") or []
    if attention:
        print("\nNeeds attention:")
        for item in attention[:20]:
            said = f": {item['message']}" if item.get("message") else ""
            print(f"  {item['state']}  {item['kind']} {clean(item['name'])}{clean(said)}")


def apply(
    file: Annotated[list[str], typer.Option("-f", "--filename", help="File, directory, or - for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and say what would change, and change nothing.")] = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Create or change objects. All are checked before the first is written."""
    session = Session.open(context, workspace)
    documents = [(d, plural_of(str(d.get("kind"))), source) for f in file for d, source in _documents(f)]
    if not documents:
        raise UsageError("there is no object in what was given", subject=", ".join(file), next_step="Look at the file.")
    steps = (True,) if dry_run else (True, False)
    for checking in steps:
        for doc, plural, source in documents:
            meta = doc.get("metadata") or {}
            name, where = str(meta.get("name") or ""), str(meta.get("namespace") or session.workspace)
            path = place(plural, where, name or "-")
            try:
                answer = session.client.call("PUT", path, doc, params={"dryRun": "true"} if checking else {})
            except FleetError as error:
                error.subject = f"{source}: {error.subject}".rstrip(": ")
                raise
            if not checking or dry_run:
                print(f"{doc['kind'].lower()}/{clean(name)} {answer['result']}{' (dry run)' if dry_run else ''}")
                if answer.get("token"):
                    print(f"  token, shown once: {answer['token']}")


def _documents(source: str) -> Iterator[tuple[dict[str, Any], str]]:
    """(document, where it stands). Raises InvalidFile, UsageError."""
    if source == "-":
        texts = [("standard input", sys.stdin.buffer.read())]
    else:
        path = Path(source)
        files = sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml", ".json"}) if path.is_dir() else [path]
        try:
            texts = [(str(p), p.read_bytes()) for p in files]
        except OSError as why:
            raise UsageError(f"{source} cannot be read: {why.strerror}", subject="-f", next_step="Correct the path.") from why
    for name, text in texts:
        for at, document in enumerate(load_all(text, file=name)):
            if document is None:
                continue
            if not isinstance(document, dict) or not document.get("kind"):
                raise UsageError(
                    f"{name}: document {at + 1} is not an object", subject=name, next_step="Give it apiVersion, kind and metadata."
                )
            items = document.get("items") if document["kind"] == "List" else [document]
            yield from ((item, name) for item in items or [])


def get(
    kind: Annotated[str, typer.Argument(help="Kind, short name, or KIND/NAME; several kinds joined by commas.")],
    names: Annotated[list[str] | None, typer.Argument(help="Names; all when none is given.")] = None,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    watch: Watch = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """Show objects of any kind."""
    kind, slash, name = kind.partition("/")
    wanted = [plural_of(k) for k in kind.split(",")]
    session = Session.open(context, workspace)
    for at, plural in enumerate(wanted):
        if at and output in {Format.TABLE, Format.WIDE}:
            print()
        found = (name,) if slash else tuple(names or ())
        read(session, Asked(plural, found, output, everywhere, watch, not no_headers, (("selector", selector),)))


def delete(
    kind: Annotated[str, typer.Argument(help="Kind or KIND/NAME.")] = "",
    names: Annotated[list[str] | None, typer.Argument(help="Names.")] = None,
    file: Annotated[list[str] | None, typer.Option("-f", "--filename", help="Delete the objects that these files name.")] = None,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Delete objects of any kind."""
    session = Session.open(context, workspace)
    for doc, _ in (found for f in file or [] for found in _documents(f)):
        meta = doc.get("metadata") or {}
        remove(Session(session.client, meta.get("namespace") or session.workspace), plural_of(doc["kind"]), [meta["name"]], yes=yes)
    if not kind and not file:
        raise UsageError("nothing is named", next_step="Write `fleetctl delete KIND NAME`, or -f FILE.")
    if kind:
        kind, slash, name = kind.partition("/")
        wanted = [name] if slash else names or []
        if not wanted:
            step = f"Name it, as in `fleetctl delete {kind} NAME`."
            raise UsageError(f"no {KINDS[plural_of(kind)][0]} is named", next_step=step)
        remove(session, plural_of(kind), wanted, yes=yes)


def show_version(
    client: Annotated[bool, typer.Option("--client", help="Only this program's.")] = False,
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Versions of this program and of the manager."""
    from fleetctl.cli.app import version

    found: dict[str, Any] = {"client": version()}
    if not client:
        found["manager"] = Session.open(context).client.call("GET", "version")
    if output is Format.JSON:
        print(json.dumps(found, indent=2))
        return
    print(f"fleetctl {found['client']}")
    if "manager" in found:
        print(f"manager  {found['manager']['version']} (epoch {found['manager']['epoch']})")


def completion(shell: Annotated[str, typer.Argument(help="bash, zsh or fish")]) -> None:
    """The script that a shell sources: `source <(fleetctl completion bash)`."""
    from typer._completion_shared import get_completion_script

    if shell not in {"bash", "zsh", "fish"}:
        raise UsageError(f"there is no completion for {shell!r}", next_step="Name bash, zsh or fish.")
    print(get_completion_script(prog_name="fleetctl", complete_var="_FLEETCTL_COMPLETE", shell=shell))
