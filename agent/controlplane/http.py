"""httpx without its command line: where click and rich are installed it would import both, 140 ms
and 8 MiB for nothing.
"""

from __future__ import annotations

import sys

if "httpx" not in sys.modules:
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx

__all__ = ["httpx"]
