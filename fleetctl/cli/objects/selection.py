"""Finds the objects that a command line names."""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.cli.display.columns import KINDS, plural_of, plurals_of
from fleetctl.cli.session import Session
from fleetctl.core.model.errors import NotFound, UsageError


def select_names(
    session: Session, plural: str, names: Sequence[str] | None, selector: str, *, every: bool
) -> list[str]:
    """The names of the objects that a command changes: given, selected by labels, or all.

    Raises UsageError, NotFound.
    """
    kind = KINDS[plural]
    if sum((bool(names), bool(selector), every)) != 1:
        step = "Give names, -l SELECTOR or --all, and only one of them."
        summary = (
            "nothing is named"
            if not names and not selector and not every
            else "more than one way to select objects"
        )
        raise UsageError(summary, subject=kind.plural_text, next_step=step)
    if names:
        return list(dict.fromkeys(names))
    items = session.client.list(plural, workspace=session.workspace, selector=selector)
    if not items:
        by = f" with labels {selector}" if selector else ""
        step = f"See `fleetctl get {plural} -n {session.workspace} -o wide`."
        raise NotFound(
            f"no {kind.kind}{by} in workspace {session.workspace}",
            subject=kind.plural_text,
            next_step=step,
        )
    return [item["metadata"]["name"] for item in items]


def names_by_plural(kind: str, names: list[str]) -> dict[str, list[str]]:
    """Names by plural, of `KIND NAME…` or `KIND/NAME…`. Raises UsageError."""
    if "/" in kind:
        names_of: dict[str, list[str]] = {}
        for word in [kind, *names]:
            first, slash, name = word.partition("/")
            if not slash or not name:
                raise UsageError(
                    f"{word!r} is not KIND/NAME",
                    subject=kind,
                    next_step="Write either KIND NAME… or KIND/NAME….",
                )
            names_of.setdefault(plural_of(first), []).append(name)
        return names_of
    plurals = plurals_of(kind)
    if names and len(plurals) > 1:
        raise UsageError(
            "names belong to one kind", subject=kind, next_step="Write KIND/NAME for each."
        )
    return {plural: list(names) for plural in plurals}
