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
        "--name", metavar="NAME", help="Name of the GitRepo; the folder's when not given."
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
    typer.Option("--path", metavar="DIR", help="Directory to scan; may be given several times."),
]
Targets = Annotated[
    Path | None,
    typer.Option("--targets", metavar="FILE", help="File with `targets:`, as a GitRepo has them."),
]
GitRepoFile = Annotated[
    Path | None,
    typer.Option(
        "--gitrepo", metavar="FILE", help="File with the GitRepo, instead of these options."
    ),
]
Clusters = Annotated[
    Path | None,
    typer.Option("--clusters", metavar="FILE", help="File with Clusters and ClusterGroups."),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster", metavar="NAME", help="Only this cluster; may be given several times."
    ),
]
Select = Annotated[
    str,
    typer.Option("-l", "--selector", metavar="SELECTOR", help="Only clusters with these labels."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="K=V", help="Labels of the cluster that --cluster names, without a file."
    ),
]
Bundles = Annotated[
    list[str] | None,
    typer.Option("--bundle", metavar="NAME", help="Only this bundle; may be given several times."),
]
KubeVersion = Annotated[
    str,
    typer.Option(
        "--kube-version",
        metavar="VERSION",
        help="Kubernetes version that charts see; helm's default without.",
    ),
]
ApiVersions = Annotated[
    list[str] | None,
    typer.Option(
        "--api-versions",
        "-a",
        metavar="API",
        help="Another API version that charts see; may be given several times.",
    ),
]
Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror", metavar="URL=URL", help="Read charts of the first address from the second."
    ),
]
