"""Describes which objects a list shows and how, and requests them in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fleetctl.cli.display.columns import STATES, state_of
from fleetctl.cli.display.output import Format
from fleetctl.cli.session import Session
from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.suggest import did_you_mean

Items = list[dict[str, Any]]
CHUNK_SIZE = 500  # as kubectl's


@dataclass(frozen=True)
class ListRequest:
    """Objects of one kind: the named ones, or all that the filters match."""

    plural: str
    names: Sequence[str] = ()
    filters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """How an answer is shown. `after` adds lines below a table. `limit`: at most so many objects,
    0 for all; `chunk_size`: so many in each request, 0 for all in one.
    """

    form: Format = Format.TABLE
    everywhere: bool = False
    watch: bool = False
    headers: bool = True
    sort_by: str = ""
    states: str = ""
    not_ready: bool = False
    after: Callable[[Items], None] | None = None
    limit: int = 0
    chunk_size: int = CHUNK_SIZE

    @property
    def tabular(self) -> bool:
        return self.form in {Format.TABLE, Format.WIDE}


class VisiblePage(NamedTuple):
    """Objects to show. `hidden`: how many others --limit hides, 0 for none, None if some follow
    and their number is not known.
    """

    items: Items
    hidden: int | None = 0


def read_pages(session: Session, request: ListRequest, view: View) -> Iterator[VisiblePage]:
    """The objects in pages, at most `view.limit`. Raises UsageError, NotFound."""
    states = parse_states(view.states)
    if request.names:
        items = [
            session.client.get(request.plural, session.workspace, name) for name in request.names
        ]
        visible_items = [item for item in items if _is_visible(item, states, view)]
        rest = len(visible_items) - view.limit if view.limit else 0
        yield VisiblePage(visible_items[: view.limit or None], max(0, rest))
        return
    query = {
        "workspace": "" if view.everywhere else session.workspace,
        "state": ",".join(states.values()),
        "notReady": "true" if view.not_ready else "",
    }
    size, count = view.chunk_size, 0
    if view.limit and size:
        size = min(size, view.limit)
    for page in session.client.pages(request.plural, size, **query, **request.filters):
        items = [item for item in page.items if _is_visible(item, states, view)]
        count += len(items)
        rest = count - view.limit if view.limit else 0
        if rest < 0 or not view.limit or (rest == 0 and not page.has_next):
            yield VisiblePage(items)
            continue
        hidden = rest if not page.has_next else None
        if page.remaining is not None:
            hidden = rest + page.remaining
        yield VisiblePage(items[: len(items) - rest], hidden)
        return


def _is_visible(item: dict[str, Any], states: dict[str, str], view: View) -> bool:
    state = state_of(item)
    if view.not_ready and state == "Ready":
        return False
    return not states or state.lower() in states


def parse_states(text: str) -> dict[str, str]:
    """The states of `--state A,B` by their names in lower case. Raises UsageError for one that no
    object can have.
    """
    valid_states = {state.lower(): state for state in STATES}
    names = sorted({part.strip().lower() for part in text.split(",") if part.strip()})
    for state in names:
        if state not in valid_states:
            step = did_you_mean(state, valid_states.values())
            step += f"Valid states: {', '.join(STATES)}."
            raise UsageError(f"there is no state {state!r}", subject="--state", next_step=step)
    return {state: valid_states[state] for state in names}
