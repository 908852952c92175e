"""Go templates with sprig's functions, as far as Fleet allows them in `${ }`: pure, bounded,
missing keys are errors.

The rules are those of Go's text/template and Masterminds/sprig 3; the real helm is the measure in
the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetctl.core.gotemplate.containers import as_floats
from fleetctl.core.gotemplate.errors import (
    DEFAULT_LIMITS,
    TemplateBudget,
    TemplateLimits,
    TemplateMistake,
)
from fleetctl.core.gotemplate.lex import place
from fleetctl.core.gotemplate.parse import parse
from fleetctl.core.gotemplate.run import run
from fleetctl.core.model.errors import TemplateError

__all__ = ["DEFAULT_LIMITS", "TemplateBudget", "TemplateError", "TemplateLimits", "render"]


def render(
    text: str,
    context: Mapping[str, Any],
    *,
    limits: TemplateLimits = DEFAULT_LIMITS,
    budget: TemplateBudget | None = None,
    delims: tuple[str, str] = ("${", "}"),
) -> str:
    """The template `text` over `context`, whose numbers count as JSON's do in Go (float64).
    `budget`: shared with other templates, and takes the place of `limits`. Raises TemplateError.
    """
    budget = budget or TemplateBudget(limits)
    if len(text) > budget.limits.size:
        raise place(text, 0, f"the template is longer than {budget.limits.size} characters")
    try:
        return run(parse(text, delims), text, as_floats(budget, dict(context)), budget)
    except TemplateMistake as error:
        raise place(text, 0, error.problem, error.next_step) from error
    except RecursionError as error:
        raise place(text, 0, "the template is nested too deep") from error
