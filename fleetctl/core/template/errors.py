"""What is wrong with a template, and what bounds it."""

from __future__ import annotations

import msgspec

from fleetctl.core.errors import UsageError


class TemplateError(UsageError):
    """`line` and `column` count from 1, in the text of the template; `action` is the piece of it that failed."""

    code = "template"

    def __init__(self, problem: str, *, line: int = 0, column: int = 0, action: str = "", next_step: str = "") -> None:
        shown = f"{problem} in {action}" if action else problem
        super().__init__(shown, subject="template", next_step=next_step or "Correct the template.")
        self.problem, self.line, self.column, self.action = problem, line, column, action


class Mistake(Exception):
    """A problem whose place is not known yet."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem)
        self.problem, self.next_step = problem, next_step


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`steps`: evaluations; `size`: characters of one text and of the output; `items`: of one list; `depth`: of templates in templates."""

    steps: int = 100_000
    size: int = 1024 * 1024
    items: int = 50_000
    depth: int = 50


DEFAULT_LIMITS = Limits()
