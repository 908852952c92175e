"""Failpoints happen where they are set, at the passing that is named, and a wrong setting is
refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.host import failpoints
from agent.host.failpoints import NAMES, REPAIR_NAMES, UPGRADE_NAMES, InducedError, arm, failpoint
from fleetctl.core.model.errors import UsageError

AGENT = Path(failpoints.__file__).parents[1]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def test_nothing_happens_unless_set() -> None:
    """Every name may be passed."""
    arm("")
    for name in NAMES:
        failpoint(name)


@pytest.mark.parametrize(
    ("action", "error", "word"),
    [
        ("raise", InducedError, "before-helm"),
        ("enospc", OSError, "space"),
        ("eio", OSError, "rror"),
    ],
)
def test_an_action_happens_each_time(action: str, error: type[Exception], word: str) -> None:
    """The error says where."""
    arm(f"before-helm={action}")
    for _ in range(2):
        with pytest.raises(error, match=word):
            failpoint("before-helm")
    failpoint("after-helm")


def test_only_the_passing_that_is_named_fails() -> None:
    """`@2` spares the first and the third."""
    arm("before-helm=raise@2,after-helm=sleep:0@1")
    failpoint("before-helm")
    with pytest.raises(InducedError):
        failpoint("before-helm")
    failpoint("before-helm")
    failpoint("after-helm")


@pytest.mark.parametrize(
    "text",
    [
        "no-such=kill",
        "before-helm",
        "before-helm=explode",
        "before-helm=kill@x",
        "before-helm=sleep:x",
    ],
)
def test_a_wrong_setting_is_refused(text: str) -> None:
    """A test that sets a failpoint which is not there would prove nothing."""
    with pytest.raises(UsageError, match="FLEETCTL_FAILPOINTS"):
        arm(text)


def test_what_was_passed_is_written_down(tmp_path: Path) -> None:
    """In order, also what nothing was set for."""
    arm("", str(tmp_path / "seen"))
    failpoint("before-helm")
    failpoint("after-helm")
    assert (tmp_path / "seen").read_text().split() == ["before-helm", "after-helm"]


def test_every_failpoint_of_the_code_is_registered_and_every_registered_one_is_in_the_code() -> (
    None
):
    """The matrix is made from the registry: a name that is missing there would never be tried."""
    used = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "failpoint"
            ):
                assert isinstance(node.args[0], ast.Constant), (
                    f"{path.name}:{node.lineno}: a failpoint's name is written out"
                )
                used.add(node.args[0].value)
    assert used == {*NAMES, *REPAIR_NAMES, *UPGRADE_NAMES}
