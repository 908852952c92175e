"""Conditional requests (RFC 9110, section 13.1.2): which entity tags a client has."""

from __future__ import annotations

import re

from starlette.requests import Request

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_MOST_TAGS = 32
ANY = "*"


def client_tags(request: Request) -> list[str]:
    """The tags of `If-None-Match`, without `W/`: a proxy that compresses weakens them. `*` stands
    for every tag.
    """
    header = ",".join(request.headers.getlist("if-none-match"))
    if header.strip() == ANY:
        return [ANY]
    return [match[1] for match, _ in zip(_TAG.finditer(header), range(_MOST_TAGS), strict=False)]


def has_tag(tag: str, tags: list[str]) -> bool:
    return tag in tags or ANY in tags
