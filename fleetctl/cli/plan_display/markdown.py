"""A plan as Markdown, for the comment of a pull request.

Rule: whatever stands in a repository or a cluster, the comment stays one: text from elsewhere is
escaped or stands in a fence longer than any run of backticks in it, and the whole is at most 65,536
characters (GitHub's limit), saying what was left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetctl.cli.display.safe_text import escape_controls
from fleetctl.cli.plan_display.objects import Picture, Pictures
from fleetctl.cli.plan_display.text import (
    caption,
    deletions,
    group_line,
    group_notes,
    heading,
    orders,
    rollout_word,
    row,
    verdict,
    wait_lines,
)
from fleetctl.core.rollout.impact import Impact, ImpactGroup, Plan, What

MOST_CHARACTERS = 65_536
# So much is kept for the sentence that says what was left out, and for the end.
_RESERVE = 600
_MOST_ROWS, _MOST_PROBLEMS, _MOST_LINE = 100, 50, 400
_CLOSING = "\n</details>\n"
_LEAST_CUT = 1000  # bytes below which the beginning of a difference says nothing
_ACTIVE = re.compile(r"([\\`*_\[\]#!|~@<>&]|:(?=\S))")


def marker(plan: Plan) -> str:
    """The first line: a program that looks for its own comment finds it by this."""
    return f"<!-- fleetctl plan {_word(plan.workspace)}/{_word(plan.gitrepo)} -->"


def markdown(plan: Plan, pictures: Pictures, refusal: str = "") -> str:
    """At most `MOST` characters."""
    head = [
        marker(plan),
        f"### Plan: {escape_markdown(heading(plan))}",
        "",
        f"**{escape_markdown(verdict(plan))}**",
        "",
    ]
    head += _problems(plan)
    if refusal:
        head += [f"> [!CAUTION]\n> **Refused:** {escape_markdown(refusal)}", ""]
    head += _table(plan.bundles)
    head += _deletions(plan)
    if orders(plan):
        head += [escape_markdown(orders(plan)), ""]
    text = "\n".join(head)
    parts = [_details(impact, pictures.of.get(impact.bundle, [])) for impact in plan.bundles]
    return _fit_sections(text, parts)


def _fit_sections(head: str, parts: Sequence[_Part]) -> str:
    """The sections in order while there is room. A section whose differences do not fit keeps its
    sentences.
    """
    room = MOST_CHARACTERS - _RESERVE
    body = _Text(head if _size(head) <= room else _first(head, room))
    sections = diffs = 0
    for part in parts:
        if not body.fits(part.opening + _CLOSING, room):
            sections += 1
            continue
        body.add(part.opening)
        for block in part.blocks:
            if body.fits(block.text + _CLOSING, room):
                body.add(block.text)
            else:
                diffs += 1
                remaining = room - body.size - _size(_CLOSING)
                if block.diff and remaining > _LEAST_CUT:
                    body.add(_cut_diff(block.diff, remaining))
        body.add(_CLOSING)
    if body.size < _size(head) or sections or diffs:
        left_out = ", ".join(
            filter(
                None,
                (
                    f"{sections} bundles" if sections else "",
                    f"{diffs} parts of others" if diffs else "",
                ),
            )
        )
        note = (
            f"\n_Left out, because a comment holds {MOST_CHARACTERS:,} characters:"
            f" {left_out or 'part of the summary'}. `fleetctl plan` shows all._\n"
        )
        body.add(note)
    return body.text


@dataclass(frozen=True)
class _MarkdownBlock:
    """`diff` is what `text` has fenced, "" where it is no difference."""

    text: str
    diff: str = ""


@dataclass(frozen=True)
class _Part:
    opening: str
    blocks: list[_MarkdownBlock]


class _Text:
    """Grows, and knows how large it is."""

    def __init__(self, text: str) -> None:
        self._parts, self.size = [text], _size(text)

    def add(self, text: str) -> None:
        self._parts.append(text)
        self.size += _size(text)

    def fits(self, text: str, room: int) -> bool:
        return self.size + _size(text) <= room

    @property
    def text(self) -> str:
        return "".join(self._parts)


def _size(text: str) -> int:
    """Bytes, which are never fewer than the characters, however GitHub counts these."""
    return len(text.encode("utf-8", "replace"))


def _first(text: str, room: int) -> str:
    return text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")


def _cut_diff(diff: str, room: int) -> str:
    """The first lines of it, with how many are left out."""
    lines = escape_controls(diff).split("\n")
    visible_lines: list[str] = []
    size = 200
    for line in lines:
        size += _size(line) + 1
        if size > room:
            break
        visible_lines.append(line)
    if not visible_lines:
        return ""
    visible_lines.append(f"({len(lines) - len(visible_lines):,} more lines)")
    return f"\n{code_block(chr(10).join(visible_lines))}\n"


def _table(impacts: Sequence[Impact]) -> list[str]:
    if not impacts:
        return []
    lines = [
        "| bundle | change | clusters | deployed again | gain | lose | waits |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for impact in impacts[:_MOST_ROWS]:
        cells = row(impact)
        waits = _shorten(
            "; ".join(filter(None, (rollout_word(impact), *(wait.text for wait in impact.waits))))
        )
        texts = [cells[key] for key in ("bundle", "change", "clusters", "again", "gain", "lose")]
        lines.append("| " + " | ".join(escape_markdown(text) for text in (*texts, waits)) + " |")
    if len(impacts) > _MOST_ROWS:
        lines.append(f"| and {len(impacts) - _MOST_ROWS} more | | | | | | |")
    return [*lines, ""]


def _problems(plan: Plan) -> list[str]:
    if not plan.problems:
        return []
    lines = [f"> [!WARNING]\n> **{len(plan.problems)} problems:**", ">"]
    lines += [f"> - {escape_markdown(_shorten(p.summary))}" for p in plan.problems[:_MOST_PROBLEMS]]
    if len(plan.problems) > _MOST_PROBLEMS:
        lines.append(f"> - and {len(plan.problems) - _MOST_PROBLEMS} more")
    return [*lines, ""]


def _deletions(plan: Plan) -> list[str]:
    sentences = deletions(plan)
    return (
        [
            "**Deletes:**",
            "",
            *(f"- {escape_markdown(_shorten(text))}" for text in sentences[:_MOST_PROBLEMS]),
            "",
        ]
        if sentences
        else []
    )


def _details(impact: Impact, pictures: Sequence[Picture]) -> _Part:
    """What is said of a bundle, and blocks that may be left out."""
    count = sum(group.clusters for group in impact.groups)
    opening = (
        f"\n<details><summary><b>{_html(impact.bundle)}</b>: {impact.what.value}, {count:,}"
        " clusters</summary>\n\n"
    )
    opening += "".join(f"- {escape_markdown(_shorten(text))}\n" for text in wait_lines(impact))
    blocks: list[_MarkdownBlock] = []
    for group, picture in zip(impact.groups, pictures, strict=False):
        blocks += _group(group, picture)
    return _Part(opening, blocks)


def _group(group: ImpactGroup, picture: Picture) -> Iterable[_MarkdownBlock]:
    lines = [f"\n**{escape_markdown(group_line(group))}**\n"]
    lines += [
        f"- {escape_markdown(_shorten(text))}\n"
        for text in (*group_notes(group, picture), caption(group, picture))
        if text
    ]
    yield _MarkdownBlock("\n" + "".join(lines))
    if group.what is What.REMOVED:
        texts = (
            ["\n".join(f"- {change.key}" for change in picture.changes)] if picture.changes else []
        )
    else:
        texts = [change.text for change in picture.changes]
    for text in texts:
        yield _MarkdownBlock(f"\n{code_block(text)}\n", text)


def code_block(text: str) -> str:
    """A code block that `text` cannot end."""
    plain = escape_controls(text)
    longest = max((len(backticks) for backticks in re.findall("`+", plain)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{plain}\n{fence}"


def escape_markdown(text: str) -> str:
    """Text that is shown as it is: no link, no mention, no markup."""
    plain = " ".join(escape_controls(text).split())
    return _ACTIVE.sub(lambda match: _ENTITIES.get(match[1], f"\\{match[1]}"), plain).replace(
        "www.", "www&#46;"
    )


_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;", "#": "&#35;", ":": "&#58;"}


def _html(text: str) -> str:
    return html.escape(" ".join(escape_controls(text).split())).replace("@", "&#64;")


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "", text).replace("--", "-")


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_LINE else text[: _MOST_LINE - 1] + "…"
