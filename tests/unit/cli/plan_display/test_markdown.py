"""A plan's comment: whatever stands in it, it stays one comment, and within GitHub's limit."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.cli.plan_display.markdown import (
    MOST_CHARACTERS,
    code_block,
    escape_markdown,
    markdown,
    marker,
)
from fleetctl.cli.plan_display.objects import Picture, Pictures
from fleetctl.cli.preview.object_changes import Key, ObjectChange
from fleetctl.core.model.ids import BundleName
from fleetctl.core.rollout.impact import (
    Impact,
    ImpactGroup,
    Plan,
    PlanTrouble,
    PlanWait,
    Removals,
    What,
)
from tests.support.depth import depth

ATTACKS = (
    "</details><script>alert(1)</script>",
    "```\n</details>\n# owned\n@everyone [x](javascript:alert(1)) ![i](http://evil/x.png)",
    "``````````",
    "| a | b |\n| --- | --- |",
    "<!-- fleetctl plan other/repo -->",
    "\x1b]0;owned\x07\u202eevil",
    ":tada: www.evil.example http://evil.example #1 @admin",
    "&lt;b&gt;",
)


def plan(names: list[str], text: str, changes: int = 1, size: int = 1) -> tuple[Plan, Pictures]:
    group = ImpactGroup(
        what=What.CHANGED, why=[text], clusters=1, names=[text], representative=text
    )
    waits = [PlanWait(code="x", text=text)]
    impacts = [
        Impact(
            bundle=BundleName(name),
            path=text,
            what=What.CHANGED,
            clusters=1,
            groups=[group],
            waits=waits,
        )
        for name in names
    ]
    key = Key("b", "v1", "ConfigMap", "", text)
    picture = Picture(
        [ObjectChange(key, "changed", f"--- {text}\n+{text}" * size)] * changes, [text], [text]
    )
    made = Plan(
        workspace="w",
        gitrepo="r",
        ref=text,
        bundles=impacts,
        problems=[PlanTrouble(path="", code="c", summary=text)],
    )
    return made, Pictures({BundleName(name): [picture] for name in names})


def outside_fences(text: str) -> str:
    """What GitHub would read as Markdown."""
    kept, fence = [], ""
    for line in text.split("\n"):
        found = re.match(r"`{3,}", line)
        if found and not fence:
            fence = found[0]
        elif fence and line.strip() == fence:
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence, "a fence is left open"
    return "\n".join(kept)


def check(text: str) -> None:
    assert len(text) <= MOST_CHARACTERS
    assert len(text.encode()) <= MOST_CHARACTERS
    plain = outside_fences(text)
    assert plain.count("<details>") == plain.count("</details>")
    tags = set(re.findall(r"(?<!\\)<[^>]*>", plain.replace(marker(plan([], "")[0]), "")))
    assert tags <= {"<details>", "</details>", "<summary>", "</summary>", "<b>", "</b>"}
    assert not re.search(r"(?<!\\)!\[|(?<!\\)\]\(|@\w|https?://|www\.", plain)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_attacks_stay_text() -> None:
    """In names, reasons, paths, problems and differences."""
    for attack in ATTACKS:
        check(markdown(*plan(["web"], attack), refusal=attack))


@settings(max_examples=depth(20, 200), deadline=None)
@given(st.text(max_size=60) | st.text("`<>/detailsum\n|@[](): ", max_size=60))
def test_any_text_stays_text(text: str) -> None:
    """Whatever hypothesis thinks of."""
    text = text.encode("utf-8", "replace").decode()
    check(markdown(*plan(["web"], text)))


def test_what_does_not_fit_is_said() -> None:
    """Differences go first, then whole sections; each is counted."""
    made, pictures = plan([f"b{n}" for n in range(20)], "x" * 100, changes=10, size=20)
    text = markdown(made, pictures)
    check(text)
    assert re.search(
        r"_Left out, because a comment holds 65,536 characters: .*parts of others\. `fleetctl plan`"
        r" shows all\._",
        text,
    )
    made, pictures = plan([f"b{n}" for n in range(3000)], "y" * 300)
    text = markdown(made, pictures)
    check(text)
    assert re.search(r"Left out.*: \d+ bundles", text)


def test_one_difference_that_is_too_large_is_cut() -> None:
    """Its beginning stays, with how many lines are left out."""
    made, pictures = plan(["web"], "line", size=20_000)
    text = markdown(made, pictures)
    check(text)
    assert re.search(r"\([\d,]+ more lines\)", text)


def test_many_deletions_fit() -> None:
    """A hundred thousand names are counted, not listed."""
    gone = Removals(
        deployments=100_000,
        of_deployments=100_000,
        bundles=[BundleName(f"b{n}") for n in range(5000)],
        of_bundles=5000,
    )
    text = markdown(Plan(workspace="w", gitrepo="r", removals=gone), Pictures())
    check(text)
    assert "b0, b1, b2 and 4,997 more" in text


def test_a_fence_is_longer_than_what_it_holds() -> None:
    """Also at the end of a line."""
    assert code_block("a ```` b").startswith("`````diff\n")
    assert escape_markdown("a`b*c") == "a\\`b\\*c"
