"""Every error that a person can meet, as one tree.

FleetError                      exit 1   not found, differs, not ready
├── NotFound                    exit 1   the object does not exist
│   └── MissingAccount                   the service account of the bundle
├── Conflict                    exit 1   it exists already, or changed meanwhile
│   ├── DuplicateAgent                   two agents use one key
│   ├── SendAll                          the manager needs a full report of the agent
│   ├── HelmAlive                        a helm of an earlier agent still runs
│   ├── OwnershipConflict                an object belongs to another release
│   └── LeaseTaken                       another agent changes this cluster
├── ObjectsRemain               exit 1   deleted objects still exist
├── WorkCrashed                 exit 1   the process that worked on a bundle crashed
├── UsageError                  exit 2   the command line or a file is wrong; retrying will not help
│   ├── InvalidFile                      has file, line, column
│   ├── TemplateError                    a Go template in a value failed
│   ├── RenderFailed                     helm or kustomize cannot render the bundle
│   │   └── KubeVersionMismatch          the chart is not for this version of Kubernetes
│   ├── WorkLimit                        the bundle needs more time or memory than it may
│   ├── TooLarge                         a request body is too large
│   ├── WrongMethod                      the path does not have the HTTP method
│   ├── SlowRequest                      a request body arrived too slowly
│   └── RangeError                       the archive does not have the requested bytes
├── RefusedError                exit 3   refused on purpose; names the flag that would allow it
│   ├── TooManyDeletes
│   ├── NotEnforced                      narrows rights in a way this version cannot enforce
│   ├── ManagerBehind                    the manager was restored and must raise its epoch
│   └── BadFile                          the file of an agent release failed its check
├── LoginError                  exit 4   no, wrong, expired or used-up credentials
│   ├── NotEnrolled                      no cluster is enrolled with this key
│   ├── SessionEnded                     the manager does not know the agent's session
│   └── WrongClock                       a signed request is more than 5 minutes off
├── UnavailableError            exit 5   a service or a tool did not answer; retrying may help
│   ├── UntrustedCertificate             the manager's certificate is not the expected one
│   ├── ToolMissing                      helm, kustomize or git is not on this machine
│   ├── ClusterUnreachable               an API server did not answer, or did not take the login
│   │   └── ThrottledRequest             the API server asks to wait
│   ├── SourceError                      a Git repository or a chart could not be read
│   ├── TooBusy                          the manager asks to come back later
│   ├── TryLater                         the manager does not answer the agent
│   └── ToolFailed                       helm, kustomize or the API server refused
│       ├── ToolDied                     the tool crashed or was killed
│       ├── RecordTooLarge               the release does not fit into its record
│       ├── PendingOperation             a killed helm left its record
│       ├── NotOurs                      an object lacks the marks of this release
│       ├── ImmutableField               the API server does not change this field
│       ├── Terminating                  the namespace is being deleted
│       ├── ForbiddenRequest             status 403
│       ├── WriteConflict                status 409
│       ├── WatchExpired                 status 410
│       ├── WebhookSilent                an admission webhook did not answer the API server
│       ├── RefusedByForm                server-side apply does not take the object
│       ├── DryRunRefused                an admission webhook cannot take part in a dry run
│       ├── ReleaseNotFound              helm finds no record of the release
│       └── HelmFailed                   has all of helm's text
│           ├── HelmForbidden            the API server denies helm a request
│           ├── HelmRefusedByForm        server-side apply does not take objects of the release
│           ├── NotDecodable             helm cannot decode an object of the manifest
│           ├── DeleteFailed             helm could not delete every object, and names none
│           ├── NoKind                   the cluster does not serve a kind
│           ├── NotServed                the API server does not serve a request of helm
│           ├── RecordTaken              a record of the next revision exists
│           └── WebhookFailed            an admission webhook did not answer helm
├── DeadlineError               exit 6   a requested wait ran out
└── Bug                         exit 70  an error in this program

All classes of the tree are in this module, so every_error() is the same in every program. Raised
where the fact is known, caught once per program. `subject` is the object as a person would name it
("bundle web on cluster paris-4"), `next_step` one imperative sentence. Each class is made from
(summary, subject=, next_step=), so that a code on the wire can become its class again.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        self,
        summary: str,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        subject: str = "",
        next_step: str = "",
    ) -> None:
        place = file + (f":{line}" if line else "") + (f":{column}" if line and column else "")
        super().__init__(
            f"{place}: {summary}" if place else summary,
            subject=file or subject,
            next_step=next_step,
        )
        self.file, self.line, self.column = file, line, column


class TemplateError(UsageError):
    """`line` and `column` count from 1, in the text of the template; `action` is the piece of it
    that failed.
    """

    code = "template"

    def __init__(
        self,
        problem: str,
        *,
        line: int = 0,
        column: int = 0,
        action: str = "",
        subject: str = "template",
        next_step: str = "",
    ) -> None:
        super().__init__(
            f"{problem} in {action}" if action else problem,
            subject=subject,
            next_step=next_step or "Correct the template.",
        )
        self.problem, self.line, self.column, self.action = problem, line, column, action


class RenderFailed(UsageError):
    """helm or kustomize ran, and cannot render the chart or the kustomization."""

    code, http_status = "render-failed", 422


class KubeVersionMismatch(RenderFailed):
    """The chart is not for this version of Kubernetes; nothing was changed. `wanted`: the range
    that the chart states.
    """

    code = "kube-version"

    def __init__(
        self,
        summary: str,
        *,
        wanted: str = "",
        version: str = "",
        subject: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)
        self.wanted, self.version = wanted, version


class WorkLimit(UsageError):
    """The work on a bundle exceeded a limit of CPU time, memory or wall time, and was ended."""

    code = "work-limit"


class TooLarge(UsageError):
    code, http_status = "too-large", 413


class WrongMethod(UsageError):
    code, http_status = "wrong-method", 405


class SlowRequest(UsageError):
    code, http_status = "slow-request", 408


class RangeError(UsageError):
    code, http_status = "range", 416


class MissingAccount(NotFound):
    """The bundle's service account does not exist on this cluster."""

    code = "service-account"


