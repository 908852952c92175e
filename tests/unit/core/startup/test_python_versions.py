"""Python versions with known holes are named."""

from __future__ import annotations

import pytest

from fleetctl.core.startup.python_versions import describe_hole


@pytest.mark.parametrize("version", [(3, 11, 10), (3, 11, 14), (3, 12, 6), (3, 13, 0), (3, 14, 0)])
def test_a_fixed_python_gets_no_warning(version: tuple[int, int, int]) -> None:
    assert describe_hole(version) == ""


@pytest.mark.parametrize(("version", "fixed"), [((3, 11, 7), "3.11.10"), ((3, 12, 5), "3.12.6")])
def test_a_python_with_a_hole_gets_one_line(version: tuple[int, int, int], fixed: str) -> None:
    text = describe_hole(version)
    assert "CVE-2024-6232" in text
    assert f"upgrade to Python {fixed} or later" in text
    assert "\n" not in text
