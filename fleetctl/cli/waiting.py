"""`fleetctl wait`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from fleetctl.cli.common import ContextName, Selector, Session, Workspace, changes
from fleetctl.cli.kinds import plural_of
from fleetctl.cli.output import say
from fleetctl.core.errors import DeadlineError, UsageError


def wait(
    what: Annotated[str, typer.Argument(help="KIND/NAME, KIND (all of them), or nothing for the whole workspace.")] = "",
    for_: Annotated[str, typer.Option("--for", help="ready, deleted, or a state such as Modified.")] = "ready",
    commit: Annotated[str, typer.Option(help="Also wait until the GitRepo is at this commit.")] = "",
    timeout: Annotated[int, typer.Option(help="Seconds, at most; then exit status 6.")] = 300,
    selector: Selector = "",
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Wait until something is ready. Without progress it ends after --timeout and says what is missing."""
    session = Session.open(context, workspace)
    kind, _, name = what.partition("/")
    kinds = [plural_of(kind)] if kind else ["gitrepos", "bundles", "clusters"]
    wanted = "Ready" if for_.lower() == "ready" else for_
    if commit and kinds != ["gitrepos"]:
        raise UsageError("--commit goes with a GitRepo", next_step="Write `fleetctl wait gitrepo/NAME --commit C`.")
    end, revision = time.monotonic() + timeout, 0
    while True:
        revision = revision or changes(session, 0, 0)
        missing = [m for plural in kinds for m in _missing(session, plural, name, selector, wanted, commit)]
        if not missing:
            say(f"{what or 'workspace ' + session.workspace}: {for_}")
            return
        left = end - time.monotonic()
        if left <= 0:
            step = "Look with `fleetctl status`, or give it a longer --timeout."
            raise DeadlineError(
                f"not {for_} within {timeout} s: {'; '.join(missing[:5])}", subject=what or session.workspace, next_step=step
            )
        revision = changes(session, revision, max(1, min(20, int(left))))


def _missing(session: Session, plural: str, name: str, selector: str, wanted: str, commit: str) -> list[str]:
    """What is not there yet, in words."""
    items = session.client.list(plural, workspace=session.workspace, selector=selector)
    if name:
        items = [i for i in items if i["metadata"]["name"] == name]
        if not items:
            return [] if wanted == "deleted" else [f"{plural[:-1]} {name} does not exist"]
    found = []
    for item in items:
        state = item.get("status", {}).get("display", {}).get("state", "")
        message = item.get("status", {}).get("display", {}).get("message", "")
        at = str(item.get("status", {}).get("commit", ""))
        if state != wanted:
            found.append(_said(item, f"is {state}", message))
        elif commit and not at.startswith(commit):
            found.append(_said(item, f"is at {at[:12]}", ""))
    return found


def _said(item: dict[str, Any], what: str, message: str) -> str:
    return f"{item['kind']} {item['metadata']['name']} {what}" + (f" ({message})" if message else "")