class DuplicateAgent(Conflict):
    """Two agents use one key: neither may apply."""

    code = "duplicate-agent"


class SendAll(Conflict):
    """The manager has no complete report of the agent; the agent sends one."""

    code = "send-all"


class HelmAlive(Conflict):
    """A helm that an earlier agent began is alive and cannot be ended."""

    code = "helm-alive"


class OwnershipConflict(Conflict):
    """An object, or a release, that belongs to somebody else."""

    code = "taken"


class LeaseTaken(Conflict):
    """Another agent changes this cluster."""

    code = "lease-taken"


class ObjectsRemain(FleetError):
    """What was deleted is still there."""

    code = "removal"


class WorkCrashed(FleetError):
    """The process that worked on a bundle ended with a signal or an error that is ours."""

    code = "work-crashed"


class RefusedError(FleetError):
    code, exit_status, http_status = "refused", 3, 403


class TooManyDeletes(RefusedError):
    code, http_status = "too-many-deletes", 409


class NotEnforced(RefusedError):
    code, http_status = "not-enforced", 422


class ManagerBehind(RefusedError):
    """The manager's document is older than what was accepted here: it was restored, and must raise
    its epoch.
    """

    code = "manager-behind"


class BadFile(RefusedError):
    """The file of an agent release failed its check."""

    code = "bad-agent-file"


class LoginError(FleetError):
    code, exit_status, http_status = "login", 4, 401


class NotEnrolled(LoginError):
    """The cluster was deleted, or another agent was enrolled for it; the agent stops applying."""

    code = "not-enrolled"

    def __init__(
        self,
        summary: str = "no cluster is enrolled with this key",
        *,
        subject: str = "",
        next_step: str = "Enrol this agent again with `fleetctl cluster register NAME --replace`.",
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)


class SessionEnded(LoginError):
    """The session is over, or the request was not made with its key; the agent signs again."""

    code = "session-ended"

    def __init__(
        self,
        summary: str = "the agent's session has ended",
        *,
        subject: str = "",
        next_step: str = "Sign the request with the agent's key.",
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)


class WrongClock(LoginError):
    """`headers`: the manager's signed time, so that the agent can sign with an offset."""

    code = "wrong-clock"

    def __init__(
        self,
        summary: str = "the request's time is more than 5 minutes off",
        *,
        headers: Mapping[str, str] | None = None,
        subject: str = "",
        next_step: str = "Sign with the manager's time.",
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)
        self.headers = dict(headers or {})


class UnavailableError(FleetError):
    code, exit_status, http_status = "unavailable", 5, 503


class UntrustedCertificate(UnavailableError):
    """The manager's certificate is not one that the login trusts, or is for another name."""


class ToolMissing(UnavailableError):
    code = "tool-missing"


class ClusterUnreachable(UnavailableError):
    code = "cluster-unreachable"


class ThrottledRequest(ClusterUnreachable):
    """The API server takes no request of this agent for `after` seconds."""

    code = "throttled"

    def __init__(
        self, summary: str, *, after: float = 0.0, subject: str = "", next_step: str = ""
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)
        self.after = after


class SourceError(UnavailableError):
    code, http_status = "source", 502


