"""The connection of one command to the manager of the chosen context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.cli import config
from fleetctl.cli.display import output
from fleetctl.core.model.errors import FleetError, NotFound
from fleetctl.core.text.listing import list_names
from fleetctl.core.text.suggest import nearest

if TYPE_CHECKING:
    from fleetctl.client import Client


@dataclass
class Session:
    """One command's client and workspace."""

    client: Client
    workspace: str

    def warn_if_empty(self) -> None:
        """Print to stderr that the workspace has no objects, if so: its name may have a typing
        error.
        """
        if hint := self.hint_if_empty():
            output.say(hint)

    def hint_if_empty(self) -> str:
        """A sentence with the workspace that was probably meant, or "" when this one has
        objects.
        """
        try:
            names = [item["name"] for item in self.client.call("GET", "workspaces")["items"]]
        except FleetError:  # an older manager does not have the list
            return ""
        return "" if self.workspace in names else empty_workspace(self.workspace, names)


@contextmanager
def open_session(context: str = "", workspace: str | None = None) -> Iterator[Session]:
    """Open a session with the manager of the chosen context. Raises LoginError, NotFound.

    `workspace` None: the command does not concern a workspace; "": the workspace of the context.
    """
    from fleetctl.client import Client

    context_ = config.select_context(context)
    with Client(context_.url, context_.token, context_.ca) as client:
        session = Session(client, workspace or config.workspace() or context_.workspace)
        try:
            yield session
        except NotFound as error:
            has_name = error.next_step.startswith("Did you mean")  # the manager knows a near name
            if workspace is not None and not has_name and (hint := session.hint_if_empty()):
                error.next_step = hint
            raise


_MOST_WORKSPACES = 10


def empty_workspace(name: str, names: Sequence[str]) -> str:
    """For example `workspace "fleet-defalt" has no objects; did you mean "fleet-default"?`."""
    text = f'workspace "{name}" has no objects; '
    if near := nearest(name, names):
        return f'{text}did you mean "{near}"?'
    if not names:
        return f"{text}neither has any other workspace that this login can see"
    return f"{text}workspaces with objects: {list_names(names, _MOST_WORKSPACES)}"
