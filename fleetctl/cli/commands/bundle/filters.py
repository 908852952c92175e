"""Options that choose bundles and bundle deployments."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.session import Session

Repo = Annotated[str, typer.Option("--repo", metavar="NAME", help="Only bundles of this GitRepo.")]
Cluster = Annotated[str, typer.Option("--cluster", metavar="NAME", help="Only on this cluster.")]


def check_filters(session: Session, *, repo: str = "", cluster: str = "") -> None:
    """Raises NotFound for a GitRepo or cluster that does not exist and would match no bundle."""
    for plural, name in (("gitrepos", repo), ("clusters", cluster)):
        if name:
            session.client.get(plural, session.workspace, name)


BY_BUNDLE = "fleet.cattle.io/bundle-name="
