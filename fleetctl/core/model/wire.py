"""Wire v1 between agent and manager: messages, what is signed, and limits. Changes are written into
docs/wire-history.md.

Every signature is Ed25519 over a domain line and the exact bytes. Keys, signatures and nonces
travel as unpadded URL-safe base64. This module knows bytes only; keys live in
`manager/security/signing.py` and `agent/controlplane/identity.py`.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    ClusterName,
    Digest,
    Epoch,
    Generation,
    Workspace,
)
from fleetctl.core.model.options import Options
from fleetctl.core.model.status import Report, State

DESIRED_DOMAIN = b"fleet-desired-v1\n"
ENROL_DOMAIN = b"fleet-enrol-v1\n"
REQUEST_DOMAIN = b"fleet-request-v1\n"
TIME_DOMAIN = b"fleet-time-v1\n"
_EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()

CLOCK_SKEW_SECONDS = 300
MAX_WAIT_SECONDS = 240
DOCUMENT_DAYS = 30
MAX_STATUS_BYTES = 1024 * 1024
MAX_REPORT_BYTES = 64 * 1024

# Request headers of an agent. Names are short because an idle agent sends them for years.
H_AGENT, H_TIME, H_NONCE, H_SIGNATURE, H_INSTANCE = (
    "fleet-agent",
    "fleet-time",
    "fleet-nonce",
    "fleet-signature",
    "fleet-instance",
)
# With a session (`session_layout.py`): its id, or "new"; then the signature is an HMAC.
H_SESSION = "fleet-session"
# Answer headers: the session that an agent may use; seconds until the next poll; and, with a 401
# for a wrong clock, the manager's signed time.
H_SESSION_OFFER, H_NEXT_POLL, H_MANAGER_TIME, H_MANAGER_TIME_SIGNATURE = (
    "fleet-session-offer",
    "fleet-next-poll",
    "fleet-manager-time",
    "fleet-manager-time-signature",
)


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Unknown keys are ignored: an older agent must survive a newer manager."""


class Dependency(_Message, frozen=True, kw_only=True):
    """Fleet's dependsOn entry; evaluated on the agent. `selector` is a Kubernetes LabelSelector as
    data.
    """

    name: str = ""
    selector: dict[str, Any] | None = None
    accepted_states: list[State] = []


class SealedObject(_Message, frozen=True, kw_only=True):
    """A Secret or ConfigMap of the manager that this cluster gets: `sealed` as in
    `core/sealing.py`; else `problem` says why not.
    """

    kind: str
    name: str
    sealed: str = ""
    problem: str = ""


class DesiredBundle(_Message, frozen=True, kw_only=True):
    """One BundleDeployment that this cluster should hold."""

    name: BundleName
    generation: Generation
    archive: Digest  # of the uncompressed canonical tar
    size: int  # bytes of the uncompressed tar
    options: Options
    options_digest: Digest
    commit: str = ""
    repo: str = ""
    labels: dict[str, str] = {}
    depends_on: list[Dependency] = []
    paused: bool = False  # keep what runs, take nothing new
    downstream: list[SealedObject] = []  # in the order of options.downstreamResources
    correction: int = 0  # only grows; a higher one than before: apply again what differs from Git


class Tombstone(_Message, frozen=True, kw_only=True):
    """Remove this bundle's release. The only thing that removes anything."""

    name: BundleName
    generation: Generation
    keep_resources: bool = False
    service_account: str = ""  # whose rights remove it
    # of the release, "" when not known; an agent without a journal looks for its records there
    namespace: str = ""


class AgentTarget(_Message, frozen=True, kw_only=True):
    """The agent release that this cluster should run. `number` only grows within an epoch; the
    agent tries each number once.
    """

    number: int
    release: AgentRelease


class AgentUpgrade(_Message, frozen=True, kw_only=True):
    """The progress of an upgrade to the target with this number. `state`: fetching, checking,
    waiting, trying, done, refused or failed; `message`: the reason.
    """

    target_number: int = msgspec.field(name="wish")
    version: str
    state: str
    message: str = ""


