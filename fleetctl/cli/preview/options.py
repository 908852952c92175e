"""Options of the commands that need no manager."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Place = Annotated[
    str, typer.Argument(metavar="DIR", help="Folder of the repository, or CLONE@REVISION.")
]
RepoName = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="Name of the GitRepo. The default is the name of the folder."
    ),
]
InWorkspace = Annotated[
    str,
    typer.Option(
        "-n", "--workspace", "--namespace", metavar="NAME", help="Workspace of the GitRepo."
    ),
]
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", metavar="DIR", help="Directory to scan. It can be given several times."),
]
Targets = Annotated[
    Path | None,
    typer.Option("--targets", metavar="FILE", help="File with the `targets:` of a GitRepo."),
]
GitRepoFile = Annotated[
    Path | None,
    typer.Option(
        "--gitrepo", metavar="FILE", help="File with the GitRepo, instead of --name and --targets."
    ),
]
Clusters = Annotated[
    Path | None,
    typer.Option("--clusters", metavar="FILE", help="File with Clusters and ClusterGroups."),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster", metavar="NAME", help="Only this cluster. It can be given several times."
    ),
]
Select = Annotated[
    str,
    typer.Option("-l", "--selector", metavar="SELECTOR", help="Only clusters with these labels."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="K=V",
        help="Labels of the cluster in --cluster, if there is no --clusters file.",
    ),
]
Bundles = Annotated[
    list[str] | None,
    typer.Option(
        "--bundle", metavar="NAME", help="Only this bundle. It can be given several times."
    ),
]
KubeVersion = Annotated[
    str,
    typer.Option(
        "--kube-version",
        metavar="VERSION",
        help=("Kubernetes version that charts see. The default is the default of helm."),
    ),
]
ApiVersions = Annotated[
    list[str] | None,
    typer.Option(
        "--api-versions",
        "-a",
        metavar="API",
        help=("An additional API version that charts see. It can be given several times."),
    ),
]
Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="URL=URL",
        help="Read the charts of the first address from the second address.",
    ),
]
