"""`fleetctl gitrepo add`: creates a GitRepo and the Secret with its login."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.options import ContextName, DryRun, Workspace, labels_of, seconds
from fleetctl.cli.prompt import secret_line
from fleetctl.cli.session import Session, open_session
from fleetctl.core.formats.git_url import check_git_url, refuse_secrets
from fleetctl.core.formats.redact import redacted_login
from fleetctl.core.model.errors import Conflict, UsageError

_API = "fleet.cattle.io/v1alpha1"


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the GitRepo.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the repository, https://…")],
    branch: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Branch to follow. The default is the default branch of the repository.",
        ),
    ] = "",
    revision: Annotated[
        str, typer.Option(metavar="REV", help="Tag or commit to deploy, instead of a branch.")
    ] = "",
    path: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Directory to scan. It can be given several times."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET",
            help=(
                "A cluster name, group:NAME, or a label selector. If it is given several times, "
                "a cluster uses the first one that matches."
            ),
        ),
    ] = None,
    selector: Annotated[
        str,
        typer.Option(
            "-l",
            "--selector",
            metavar="SELECTOR",
            help="Clusters with these labels, for example -l env=prod.",
        ),
    ] = "",
    username: Annotated[
        str, typer.Option(metavar="NAME", help="User name for a private repository.")
    ] = "",
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the password or token from standard input."),
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PEM file with the certificate authority of the Git server."
        ),
    ] = None,
    target_namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Deploy all objects into this namespace.")
    ] = "",
    service_account: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Kubernetes service account that the agent uses for this GitRepo."
        ),
    ] = "",
    polling_interval: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Time between two polls of the repository, for example 30s."
        ),
    ] = "",
    disable_polling: Annotated[
        bool,
        typer.Option(
            "--disable-polling",
            help="Do not poll; read the repository only on `fleetctl gitrepo sync`.",
        ),
    ] = False,
    paused: Annotated[
        bool,
        typer.Option(
            "--paused", help="Create it paused: deploy nothing until `fleetctl gitrepo resume`."
        ),
    ] = False,
    keep_resources: Annotated[
        bool,
        typer.Option(
            "--keep-resources",
            help="Keep the deployed objects on the clusters when the GitRepo is deleted.",
        ),
    ] = False,
    correct_drift: Annotated[
        bool, typer.Option("--correct-drift", help="Undo changes that somebody makes on a cluster.")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Label of the GitRepo. It can be given several times."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="If the GitRepo exists, replace its spec.")
    ] = False,
    dry_run: DryRun = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Create a GitRepo, which deploys the content of a Git repository.

    Without targets it deploys to every cluster of the workspace.
    """
    _check_arguments(url, polling_interval)
    spec: dict[str, Any] = {
        "repo": url,
        "branch": branch,
        "revision": revision,
        "paths": path or [],
    }
    spec |= {
        "targets": _targets(target or [], selector),
        "targetNamespace": target_namespace,
        "serviceAccount": service_account,
    }
    spec |= {
        "pollingInterval": polling_interval,
        "disablePolling": disable_polling,
        "paused": paused,
        "keepResources": keep_resources,
    }
    spec["correctDrift"] = {"enabled": True} if correct_drift else None
    secret = _credentials(name, username, password_stdin=password_stdin, ca_file=ca_file)
    if secret:
        spec["clientSecretName"] = secret["metadata"]["name"]
    meta = {"name": name, "labels": labels_of(label or [])}
    document = {
        "apiVersion": _API,
        "kind": "GitRepo",
        "metadata": meta,
        "spec": {key: value for key, value in spec.items() if value},
    }
    with open_session(context, workspace) as session:
        _GitRepoWriter(session, name, document, secret).write(replace=replace, dry_run=dry_run)


@dataclass
class _GitRepoWriter:
    """Writes one GitRepo and its Secret, in an order that leaves nothing behind if the manager
    refuses the GitRepo.
    """

    session: Session
    name: str
    document: dict[str, Any]
    secret: dict[str, Any] | None

    def write(self, *, replace: bool, dry_run: bool) -> None:
        check = self._put("gitrepos", self.document, dry_run=True)
        if check == "configured" and not replace:
            step = "Add --replace to give it this spec, or change it with `fleetctl apply`."
            raise Conflict(
                "it exists already, with another spec",
                subject=f"GitRepo {self.name}",
                next_step=step,
            )
        if dry_run:
            out.line(f"gitrepo/{self.name} {check} (dry run)")
            return
        if self.secret:
            self._put("secrets", self.secret)
        out.line(f"gitrepo/{self.name} {self._put('gitrepos', self.document)}")

    def _put(self, plural: str, doc: dict[str, Any], *, dry_run: bool = False) -> str:
        from fleetctl.client import place

        doc["metadata"]["namespace"] = self.session.workspace
        path = place(plural, self.session.workspace, doc["metadata"]["name"])
        answer = self.session.client.call(
            "PUT", path, doc, params={"dryRun": "true"} if dry_run else None
        )
        return str(answer["result"])


def _check_arguments(url: str, polling_interval: str) -> None:
    """Raises UsageError before anything is sent."""
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise UsageError(
            f"{redacted_login(url)[:200]!r} is not an address: {error}",
            subject="URL",
            next_step="Write it as https://HOST/PATH.",
        ) from error
    refuse_secrets(
        url,
        "URL",
        "Leave it out, change it where it was used, and give --username U --password-stdin.",
    )
    check_git_url(url, f"URL {url[:200]}")
    if polling_interval:
        seconds(polling_interval, option="--polling-interval")


def _targets(targets: list[str], selector: str) -> list[dict[str, Any]]:
    from fleetctl.core.model.cluster import parse_selector

    targets_: list[dict[str, Any]] = []
    for at, text in enumerate(targets):
        if text.startswith("group:"):
            targets_.append({"name": text, "clusterGroup": text.removeprefix("group:")})
        elif "=" in text or " in " in text or " notin " in text or text.startswith("!"):
            targets_.append({"name": f"target{at}", "clusterSelector": parse_selector(text)})
        else:
            targets_.append({"name": text, "clusterName": text})
    if selector:
        targets_.append({"name": "selector", "clusterSelector": parse_selector(selector)})
    return targets_ or [{"name": "all", "clusterSelector": {}}]


def _credentials(
    name: str, username: str, *, password_stdin: bool, ca_file: Path | None
) -> dict[str, Any] | None:
    """The Secret that the GitRepo will name, or None. A password is never read from the command
    line.
    """
    if bool(username) != password_stdin:
        raise UsageError(
            "--username and --password-stdin belong together",
            subject="gitrepo add",
            next_step="Give both or none.",
        )
    data: dict[str, str] = {}
    if ca_file:
        from fleetctl.client import certificates

        try:
            data["cacerts"] = ca_file.read_text("ascii")
        except (OSError, UnicodeError) as error:
            cause = getattr(error, "strerror", None) or "it is not PEM"
            raise UsageError(
                f"{ca_file} cannot be read: {cause}",
                subject="--ca-file",
                next_step="Give a file in PEM.",
            ) from error
        if not certificates(data["cacerts"]):
            raise UsageError(
                f"{ca_file} contains no certificate",
                subject="--ca-file",
                next_step="Give a file in PEM.",
            )
    if username:
        data |= {"username": username, "password": secret_line(None, option="--password-stdin")}
    if not data:
        return None
    kind = "kubernetes.io/basic-auth" if username else "Opaque"
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{name}-git"},
        "type": kind,
        "stringData": data,
    }
