"""Shows objects in tables, once or again after each change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fleetctl.cli.display import output
from fleetctl.cli.display.columns import (
    COLUMNS,
    KIND_AND_NAME,
    KINDS,
    NAME,
    NAMESPACE,
    rank,
)
from fleetctl.cli.display.live_screen import open_screen
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.objects.list_request import (
    Items,
    ListRequest,
    View,
    VisiblePage,
    read_pages,
)
from fleetctl.cli.session import Session
from fleetctl.core.model.errors import UnavailableError, UsageError
from fleetctl.core.text.listing import count_hidden
from fleetctl.core.text.suggest import did_you_mean

_LEAST_LINES = 3  # of a table that is cut to the screen
_WATCH_SECONDS, _RETRY_SECONDS, _PACE_SECONDS = 10, 2.0, 0.5


def read(session: Session, wants: Sequence[ListRequest], view: View) -> None:
    """Show objects once, or with --watch again at each change."""
    for want in wants:
        _sort([], want.plural, view)  # a wrong --sort-by is said before anybody is asked
    if view.tabular and not (view.watch or view.sort_by or view.after):
        _print_pages(session, wants, view)
        return
    is_live = view.watch and view.tabular and output.redraws()
    with open_screen(is_live=is_live) as screen:
        shower = _ListPrinter(session, wants, view, is_live=is_live)
        follow(
            session,
            lambda: [_look(session, want, view) for want in wants],
            lambda answers: screen.draw(lambda: shower(answers)),
            watch=view.watch,
        )


def _look(session: Session, want: ListRequest, view: View) -> VisiblePage:
    """All objects of a request, sorted. --limit takes the first ones after the sorting."""
    if not view.sort_by:
        pages = list(read_pages(session, want, view))
        return VisiblePage([item for page in pages for item in page.items], pages[-1].hidden)
    unlimited = read_pages(session, want, replace(view, limit=0))
    items = _sort([item for page in unlimited for item in page.items], want.plural, view)
    if not view.limit:
        return VisiblePage(items)
    return VisiblePage(items[: view.limit], max(0, len(items) - view.limit))


def _print_pages(session: Session, requests: Sequence[ListRequest], view: View) -> None:
    """Print each page of a table when it arrives."""
    printer = _ListPrinter(session, requests, view, is_live=False)
    for request in requests:
        widths: Sequence[int] = ()
        for page in read_pages(session, request, view):
            widths = printer.add_page(request.plural, page.items, widths)
            _print_hidden(page.hidden)
    printer.end_pages()


def _print_hidden(hidden: int | None) -> None:
    if hidden is None:
        output.say("More objects follow. Leave out --limit to show all.")
    elif hidden:
        output.say(count_hidden(hidden))


def _sort(items: Items, plural: str, view: View) -> Items:
    """Sort by a column or by a path. Raises UsageError."""
    by = view.sort_by.strip("{}")
    if not by:
        return items
    if by.lower() in {"status", "state"}:
        return sorted(items, key=rank)
    if by.startswith("."):
        if items and all(_at(item, by)[0] for item in items):
            raise UsageError(
                f"no object has {by}",
                subject="--sort-by",
                next_step="Look at one with -o yaml for its paths.",
            )
        return sorted(items, key=lambda item: _at(item, by))
    if by.lower() in {"age", "creationtimestamp"}:
        return sorted(
            items, key=lambda item: _at(item, ".metadata.creationTimestamp"), reverse=True
        )
    columns = {c.title.lower(): c for c in [NAMESPACE, *COLUMNS[plural]]}
    if by.lower() not in columns:
        raise UsageError(
            f"there is no column {by!r}",
            subject="--sort-by",
            next_step=did_you_mean(by, columns) + f"Valid columns: {', '.join(columns)}, age.",
        )
    return sorted(items, key=columns[by.lower()].cell)


def _at(item: Any, path: str) -> tuple[bool, str]:
    """The value at a path, for sorting; objects without it come last."""
    for part in path.strip(".").split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return (item is None, f"{item:020}" if isinstance(item, int) else str(item))


class _ListPrinter:
    """Prints an answer. A watch without a live screen prints only what is new."""

    def __init__(
        self, session: Session, wants: Sequence[ListRequest], view: View, *, is_live: bool
    ) -> None:
        self._wants, self._view, self._session = wants, view, session
        self._is_live = is_live
        self._place = "any workspace" if view.everywhere else f"workspace {session.workspace}"
        self._last_rows: dict[tuple[str, str, str], Any] = {}
        self._began = False

    def __call__(self, pages: list[VisiblePage]) -> None:
        answers = [page.items for page in pages]
        if not self._began and not self._view.everywhere and not any(answers):
            self._session.warn_if_empty()
        if self._view.watch and not self._is_live:
            answers = [
                self._news(items, want.plural)
                for items, want in zip(answers, self._wants, strict=True)
            ]
        self._show(answers)
        if not self._began:
            for page in pages:
                _print_hidden(page.hidden)
        self._began = True

    def add_page(self, plural: str, items: Items, widths: Sequence[int]) -> Sequence[int]:
        """Print a page of a table. `widths`: of the columns of the last page, () for the first
        page. Returns the widths of this one.
        """
        view = self._view
        if not items:
            return widths
        if self._began and not widths and view.headers:
            output.line()
        self._began = True
        return print_table(
            self._columns(plural),
            items,
            headers=view.headers and not widths,
            wide=view.form is Format.WIDE,
            widths=widths,
        )

    def end_pages(self) -> None:
        """Say that there are no objects if no page had any."""
        if self._began:
            return
        if not self._view.everywhere:
            self._session.warn_if_empty()
        self._say_empty()

    def _say_empty(self) -> None:
        kinds = " or ".join(KINDS[want.plural].plural_text for want in self._wants)
        output.say(f"No {kinds} in {self._place}.")

    def _show(self, answers: list[Items]) -> None:
        view = self._view
        if not view.tabular:
            self._documents([item for items in answers for item in items])
            return
        tables, room = 0, output.lines() - 1 if self._is_live else None
        for want, items in zip(self._wants, answers, strict=True):
            if items and (room is None or room > _LEAST_LINES):
                if tables and view.headers:
                    output.line()
                headers = view.headers and (self._is_live or not self._began)
                print_table(
                    self._columns(want.plural),
                    items,
                    headers=headers,
                    wide=view.form is Format.WIDE,
                    limit=room,
                )
                tables += 1
                if room is not None:
                    room -= len(items) + 2
        items_ = [item for items in answers for item in items]
        if not items_ and not self._began:
            self._say_empty()
        if view.after and items_:
            view.after(items_)

    def _documents(self, items: Items) -> None:
        if self._view.watch and self._view.form is not Format.NAME:
            for item in items:
                if self._view.form is Format.YAML and self._began:
                    output.line("---")
                output.objects([item], self._view.form, single=True)
                self._began = True
            return
        single = len(self._wants) == 1 and len(self._wants[0].names) == 1
        output.objects(items, self._view.form, single=single)

    def _columns(self, plural: str) -> list[Column]:
        columns = COLUMNS[plural]
        if len(self._wants) > 1:
            columns = [KIND_AND_NAME if c is NAME else c for c in columns]
        return [NAMESPACE, *columns] if self._view.everywhere else columns

    def _news(self, items: Items, plural: str) -> Items:
        """Items that are new or changed since the last call. Objects that have gone are printed to
        stderr.
        """
        marks = {}
        for item in items:
            key = (
                plural,
                str(item["metadata"].get("namespace", "")),
                str(item["metadata"]["name"]),
            )
            cells = [c.cell(item) for c in COLUMNS[plural] if not c.moving]
            marks[key] = (cells if self._view.tabular else item, item)
        for key in [k for k in self._last_rows if k[0] == plural and k not in marks]:
            del self._last_rows[key]
            output.say(f"{KINDS[plural].kind.lower()}/{key[2]} is gone")
        new = [item for key, (mark, item) in marks.items() if self._last_rows.get(key) != mark]
        self._last_rows.update({key: mark for key, (mark, _) in marks.items()})
        return new


def follow(
    session: Session, look: Callable[[], Any], show: Callable[[Any], None], *, watch: bool
) -> None:
    """Show the answer. With `watch`, show it again after each change until Ctrl-C, and wait while
    the manager does not answer.
    """
    revision = changes(session, 0, 0) if watch else 0
    show(look())
    away = False
    while watch:
        try:
            revision = changes(session, revision, _WATCH_SECONDS)
            # in a fleet where something always changes a screen is not asked for without end
            time.sleep(_PACE_SECONDS)
            show(look())
            away = False
        except UnavailableError as error:
            if not away:
                output.say(f"{error.summary}; trying until it answers")
            away = True
            time.sleep(_RETRY_SECONDS)


def changes(session: Session, since: int, wait: int) -> int:
    """Wait until the fleet's revision is above `since`, at most `wait` seconds. Returns the
    revision.
    """
    answer = session.client.call(
        "GET", "changes", params={"since": str(since), "wait": str(wait)}, seconds=wait + 15
    )
    return int(answer["revision"])
