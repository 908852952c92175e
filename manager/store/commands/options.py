"""Commands for options, which deployments share."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from ..connection import Writer
from ..schema import options


def insert_options(writer: Writer, texts: Mapping[str, bytes]) -> None:
    """Store the JSON of options by key, unless it is stored already."""
    rows = [{"key": key, "json": text} for key, text in texts.items()]
    if rows:
        writer.execute(sa.insert(options).prefix_with("OR IGNORE"), rows)