class Desired(_Message, frozen=True, kw_only=True):
    """The desired state of one cluster. Times are RFC 3339 in UTC. `revision` grows with each
    change of the document; 0 from a manager that does not state it.
    """

    workspace: Workspace
    cluster_id: ClusterId
    cluster: ClusterName
    epoch: Epoch
    issued: str
    expires: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    values: dict[str, Any] = {}  # Cluster spec.templateValues
    bundles: list[DesiredBundle] = []  # sorted by name
    tombstones: list[Tombstone] = []
    agent: AgentTarget | None = None
    revision: int = 0


class Envelope(_Message, frozen=True, kw_only=True):
    """`payload` is the JSON text of Desired; the signature is over DESIRED_DOMAIN + its UTF-8
    bytes.
    """

    key_id: str
    payload: str
    signature: str


class EnrolRequest(_Message, frozen=True, kw_only=True):
    token: str
    public_key: str  # raw 32 bytes, base64
    proof: str  # signature over enrol_bytes(token, public_key)
    agent_version: str = ""


class VerifyKey(_Message, frozen=True, kw_only=True):
    id: str
    public_key: str


class EnrolAnswer(_Message, frozen=True, kw_only=True):
    cluster_id: ClusterId
    cluster: ClusterName
    workspace: Workspace
    epoch: Epoch
    keys: list[VerifyKey]
    poll_seconds: int


class Trouble(_Message, frozen=True, kw_only=True):
    """What concerns an agent as a whole. `code`: a stable word like `disk-full`; `since`: RFC
    3339.
    """

    code: str
    message: str
    since: str = ""


class StatusRequest(_Message, frozen=True, kw_only=True):
    """`full` replaces all that the manager knows (in pages: `page` of `pages`); else only the
    deployments named are replaced.

    `troubles` are all that stand now, in every request.
    """

    instance: str
    seq: int
    full: bool = False
    page: int = 1
    pages: int = 1
    agent_version: str = ""
    tools: dict[str, str] = {}
    kube_version: str = ""
    deployments: list[Report] = []
    troubles: list[Trouble] = []
    # Python and platform that a release must fit, as agentrelease.Runtime writes them
    runtime: str = ""
    upgrade: AgentUpgrade | None = None


class Problem(_Message, frozen=True, kw_only=True):
    """Every error answer of the manager (RFC 9457's idea): what the CLI prints and exits with."""

    code: str
    summary: str
    subject: str = ""
    next_step: str = ""
    exit_status: int = 1


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Raises ValueError on anything but unpadded URL-safe base64."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def key_id(public_key: bytes) -> str:
    """16 hex digits of the SHA-256 of the raw key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def document_etag(epoch: Epoch, revision: int) -> str:
    """The ETag of a document, which the signature covers because the document states both numbers.
    Agents do not interpret it.
    """
    return f'"{epoch}.{revision}"'


def desired_bytes(payload: bytes) -> bytes:
    return DESIRED_DOMAIN + payload


def enrol_bytes(token: str, public_key: str) -> bytes:
    return (
        ENROL_DOMAIN
        + hashlib.sha256(token.encode()).hexdigest().encode()
        + b"\n"
        + public_key.encode()
    )


def request_bytes(
    method: str, target: str, body: bytes, *, agent: str, time: int, nonce: str, instance: str
) -> bytes:
    """What an agent signs. `target`: path with query as sent; `time`: Unix seconds by the manager's
    clock.
    """
    digest = hashlib.sha256(body).hexdigest() if body else _EMPTY_DIGEST
    text = f"{method}\n{target}\n{digest}\n{agent}\n{time}\n{nonce}\n{instance}"
    return REQUEST_DOMAIN + text.encode()


def time_bytes(time: int, nonce: str) -> bytes:
    """The manager's answer to a wrong clock, bound to the request's nonce so that it cannot be
    replayed.
    """
    return TIME_DOMAIN + f"{time}\n{nonce}".encode()