class TooBusy(UnavailableError):
    """The caller may come back after `retry_after` seconds."""

    code, http_status = "too-busy", 429

    def __init__(
        self, summary: str, *, retry_after: int = 10, subject: str = "", next_step: str = ""
    ) -> None:
        super().__init__(
            summary,
            subject=subject,
            next_step=next_step or f"Try again in {retry_after} seconds.",
        )
        self.retry_after = retry_after


class TryLater(UnavailableError):
    """The manager does not answer the agent, or asks it to wait: `after` seconds, 0 unknown.
    `silent`: nothing came within the deadline.
    """

    code = "try-later"
    after = 0.0
    silent = False


class ToolFailed(UnavailableError):
    """helm, kustomize or the API server refused. `reason` and `causes` come from the Status object
    of the API server, where there is one: https://kubernetes.io/docs/reference/using-api/api-concepts/
    """

    code = "tool-failed"
    reason = ""
    causes: tuple[str, ...] = ()


class ToolDied(ToolFailed):
    """helm, kustomize or kubectl crashed or was killed."""

    code = "tool-died"


class RecordTooLarge(ToolFailed):
    """The API server does not take the release's record; helm has touched nothing."""

    code = "too-large"


class PendingOperation(ToolFailed):
    """A killed helm left its record; the agent recovers the release."""

    code = "helm-pending"


class NotOurs(ToolFailed):
    """An object exists that is not marked as this release's; nothing was changed."""

    code = "helm-not-ours"


class ImmutableField(ToolFailed):
    """The API server does not change a field of an object that exists."""

    code = "immutable"


class Terminating(ToolFailed):
    """The namespace is being deleted; nothing can be created in it until it is gone."""

    code = "try-later"


class ForbiddenRequest(ToolFailed):
    """The API server knows the caller and denies the request (403)."""

    code = "forbidden"


class WriteConflict(ToolFailed):
    """Somebody else wrote the object first, or it exists already (409)."""

    code = "changed"


class WatchExpired(ToolFailed):
    """The API server no longer knows the version from which a watch or a page wants to continue
    (410).
    """

    code = "gone"


class WebhookSilent(ToolFailed):
    """The API server could not ask an admission webhook, and refuses the change for that."""

    code = "webhook"


class RefusedByForm(ToolFailed):
    """Server-side apply does not take the object: duplicate list entries, fields that the schema
    does not declare. `cause`: which.
    """

    def __init__(
        self, summary: str, *, cause: str = "", subject: str = "", next_step: str = ""
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)
        self.cause = cause


class DryRunRefused(ToolFailed):
    """An admission webhook of this kind of object cannot take part in a dry run."""


class ReleaseNotFound(ToolFailed):
    """helm finds no record of the release."""


class HelmFailed(ToolFailed):
    """`output`: all of helm's text, in which fleetctl/tools/helm_errors.py finds the objects; it is
    never shown.
    """

    output = ""


class HelmForbidden(HelmFailed):
    """The API server denies helm a request (403)."""


class HelmRefusedByForm(HelmFailed):
    """Server-side apply does not take objects of the release; client-side apply may."""


class NotDecodable(HelmFailed):
    """helm cannot decode an object of the manifest, which it does not name."""


class DeleteFailed(HelmFailed):
    """helm could not delete every object of the release, and names none."""


class NotServed(HelmFailed):
    """The API server that helm asked does not serve a request; another one of the same cluster may
    serve it a moment later.
    """


class NoKind(HelmFailed):
    """The cluster does not serve a kind that the release's old or new manifest states; nothing was
    changed.
    """

    code = "no-kind"


class RecordTaken(HelmFailed):
    """A record of the next revision exists, which helm did not read: it is damaged, or another helm
    was quicker.
    """


class WebhookFailed(HelmFailed):
    """An admission webhook of the cluster does not answer."""

    code = "webhook"


class DeadlineError(FleetError):
    code, exit_status, http_status = "deadline", 6, 504


class Bug(FleetError):
    """Not raised: what a person sees of an error in this program."""

    code, exit_status, http_status = "bug", 70, 500


def _tree() -> tuple[type[FleetError], ...]:
    classes: list[type[FleetError]] = [FleetError]
    for kind in classes:
        classes.extend(kind.__subclasses__())
    return tuple(classes)


_TREE = _tree()


def every_error() -> tuple[type[FleetError], ...]:
    """Return all classes of the tree, parents first."""
    return _TREE


def error_of(
    code: str,
    summary: str,
    *,
    subject: str = "",
    next_step: str = "",
    default: type[FleetError] = FleetError,
) -> FleetError:
    """Return the error that another process described; `default` for an unknown code.

    Of several classes with one code it is the one nearest to the root.
    """
    kind = next((kind for kind in _TREE if kind.code == code), default)
    return kind(summary, subject=subject, next_step=next_step)
