"""Why a removed bundle is still on clusters: facts in, lines and the next step out. Pure, as
core/why.py.
"""

from __future__ import annotations

from fleetctl.core.explain.bundle_and_cluster import TroubleFacts
from fleetctl.core.explain.deployment import AgentFacts, Fact, Line, Next, agent_line, cluster_step
from fleetctl.core.text.listing import list_names


class Going(Fact, frozen=True, kw_only=True):
    """A bundle that no GitRepo brings any more. `cluster` and `agent`: where only one cluster is
    asked about.
    """

    workspace: str
    bundle: str
    repo: str
    cluster: str = ""
    state: str = "Removing"
    ready: bool = False
    clusters: int
    agent: AgentFacts | None = None
    troubles: list[TroubleFacts]


def going_lines(bundle: Going) -> list[Line]:
    place = (
        f"cluster {bundle.cluster}"
        if bundle.cluster
        else f"{bundle.clusters} cluster{'s' if bundle.clusters != 1 else ''}"
    )
    result = [
        Line(
            "Bundle",
            f"it does not exist any more (GitRepo {bundle.repo}), and is being removed from"
            f" {place}",
        )
    ]
    if bundle.agent is not None:
        result.append(Line("Agent", agent_line(bundle.agent)))
    for trouble in bundle.troubles:
        clusters = list_names([trouble.cluster], count=trouble.count)
        result.append(Line(trouble.state, f"{trouble.reason.cause} ({clusters})"))
        result += [Line("About", trouble.reason.object)] if trouble.reason.object else []
    return result


def going_step(bundle: Going) -> Next:
    if (
        bundle.agent is not None
        and (step := cluster_step(bundle.cluster, bundle.agent, ready=False)) is not None
    ):
        return step
    bad = next((trouble for trouble in bundle.troubles if trouble.state == "ErrApplied"), None)
    if bad is None:
        return Next("nothing: the agent removes it, and reports when the removal is complete")
    if bundle.cluster:
        return Next(bad.reason.hint or f"see what {bad.reason.object or 'the agent'} says")
    command = f"fleetctl why {bad.cluster} {bundle.bundle}"
    return Next(
        f"{bad.reason.hint.rstrip('.')}; see {command}" if bad.reason.hint else f"see {command}",
        command,
    )
