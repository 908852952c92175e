"""The codes of causes, with their meaning and the next step. docs/agent-codes.md, the hints in
statuses and the status page use this table.

Rule: every code that an agent or the manager can report has a row here (a test reads their
sources). A status shows the hint of this table unless the agent sent a more specific one. CLUSTER
and BUNDLE in a hint are replaced by names.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """`hint`: the next step for a person."""

    code: str
    meaning: str
    hint: str


AGENT = (
    Code(
        "agent-upgrade",
        "the agent refused the target version, or tried it and gave it up",
        "nothing urgent: the previous version runs; set another target version, or remove it"
        " with `fleetctl cluster upgrade-agent CLUSTER --off`",
    ),
    Code(
        "clock-skew",
        "the clock of the agent's machine differs from the manager's by more than five"
        " minutes; the agent signs its requests with the manager's time",
        "correct the clock (NTP)",
    ),
    Code(
        "disk-failing",
        "the disk reports errors when the agent writes to the state directory; the agent"
        " changes nothing",
        "read `dmesg` and replace the disk; the agent rebuilds its journal from the releases",
    ),
    Code(
        "disk-full",
        "the disk has no space for the journal; the agent changes nothing and continues to report",
        "free at least 256 MiB; the agent then continues without a restart",
    ),
    Code(
        "disk-read-only",
        "the file system of the state directory is mounted read-only; the agent changes nothing",
        "repair the file system and mount it writable; then restart the agent",
    ),
    Code(
        "document-expired",
        "the agent got no desired state from the manager for 30 days; it keeps the last one",
        "find out why the manager does not answer: `fleet-agent check`",
    ),
    Code(
        "duplicate-agent",
        "two agents use the same key (a copied disk or a cloned virtual machine); both stop"
        " changing objects",
        "stop one of them, or run `fleetctl cluster register CLUSTER --replace` and enrol it again",
    ),
    Code(
        "helm-alive",
        "a helm process of an earlier agent still runs and cannot be killed",
        "stop the processes that hold `helm.lock` in the state directory",
    ),
    Code(
        "lease-taken",
        "another agent changes this cluster; it holds the Lease on the cluster",
        "find the other agent and stop it, or register it for another cluster",
    ),
    Code(
        "manager-behind",
        "the manager's desired state is older than what the agent applied; the manager was"
        " restored from a backup",
        "stop the manager, run `fleet-manager epoch raise`, start it",
    ),
    Code(
        "not-enrolled",
        "the manager does not know the key of this agent: the cluster was deleted, or another"
        " agent enrolled with `--replace`",
        "stop this agent, or run `fleetctl cluster register CLUSTER --replace` and enrol it again",
    ),
)
BUNDLE = (
    Code(
        "bad-agent-file",
        "the file of an agent release does not match its signature",
        "build, sign and add the agent release again",
    ),
    Code(
        "behind",
        "the desired state is older than what the agent applied; the agent ignores it",
        "run `fleet-manager epoch raise` if the manager was restored from a backup; otherwise"
        " push a new commit",
    ),
    Code(
        "bug",
        "internal error of the agent",
        "the agent tries again after growing pauses; please report the traceback in its log",
    ),
    Code(
        "changed",
        "another program changed the object while the agent wrote it",
        "nothing: the agent tries again",
    ),
    Code(
        "client-side",
        "deployed and Ready, with a warning: server-side apply refuses an object, so the"
        " agent applies the release client-side, as helm 3 does",
        "remove the duplicate entry, or correct the field in the message; the release stays"
        " deployed either way",
    ),
    Code(
        "cluster-unreachable",
        "the API server does not answer, or refuses the agent's login",
        "check the API server; `fleet-agent check` shows which of the two it is",
    ),
    Code(
        "conflict",
        "a bundle states a release or object that another bundle or program also owns",
        "change the name of the release (`helm.releaseName`, `namespace`), or set"
        " `helm.takeOwnership`",
    ),
    Code(
        "deadline",
        "helm or kustomize did not finish in time and was stopped",
        "check what it waited for, or raise `helm.timeoutSeconds` or `FLEET_AGENT_HELM_SECONDS`",
    ),
    Code(
        "dependency",
        "the bundle waits for a bundle in `dependsOn`, or `dependsOn` has a cycle",
        "nothing, or correct `dependsOn`; the message names the bundle and its state",
    ),
    Code(
        "disk",
        "the agent cannot write to its state directory",
        "free at least 256 MiB on the disk of the state directory",
    ),
    Code(
        "error",
        "an error without a more specific code",
        "read the message",
    ),
    Code(
        "forbidden",
        "the account that deploys the bundle does not have this right",
        "grant the right, or set another account (`serviceAccount`)",
    ),
    Code(
        "gone",
        "a watch or a list request must start again",
        "nothing: the agent starts it again",
    ),
    Code(
        "helm-not-ours",
        "helm found an object that does not belong to the release, and the bundle cannot be"
        " rendered to check the other objects",
        "read the annotation `meta.helm.sh/release-name` of the object, and correct the bundle",
    ),
    Code(
        "helm-pending",
        "another helm works on the release, or was killed while it worked on it",
        "nothing: the agent repairs the release within a minute",
    ),
    Code(
        "immutable",
        "a field differs that Kubernetes does not allow to change",
        "set `correctDrift.force`, or delete the object",
    ),
    Code(
        "invalid-file",
        "a file of the bundle is not valid",
        "correct it; the message has file, line and column",
    ),
    Code(
        "kube-version",
        "the chart does not support the Kubernetes version of the cluster",
        "use another version of the chart, for example in a customization of CLUSTER",
    ),
    Code(
        "login",
        "the manager or a registry refuses the credentials",
        "set valid credentials",
    ),
    Code(
        "modified",
        "an object differs from Git, or was deleted",
        "`fleetctl bundle diff BUNDLE`, then `fleetctl bundle correct BUNDLE`; or `correctDrift`",
    ),
    Code(
        "no-kind",
        "the bundle has an object of a kind or API version that the cluster does not serve",
        "install the CustomResourceDefinition on CLUSTER, or add the bundle that installs it"
        " to `dependsOn`",
    ),
    Code(
        "not-enforced",
        "an option limits rights in a way that this agent version cannot enforce",
        "remove the option, or upgrade the agent",
    ),
    Code(
        "not-found",
        "an object that the bundle refers to does not exist",
        "create the object",
    ),
    Code(
        "not-ready",
        "the bundle is applied, but an object is not ready; the message names the first one",
        "run `kubectl describe` for the object on that cluster",
    ),
    Code(
        "paused",
        "the GitRepo, the bundle or the cluster is paused",
        "resume it; `fleetctl why CLUSTER BUNDLE` shows what is paused",
    ),
    Code(
        "refused",
        "a rule of the agent or the manager refuses this",
        "the message names the rule",
    ),
    Code(
        "removal",
        "a deleted object still exists after half a minute: a finalizer holds it, or a"
        " namespace does not finish; the agent checks it every minute",
        "find the controller that must remove the finalizer; if there is none, remove the"
        " finalizer from the object",
    ),
    Code(
        "removing",
        "deleted objects still exist, or the removal waits for bundles that may take over its"
        " objects",
        "nothing",
    ),
    Code(
        "render-failed",
        "helm or kustomize cannot render the bundle; the message has the output of the tool",
        "correct the chart, its values or the kustomization",
    ),
    Code(
        "send-all",
        "the manager asks for a full report",
        "nothing: the agent sends it",
    ),
    Code(
        "service-account",
        "the service account of the bundle does not exist",
        "create the account and bind its rights, in the namespace of accounts",
    ),
    Code(
        "set-aside",
        "the agent crashed several times while it worked on this generation of the bundle; it"
        " deploys the other bundles meanwhile",
        "find out why the agent crashes (`journalctl`, `dmesg`); the agent tries the bundle"
        " again when it changes, and after growing pauses",
    ),
    Code(
        "source",
        "a chart or a repository could not be read",
        "check its address",
    ),
    Code(
        "system",
        "the operating system refuses memory, processes or files",
        "check `dmesg` and the limits of the service",
    ),
    Code(
        "taken",
        "an object or a release of the bundle belongs to another bundle, to a release of"
        " another program, or to no release",
        "remove it from one of the bundles; if no bundle owns it, set `helm.takeOwnership: true`",
    ),
    Code(
        "throttled",
        "the API server asks the agent to send fewer requests",
        "nothing: the agent waits as long as the API server states",
    ),
    Code(
        "too-large",
        "helm cannot store the release: the limit is about 1 MiB, compressed",
        "split the bundle; the message has the numbers",
    ),
    Code(
        "too-many-deletes",
        "the removal waits for confirmation",
        "confirm it with `fleetctl gitrepo confirm`",
    ),
    Code(
        "tool-died",
        "helm or kustomize crashed, exceeded a limit or was killed",
        "read the message: it names the crash, the limit or the signal",
    ),
    Code(
        "tool-failed",
        "helm or kustomize failed; the message has the output of the tool",
        "correct the bundle",
    ),
    Code(
        "tool-missing",
        "helm or kustomize is not on the agent's PATH",
        "install it, then run `fleet-agent check`",
    ),
    Code(
        "try-later",
        "the manager does not answer or asks to wait, or a namespace is being deleted",
        "nothing; if it persists, check the connection to the manager (`fleet-agent check`),"
        " or what holds the namespace",
    ),
    Code(
        "unavailable",
        "a service that the agent needs does not answer",
        "nothing: the agent tries again",
    ),
    Code(
        "usage",
        "an option of the bundle is not valid",
        "correct the option in the message",
    ),
    Code(
        "webhook",
        "an admission webhook of the cluster does not answer, so the API server refuses the"
        " objects",
        "repair the service of the webhook, or delete the webhook configuration if the"
        " service is no longer used",
    ),
    Code(
        "work-crashed",
        "the worker process of the agent crashed while it read the templates and files of the"
        " bundle",
        "please report the message; the agent tries again after growing pauses",
    ),
    Code(
        "work-limit",
        "the templates and files of the bundle exceeded a limit of CPU time, memory or"
        " elapsed time",
        "make the templates, charts or manifests smaller; the agent tries again when the"
        " bundle changes, and after growing pauses",
    ),
)
# Codes that the manager reports for a deployment.
MANAGER = (
    Code(
        "held",
        "a rollout holds the newest version; the message names what it waits for",
        "`fleetctl why CLUSTER BUNDLE`",
    ),
    Code(
        "never-enrolled",
        "no agent has enrolled for this cluster yet",
        "on its node run the commands that `fleetctl cluster register CLUSTER` prints",
    ),
    Code(
        "offline",
        "the agent has not reported for too long; the state of its releases is unknown",
        "run `fleet-agent check` on its node; the cluster continues after the next report",
    ),
    Code(
        "revoked",
        "the key of its agent was revoked, and no agent has enrolled again",
        "on its node run the commands that `fleetctl cluster register CLUSTER --replace` prints",
    ),
    Code(
        "waiting",
        "the version was delivered, and the agent has not reported yet",
        "nothing: a connected agent reports within minutes",
    ),
    Code(
        "window",
        "no window is open for the cluster",
        "nothing: the manager delivers the version when the window opens",
    ),
)
CODES = {row.code: row for row in (*AGENT, *BUNDLE, *MANAGER)}


def hint_of(code: str, *, cluster: str = "", bundle: str = "") -> str:
    """Return the next step for a code, with names filled in; "" for an unknown code."""
    row = CODES.get(code)
    if row is None:
        return ""
    hint = row.hint.replace("CLUSTER", cluster) if cluster else row.hint
    return hint.replace("BUNDLE", bundle) if bundle else hint
