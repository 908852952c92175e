"""`fleetctl ui`: opens the status page."""

from __future__ import annotations

import contextlib
import webbrowser
from typing import Annotated

import typer

from fleetctl.cli import config
from fleetctl.cli.display import output
from fleetctl.cli.options import ContextName
from fleetctl.cli.session import open_session


def ui(
    show: Annotated[
        bool, typer.Option("--print", help="Print the address instead of opening a browser.")
    ] = False,
    context: ContextName = "",
) -> None:
    """Open the status page in a browser. The address logs in once, within one minute."""
    with open_session(context) as session:
        url = str(session.client.call("POST", "ui-code")["url"])
    is_open = False
    if not show and config.desktop():
        with contextlib.suppress(webbrowser.Error):
            is_open = webbrowser.open(url)
    if is_open:
        output.say(f"{url.partition('/login')[0]} opened in the browser")
    else:
        output.line(url)
