"""The kinds as a person names them, and the columns of their tables (Fleet's own columns, so that
nobody has to learn new ones).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from fleetctl.cli.display.humanize import format_age
from fleetctl.cli.display.table import Column
from fleetctl.core.documents.gitrepo import refuse_not_enforced
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.status import State
from fleetctl.core.text.suggest import nearest, question


class Kind(NamedTuple):
    kind: str
    short: tuple[str, ...]
    plural_text: str  # as people say it


KINDS = {
    "gitrepos": Kind("GitRepo", ("gr",), "GitRepos"),
    "clusters": Kind("Cluster", ("cl",), "clusters"),
    "clustergroups": Kind("ClusterGroup", ("cg",), "cluster groups"),
    "clusterregistrationtokens": Kind("ClusterRegistrationToken", ("crt",), "registration tokens"),
    "bundles": Kind("Bundle", ("b",), "bundles"),
    "bundledeployments": Kind("BundleDeployment", ("bd",), "bundle deployments"),
    "schedules": Kind("Schedule", ("sch",), "schedules"),
    "secrets": Kind("Secret", (), "secrets"),
    "configmaps": Kind("ConfigMap", ("cm",), "config maps"),
}
# What `all` stands for: the kinds that have a state.
ALL = ("gitrepos", "bundles", "clusters", "clustergroups")
# Worst first; a state that stands in none of these comes between them and Ready.
ORDER = (
    "Stalled",
    "ErrApplied",
    "Held",
    *(state for state in State if state not in {"ErrApplied", "Ready"}),
)
# Kinds of Kubernetes and Fleet that people try here, and what to do.
_IN_GIT = (
    "fleetctl manages its own kinds. Objects of clusters belong in a Git repository: `fleetctl"
    " gitrepo add`."
)
_OF_KUBERNETES = (
    "deployment",
    "pod",
    "service",
    "daemonset",
    "statefulset",
    "job",
    "cronjob",
    "namespace",
    "node",
    "ingress",
)
_NO_HELMOP = (
    "HelmOp is not supported in this version. Put a fleet.yaml with `helm.chart` into a GitRepo."
)
_ADVICE = dict.fromkeys(("helmop", "helmops"), _NO_HELMOP)
_ADVICE |= {word: _IN_GIT for kind in _OF_KUBERNETES for word in (kind, f"{kind}s", f"{kind}es")}
_FLEETS = re.compile(r"\w+\(\d+\) \[Cluster (?:[^/\s\]]+/)?(.*?)\](?=; \w+\(\d+\) \[|$)")


# Every state that `display.state` of some kind may have.
STATES = (*(state.value for state in State), "Stalled", "Held", "GitUpdating", "WaitCheckIn")


def plural_of(text: str) -> str:
    """`gr`, `gitrepo`, `GitRepo` and `gitrepos` are the same. Raises UsageError with the nearest,
    NotEnforced.
    """
    word = text.lower()
    for plural, kind in KINDS.items():
        if word in {plural, kind.kind.lower(), *kind.short}:
            return plural
    refuse_not_enforced(text)
    step = _ADVICE.get(word, "")
    if not step:
        near = nearest(word, [*KINDS, *(kind.kind.lower() for kind in KINDS.values())])
        step = question(near).strip() or f"Valid kinds: {', '.join(KINDS)}."
    raise UsageError(f"there is no kind {text[:80]!r}", subject="KIND", next_step=step)


def plurals_of(text: str) -> list[str]:
    """Kinds joined by commas; `all` is every kind that has a state."""
    return list(ALL) if text.lower() == "all" else [plural_of(part) for part in text.split(",")]


def state_of(item: dict[str, Any]) -> str:
    return _display(item, "state")


def status_text(item: dict[str, Any]) -> str:
    """The state and its marks: `Ready (paused, pinned)`."""
    marks = (_status(item).get("display") or {}).get("marks") or []
    return f"{state_of(item)} ({', '.join(marks)})" if marks else state_of(item)


def rank(item: dict[str, Any]) -> int:
    """0 is the worst."""
    state = state_of(item)
    return ORDER.index(state) if state in ORDER else len(ORDER) + (state == "Ready")


def short(message: str) -> str:
    """Fleet writes `ErrApplied(2) [Cluster fleet-default/paris: why]`; the state and the count
    stand in columns of their own already.
    """
    return _FLEETS.sub(r"\1", message)


def _status(item: dict[str, Any]) -> dict[str, Any]:
    return item.get("status") or {}


def _display(item: dict[str, Any], key: str) -> str:
    return str((_status(item).get("display") or {}).get(key) or "")


def _spec(item: dict[str, Any], key: str) -> str:
    return str((item.get("spec") or {}).get(key) or "")


def _agent(item: dict[str, Any], key: str) -> str:
    return str((_status(item).get("agent") or {}).get(key) or "")


def _last_seen(item: dict[str, Any]) -> str:
    """`now` while the agent is connected; the age of its last request, with `late` when the next
    one is overdue.
    """
    contact = _agent(item, "contact")
    if contact == "connected":
        return "now"
    return format_age(_agent(item, "lastSeen")) + (" (late)" if contact == "late" else "")


def _reason(item: dict[str, Any], key: str) -> str:
    return str((_status(item).get("reason") or {}).get(key) or "")


def _upgrade(item: dict[str, Any]) -> str:
    """How far a wish for another version of the agent is."""
    return str(((_status(item).get("agent") or {}).get("upgrade") or {}).get("state") or "")


def _commit(text: Any) -> str:
    return str(text or "")[:7]


def _labels(item: dict[str, Any]) -> str:
    labels = item["metadata"].get("labels") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items()) if "cattle.io" not in k)


def _data(item: dict[str, Any]) -> str:
    return str(len(item.get("data") or {}))


def _release(release: dict[str, Any] | None) -> str:
    return (
        f"{release['namespace']}/{release['name']} rev {release.get('revision', 0)}"
        if release
        else ""
    )


NAME = Column("NAME", lambda i: str(i["metadata"]["name"]))
NAMESPACE = Column("NAMESPACE", lambda i: str(i["metadata"].get("namespace", "")))
# Several kinds in one answer: the name says which.
KIND_AND_NAME = Column("NAME", lambda i: f"{i['kind'].lower()}/{i['metadata']['name']}")
AGE = Column("AGE", lambda i: format_age(i["metadata"].get("creationTimestamp", "")), moving=True)
STATUS = Column("STATUS", status_text)
MESSAGE = Column("MESSAGE", lambda i: short(_display(i, "message")), flexible=True)

COLUMNS: dict[str, list[Column]] = {
    "gitrepos": [
        NAME,
        Column("COMMIT", lambda i: _commit(_status(i).get("commit"))),
        Column("READY", lambda i: _display(i, "readyBundleDeployments")),
        STATUS,
        Column("REPO", lambda i: _spec(i, "repo"), wide=True),
        Column("BRANCH", lambda i: _spec(i, "revision") or _spec(i, "branch"), wide=True),
        Column(
            "POLLED",
            lambda i: format_age(_status(i).get("lastPolled") or ""),
            wide=True,
            moving=True,
        ),
        AGE,
        MESSAGE,
    ],
    "clusters": [
        NAME,
        Column("BUNDLES-READY", lambda i: _display(i, "readyBundles")),
        STATUS,
        Column("LAST-SEEN", _last_seen, moving=True),
        Column(
            "OFFLINE",
            lambda i: (
                format_age(_agent(i, "lastSeen") or _agent(i, "enrolled"))
                if state_of(i) == "Offline"
                else ""
            ),
            moving=True,
        ),
        Column("KUBERNETES", lambda i: str(_status(i).get("kubeVersion") or ""), wide=True),
        Column("AGENT", lambda i: _agent(i, "version"), wide=True),
        Column("WANTED", lambda i: _agent(i, "wanted"), wide=True),
        Column("UPGRADE", _upgrade, wide=True),
        Column("ADDRESS", lambda i: _agent(i, "address"), wide=True),
        Column("LABELS", _labels, flexible=True),
        MESSAGE._replace(wide=True),
    ],
    "clustergroups": [
        NAME,
        Column("CLUSTERS-READY", lambda i: _display(i, "readyClusters")),
        Column("BUNDLES-READY", lambda i: _display(i, "readyBundles")),
        STATUS,
        AGE,
    ],
    "bundles": [
        NAME,
        Column("CLUSTERS-READY", lambda i: _display(i, "readyClusters")),
        STATUS,
        Column("COMMIT", lambda i: _commit(_status(i).get("commit")), wide=True),
        AGE._replace(wide=True),
        MESSAGE,
    ],
    "bundledeployments": [
        Column("CLUSTER", lambda i: _spec(i, "cluster")),
        Column("BUNDLE", lambda i: _spec(i, "bundle")),
        STATUS,
        Column("RELEASE", lambda i: _release(_status(i).get("release")), wide=True),
        Column("COMMIT", lambda i: _commit(_spec(i, "commit"))),
        Column("REPORTED", lambda i: format_age(_status(i).get("reportedAt") or ""), moving=True),
        Column("CODE", lambda i: _reason(i, "code"), wide=True),
        Column("MESSAGE", lambda i: str(_status(i).get("message") or ""), flexible=True),
        Column("HINT", lambda i: _reason(i, "hint"), wide=True),
    ],
    "clusterregistrationtokens": [
        NAME,
        Column("EXPIRES", lambda i: str((i.get("status") or {}).get("expires", ""))),
        Column("USES-LEFT", lambda i: str((i.get("status") or {}).get("usesLeft", ""))),
        AGE,
    ],
    "schedules": [
        NAME,
        Column("SCHEDULE", lambda i: _spec(i, "schedule")),
        Column("DURATION", lambda i: _spec(i, "duration")),
        Column("KIND", lambda i: "deny" if _spec(i, "deny") else "allow"),
        Column("ACTIVE", lambda i: str(bool(_status(i).get("active"))).lower()),
        Column("NEXT START", lambda i: str(_status(i).get("nextStartTime") or "never")),
        Column("CLUSTERS", lambda i: str(len(_status(i).get("matchingClusters") or [])), wide=True),
        Column("LOCATION", lambda i: _spec(i, "location") or "UTC", wide=True),
        AGE._replace(wide=True),
        MESSAGE._replace(wide=True),
    ],
    "secrets": [
        NAME,
        Column("TYPE", lambda i: str(i.get("type") or "")),
        Column("DATA", _data),
        AGE,
    ],
    "configmaps": [NAME, Column("DATA", _data), AGE],
}
