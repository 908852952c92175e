"""Makes text from repositories, clusters and the manager harmless for a terminal."""

from __future__ import annotations

import json


def single_line(text: object) -> str:
    """`text` as one line; control characters become spaces."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def escape_controls(text: str) -> str:
    """`text` with escapes for characters that steer a terminal or hide text.

    Line ends and tabs stay.
    """
    return "".join(c if is_harmless(c) or c == "\t" else json.dumps(c)[1:-1] for c in text)


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)
