"""A tool that dies says why: the panic and not the end of its trace, the limit, or the signal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetctl.core.model.errors import ToolDied, ToolFailed
from fleetctl.tools.exit_causes import describe_death
from fleetctl.tools.helm import HelmCli, Release
from fleetctl.tools.kustomize import Kustomize
from fleetctl.tools.process import Completed, ProcessLimits

PANIC = """W1128 warning: something before
panic: runtime error: invalid memory address or nil pointer dereference [recovered]
\tpanic: runtime error: again
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]

goroutine 1 [running]:
main.main()
\t/src/main.go:12 +0x1d
exit status 2
"""
LIMITS = ProcessLimits(cpu=60, memory=768 << 20)


def death(code: int, stderr: str = "", seconds: float = 1.0) -> ToolDied | None:
    return describe_death(
        Completed(code, b"", stderr.encode(), seconds), LIMITS, tool="helm", subject="release a/b"
    )


@pytest.mark.parametrize(
    ("code", "stderr", "seconds", "summary"),
    [
        (
            2,
            PANIC,
            1,
            (
                "helm crashed: panic: runtime error: invalid memory address or nil pointer"
                " dereference [recovered]"
            ),
        ),
        (
            2,
            "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [x]:\n",
            1,
            "helm crashed: fatal error: all goroutines are asleep",
        ),
        (
            2,
            (
                "runtime: out of memory: cannot allocate\nfatal error: out of memory\n\ngoroutine 1"
                " [x]:\n"
            ),
            1,
            "needed more than 768 MiB",
        ),
        (-24, "", 1, "helm used more than 60 s of CPU time"),
        (-9, "", 66, "helm used more than 60 s of CPU time"),
        (-9, "", 2, "was killed (SIGKILL) after 2.0 s: too little memory"),
        (137, "", 2, "was killed (SIGKILL) after 2.0 s: too little memory"),
        (-15, "", 2, "was ended by signal SIGTERM after 2.0 s"),
        (-11, "", 2, "was ended by signal SIGSEGV"),
    ],
)
def test_what_a_death_is_called(code: int, stderr: str, seconds: float, summary: str) -> None:
    found = death(code, stderr, seconds)
    assert found is not None
    assert summary in found.summary
    assert found.next_step
    assert "\n" not in found.summary


@pytest.mark.parametrize(
    ("code", "stderr"),
    [
        (1, "Error: no"),
        (1, ""),
        (130, "Error: interrupted"),
        (2, "panic: a word in a message"),
        (255, ""),
    ],
)
def test_what_ends_by_itself_has_its_own_message(code: int, stderr: str) -> None:
    assert death(code, stderr) is None


def program(folder: Path, text: str) -> str:
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_helm_and_kustomize_that_die(tmp_path: Path) -> None:
    """With the real wrapper around them."""
    (tmp_path / "trace").write_text(PANIC)
    killed = HelmCli([program(tmp_path, "kill -9 $$")], kubeconfig=tmp_path / "none", home=tmp_path)
    with pytest.raises(ToolDied, match=r"^helm was killed \(SIGKILL\)"):
        asyncio.run(killed.manifest(Release("b", "a"), deadline=20))
    panics = Kustomize(
        [program(tmp_path, f"/bin/cat {tmp_path / 'trace'} >&2; exit 2"), "kustomize"]
    )
    with pytest.raises(ToolFailed, match="crashed: panic: runtime error: invalid memory address"):
        asyncio.run(panics.build(tmp_path, deadline=20))
    failing = HelmCli(
        [program(tmp_path, "echo 'Error: no such thing' >&2; exit 1")],
        kubeconfig=tmp_path / "none",
        home=tmp_path,
    )
    with pytest.raises(ToolFailed, match=r"^no such thing$"):
        asyncio.run(failing.manifest(Release("b", "a"), deadline=20))
