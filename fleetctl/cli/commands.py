"""The tree of commands, put together."""

from __future__ import annotations

import typer

from fleetctl.cli import bundles, clusters, general, login, repos, waiting

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

app.add_typer(repos.app, name="gitrepo", help="Git repositories.")
app.add_typer(clusters.app, name="cluster", help="Clusters.")
app.add_typer(clusters.groups, name="clustergroup", help="Groups of clusters.")
app.add_typer(bundles.app, name="bundle", help="What was made of a repository.")
app.add_typer(login.contexts, name="context", help="Managers that you are logged in to.")
app.add_typer(login.tokens, name="token", help="Tokens for people and programs.")

app.command("status")(general.status)
app.command("apply")(general.apply)
app.command("get")(general.get)
app.command("delete")(general.delete)
app.command("wait")(waiting.wait)
app.command("login")(login.login)
app.command("ui")(login.ui)
app.command("version")(general.show_version)
app.command("completion")(general.completion)
