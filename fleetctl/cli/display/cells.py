"""Widths in terminal cells: a Chinese character takes two."""

from __future__ import annotations

GAP = 3  # cells between two columns


def cell_width(text: str) -> int:
    """Cells that `text` takes. rich is loaded only for text beyond ASCII."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut_text(text: str, width: int) -> str:
    """`text` in at most `width` cells; a cut text ends with `…`."""
    if cell_width(text) <= width:
        return text
    if text.isascii():
        return text[: max(0, width - 1)] + "…"
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1) + "…"
