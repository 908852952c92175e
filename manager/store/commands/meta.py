"""Writes the single numbers of the database."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from ..connection import Writer
from ..schema import meta


def set_number(writer: Writer, key: str, value: int) -> None:
    writer.execute(sa.insert(meta).prefix_with("OR REPLACE"), {"key": key, "value": value})


def add_missing_numbers(writer: Writer, numbers: Mapping[str, int]) -> None:
    """Store the numbers whose keys do not exist yet."""
    rows = [{"key": key, "value": value} for key, value in numbers.items()]
    writer.execute(sa.insert(meta).prefix_with("OR IGNORE"), rows)
