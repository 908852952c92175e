"""How `--help` looks: whole summaries of subcommands, no types of Python, and examples."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from fleetctl.cli.examples import EXAMPLES

_WHOLE = 400  # characters of a subcommand's summary: it is wrapped, and not cut


class HelpCommand(TyperCommand):
    """A command with its examples below its options."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`NAME`, `[NAME]`, `NAME...`; arguments that help does not list are not in the usage
        either.
        """
        arguments = [p for p in self.params if isinstance(p, TyperArgument) and not p.hidden]
        return [self.options_metavar or "", *map(_usage, arguments)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for param in self.params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = _no_type  # type: ignore[method-assign]
        super().format_help(ctx, formatter)
        examples = EXAMPLES.get(ctx.command_path.removeprefix("fleetctl "), ())
        if examples:
            with formatter.section("Examples"):
                for line in examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class HelpGroup(TyperGroup):
    """A group of commands whose summaries are shown whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(_WHOLE))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _usage(argument: TyperArgument) -> str:
    words = argument.metavar or (argument.name or "").upper()
    several = "..." if argument.nargs != 1 and not words.endswith("…") else ""
    return f"{words if argument.required or words.startswith('[') else f'[{words}]'}{several}"


def _no_type(ctx: Any) -> str:
    return ""


HELP = {"help_option_names": ["-h", "--help"]}


def new_group(summary: str) -> typer.Typer:
    """A group of commands. `summary` is the first line of its help."""
    return typer.Typer(
        help=summary,
        cls=HelpGroup,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=HELP,
    )
