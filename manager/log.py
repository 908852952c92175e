"""Structured logs: one line per event on stderr, `key=value` or JSON. Values are cut and cleaned,
so that no event can fake another.

Use: `log.event("enrolled", cluster=..., address=...)`. Never pass tokens, keys, bodies or
credentials.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

from fleetctl.core.formats.redact import redacted

_PLAIN = re.compile(r"[\w./:@+,-]+")
_LONGEST = 2000
_logger = logging.getLogger("fleet-manager")


class _Formatter(logging.Formatter):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": stamp,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["trace"] = redacted(self.formatException(record.exc_info))
        if self._as_json:
            return json.dumps(
                {k: v if k == "trace" else _cut(v) for k, v in fields.items()}, default=str
            )
        return " ".join(f"{k}={_quote(v if k == 'trace' else _cut(v))}" for k, v in fields.items())


def set_up(style: str = "text") -> None:
    """Send everything to stderr in `style` ("text" or "json"). Libraries speak only about
    errors.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=style == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the door logs what matters, once
    for name in ("httpx", "httpcore", "alembic", "asyncio", "dulwich"):
        logging.getLogger(name).setLevel(logging.ERROR)


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    _logger.log(level, name, extra={"fields": fields})


def warning(name: str, **fields: Any) -> None:
    event(name, level=logging.WARNING, **fields)


def bug(name: str, error: BaseException, **fields: Any) -> None:
    """Something of ours broke: the trace goes into the log and nowhere else."""
    _logger.error(name, extra={"fields": fields}, exc_info=error)


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value[:_LONGEST] + "…" if len(value) > _LONGEST else value
    return redacted(text)


def _quote(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
