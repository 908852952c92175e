"""`fleetctl login`, `context`, `token`, `ui`."""

from __future__ import annotations

import json
import sys
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from fleetctl.cli import config, output
from fleetctl.cli.common import ContextName, Output, Session, Yes, confirm
from fleetctl.cli.config import Context
from fleetctl.cli.output import Format, clean
from fleetctl.client import Client, fetch_ca
from fleetctl.core.errors import NotFound, UsageError

contexts = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
tokens = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def login(
    url: Annotated[str, typer.Argument(help="Address of the manager, https://HOST:PORT.")],
    ca_pin: Annotated[str, typer.Option(help="SHA-256 of the manager's CA, as it printed it; not for a public certificate.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="File that holds the token.")] = None,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from standard input.")] = False,
    name: Annotated[str, typer.Option(help="Name of the context; the host when not given.")] = "",
    workspace: Annotated[str, typer.Option("-n", "--workspace", help="Workspace to work in.")] = "fleet-default",
) -> None:
    """Log in to a manager and make it the current context."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"{url} is not an https address", subject="URL", next_step="Write it as https://HOST:PORT.")
    token = _token(token_file, stdin=token_stdin)
    ca = fetch_ca(url.rstrip("/"), ca_pin) if ca_pin else ""
    who = Client(url.rstrip("/"), token, ca).call("GET", "whoami")
    known = config.read()
    chosen = name or parts.hostname
    known.known[chosen] = Context(chosen, url.rstrip("/"), token, ca, who.get("workspace") or workspace)
    known.current = chosen
    config.write(known)
    print(f"logged in to {url} as {clean(who['name'])} ({who['role']}), context {chosen}")


def _token(file: Path | None, *, stdin: bool) -> str:
    if bool(file) == stdin:
        raise UsageError("the token comes from a file or from standard input", next_step="Give --token-file FILE or --token-stdin.")
    try:
        token = (file.read_text("ascii") if file else sys.stdin.readline()).strip()
    except (OSError, UnicodeError) as why:
        raise UsageError(f"{file} cannot be read: {why}", subject="--token-file", next_step="Correct the path.") from why
    if not token:
        raise UsageError("the token is empty", next_step="Look at the file.")
    return token


@contexts.command("list")
def list_contexts(out: Output = Format.TABLE) -> None:
    """The managers that you are logged in to."""
    known = config.read()
    rows = [{"name": c.name, "url": c.url, "workspace": c.workspace, "current": c.name == known.current} for c in known.known.values()]
    if out is Format.JSON:
        print(json.dumps(rows, indent=2))
    elif out is Format.NAME:
        print("\n".join(str(row["name"]) for row in rows))
    else:
        shown = [["*" if r["current"] else "", str(r["name"]), str(r["workspace"]), str(r["url"])] for r in rows]
        output.table(["CURRENT", "NAME", "WORKSPACE", "URL"], shown)


@contexts.command()
def use(name: str) -> None:
    """Make a context the current one."""
    known = config.read()
    config.chosen(name)
    known.current = name
    config.write(known)
    print(f"context {clean(name)} is the current one")


@contexts.command()
def delete(name: str) -> None:
    """Forget a login."""
    known = config.read()
    if known.known.pop(name, None) is None:
        raise NotFound(f"there is no context {name}", next_step="See `fleetctl context list`.")
    known.current = "" if known.current == name else known.current
    config.write(known)
    print(f"context {clean(name)} deleted")


@tokens.command()
def create(
    name: str,
    role: Annotated[str, typer.Option(help="admin or read")] = "read",
    bound: Annotated[str, typer.Option("-n", "--workspace", help="Bind it to one workspace.")] = "",
    ttl: Annotated[int, typer.Option(help="Seconds for which it is good.")] = 30 * 86400,
    context: ContextName = "",
) -> None:
    """A token for a person or a program; its value is shown once, on stdout."""
    body = {"name": name, "role": role, "workspace": bound, "ttlSeconds": ttl}
    made = Session.open(context).client.call("POST", "tokens", body)
    output.say(f"token {made['name']} ({role}), good until {made['expires']}; it is not shown again")
    print(made["token"])


@tokens.command("list")
def list_tokens(out: Output = Format.TABLE, context: ContextName = "") -> None:
    """The tokens, without their values."""
    items = Session.open(context).client.call("GET", "tokens")["items"]
    if out is Format.JSON:
        print(json.dumps(items, indent=2))
        return
    rows = [[clean(t["name"]), t["role"], t["workspace"] or "all", t["expires"]] for t in items]
    output.table(["NAME", "ROLE", "WORKSPACE", "EXPIRES"], rows)


@tokens.command()
def revoke(name: str, yes: Yes = False, context: ContextName = "") -> None:
    """Make a token worthless at once."""
    session = Session.open(context)
    confirm(f"Revoke token {name}?", yes=yes)
    session.client.call("DELETE", f"tokens/{name}")
    print(f"token {clean(name)} revoked")


def ui(
    show: Annotated[bool, typer.Option("--print", help="Print the address instead of opening a browser.")] = False,
    context: ContextName = "",
) -> None:
    """Open the status page. The address logs in once, within a minute."""
    made = Session.open(context).client.call("POST", "ui-code")
    if show or not webbrowser.open(made["url"]):
        print(made["url"])
