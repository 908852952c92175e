"""A plan in words: sentences that the terminal and a pull request's comment share, and the form for
the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_duration
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.plan_display.objects import Picture, Pictures
from fleetctl.core.rollout.impact import (
    BUNDLES,
    MOST_NAMES,
    Impact,
    ImpactGroup,
    Plan,
    Removals,
    Stage,
    What,
)
from fleetctl.core.text.listing import list_names

_MOST_SHOWN, _MOST_PATHS = 3, 12
_HOLD_REASONS = {
    "many": "too many of its clusters",
    "all": "all that have it",
    "last": "the last bundle there",
    BUNDLES: "see Deletes",
}
_DOES = {
    What.ADDED: "gain it",
    What.CHANGED: "deployed again",
    What.REMOVED: "lose it",
    What.TOLD: "updated without deploying: only metadata changes",
}


def number(amount: int, word: str = "") -> str:
    """`1,000 clusters`."""
    return f"{amount:,}" + (f" {word}" + ("" if amount == 1 else "s") if word else "")


def heading(plan: Plan) -> str:
    ref = plan.ref or ("what it follows" if plan.commit else "a working copy")
    at = f" at {plan.commit[:12]}" if plan.commit and plan.commit[:12] not in ref else ""
    now = f"the fleet follows {plan.before[:12]}" if plan.before else "it does not exist yet"
    return f"GitRepo {plan.workspace}/{plan.gitrepo}: {ref}{at}; {now}"


def verdict(plan: Plan) -> str:
    """The last line: the whole plan in one sentence."""
    if not plan.bundles and plan.problems:
        return "Nothing is planned: see the problems above."
    if not plan.bundles:
        return f"Nothing changes: {number(plan.unchanged, 'bundle')} as before."
    kinds = {kind: sum(1 for impact in plan.bundles if impact.what is kind) for kind in What}
    words = {
        What.ADDED: "new",
        What.CHANGED: "changed",
        What.REMOVED: "removed",
        What.TOLD: "changed without deploying anything",
    }
    kinds_text = ", ".join(
        f"{number(kinds[kind])} {words[kind]}"
        for kind in (What.CHANGED, What.ADDED, What.REMOVED, What.TOLD)
        if kinds[kind]
    )
    counts = {kind: plan.deployments(kind) for kind in What}
    verbs = {
        What.CHANGED: "deployed again",
        What.ADDED: "gained",
        What.REMOVED: "lost",
        What.TOLD: "updated without deploying",
    }
    deployments = ", ".join(
        f"{number(counts[kind])} {verbs[kind]}" for kind in verbs if counts[kind]
    )
    place = f" on {number(plan.clusters, 'cluster')}" if plan.clusters else ""
    unchanged = f"; {number(plan.unchanged)} unchanged" if plan.unchanged else ""
    total = len(plan.bundles)
    bundles = f"{number(total, 'bundle')}: {kinds_text}{unchanged}"
    return f"{bundles}. Deployments: {deployments or 'none'}{place}."


def group_line(group: ImpactGroup, limit: int = _MOST_SHOWN) -> str:
    names = list_names(group.names, limit, count=group.clusters)
    verb = _DOES[group.what]
    if group.what in {What.CHANGED, What.TOLD}:
        verb = ("is " if group.clusters == 1 else "are ") + verb
    elif group.clusters == 1:
        verb = verb.replace("gain", "gains").replace("lose", "loses")
    causes = f": {', '.join(group.why)}" if group.why else ""
    return f"{number(group.clusters, 'cluster')} {verb} ({names}){causes}"


def group_notes(group: ImpactGroup, picture: Picture) -> list[str]:
    notes = []
    if picture.options:
        notes.append(f"options: {list_names(picture.options, _MOST_PATHS)}")
    if group.held:
        notes.append(f"waits for confirmation: {_HOLD_REASONS.get(group.held, group.held)}")
    if group.offline:
        notes.append(f"{number(group.offline)} of them offline: updated at their next report")
    if group.paused:
        notes.append(f"{number(group.paused)} of them paused: held until they are resumed")
    if group.closed and group.what in {What.CHANGED, What.ADDED}:
        notes.append(f"{number(group.closed)} of them outside their window: updated when it opens")
    if group.behind:
        notes.append(
            f"{number(group.behind)} of them never got the version before this one, and go past it"
        )
    if group.new and group.new.customization:
        notes.append(f"customization: {group.new.customization}")
    if picture.failure:
        notes.append(f"WOULD FAIL on {group.representative}: {picture.failure}")
    return [*notes, *picture.notes]


def caption(group: ImpactGroup, picture: Picture) -> str:
    """Above the differences."""
    sides = {What.ADDED: "new", What.REMOVED: "removed"}.get(group.what, "differences")
    noun = "objects" if picture.is_rendered else "files"
    counts = ", ".join(
        f"{n} {word}"
        for word in ("added", "changed", "removed")
        if (n := sum(1 for c in picture.changes if c.what == word))
    )
    if not picture.changes and not picture.is_rendered:
        return ""
    if not picture.changes:
        return f"no {noun} differ on {group.representative}" if group.what is What.CHANGED else ""
    return (
        f"{noun} on {group.representative}: {counts}"
        if sides == "differences"
        else f"{sides} {noun} on {group.representative}: {counts}"
    )


def rollout_lines(impact: Impact) -> list[str]:
    """The order in which clusters get the change; empty if all get it at once."""
    stages = [stage for stage in impact.stages if stage.clusters]
    free = len(stages) == 1 and stages[0].at_once >= stages[0].clusters and not stages[0].approval
    if not stages or free:
        return []
    runs: list[list[Stage]] = []
    for stage in stages:
        alike = runs and _shape(runs[-1][-1]) == _shape(stage) and not stage.approval
        if alike:
            runs[-1].append(stage)
        else:
            runs.append([stage])
    return [f"rollout {at}: {_stages(stages_)}" for at, stages_ in enumerate(runs, 1)]


def _shape(stage: Stage) -> tuple[Any, ...]:
    return stage.clusters, stage.told, stage.at_once, stage.soak, stage.approval


def _stages(stages: Sequence[Stage]) -> str:
    """One partition, or several alike, one after the other."""
    stage = stages[0]
    text = (
        f"{stage.name}: "
        if len(stages) == 1
        else f"{stages[0].name} to {stages[-1].name}, one after the other, each "
    )
    text += number(stage.clusters, "cluster")
    text += f", {number(stage.told)} updated" if stage.told != stage.clusters else ""
    text += (
        f", {number(stage.at_once)} at once" if stage.at_once < stage.clusters else ", all at once"
    )
    text += f", watched for {format_duration(int(stage.soak))}" if stage.soak else ""
    return ("after approval, " if stage.approval else "") + text


def orders(plan: Plan) -> str:
    steps = [" and ".join(step) for step in plan.order]
    return f"Order: {', then '.join(steps)}." if len(steps) > 1 else ""


def deletions(plan: Plan) -> list[str]:
    """The deletions, one sentence each; the last one states what must be confirmed."""
    removals: Removals = plan.removals
    sentences = []
    if removals.deployments:
        sentences.append(
            f"{number(removals.deployments)} of"
            f" {number(removals.of_deployments, 'deployment')} would be removed"
        )
    if removals.bundles:
        sentences.append(
            f"{number(len(removals.bundles))} of"
            f" {number(removals.of_bundles, 'bundle')} would be removed:"
            f" {_first_names(removals.bundles, len(removals.bundles))}"
        )
    if removals.emptied_count:
        sentences.append(
            f"{number(removals.emptied_count, 'cluster')} would lose the last bundle:"
            f" {_first_names(removals.emptied, removals.emptied_count)}"
        )
    template = (
        "{0} is probably {1} with another name: {2}. If it is, run `fleetctl bundle moved"
        " {0} {1}`; otherwise it is installed again"
    )
    sentences += [template.format(move.old, move.new, move.why) for move in removals.moves]
    if removals.held:
        sentences.append(
            "removals above the limit will wait for confirmation; `fleetctl held list` shows them"
        )
    return sentences


def _first_names(names: Sequence[str], amount: int) -> str:
    return list_names(names, _MOST_SHOWN, count=amount)


def row(impact: Impact) -> dict[str, Any]:
    """Of the table."""
    waits = [rollout_word(impact), *(wait.text.partition(":")[0] for wait in impact.waits)]
    return {
        "bundle": impact.bundle,
        "change": impact.what.value,
        "clusters": number(impact.clusters),
        "again": number(impact.count(What.CHANGED)),
        "gain": number(impact.count(What.ADDED)),
        "lose": number(impact.count(What.REMOVED)),
        "waits": "; ".join(filter(None, waits)),
    }


def rollout_word(impact: Impact) -> str:
    stages = [stage for stage in impact.stages if stage.clusters] if rollout_lines(impact) else []
    return f"{number(len(stages), 'partition')}" if stages else ""


_COLUMNS = [
    Column("BUNDLE", lambda i: i["bundle"]),
    Column("CHANGE", lambda i: i["change"]),
    Column("CLUSTERS", lambda i: i["clusters"]),
    Column("AGAIN", lambda i: i["again"]),
    Column("GAIN", lambda i: i["gain"]),
    Column("LOSE", lambda i: i["lose"]),
    Column("WAITS", lambda i: i["waits"], flexible=True),
]


def print_plan(plan: Plan, pictures: Pictures, *, wide: bool = False) -> None:
    """Print the plan for people on stdout. With `wide`, print every name."""
    out.line(heading(plan))
    if plan.bundles:
        out.line()
        print_table(_COLUMNS, [row(impact) for impact in plan.bundles])
    for impact in plan.bundles:
        out.line()
        _impact(impact, pictures.of.get(impact.bundle, []), MOST_NAMES if wide else _MOST_SHOWN)
    sentences = deletions(plan)
    if sentences:
        out.line()
        out.line("Deletes:")
        for text in sentences:
            out.line(f"  {text}")
    out.line()
    if orders(plan):
        out.line(orders(plan))
    out.line(verdict(plan))


def _impact(impact: Impact, pictures: Sequence[Picture], limit: int) -> None:
    out.line(f"{impact.bundle} ({impact.what.value}{f', {impact.path}' if impact.path else ''})")
    for text in wait_lines(impact):
        out.line(f"  {text}")
    for group, picture in zip(impact.groups, pictures, strict=True):
        out.line(f"  {group_line(group, limit)}")
        for text in (*group_notes(group, picture), caption(group, picture)):
            if text:
                out.line(f"    {text}")
        for text in _differences(group, picture):
            out.diff(text)


def wait_lines(impact: Impact) -> Iterator[str]:
    """What delays or orders the whole bundle."""
    if not impact.groups:
        yield "no cluster changes: " + (
            "no cluster gets it" if not impact.clusters else "only its rollout strategy or a pin"
        )
    yield from rollout_lines(impact)
    for wait in impact.waits:
        yield wait.text


def _differences(group: ImpactGroup, picture: Picture) -> Iterator[str]:
    """The differences of one group; for a removal the names are enough."""
    for change in picture.changes:
        yield f"- {change.key}" if group.what is What.REMOVED else change.text
