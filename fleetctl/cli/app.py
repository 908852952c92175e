"""The CLI's entry: the only place that catches errors. Help and version of the top level need no
library, so that they come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from fleetctl.cli.command_table import COMMANDS, SECTIONS
from fleetctl.cli.version import version

BUG_STATUS, INTERRUPT_STATUS = 70, 130

# Options that people write before the command, out of habit from kubectl; they are moved behind it.
_EARLY = ("-n", "--workspace", "--namespace", "--context")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status, which docs/exit-codes.md lists."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words in (["--help"], ["-h"], ["help"]):
        return _print_text(top_help(), 0 if words else 2)
    if words == ["--version"]:
        return _print_text(f"fleetctl {version()}", 0)
    if words[0] == "__complete":
        return _complete(words[1:])
    if words[0] == "help":
        words = [*words[1:], "--help"]
    return _run_command(_move_early_options(_translate_kubectl_forms(words)))


def top_help() -> str:
    width = max(len(name) for name, *_ in COMMANDS)
    lines = [
        "fleetctl: GitOps for very many Kubernetes clusters",
        "",
        "Usage: fleetctl COMMAND [OPTIONS]",
    ]
    for title, entries in SECTIONS:
        lines += ["", f"{title}:"]
        lines += [f"  {name.ljust(width)}  {summary}" for name, summary, _ in entries]
    lines += ["", "Most commands take -n WORKSPACE, -o table|wide|json|yaml|name, --context NAME."]
    return "\n".join([*lines, "Run `fleetctl COMMAND --help` for the options of a command."])


def _print_text(text: str, status: int) -> int:
    try:
        print(text, file=sys.stderr if status else sys.stdout, flush=True)
    except BrokenPipeError:
        return _end_without_reader()
    return status


def _translate_kubectl_forms(words: list[str]) -> list[str]:
    """Replace kubectl's `--dry-run=client|server|none` by the flag `--dry-run`. The manager does
    the check in each case.
    """
    forms = {
        "--dry-run=client": ["--dry-run"],
        "--dry-run=server": ["--dry-run"],
        "--dry-run=none": [],
    }
    end = words.index("--") if "--" in words else len(words)
    return [new for word in words[:end] for new in forms.get(word, [word])] + words[end:]


def _end_after_interrupt() -> int:
    if sys.stderr.isatty():
        print(file=sys.stderr)  # the shell's prompt begins on a line of its own
    return INTERRUPT_STATUS


def _move_early_options(words: list[str]) -> list[str]:
    at = 0
    while at < len(words) and words[at].partition("=")[0] in _EARLY:
        at += 1 if "=" in words[at] else 2
    return [*words[at:], *words[:at]] if at < len(words) else words


def _run_command(words: list[str]) -> int:
    from fleetctl.cli.display import output
    from fleetctl.core.model.errors import FleetError

    try:
        from fleetctl.cli.loader import command

        output.prepare()
        code = command(words[0])(words[1:], prog_name=f"fleetctl {words[0]}", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPT_STATUS:  # typer's answer to Ctrl-C
            return _end_after_interrupt()
        return code if isinstance(code, int) else 0
    except FleetError as error:
        output.error(error.summary, error.subject, error.next_step)
        return error.status
    except KeyboardInterrupt:
        return _end_after_interrupt()
    except BrokenPipeError:
        return _end_without_reader()
    except Exception as error:
        return _report_unexpected(error, words[0])


def _end_without_reader() -> int:
    """End without an error because the reader of the output has gone, as in `fleetctl … | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more at its end
    return 0


def _report_unexpected(error: Exception, name: str) -> int:
    """Report an error of typer, or an internal error. Returns the exit status."""
    from fleetctl.cli.display import output
    from fleetctl.cli.loader import usage

    class_name = type(error).__name__
    if class_name == "Abort":
        return INTERRUPT_STATUS
    if class_name == "NoArgsIsHelpError":
        return _print_text(str(getattr(error, "message", error)), 2)
    if hasattr(error, "format_message"):
        output.error(*usage(error, f"fleetctl {name}"))
        return 2
    return _bug(error)


def _bug(error: Exception) -> int:
    from fleetctl.cli import config
    from fleetctl.cli.display import output

    if config.debug():
        raise error
    summary = f"internal error: {type(error).__name__}: {error}"
    output.error(summary, "", "Set FLEETCTL_DEBUG=1 to see where, and report it.")
    return BUG_STATUS


def _complete(words: list[str]) -> int:
    """Answer the shell at Tab. It never prints an error, because that would land in the command
    line.
    """
    from fleetctl.cli.completion import candidates_for

    candidates: list[Any] = []
    try:
        candidates = candidates_for(words)
    except (Exception, KeyboardInterrupt):
        return 1
    return (
        _print_text("\n".join("\t".join(answer) for answer in candidates), 0) if candidates else 0
    )
