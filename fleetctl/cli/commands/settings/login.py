"""`fleetctl login`: logs in to a manager and makes it the current context."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import typer

from fleetctl.cli import config
from fleetctl.cli.config import Context, Contexts
from fleetctl.cli.display import output
from fleetctl.cli.prompt import secret_line
from fleetctl.core.model.errors import UntrustedCertificate, UsageError


def login(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Address of the manager, https://HOST:PORT.")
    ],
    ca_pin: Annotated[
        str,
        typer.Option(
            metavar="SHA256",
            help=(
                "SHA-256 of the manager's CA, which the manager prints. Not needed with a "
                "public certificate."
            ),
        ),
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds the token.")
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input.")
    ] = False,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the context. The default is the host.")
    ] = "",
    workspace: Annotated[
        str,
        typer.Option(
            "-n",
            "--workspace",
            "--namespace",
            metavar="NAME",
            help="Workspace of the context. [default: fleet-default]",
        ),
    ] = "",
) -> None:
    """Log in to a manager and make it the current context."""
    from fleetctl.client import Client, fetch_ca

    address, parts = _address(url)
    if (token_file is not None) == token_stdin:
        step = "Give --token-file FILE or --token-stdin."
        raise UsageError(
            "the token comes from a file or from standard input", subject="login", next_step=step
        )
    token = secret_line(
        token_file, option="--token-file" if token_file else "--token-stdin"
    ).strip()
    if not (token.isascii() and token.isprintable()):
        raise UsageError(
            "this is not a token",
            subject="--token-file",
            next_step="Give the file that the manager wrote.",
        )
    ca = fetch_ca(address, ca_pin) if ca_pin else ""
    with Client(address, token, ca) as client:
        try:
            identity = client.call("GET", "whoami")
        except UntrustedCertificate as error:
            if not ca:
                error.next_step = "Give the --ca-pin that the manager printed."
            raise
    contexts = config.read()
    context_name = name or _context_name(contexts, parts, address)
    contexts.by_name[context_name] = Context(
        context_name, address, token, ca, identity.get("workspace") or workspace or "fleet-default"
    )
    contexts.current = context_name
    config.write(contexts)
    output.line(
        f"logged in to {address} as {identity['name']} ({identity['role']}), context {context_name}"
    )


def _address(url: str) -> tuple[str, SplitResult]:
    """(https://HOST[:PORT], its parts). Raises UsageError."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.port != 0
            and not parts.username
            and parts.path in {"", "/"}
        )
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError(
            f"{url[:200]} is not a manager's address",
            subject="URL",
            next_step="Write it as https://HOST:PORT.",
        )
    return f"https://{parts.netloc}", parts


def _context_name(contexts: Contexts, parts: SplitResult, address: str) -> str:
    """The host's name, with the port when another manager has taken that."""
    host = parts.hostname or ""
    same_host = contexts.by_name.get(host)
    return host if same_host is None or same_host.url == address else f"{host}-{parts.port or 443}"
