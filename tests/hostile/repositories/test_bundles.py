"""Bundles that unpack, render or parse to gigabytes stay within the worker's memory, and harm
nobody else's bundle.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.formats.bundle_archive import pack
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import FleetError, WorkLimit
from fleetctl.core.model.ids import BundleName, ClusterName, Workspace
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.tools.isolation.sandbox import Sandbox, SandboxLimits
from fleetctl.tools.post_renderer import Changes

FACTS = ClusterFacts(cluster=ClusterName("c1"), workspace=Workspace("w"))
CHART = b"apiVersion: v2\nname: c\nversion: 1.0.0\n"
MEMORY = 320 << 20


def packed(files: Mapping[str, bytes]) -> bytes:
    """A chart archive, at the best compression."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 6)


def nested(depth: int) -> bytes:
    data = packed({"x/crds/a.yaml": b"#" * (4 << 20)})
    for _ in range(depth):
        data = packed({f"x/charts/{n}.tgz": data for n in range(20)})
    return data


def a_subchart_of_many_large_files() -> dict[str, bytes]:
    return {
        "Chart.yaml": CHART,
        "charts/x.tgz": packed({f"x/crds/{n}.yaml": b"#" * (16 << 20) for n in range(5)}),
    }


def subcharts_in_subcharts() -> dict[str, bytes]:
    return {"Chart.yaml": CHART, "charts/x.tgz": nested(3)}


def a_stream_that_never_ends() -> dict[str, bytes]:
    return {"Chart.yaml": CHART, "charts/x.tgz": gzip.compress(b"\0" * (200 << 20), 1)}


def many_empty_files() -> dict[str, bytes]:
    return {
        "Chart.yaml": CHART,
        "charts/x.tgz": packed({f"x/crds/{n}.yaml": b"" for n in range(30_000)}),
    }


def a_kustomization_of_aliases() -> dict[str, bytes]:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)
    ]
    return {"kustomization.yaml": "\n".join(lines).encode()}


def manifests_of_aliases() -> dict[str, bytes]:
    lines = [
        "apiVersion: v1",
        "kind: ConfigMap",
        "metadata: {name: a}",
        "a0: &a0 [x, x, x, x, x, x, x, x]",
    ]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    return {"a.yaml": "\n".join(lines).encode()}


def deep_json() -> dict[str, bytes]:
    return {
        "a.json": b'{"apiVersion": "v1", "kind": "X", "a": '
        + b"[" * 1_000_000
        + b"]" * 1_000_000
        + b"}"
    }


BUNDLES = [
    a_subchart_of_many_large_files,
    subcharts_in_subcharts,
    a_stream_that_never_ends,
    many_empty_files,
    a_kustomization_of_aliases,
    manifests_of_aliases,
    deep_json,
]


@pytest.mark.parametrize("make", BUNDLES)
def test_a_bundle_stays_within_the_memory_of_the_worker(
    tmp_path: Path, make: Callable[[], dict[str, bytes]]
) -> None:
    """Read or refused with a message of its own, and not ended by the limit, which is the second
    line of defence.
    """
    path = tmp_path / "archive"
    path.write_bytes(pack({name: File(data) for name, data in make().items()}))

    async def run() -> Any:
        sandbox = Sandbox(SandboxLimits(memory=MEMORY, cpu=60, wall=300.0))
        try:
            plan = await sandbox.plan(path, Options(), FACTS, bundle=BundleName("b"))
            if plan.text is not None:
                await sandbox.change(plan.text, Changes("ns"), subject="bundle b")
            return plan
        except WorkLimit as error:
            raise AssertionError(error.summary) from error
        except FleetError as error:
            return error
        finally:
            await sandbox.close()

    outcome = asyncio.run(run())
    if isinstance(outcome, FleetError):
        assert "\n" not in outcome.summary
    elif outcome.crds is not None:
        assert any("unpacks to more" in place or "too many" in place for place in outcome.crds), (
            outcome.crds[:3]
        )


def test_values_that_multiply_are_refused_before_they_are_built(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(pack({"Chart.yaml": File(CHART)}))
    text = '${ regexReplaceAll "a" (repeat 1000000 "a") (repeat 5000 "b") }'

    async def run() -> FleetError:
        sandbox = Sandbox(SandboxLimits(memory=MEMORY))
        try:
            await sandbox.plan(
                path, Options(helm=HelmOptions(values={"a": text})), FACTS, bundle=BundleName("b")
            )
        except FleetError as error:
            return error
        finally:
            await sandbox.close()
        raise AssertionError("it was rendered")

    assert "a text longer than 1048576 characters" in asyncio.run(run()).summary
