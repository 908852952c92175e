"""Templates that would take hours or gigabytes end within seconds of CPU time, refused or done."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from fleetctl.core.gotemplate import TemplateError, render
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import ClusterName, Workspace
from fleetctl.core.model.options import HelmOptions
from fleetctl.core.rendering.values import ClusterFacts, values_of

CONTEXT = {"ClusterName": "dev", "ClusterValues": {"n": 4, "l": [1, "x"]}}
DOUBLED = "${ $l := list 1 2 }${ range until 40 }${ $l = list $l $l }${ end }"
LONG = '${ $a := repeat 1000000 "a" }'

REFUSED = [
    DOUBLED + "${ $l }",
    DOUBLED + "${ toJson $l }",
    DOUBLED + "${ toPrettyJson $l }",
    DOUBLED + '${ printf "%v %#v" $l $l }',
    DOUBLED + "${ has $l (list $l) }",
    DOUBLED + "${ uniq (list $l $l) }",
    DOUBLED + "${ without (list $l) 1 }",
    DOUBLED + "${ deepEqual $l (deepCopy $l) }",
    DOUBLED + '${ join "," (list $l) }',
    DOUBLED + "${ quote $l }",
    DOUBLED + "${ toString $l }",
    DOUBLED + "${ sortAlpha $l }",
    DOUBLED + "${ dict $l 1 }",
    '${ $d := dict "a" "b" }${ range until 60 }${ $d = dict "l" $d "r" $d }${ end }${ $d }',
    LONG + '${ regexReplaceAll "a" $a (repeat 5000 "b") }',
    LONG + '${ regexReplaceAllLiteral "" $a (repeat 5000 "b") }',
    LONG + '${ regexFindAll "a.*b|a" $a -1 }',
    LONG + '${ regexSplit "a" $a -1 }',
    LONG + '${ splitList "a" $a }',
    LONG + '${ split "" $a }',
    LONG + '${ wrapWith 1 "----------" $a }',
    LONG + '${ indent 900 (replace "a" "\\n" $a) }',
    LONG + "${ range until 5000 }${ $b := snakecase $a }${ end }",
    LONG + "${ range until 5000 }${ $b := nospace $a }${ end }",
    LONG + "${ range until 5000 }${ $b := sha256sum $a }${ end }",
    LONG + '${ range until 50000 }${ if contains "b" $a }x${ end }${ end }',
    LONG + "${ range until 50000 }${ $b := index $a 3 }${ end }",
    *[
        LONG + f"${{ range until 20000 }}${{ $b := {call} }}${{ end }}"
        for call in (
            "int $a",
            "add 1 $a",
            "max $a 1",
            "float64 $a",
            "divf $a 1",
            "round $a 1",
            "toDecimal $a",
        )
    ],
    LONG + "${ range until 50000 }${ if eq $a (print $a) }x${ end }${ end }",
    '${ regexMatch "(((a?){30}){30})$" (repeat 1000000 "a") }',
    '${ $l := until 50000 }${ printf "%9999d" $l }',
    '${ $l := until 50000 }${ printf "%.9999f" (list 1.5 $l $l $l) }',
    "${ $l := until 50000 }${ concat $l $l $l }",
    "${ range until 50000 }${ range until 50000 }${ end }${ end }",
    "${ range 4611686018427387904 }${ end }",
    "${ range until 40000 }${ $x := until 50000 }${ end }",
    "${ $x := 1 }" + "${ $y := 2 }" * 30_000 + "${ $x }" * 30_000,
    '${ fromJson (printf "[%s0]" (repeat 500000 "0,")) }' * 30,
    "${ nosuchfunction" + "x" * 500_000 + " 1 }",
    '${ semverCompare (repeat 1000000 "1") "1.0.0" }',
]
DONE = [
    '${ printf "' + "%9999d" * 3000 + '" }',
    '${ regexMatch "((a+))+$" "' + "a" * 60 + '!" }',
    '${ regexMatch "((a|aa))+$" "' + "a" * 60 + '!" }',
    '${ regexMatch "^(a?){40}a{40}$" "' + "a" * 39 + '" }',
    '${ regexMatch "^(?:a+){20}$" "' + "a" * 60 + '!" }',
    '${ regexMatch "a*a*a*a*a*a*a*a*a*b" (repeat 200 "a") }',
    '${ regexMatch ".*.*.*=x" (repeat 20000 "a") }',
    "${ len (uniq (until 50000)) }",
    '${ len (snakecase (repeat 300000 "A")) }',
    '${ len (wrap 1 (repeat 20000 "a ")) }',
    '${ len (wrap 1 (repeat 500000 " ")) }',
    '${ len (trimAll (repeat 400000 "ab") (repeat 400000 "a")) }',
    '${ len (kebabcase (repeat 300000 "aB")) }',
]


def cpu_of(template: str) -> float:
    began = time.process_time()
    try:
        render(template, CONTEXT)
    finally:
        seconds = time.process_time() - began
    return seconds


@pytest.mark.parametrize("template", REFUSED, ids=range(len(REFUSED)))
def test_work_beyond_the_budget_is_refused(template: str) -> None:
    began = time.process_time()
    with pytest.raises(TemplateError) as caught:
        render(template, CONTEXT)
    assert time.process_time() - began < 30  # hours without the budget, about a second with it
    assert "\n" not in caught.value.summary
    assert len(caught.value.summary) < 400


@pytest.mark.parametrize("template", DONE, ids=range(len(DONE)))
def test_work_that_only_looked_large_is_done(template: str) -> None:
    assert cpu_of(template) < 30


def test_many_templates_share_one_budget() -> None:
    """A thousand templates that are allowed one by one are not allowed together."""
    expensive = '"${ len (snakecase (repeat 500000 "A")) }"'
    facts = ClusterFacts(cluster=ClusterName("c"), workspace=Workspace("w"))
    values_of(HelmOptions(template_values={"a": expensive}), facts)
    with pytest.raises(UsageError, match="read and produce more than"):
        values_of(HelmOptions(template_values={f"k{n}": expensive for n in range(1_000)}), facts)


def test_memory_stays_bounded() -> None:
    """Templates that multiply text, in one process that may have 300 MiB of data."""
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (300 << 20, 300 << 20))\n"
        "from fleetctl.core.gotemplate import TemplateError, render\n"
        "for text in sys.stdin.read().split('\\0'):\n"
        "    try: render(text, {'ClusterName': 'dev'})\n"
        "    except TemplateError as error:\n"
        "        assert 'too large' not in str(error), (text[:200], error)\n"
    )
    chosen = [
        text
        for text in REFUSED
        if "repeat 5000" in text or "splitList" in text or "9999" in text or "fromJson" in text
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, "."],
        input="\0".join(chosen),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
