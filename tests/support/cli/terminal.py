"""A terminal that collects what is drawn on it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from unittest import mock


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def drawing(columns: int = 80, rows: int = 24, **env: str) -> Iterator[FakeTerminal]:
    """stdout and stderr are one terminal of that size."""
    stream = FakeTerminal()
    size = {"COLUMNS": str(columns), "LINES": str(rows), "TERM": "xterm", "NO_COLOR": ""}
    with (
        mock.patch.dict("os.environ", size | env),
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        yield stream
