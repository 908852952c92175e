"""`fleetctl gitrepo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.common import (
    Asked,
    ContextName,
    Everywhere,
    NoHeaders,
    Output,
    Selector,
    Session,
    Watch,
    Workspace,
    Yes,
    labels_of,
    read,
    remove,
)
from fleetctl.cli.output import Format, clean
from fleetctl.client import place
from fleetctl.core.cluster import parse_selector
from fleetctl.core.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_API = "fleet.cattle.io/v1alpha1"


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the GitRepo.")],
    url: Annotated[str, typer.Argument(help="Address of the repository, https://…")],
    branch: Annotated[str, typer.Option(help="Branch to follow; the remote's own when not given.")] = "",
    revision: Annotated[str, typer.Option(help="Tag or commit to stay at, instead of a branch.")] = "",
    path: Annotated[list[str] | None, typer.Option(help="Directory to scan; may be given several times.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Cluster by name, group:NAME, or a label selector; several are tried in order.")
    ] = None,
    selector: Selector = "",
    username: Annotated[str, typer.Option(help="User for a private repository.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password or token from standard input.")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of the authority of the server's certificate.")] = None,
    target_namespace: Annotated[str, typer.Option(help="Force everything into this namespace.")] = "",
    polling_interval: Annotated[str, typer.Option(help="Time between two looks, for example 30s.")] = "",
    paused: Annotated[bool, typer.Option("--paused", help="Hand nothing out yet.")] = False,
    label: Annotated[list[str] | None, typer.Option(help="Label of the GitRepo, key=value.")] = None,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Follow a Git repository. Without targets it goes to every cluster."""
    session = Session.open(context, workspace)
    spec: dict[str, Any] = {"repo": url, "branch": branch, "revision": revision, "paths": path or []}
    spec |= {"targetNamespace": target_namespace, "pollingInterval": polling_interval, "paused": paused}
    spec["targets"] = _targets(target or [], selector)
    secret = _credentials(name, session.workspace, username, password_stdin=password_stdin, ca_file=ca_file)
    if secret:
        session.client.call("PUT", place("secrets", session.workspace, secret["metadata"]["name"]), secret)
        spec["clientSecretName"] = secret["metadata"]["name"]
    meta = {"name": name, "namespace": session.workspace, "labels": labels_of(label or [])}
    spec = {key: value for key, value in spec.items() if value}
    doc = {"apiVersion": _API, "kind": "GitRepo", "metadata": meta, "spec": spec}
    answer = session.client.call("PUT", place("gitrepos", session.workspace, name), doc)
    print(f"gitrepo/{clean(name)} {answer['result']}")


def _targets(targets: list[str], selector: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for at, text in enumerate(targets):
        if text.startswith("group:"):
            found.append({"name": text, "clusterGroup": text.removeprefix("group:")})
        elif "=" in text or " in " in text or " notin " in text or text.startswith("!"):
            found.append({"name": f"target{at}", "clusterSelector": parse_selector(text)})
        else:
            found.append({"name": text, "clusterName": text})
    if selector:
        found.append({"name": "selector", "clusterSelector": parse_selector(selector)})
    return found or [{"name": "all", "clusterSelector": {}}]


def _credentials(name: str, workspace: str, username: str, *, password_stdin: bool, ca_file: Path | None) -> dict[str, Any] | None:
    """The Secret that the GitRepo will name, or None. A password is never read from the command line."""
    if bool(username) != password_stdin:
        raise UsageError("--username and --password-stdin belong together", next_step="Give both or none.")
    data: dict[str, str] = {}
    if username:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise UsageError("there is no password on standard input", subject="--password-stdin", next_step="Pipe it into this command.")
        data |= {"username": username, "password": password}
    if ca_file:
        try:
            data["cacerts"] = ca_file.read_text("ascii")
        except (OSError, UnicodeError) as why:
            raise UsageError(f"{ca_file} cannot be read: {why}", subject="--ca-file", next_step="Give a file in PEM.") from why
    if not data:
        return None
    meta = {"name": f"{name}-git", "namespace": workspace}
    kind = "kubernetes.io/basic-auth" if username else "Opaque"
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "stringData": data}


@app.command("list")
def list_(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    watch: Watch = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """The repositories, their commit and state."""
    asked = Asked("gitrepos", (), output, everywhere, watch, not no_headers, (("selector", selector),))
    read(Session.open(context, workspace), asked)


@app.command()
def get(name: str, output: Output = Format.TABLE, workspace: Workspace = "", watch: Watch = False, context: ContextName = "") -> None:
    """One repository, with what stands in its way."""
    session = Session.open(context, workspace)
    read(session, Asked("gitrepos", (name,), output, watch=watch))
    if output in {Format.TABLE, Format.WIDE}:
        _explain(session.client.get("gitrepos", session.workspace, name))


def _explain(repo: dict[str, Any]) -> None:
    status = repo["status"]
    for problem in [status.get("error"), *(status.get("problems") or [])]:
        if problem:
            print(f"\nproblem: {clean(problem['summary'])}\n  {clean(problem.get('nextStep') or problem.get('next_step') or '')}")
    held = status.get("held")
    if held:
        name, commit = repo["metadata"]["name"], held["commit"]
        shown = ", ".join(held["bundles"][:8])
        print(f"\nheld: commit {commit[:12]} would remove {held['removals']} of {held['of']} bundles: {clean(shown)}")
        print(f"  To let them go: fleetctl gitrepo confirm {name} --removals {held['removals']} --commit {commit[:12]}")


@app.command()
def delete(names: list[str], yes: Yes = False, workspace: Workspace = "", context: ContextName = "") -> None:
    """Stop following a repository and remove what it brought, everywhere."""
    remove(Session.open(context, workspace), "gitrepos", names, yes=yes)


@app.command()
def sync(name: str, workspace: Workspace = "", context: ContextName = "") -> None:
    """Look at the repository now, and scan it again."""
    session = Session.open(context, workspace)
    session.client.call("POST", f"gitrepos/{session.workspace}/{name}/sync")
    print(f"gitrepo/{clean(name)} is looked at now")


@app.command()
def confirm(
    name: str,
    removals: Annotated[int, typer.Option(help="How many bundles may be removed: the number that is held.")],
    commit: Annotated[str, typer.Option(help="The commit that removes them.")],
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Let a held removal go: exactly that many bundles, at that commit."""
    session = Session.open(context, workspace)
    session.client.call("POST", f"gitrepos/{session.workspace}/{name}/confirm", {"removals": removals, "commit": commit})
    print(f"gitrepo/{clean(name)}: {removals} removals confirmed")
