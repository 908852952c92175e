"""A plan in words: sentences that the terminal and a pull request's comment share, and the form for
the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_duration
from fleetctl.cli.display.plan.objects import Picture, Pictures
from fleetctl.cli.display.table import Column, print_table
from fleetctl.core.rollout.impact import (
    BUNDLES,
    MOST_NAMES,
    Group,
    Impact,
    Plan,
    Removals,
    Stage,
    What,
)

_MOST_SHOWN, _MOST_PATHS = 3, 12
_HELD = {
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
    what = plan.ref or ("what it follows" if plan.commit else "a working copy")
    at = f" at {plan.commit[:12]}" if plan.commit and plan.commit[:12] not in what else ""
    now = f"the fleet follows {plan.before[:12]}" if plan.before else "it is not followed yet"
    return f"GitRepo {plan.workspace}/{plan.gitrepo}: {what}{at}; {now}"


def verdict(plan: Plan) -> str:
    """The last line: all of it in one sentence."""
    if not plan.bundles and plan.problems:
        return "Nothing is planned: see the problems above."
    if not plan.bundles:
        return f"Nothing changes: {number(plan.unchanged, 'bundle')} as before."
    kinds = {what: sum(1 for impact in plan.bundles if impact.what is what) for what in What}
    words = {
        What.ADDED: "new",
        What.CHANGED: "changed",
        What.REMOVED: "removed",
        What.TOLD: "changed without deploying anything",
    }
    said = ", ".join(
        f"{number(kinds[what])} {words[what]}"
        for what in (What.CHANGED, What.ADDED, What.REMOVED, What.TOLD)
        if kinds[what]
    )
    counts = {what: plan.deployments(what) for what in What}
    done = {
        What.CHANGED: "deployed again",
        What.ADDED: "gained",
        What.REMOVED: "lost",
        What.TOLD: "updated without deploying",
    }
    deployments = ", ".join(f"{number(counts[what])} {done[what]}" for what in done if counts[what])
    where = f" on {number(plan.clusters, 'cluster')}" if plan.clusters else ""
    left = f"; {number(plan.unchanged)} unchanged" if plan.unchanged else ""
    total = len(plan.bundles)
    return f"{number(total, 'bundle')}: {said}{left}. Deployments: {deployments or 'none'}{where}."


def group_line(group: Group, most: int = _MOST_SHOWN) -> str:
    shown = ", ".join(group.names[:most])
    more = group.clusters - min(most, len(group.names))
    names = f"{shown} and {number(more)} more" if more else shown
    verb = _DOES[group.what]
    if group.what in {What.CHANGED, What.TOLD}:
        verb = ("is " if group.clusters == 1 else "are ") + verb
    elif group.clusters == 1:
        verb = verb.replace("gain", "gains").replace("lose", "loses")
    why = f": {', '.join(group.why)}" if group.why else ""
    return f"{number(group.clusters, 'cluster')} {verb} ({names}){why}"


def group_notes(group: Group, picture: Picture) -> list[str]:
    found = []
    if picture.options:
        left = len(picture.options) - _MOST_PATHS
        found.append(
            f"options: {', '.join(picture.options[:_MOST_PATHS])}"
            + (f" and {number(left)} more" if left > 0 else "")
        )
    if group.held:
        found.append(f"waits for confirmation: {_HELD.get(group.held, group.held)}")
    if group.offline:
        found.append(f"{number(group.offline)} of them offline: updated at their next report")
    if group.paused:
        found.append(f"{number(group.paused)} of them paused: held until they are resumed")
    if group.closed and group.what in {What.CHANGED, What.ADDED}:
        found.append(f"{number(group.closed)} of them outside their window: updated when it opens")
    if group.behind:
        found.append(
            f"{number(group.behind)} of them never got the version before this one, and go past it"
        )
    if group.new and group.new.customization:
        found.append(f"customization: {group.new.customization}")
    if picture.failure:
        found.append(f"WOULD FAIL on {group.representative}: {picture.failure}")
    return [*found, *picture.notes]


def caption(group: Group, picture: Picture) -> str:
    """Above the differences."""
    sides = {What.ADDED: "new", What.REMOVED: "removed"}.get(group.what, "differences")
    what = "objects" if picture.rendered else "files"
    counts = ", ".join(
        f"{n} {word}"
        for word in ("added", "changed", "removed")
        if (n := sum(1 for c in picture.changes if c.what == word))
    )
    if not picture.changes and not picture.rendered:
        return ""
    if not picture.changes:
        return f"no {what} differ on {group.representative}" if group.what is What.CHANGED else ""
    return (
        f"{what} on {group.representative}: {counts}"
        if sides == "differences"
        else f"{sides} {what} on {group.representative}: {counts}"
    )


def rollout_lines(impact: Impact) -> list[str]:
    """The order in which clusters are told; none when all are told at once."""
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
    return [f"rollout {at}: {_stages(run)}" for at, run in enumerate(runs, 1)]


def _shape(stage: Stage) -> tuple[Any, ...]:
    return stage.clusters, stage.told, stage.at_once, stage.soak, stage.approval


def _stages(run: Sequence[Stage]) -> str:
    """One partition, or several alike, one after the other."""
    stage = run[0]
    said = (
        f"{stage.name}: "
        if len(run) == 1
        else f"{run[0].name} to {run[-1].name}, one after the other, each "
    )
    said += number(stage.clusters, "cluster")
    said += f", {number(stage.told)} updated" if stage.told != stage.clusters else ""
    said += (
        f", {number(stage.at_once)} at once" if stage.at_once < stage.clusters else ", all at once"
    )
    said += f", watched for {format_duration(int(stage.soak))}" if stage.soak else ""
    return ("after approval, " if stage.approval else "") + said


def orders(plan: Plan) -> str:
    steps = [" and ".join(step) for step in plan.order]
    return f"Order: {', then '.join(steps)}." if len(steps) > 1 else ""


def deletions(plan: Plan) -> list[str]:
    """What would be deleted, one sentence each; the last says what must be confirmed."""
    gone: Removals = plan.removals
    found = []
    if gone.deployments:
        found.append(
            f"{number(gone.deployments)} of {number(gone.of_deployments, 'deployment')} would be"
            " removed"
        )
    if gone.bundles:
        found.append(
            f"{number(len(gone.bundles))} of {number(gone.of_bundles, 'bundle')} would be removed:"
            f" {_some(gone.bundles, len(gone.bundles))}"
        )
    if gone.emptied_count:
        found.append(
            f"{number(gone.emptied_count, 'cluster')} would lose the last bundle:"
            f" {_some(gone.emptied, gone.emptied_count)}"
        )
    said = (
        "{0} is probably {1} under another name: {2}. If it is, say `fleetctl bundle moved {0}"
        " {1}`; else it is installed again"
    )
    found += [said.format(move.old, move.new, move.why) for move in gone.moves]
    if gone.held:
        found.append(
            "removals above the limit will wait for confirmation; `fleetctl held list` shows them"
        )
    return found


def _some(names: Sequence[str], amount: int) -> str:
    shown = names[:_MOST_SHOWN]
    return ", ".join(shown) + (
        f" and {number(amount - len(shown))} more" if amount > len(shown) else ""
    )


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


def shown(plan: Plan, pictures: Pictures, *, wide: bool = False) -> None:
    """The form for people, on stdout; `wide`: every name that the answer has."""
    out.line(heading(plan))
    if plan.bundles:
        out.line()
        print_table(_COLUMNS, [row(impact) for impact in plan.bundles])
    for impact in plan.bundles:
        out.line()
        _impact(impact, pictures.of.get(impact.bundle, []), MOST_NAMES if wide else _MOST_SHOWN)
    gone = deletions(plan)
    if gone:
        out.line()
        out.line("Deletes:")
        for text in gone:
            out.line(f"  {text}")
    out.line()
    if orders(plan):
        out.line(orders(plan))
    out.line(verdict(plan))


def _impact(impact: Impact, pictures: Sequence[Picture], most: int) -> None:
    out.line(f"{impact.bundle} ({impact.what.value}{f', {impact.path}' if impact.path else ''})")
    for text in held_lines(impact):
        out.line(f"  {text}")
    for group, picture in zip(impact.groups, pictures, strict=True):
        out.line(f"  {group_line(group, most)}")
        for text in (*group_notes(group, picture), caption(group, picture)):
            if text:
                out.line(f"    {text}")
        for text in _differences(group, picture):
            out.diff(text)


def held_lines(impact: Impact) -> Iterator[str]:
    """What holds the whole bundle, or orders it."""
    if not impact.groups:
        yield "no cluster changes: " + (
            "no cluster gets it"
            if not impact.clusters
            else "only how it is rolled out, or what is pinned"
        )
    yield from rollout_lines(impact)
    for wait in impact.waits:
        yield wait.text


def _differences(group: Group, picture: Picture) -> Iterator[str]:
    """Of what is removed the names are enough."""
    for change in picture.changes:
        yield f"- {change.key}" if group.what is What.REMOVED else change.text
