"""Reads the shell commands and their shown output from a page, and compares output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_PROGRAMS = (
    r"(?:sudo |[A-Z_]+=\S+ |cd |printf [^|]*\| *)*"
    r"(?:fleetctl|fleet-manager|fleet-agent|make|pipx|ssh|rm|kubectl|helm|git)"
)
_COMMAND = re.compile(rf"{_PROGRAMS}(?: |$)")
_WILDCARD = re.compile(r"…|\.\.\.")
# Ages, digests and commits differ between two runs.
_UNSTABLE = (
    (re.compile(r"\b[0-9a-f]{12,}\b"), "HEX"),
    (re.compile(r"\b(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?<=\d[smhd])\b"), "AGE"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class PageCommand:
    """One command line of a page. `output` is what the page shows below it, "" for nothing."""

    page: str
    text: str
    output: str = ""


def page_names() -> list[str]:
    """Every page for people, as a path below the checkout."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    paths += [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def read_page(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, in the order of the page."""
    return [text for info, text in _FENCE.findall(read_page(page)) if info.strip() == language]


def shell_commands(page: str) -> list[PageCommand]:
    """The commands of all shell blocks, in the order of the page.

    A block is a shell block if it is marked `console`, or has no mark and begins with a program.
    In a `console` block only lines with `$ ` are commands; the lines below one are its output.
    """
    commands: list[PageCommand] = []
    for info, text in _FENCE.findall(read_page(page)):
        lines = text.replace("\\\n", " ").splitlines()
        if info.strip() == "console":
            commands += _console(page, lines)
        elif not info.strip() and lines and _COMMAND.match(lines[0]):
            commands += [
                PageCommand(page, _without_comment(line)) for line in lines if line.strip()
            ]
    return commands


def _console(page: str, lines: list[str]) -> Iterator[PageCommand]:
    text, output = "", list[str]()
    for line in [*lines, "$ "]:
        if not line.startswith("$ "):
            output.append(line)
            continue
        if text:
            yield PageCommand(page, text, "\n".join(output))
        text, output = _without_comment(line.removeprefix("$ ")), []


def _without_comment(line: str) -> str:
    return re.split(r"\s+# ", line)[0].strip()


def inline_commands(page: str) -> list[str]:
    """The commands of our programs that stand inside sentences, in the order of the page."""
    text = _FENCE.sub("", read_page(page))
    spans = [re.sub(r"\s+", " ", span) for span in _INLINE.findall(text)]
    return [span for span in spans if re.match(r"(?:fleetctl|fleet-manager|fleet-agent) ", span)]


def missing_lines(page_output: str, actual: str) -> list[str]:
    """The page_output lines that the actual output lacks, in the order of the page.

    `…` and `...` in an page_output line stand for any text; ages, digests and the number of blanks
    do not count.
    """
    lines = [_stable(line) for line in actual.splitlines()]
    missing: list[str] = []
    for line in page_output.splitlines():
        parts = [re.escape(_stable(part)) for part in _WILDCARD.split(line)]
        pattern = re.compile(".*".join(parts))
        position = next((n for n, text in enumerate(lines) if pattern.fullmatch(text)), None)
        if position is None:
            missing.append(line)
        else:
            lines = lines[position + 1 :]
    return missing


def _stable(line: str) -> str:
    for pattern, replacement in _UNSTABLE:
        line = pattern.sub(replacement, line)
    return line
