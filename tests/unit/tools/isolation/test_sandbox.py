"""Foreign input is worked on in a child with limits: whatever it does, the caller gets an error and
goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.formats.bundle_archive import pack
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile, UsageError, WorkCrashed, WorkLimit
from fleetctl.core.model.ids import BundleName, ClusterName, Workspace
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering.render import Style, plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.tools.chart_builder.examine import examine
from fleetctl.tools.isolation.sandbox import Sandbox, SandboxLimits
from fleetctl.tools.post_renderer import Changes

FACTS = ClusterFacts(cluster=ClusterName("c1"), workspace=Workspace("w"), labels={"env": "dev"})
CONFIG_MAP = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
CHART = {
    "Chart.yaml": File(b"apiVersion: v2\nname: c\nversion: 1.0.0\n"),
    "crds/a.yaml": File(b"kind: X\n"),
}
SPIN = "import time\nwhile True: pass"
EAT = "x = [bytearray(1 << 20) for _ in range(10_000)]"


def go(work: Callable[[Sandbox], Awaitable[Any]], **limits: Any) -> Any:
    async def run() -> Any:
        sandbox = Sandbox(SandboxLimits(**limits))
        try:
            return await work(sandbox)
        finally:
            await sandbox.close()

    return asyncio.run(run())


def archive(folder: Path, files: dict[str, File]) -> Path:
    path = folder / "archive"
    path.write_bytes(pack(files))
    return path


def values(text: str) -> Options:
    return Options(helm=HelmOptions(values={"a": text}))


async def planned(sandbox: Sandbox, path: Path, options: Options, bundle: str = "b") -> Any:
    return await sandbox.plan(
        path, options, FACTS, bundle=BundleName(bundle), values_from=[{"big": 2**70, "f": 1.5}]
    )


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts code in the place of the child's planning."""

    def put(code: str) -> None:
        call = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from fleetctl.tools.isolation import sandbox_child\n"
            "def bad(request):\n"
            "    if request.bundle == 'bad': exec(BAD)\n"
            "    return old(request)\n"
            f"BAD = {code!r}\n"
            "kind, old = sandbox_child.OPERATIONS['plan']\n"
            "sandbox_child.OPERATIONS['plan'] = kind, bad\n"
            "sandbox_child.main()\n"
        )
        monkeypatch.setattr("fleetctl.tools.isolation.sandbox._CALL", call)

    return put


def test_a_plan_is_the_same_as_in_this_process(tmp_path: Path) -> None:
    """With the objects of raw bundles and the definitions of charts, and values beyond 64 bits."""
    chart, raw = archive(tmp_path, CHART), tmp_path / "raw"
    raw.write_bytes(pack({"a.yaml": File(CONFIG_MAP), "templates/t.yaml": File(b"x: {{ 1 }}\n")}))
    options = values("${ .ClusterLabels.env }")

    async def work(sandbox: Sandbox) -> Any:
        return await planned(sandbox, chart, options), await planned(sandbox, raw, options)

    of_chart, of_raw = go(work)
    more = {"bundle": BundleName("b"), "values_from": [{"big": 2**70, "f": 1.5}]}
    assert of_chart == examine(plan(CHART, options, FACTS, **more))
    assert of_chart.crds == ("crds/a.yaml",)
    assert (of_raw.style, of_raw.text, list(of_raw.engine)) == (
        Style.RAW,
        b"---\n" + CONFIG_MAP,
        ["templates/t.yaml"],
    )


def test_errors_are_those_of_the_work(tmp_path: Path) -> None:
    async def work(sandbox: Sandbox) -> None:
        with pytest.raises(UsageError, match=r"helm\.values\.a: fail: nope") as caught:
            await planned(sandbox, archive(tmp_path, CHART), values('${ fail "nope" }'))
        assert caught.value.code == "usage"
        with pytest.raises(InvalidFile):
            await sandbox.change(b"a: [", Changes("ns"), subject="bundle b")

    go(work)


@pytest.mark.parametrize(
    ("code", "limits", "match"),
    [
        (SPIN, {"cpu": 1}, "1 s of CPU time"),
        ("import time; time.sleep(60)", {"wall": 6.0}, "exceeded 6 s"),
        (EAT, {"memory": 200 << 20}, "200 MiB of memory"),
        ("import os; os.kill(os.getpid(), 9)", {}, "was killed"),
    ],
)
def test_a_limit_ends_one_request_only(
    hostile: Any, tmp_path: Path, code: str, limits: dict[str, Any], match: str
) -> None:
    """The caller's loop stays free meanwhile, and the next request is served."""
    hostile(code)
    path = archive(tmp_path, CHART)

    async def work(sandbox: Sandbox) -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.02)
                turns += 1

        ticking = asyncio.create_task(turn())
        with pytest.raises(WorkLimit, match=match) as caught:
            await planned(sandbox, path, Options(), "bad")
        assert caught.value.subject == "bundle bad"
        ticking.cancel()
        assert turns > 2
        assert (await planned(sandbox, path, Options())).release == "b"

    go(work, **limits)


@pytest.mark.parametrize(
    "code",
    ["import os; os.abort()", "import os; os._exit(3)", "import os; os.write(1, b'\\xff' * 99)"],
)
def test_a_child_that_dies_or_lies_is_replaced(hostile: Any, tmp_path: Path, code: str) -> None:
    hostile(code)
    path = archive(tmp_path, CHART)

    async def work(sandbox: Sandbox) -> None:
        if "write" not in code:
            with pytest.raises(WorkCrashed, match=r"SIGABRT|status 3"):
                await planned(sandbox, path, Options(), "bad")
        else:  # what is printed is no answer
            await planned(sandbox, path, Options(), "bad")
        assert (await planned(sandbox, path, Options())).release == "b"

    go(work)


def test_one_warm_child_serves_many_and_ends_when_idle(tmp_path: Path) -> None:
    path = archive(tmp_path, CHART)

    async def work(sandbox: Sandbox) -> None:
        seen = set()

        async def one() -> None:
            await planned(sandbox, path, Options())
            seen.add(sandbox._child)

        await asyncio.gather(*(one() for _ in range(20)))
        assert len(seen) == 1
        first = seen.pop()
        assert first is not None
        async with asyncio.timeout(20):
            while sandbox._child is not None:
                await asyncio.sleep(0.05)
            await first.wait()

    go(work, idle=3.0)


def test_a_cancelled_call_leaves_no_child(hostile: Any, tmp_path: Path) -> None:
    hostile(SPIN)
    path = archive(tmp_path, CHART)

    async def work(sandbox: Sandbox) -> None:
        task = asyncio.create_task(planned(sandbox, path, Options(), "bad"))
        while sandbox._child is None:
            await asyncio.sleep(0.02)
        pid = sandbox._child.pid
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    go(work)
