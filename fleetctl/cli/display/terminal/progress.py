"""Progress on a terminal, drawn with rich on stderr. Loaded only where stderr is a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.text import Text

from fleetctl.cli.display.humanize import format_duration
from fleetctl.cli.display.safe_text import single_line
from fleetctl.cli.display.terminal.console import new_console
from fleetctl.core.text.listing import count_hidden

_FRAMES_PER_SECOND = 4


@contextlib.contextmanager
def open_bar(total: int, verb: str) -> Iterator[Callable[[int], None]]:
    """A bar that disappears at the end; the function takes how many items are done."""
    progress = Progress(
        TextColumn(single_line(verb), markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=new_console(sys.stderr),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with progress:
        task = progress.add_task(verb, total=total)
        yield lambda finished_items: progress.update(task, completed=finished_items)


class _WaitView:
    """What is missing now, below a spinner with the time since the start."""

    def __init__(self, console: Console) -> None:
        # a terminal without UTF-8 has no braille characters
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._start = time.monotonic()
        self.missing: Sequence[str] = ()
        self.total = 0

    def __rich__(self) -> RenderableType:
        duration = format_duration(int(time.monotonic() - self._start))
        self._spinner.update(text=Text(f"waiting for {duration}"))
        lines = [f"  {text}" for text in self.missing]
        if self.total > len(self.missing):
            lines.append(f"  {count_hidden(self.total - len(self.missing))}")
        texts = (Text(single_line(line), no_wrap=True, overflow="ellipsis") for line in lines)
        return Group(self._spinner, *texts)


@contextlib.contextmanager
def open_wait_view() -> Iterator[Callable[[Sequence[str], int], None]]:
    """The function takes the first missing texts, and how many there are."""
    console = new_console(sys.stderr)
    view = _WaitView(console)

    def update(missing: Sequence[str], total: int) -> None:
        view.missing, view.total = missing, total

    with Live(
        view,
        console=console,
        refresh_per_second=_FRAMES_PER_SECOND,
        transient=True,
        redirect_stdout=False,
    ):
        yield update
