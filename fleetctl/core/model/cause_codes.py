"""The words for causes: what each means, and the next step. The one source of docs/agent-codes.md,
of hints in statuses, and of the page.

Rule: whatever an agent or the manager can report has a row here (a test reads their sources), and
whoever shows a code shows this hint unless the agent gave a better one. CLUSTER and BUNDLE in a
hint stand for the names at hand.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """`hint`: the next step, as a person would be told it."""

    code: str
    meaning: str
    hint: str


AGENT = (
    Code(
        "agent-upgrade",
        "a version of the agent that the manager named is not taken, or was tried and given up",
        "nothing at once: the version before runs; name another version, or `fleetctl cluster"
        " upgrade-agent CLUSTER --off`",
    ),
    Code(
        "clock-skew",
        "this machine's clock is more than five minutes from the manager's; requests are signed"
        " with the manager's time",
        "set the clock (NTP)",
    ),
    Code(
        "disk-failing",
        "the state directory gives errors when it is written; nothing is changed",
        "look at `dmesg`; replace the disk. The journal is made anew from the releases",
    ),
    Code(
        "disk-full",
        "there is no room for the journal; nothing is changed, reports go on",
        "make room: 256 MiB at least. It goes on by itself",
    ),
    Code(
        "disk-read-only",
        "the state directory's file system is mounted read-only; nothing is changed",
        "repair and mount it writable; then restart the agent",
    ),
    Code(
        "document-expired",
        "the manager has issued no desired state for 30 days; the last one is kept to",
        "see why the manager does not answer: `fleet-agent check`",
    ),
    Code(
        "duplicate-agent",
        "two agents use one key: a copied disk, or a virtual machine that was cloned. Both stop"
        " changing things",
        "end one; `fleetctl cluster register CLUSTER --replace` for the other",
    ),
    Code(
        "helm-alive",
        "a helm of an earlier agent lives on and cannot be ended",
        "end the processes that hold `helm.lock` in the state directory",
    ),
    Code(
        "lease-taken",
        "another agent changes this cluster now (the Lease in it says so)",
        "find the other agent; end it, or give it a cluster of its own",
    ),
    Code(
        "manager-behind",
        "the manager offers less than was here before: it was restored from a backup",
        "stop it, `fleet-manager epoch raise`, start it",
    ),
    Code(
        "not-enrolled",
        "the manager does not know this agent's key: the cluster was deleted, or enrolled elsewhere"
        " with `--replace`",
        "end this agent, or `fleetctl cluster register CLUSTER --replace` and enrol again",
    ),
)
BUNDLE = (
    Code(
        "bad-agent-file",
        "the file of a version of the agent is not what was signed",
        "build, sign and add it again",
    ),
    Code(
        "behind",
        "what is asked for is older than what was here before, and is not done",
        "`fleet-manager epoch raise` when the manager was restored from a backup; else make a new"
        " commit",
    ),
    Code(
        "bug",
        "internal error of the agent",
        "it is tried again with growing pauses; please report the traceback in the log",
    ),
    Code(
        "changed",
        "an object changed while it was being written",
        "nothing: it is tried again",
    ),
    Code(
        "client-side",
        "deployed and Ready, with a warning: server-side apply refuses an object, so the release is"
        " applied client-side as helm 3 does",
        "remove the duplicate entry, or correct the field that the message names; it stays deployed"
        " either way",
    ),
    Code(
        "cluster-unreachable",
        "the API server does not answer, or does not take the agent's login",
        "look at the API server; `fleet-agent check` tells the two apart",
    ),
    Code(
        "conflict",
        "two bundles, or a bundle and somebody else, claim one release or object",
        "name the release otherwise (`helm.releaseName`, `namespace`), or `helm.takeOwnership`",
    ),
    Code(
        "deadline",
        "helm or kustomize did not end in time and was ended",
        "look at what it waited for; `helm.timeoutSeconds`, `FLEET_AGENT_HELM_SECONDS`",
    ),
    Code(
        "dependency",
        "it waits for what `dependsOn` names, or for itself in a circle",
        "nothing, or correct `dependsOn`; the message names the bundle and its state",
    ),
    Code(
        "disk",
        "the state directory cannot be written",
        "make room on the disk of the state directory: 256 MiB at least",
    ),
    Code(
        "error",
        "something refused, and said no more than its message",
        "read the message",
    ),
    Code(
        "forbidden",
        "the account that the bundle has may not do this",
        "grant it, or name another account (`serviceAccount`)",
    ),
    Code(
        "gone",
        "a watch or a list has to begin again",
        "nothing: it does",
    ),
    Code(
        "helm-not-ours",
        "helm found an object that is not the release's, and what the bundle would apply cannot be"
        " rendered to see whose the others are",
        "look at the object's `meta.helm.sh/release-name`, and correct what the bundle states",
    ),
    Code(
        "helm-pending",
        "another helm is at work on the release, or was killed at it",
        "nothing: it is put right within a minute",
    ),
    Code(
        "immutable",
        "a field that Kubernetes lets nobody change differs",
        "`correctDrift.force`, or delete the object",
    ),
    Code(
        "invalid-file",
        "a file of the bundle is not what it should be",
        "correct it; file, line and column stand in the message",
    ),
    Code(
        "kube-version",
        "the chart is not for the version of Kubernetes that the cluster has",
        "use another version of the chart, for example in a customization of CLUSTER",
    ),
    Code(
        "login",
        "the manager, or a registry, takes no such credentials",
        "give it others",
    ),
    Code(
        "modified",
        "an object differs from what Git states, or was deleted",
        "`fleetctl bundle diff BUNDLE`, then `fleetctl bundle correct BUNDLE`; or `correctDrift`",
    ),
    Code(
        "no-kind",
        "the bundle states an object of a kind, or of an API version, that the cluster does not"
        " have",
        "install the CustomResourceDefinition on CLUSTER, or name the bundle that brings it in"
        " `dependsOn`",
    ),
    Code(
        "not-enforced",
        "it would narrow rights in a way that this version cannot",
        "leave it out, or upgrade",
    ),
    Code(
        "not-found",
        "an object that is named does not exist",
        "create it",
    ),
    Code(
        "not-ready",
        "applied, and not ready yet; the first object that is not says why",
        "`kubectl describe` the object on that cluster",
    ),
    Code(
        "paused",
        "the GitRepo, the bundle or the cluster is paused",
        "take `paused` away again; `fleetctl why CLUSTER BUNDLE` says from what",
    ),
    Code(
        "refused",
        "understood, and not done on purpose",
        "the message says by which rule",
    ),
    Code(
        "removal",
        "what was deleted is not gone after half a minute: a finalizer holds it, or a namespace"
        " does not end. Looked at every minute",
        "look at who should clear the finalizer; when nobody does, take it off the object",
    ),
    Code(
        "removing",
        "what was deleted is not gone yet, or the removal waits for bundles that may take over what"
        " it would delete",
        "nothing",
    ),
    Code(
        "render-failed",
        "helm or kustomize cannot render the bundle; the tool's own words follow",
        "correct the chart, its values or the kustomization",
    ),
    Code(
        "send-all",
        "the manager asks for a full report",
        "nothing: it is",
    ),
    Code(
        "service-account",
        "the account that the bundle names does not exist",
        "create and bind it, in the namespace of accounts",
    ),
    Code(
        "set-aside",
        "the agent died again and again while it worked on this generation of the bundle; the other"
        " bundles are deployed meanwhile",
        "look for what ends the agent (`journalctl`, `dmesg`); the bundle is tried again when it"
        " changes, and after growing pauses",
    ),
    Code(
        "source",
        "a chart or a repository could not be read",
        "look at its address",
    ),
    Code(
        "system",
        "the operating system refuses something: memory, processes, files",
        "look at `dmesg` and at the limits of the service",
    ),
    Code(
        "taken",
        "an object or a release that the bundle states belongs to another bundle, to a release of"
        " somebody else's, or to nobody",
        "take it out of one of the bundles; for what no bundle holds `helm.takeOwnership: true`",
    ),
    Code(
        "throttled",
        "the API server asks for patience",
        "nothing: the agent waits as long as it says",
    ),
    Code(
        "too-large",
        "helm cannot store the release: about 1 MiB packed",
        "split the bundle; the numbers stand in the message",
    ),
    Code(
        "too-many-deletes",
        "a removal that waits for confirmation",
        "`fleetctl gitrepo confirm`",
    ),
    Code(
        "tool-died",
        "helm or kustomize crashed, exceeded a limit or was killed",
        "read the message: it names the crash, the limit or the signal",
    ),
    Code(
        "tool-failed",
        "helm or kustomize ran and said no; its own words follow",
        "correct what the bundle states",
    ),
    Code(
        "tool-missing",
        "helm or kustomize is not on the agent's PATH",
        "install it: `fleet-agent check`",
    ),
    Code(
        "try-later",
        "the manager does not answer or asks for patience, or a namespace is being deleted",
        "nothing, or look at the way to the manager (`fleet-agent check`), or at what holds the"
        " namespace",
    ),
    Code(
        "unavailable",
        "someone that is needed does not answer",
        "it is tried again",
    ),
    Code(
        "usage",
        "the bundle's options say something that cannot be",
        "correct what the message names",
    ),
    Code(
        "webhook",
        "an admission webhook of the cluster does not answer, so that the API server refuses the"
        " objects it watches",
        "repair the webhook's service, or delete its webhook configuration when the service is gone"
        " for good",
    ),
    Code(
        "work-crashed",
        "the agent's worker process died while it read the bundle's templates and files",
        "please report the message; it is tried again after growing pauses",
    ),
    Code(
        "work-limit",
        "reading the bundle's templates and files exceeded a limit of CPU time, memory or wall"
        " time, and was ended",
        "make its templates, charts or manifests smaller; it is tried again when the bundle"
        " changes, and after growing pauses",
    ),
)
# What the manager says of a deployment by itself.
MANAGER = (
    Code(
        "held",
        "a rollout holds the newest version back; the message says what it waits for",
        "`fleetctl why CLUSTER BUNDLE`",
    ),
    Code(
        "never-enrolled",
        "no agent has enrolled for this cluster yet",
        "on its node run what `fleetctl cluster register CLUSTER` prints",
    ),
    Code(
        "offline",
        "its agent has been silent for too long; what runs there is not known",
        "on its node `fleet-agent check`; it continues after the next report",
    ),
    Code(
        "revoked",
        "the key of its agent was taken back, and no agent has enrolled again",
        "on its node run what `fleetctl cluster register CLUSTER --replace` prints",
    ),
    Code(
        "waiting",
        "it was sent, and its agent has not reported yet",
        "nothing: a connected agent answers within minutes",
    ),
    Code(
        "window",
        "its time window is closed",
        "nothing: it goes when the window opens",
    ),
)
CODES = {row.code: row for row in (*AGENT, *BUNDLE, *MANAGER)}


def hint_of(code: str, *, cluster: str = "", bundle: str = "") -> str:
    """The next step for a code, with the names in it; "" for a word that this version does not
    know.
    """
    row = CODES.get(code)
    if row is None:
        return ""
    hint = row.hint.replace("CLUSTER", cluster) if cluster else row.hint
    return hint.replace("BUNDLE", bundle) if bundle else hint
