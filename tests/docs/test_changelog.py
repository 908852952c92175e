"""The changelog keeps the form of Keep a Changelog."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def entries(text: str) -> list[str]:
    return re.findall(r"(?m)^- .*(?:\n  .*)*", text)


def test_every_entry_is_in_a_section_of_a_version() -> None:
    head, *versions = re.split(r"(?m)^## ", TEXT)
    assert not entries(head)
    assert versions[0].startswith("[Unreleased]\n")
    for version in versions:
        before, *sections = re.split(r"(?m)^### ", version)
        assert not entries(before)
        titles = [section.partition("\n")[0] for section in sections]
        assert titles == sorted(titles, key=SECTIONS.index)
        assert len(set(titles)) == len(titles)


def test_no_line_is_outside_of_an_entry() -> None:
    """A list that is split by a stray line is two lists."""
    versions = TEXT[TEXT.index("## [Unreleased]") :]
    strays = [line for line in versions.splitlines() if line and not re.match(r"#|- |  ", line)]
    assert strays == []


def test_no_entry_stands_twice() -> None:
    all_entries = entries(TEXT)
    assert len(set(all_entries)) == len(all_entries)
