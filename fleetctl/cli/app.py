"""The CLI's entry: the only place that catches errors. Help and version of the top level need no library, so that they come at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata

BUG = 70

# (command, what it does): the top-level help. A test holds it equal to the commands that there are.
COMMANDS = (
    ("status", "the whole fleet on one screen"),
    ("gitrepo", "Git repositories: add, list, get, delete, sync, confirm"),
    ("cluster", "clusters: register, list, get, label, delete"),
    ("clustergroup", "groups of clusters: create, list, get, delete"),
    ("bundle", "what was made of a repository: list, status, get"),
    ("apply", "create or change objects from files"),
    ("get", "show objects of any kind"),
    ("delete", "delete objects of any kind"),
    ("wait", "wait until something is ready"),
    ("login", "log in to a manager"),
    ("context", "managers that you are logged in to: list, use, delete"),
    ("token", "tokens for people and programs: create, list, revoke"),
    ("ui", "open the status page in a browser"),
    ("version", "versions of this program and of the manager"),
    ("completion", "shell completion for bash, zsh or fish"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, as docs/exit-codes.md has them."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words in (["--help"], ["-h"], ["help"]):
        print(top_help())
        return 0 if words else 2
    if words == ["--version"]:
        print(f"fleetctl {version()}")
        return 0
    return _run(words)


def top_help() -> str:
    width = max(len(name) for name, _ in COMMANDS)
    lines = ["fleetctl: GitOps for very many Kubernetes clusters", "", "Usage: fleetctl COMMAND [OPTIONS]", "", "Commands:"]
    lines += [f"  {name.ljust(width)}  {what}" for name, what in COMMANDS]
    lines += ["", "Most commands take -n WORKSPACE, -o table|wide|json|yaml|name and --context NAME."]
    return "\n".join([*lines, "`fleetctl COMMAND --help` says more of each."])


def version() -> str:
    try:
        return metadata.version("fleetctl")
    except metadata.PackageNotFoundError:
        return "0+checkout"


def _run(words: list[str]) -> int:
    from fleetctl.cli import output
    from fleetctl.cli.commands import app
    from fleetctl.core.errors import FleetError

    try:
        code = app(words, prog_name="fleetctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except FleetError as error:
        output.error(error.summary, error.subject, error.next_step)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more at its end
        return 0
    except Exception as error:
        say = getattr(error, "format_message", None)
        if say is None:
            return _bug(error)
        output.error(say().rstrip("."), "", _hint(error))
        return 2


def _hint(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"See `{context.command_path} --help`." if context else "See `fleetctl --help`."


def _bug(error: Exception) -> int:
    if type(error).__name__ == "Abort":
        return 130
    from fleetctl.cli import output

    if os.environ.get("FLEETCTL_DEBUG"):
        raise error
    output.error(
        f"this is a mistake of fleetctl's own: {type(error).__name__}: {error}", "", "Set FLEETCTL_DEBUG=1 to see more, and report it."
    )
    return BUG
