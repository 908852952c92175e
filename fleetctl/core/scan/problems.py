"""Why a bundle could not be made, and what should be known of one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import FleetError, InvalidFile, UsageError

# Codes of warnings. Where a bundle was that goes with one of them, it is a problem
# (manager/ingest/apply_scan.py).
EMPTY, LEFT_OUT = "empty", "left-out"


_MOST_WARNINGS = 100


class ScanProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why the bundle at `path` could not be made, or, with `warning`, what should be known of it.

    Its texts quote the repository and are stored and shown to readers: secrets in them are
    redacted.
    """

    path: str
    code: str
    summary: str
    next_step: str = ""
    warning: bool = False

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "summary", redacted(self.summary))
        msgspec.structs.force_setattr(self, "next_step", redacted(self.next_step))


def limit_warnings(warnings: Sequence[ScanProblem]) -> list[ScanProblem]:
    """The first 100 warnings, and one more for each directory without a bundle: these prevent a
    removal.
    """
    rest = {w.path: w for w in reversed(warnings[_MOST_WARNINGS:]) if w.code in {EMPTY, LEFT_OUT}}
    return [*warnings[:_MOST_WARNINGS], *(rest[path] for path in sorted(rest))]


def problem_of(directory: str, error: FleetError) -> ScanProblem:
    """The error of one directory; its summary names the directory."""
    kind = error.code if not isinstance(error, UsageError) else "invalid"
    is_named = (
        isinstance(error, InvalidFile)
        or (directory and directory in error.summary)
        or shown_directory(directory) in error.summary
    )
    summary = error.summary if is_named else f"{shown_directory(directory)}: {error.summary}"
    return ScanProblem(
        path=directory, code=kind, summary=_storable(summary), next_step=_storable(error.next_step)
    )


def internal_problem(directory: str, error: BaseException) -> ScanProblem:
    """For an error that is a bug, or for memory that ran out: one bundle's, the others go on."""
    if isinstance(error, MemoryError):
        summary = f"{shown_directory(directory)} needs more memory than a scan may use"
        return ScanProblem(
            path=directory, code="too-large", summary=summary, next_step="Make its files smaller."
        )
    summary = (
        f"{shown_directory(directory)}: internal error: {type(error).__name__}: {str(error)[:200]}"
    )
    step = "Report this with the bundle's fleet.yaml; the other bundles are deployed."
    return ScanProblem(path=directory, code="internal", summary=_storable(summary), next_step=step)


def shown_directory(directory: str) -> str:
    return directory or "the repository's root"


def _storable(text: str) -> str:
    """Without characters that no document can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
