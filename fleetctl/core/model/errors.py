"""Every error that a person can meet, as one tree.

FleetError                 exit 1   not found, differs, not ready
├── NotFound               exit 1   the object does not exist
├── Conflict               exit 1   it exists already, or changed meanwhile
├── UsageError             exit 2   the command line or a file is wrong; retrying will not help
│   └── InvalidFile                 has file, line, column
├── RefusedError           exit 3   refused on purpose; names the flag that would allow it
│   ├── TooManyDeletes
│   └── NotEnforced                 narrows rights in a way this version cannot enforce
├── LoginError             exit 4   no, wrong, expired or used-up credentials
├── UnavailableError       exit 5   someone we depend on did not answer; retrying may help
│   ├── ToolMissing                 helm, kustomize or git is not on this machine
│   ├── ClusterUnreachable          an API server did not answer, or did not take the login
│   ├── ToolFailed                  helm or kustomize ran and said no
│   └── SourceError                 a Git repository or a chart could not be read
└── DeadlineError          exit 6   a wait that we were asked for ran out

Raised where the fact is known, caught once per program. `subject` is the object as a person would
name it ("bundle web on cluster paris-4"), `next_step` one imperative sentence. Exit 70 is kept for
bugs of ours.
"""

from __future__ import annotations

from typing import ClassVar


class FleetError(Exception):
    """The root; `summary` is one line without a full stop."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, summary: str, *, subject: str = "", next_step: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.subject = subject
        self.next_step = next_step
        # of this one error; what a manager said of its own may differ
        self.status = self.exit_status


class NotFound(FleetError):
    code, http_status = "not-found", 404


class Conflict(FleetError):
    code, http_status = "conflict", 409


class UsageError(FleetError):
    code, exit_status, http_status = "usage", 2, 400


class InvalidFile(UsageError):
    """A file that a person wrote is wrong. `line` and `column` count from 1; 0 means unknown."""

    code, http_status = "invalid-file", 422

    def __init__(
        self, summary: str, *, file: str, line: int = 0, column: int = 0, next_step: str = ""
    ) -> None:
        place = file + (f":{line}" if line else "") + (f":{column}" if line and column else "")
        super().__init__(f"{place}: {summary}", subject=file, next_step=next_step)
        self.file, self.line, self.column = file, line, column


class RefusedError(FleetError):
    code, exit_status, http_status = "refused", 3, 403


class TooManyDeletes(RefusedError):
    code, http_status = "too-many-deletes", 409


class NotEnforced(RefusedError):
    code, http_status = "not-enforced", 422


class LoginError(FleetError):
    code, exit_status, http_status = "login", 4, 401


class UnavailableError(FleetError):
    code, exit_status, http_status = "unavailable", 5, 503


class ToolMissing(UnavailableError):
    code = "tool-missing"


class ClusterUnreachable(UnavailableError):
    code = "cluster-unreachable"


class ToolFailed(UnavailableError):
    code = "tool-failed"


class SourceError(UnavailableError):
    code, http_status = "source", 502


class DeadlineError(FleetError):
    code, exit_status, http_status = "deadline", 6, 504


def every_error() -> tuple[type[FleetError], ...]:
    """The tree, parents first, for documentation and for translating an answer of the manager
    back.
    """
    found: list[type[FleetError]] = []
    todo: list[type[FleetError]] = [FleetError]
    while todo:
        kind = todo.pop(0)
        found.append(kind)
        todo.extend(kind.__subclasses__())
    return tuple(found)
