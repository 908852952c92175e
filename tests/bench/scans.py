"""Scans and previews: a large repository, a commit that touches one bundle of it, a thousand
clusters.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from fleetctl.cli.preview.renderer import Renderer
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import ClusterName, CommitId, Workspace
from fleetctl.core.scan.scan import finish, scan
from fleetctl.core.targeting.target import select
from fleetctl.sources.git import repository
from manager.ingest import scan_job
from tests.bench.figures import MAP, Figure
from tests.localkube.toolchain import tools
from tests.servers.gitserver import GitServer
from tests.support.cli.person import surroundings
from tests.support.gitrepo import Clone
from tests.support.trees import DictTree

_BUNDLES, _FILES, _ROUNDS = 1000, 9, 5
_SPEC = {"metadata": {"name": "repo"}, "spec": {"repo": "https://git.example/r", "paths": ["apps"]}}
_SPEC_OF_ALL = {"metadata": {"name": "repo"}, "spec": {"repo": "https://git.example/r"}}


def large_repository(folder: Path) -> Iterable[Figure]:
    """1,000 bundles in 10,000 files, out of a fetched repository to packed archives; git reads the
    same objects.
    """
    (folder / "git").mkdir()
    with GitServer(folder / "git") as server:
        clone = Clone(server, "large", folder / "clone")
        files = {
            f"apps/b{n}/m{f}.yaml": MAP.format(n=n, value=f)
            for n in range(_BUNDLES)
            for f in range(_FILES)
        }
        clone.push(
            files | {f"apps/b{n}/fleet.yaml": f"defaultNamespace: ns{n}\n" for n in range(_BUNDLES)}
        )
        store = folder / "store"
        commit = asyncio.run(repository.fetch(clone.url, store=store))
        made = _made(store, commit, {})
        peer = _timed(lambda: _git(folder / "clone"))
        yield Figure(
            "scan of 1,000 bundles, 10,000 files (git cat-file)",
            _timed(lambda: _made(store, commit, {})),
            peer,
            25.0,
        )
        clone.push({"apps/b7/m1.yaml": MAP.format(n=7, value=99)})
        commit = asyncio.run(repository.fetch(clone.url, store=store))
        again = _timed(lambda: _made(store, commit, made))
        yield Figure("the same after a commit to one bundle (git cat-file)", again, peer, 2.5)


def child_process(folder: Path) -> Iterable[Figure]:
    """A repository with one bundle: its scan in a child process with limits, and the same work in
    this process.
    """
    (folder / "git").mkdir()
    with GitServer(folder / "git") as server:
        clone = Clone(server, "small", folder / "clone")
        clone.push({"fleet.yaml": "defaultNamespace: a\n", "m.yaml": MAP.format(n=1, value=1)})
        store = folder / "store"
        commit = asyncio.run(repository.fetch(clone.url, store=store))
    request = scan_job.ScanRequest(
        store=str(store), archives=str(folder), repo=repo_spec(_SPEC_OF_ALL), commit=commit
    )
    data = msgspec.json.encode(request)
    asyncio.run(scan_job.scan_in_child(request))  # starts the server
    child = _timed(lambda: asyncio.run(scan_job.scan_in_child(request)))
    yield Figure(
        "scan of 1 bundle in a child process, seconds (in process)",
        child,
        _timed(lambda: scan_job.run(data)),
        50.0,
    )


def _made(store: Path, commit: CommitId, known: dict[str, BundleSpec]) -> dict[str, BundleSpec]:
    tree = repository.open_tree(store, commit)
    try:
        drafts = scan(tree, repo_spec(_SPEC), commit=commit, earlier_bundles=known).drafts
        built = [finish(draft, {}) for draft in drafts if not draft.is_made]
    finally:
        tree.close()
    assert len(drafts) == _BUNDLES
    assert len(built) == (1 if known else _BUNDLES)
    return {b.fingerprint: b.spec for b in built}


def _git(clone: Path) -> None:
    command = "git ls-tree -r HEAD | cut -d' ' -f3 | cut -f1 | git cat-file --batch > /dev/null"
    subprocess.run(command, shell=True, cwd=clone, check=True)


def _timed(work: Callable[[], Any]) -> float:
    took = []
    for _ in range(_ROUNDS):
        began = time.monotonic()
        work()
        took.append(time.monotonic() - began)
    return median(took)


def thousand_clusters(_folder: Path) -> Iterable[Figure]:
    """One chart for 1,000 clusters whose labels make 5 different values: helm runs."""
    env = tools.env(tools.ensure(["helm"]))
    files = {
        "fleet.yaml": "helm: {values: {region: '${ .ClusterLabels.region }'}}\n",
        "Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n",
        "templates/m.yaml": MAP.replace("{n}", "a").replace("{value}", "{{ .Values.region }}"),
    }
    spec = {
        "metadata": {"name": "repo"},
        "spec": {"repo": "x", "targets": [{"clusterSelector": {}}]},
    }
    draft = scan(DictTree(files), repo_spec(spec), commit=CommitId("c" * 40)).drafts[0]
    built = finish(draft, {})
    clusters = [
        Cluster(
            workspace=Workspace("fleet-default"),
            name=ClusterName(f"c{n}"),
            labels={"region": f"r{n % 5}"},
        )
        for n in range(1000)
    ]
    renderer = Renderer()
    with surroundings(PATH=env["PATH"]):
        found = renderer.all([(built, match) for match in select(built.spec, clusters, [])])
    assert len(found) == 1000
    assert not any(one.error for one in found)
    yield Figure(
        "helm runs to render 1,000 clusters of 5 kinds (5)", float(renderer.runs), 5.0, 1.0
    )
