"""Reads the single numbers of the database: the epoch and the checks of keys."""

from __future__ import annotations

import sqlalchemy as sa

from ..connection import Reader
from ..schema import meta


def find_number(reader: Reader, key: str) -> int | None:
    return reader.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()
