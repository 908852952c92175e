"""Templates come out as the real helm's: the same expressions through `helm template`, in one run
where they succeed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetctl.core.formats.yaml import load
from fleetctl.core.gotemplate import TemplateError, render
from tests.support.depth import depth

VALUES = {
    "s": "Hello, World",
    "u": "grüße_aus-Wien fooBar",
    "e": "",
    "num": 7,
    "big": 1234567,
    "f": 3.25,
    "t": True,
    "no": False,
    "nil": None,
    "list": ["b", "a", "c", "a"],
    "nums": [3, 1, 2.5],
    "mixed": ["x", 1, True, None, ["y"], {"k": "v"}],
    "map": {"b": "2", "a": "1", "in": {"deep": "down", "n": 4}},
    "empty": {},
    "none": [],
    "json": '{"a": [1, 2.5, "x<y"], "b": null}',
    "lines": "one\ntwo\n\nthree",
    "ver": "1.25.3",
    "path": "/usr/lib/../bin/tool.tar.gz",
    "url": "https://user:pw@example.com:8443/a/b?x=1#frag",
}
# One piece of a template a line.
FOLDER = Path(__file__).parent / "templates"
GOOD = (FOLDER / "good.txt").read_text("utf-8").splitlines()
BAD = (FOLDER / "bad.txt").read_text("utf-8").splitlines()


def through_helm(pieces: list[str], folder: Path, path: str) -> list[str] | None:
    """What helm makes of each, or None when it refuses."""
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text(json.dumps(VALUES))
    named = "".join(
        f'{{{{- define "case-{at}" }}}}{piece}{{{{ end }}}}\n'
        for at, piece in enumerate(pieces)
        if "define" not in piece
    )
    shown = "".join(
        f'- {{{{ include "case-{at}" . | toJson }}}}\n'
        for at, piece in enumerate(pieces)
        if "define" not in piece
    )
    (folder / "templates" / "t.yaml").write_text(f"{named}\nkind: X\nresults:\n{shown}")
    command = [shutil.which("helm", path=path) or "helm", "template", "r", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return [str(text) for text in load(done.stdout.removeprefix("---\n"))["results"]]


def ours(piece: str) -> str:
    return render(piece, {"Values": VALUES}, delims=("{{", "}}"))


def test_what_succeeds_is_equal(tmp_path: Path, tool_env: dict[str, str]) -> None:
    """Several hundred expressions, one run of helm."""
    pieces = [piece for piece in GOOD if "define" not in piece]
    want = through_helm(pieces, tmp_path, tool_env["PATH"])
    assert want is not None, "helm refuses one of them"
    wrong = []
    for piece, text in zip(pieces, want, strict=True):
        try:
            got = ours(piece)
        except TemplateError as error:
            got = f"ERROR {error.summary}"
        if got != text:
            wrong.append(f"{piece}\n   helm: {text!r}\n   ours: {got!r}")
    assert wrong == [], "\n".join(wrong)


def test_templates_of_templates() -> None:
    """`define`, `template` and `block`, which cannot stand inside a definition."""
    piece = next(piece for piece in GOOD if "define" in piece)
    assert ours(piece) == "<Hello, World><5> [dot]"


@pytest.mark.parametrize("piece", BAD)
def test_what_fails_in_helm_fails(piece: str, tmp_path: Path, tool_env: dict[str, str]) -> None:
    """With one line that names the place."""
    if piece not in {'{{ env "HOME" }}', '{{ expandenv "$HOME" }}'}:
        assert through_helm([piece], tmp_path, tool_env["PATH"]) is None
    with pytest.raises(TemplateError) as caught:
        ours(piece)
    assert "\n" not in caught.value.summary
    assert caught.value.line == 1


TEXTS = st.sampled_from(
    [
        '"a b"',
        '"Hello-World"',
        '""',
        '"x,y,z"',
        ".Values.s",
        ".Values.u",
        '"12"',
        "(index .Values.list 0)",
    ]
)
NUMBERS = st.sampled_from(
    [
        "0",
        "3",
        "-2",
        "1.5",
        ".Values.num",
        ".Values.f",
        "(len .Values.list)",
        "(add 1 2)",
        '(int "5")',
    ]
)
LISTS = st.sampled_from(
    [".Values.list", ".Values.nums", "(list 1 2 3)", "(until 4)", "(list)", '(splitList "," "p,q")']
)
MAPS = st.sampled_from([".Values.map", '(dict "k" 1)', "(dict)", '(omit .Values.map "in")'])
FILTERS = [
    "upper",
    "lower",
    "title",
    "quote",
    "squote",
    "trim",
    'replace "a" "o"',
    "trunc 4",
    "b64enc",
    "len",
    "nindent 2",
    'default "d"',
    "toJson",
]
ON_LISTS = [
    "first",
    "last",
    "rest",
    "reverse",
    "uniq",
    "len",
    'join "-"',
    "toJson",
    'append "new"',
    "compact",
    "toStrings",
]
TEXT_PIPES = st.builds(
    lambda text, steps: " | ".join([text, *steps]),
    TEXTS,
    st.lists(st.sampled_from(FILTERS), max_size=1),
)
LIST_PIPES = st.builds(lambda value, step: f"{value} | {step}", LISTS, st.sampled_from(ON_LISTS))
SUMS = st.builds(
    lambda f, a, b: f"{f} {a} {b}",
    st.sampled_from(["add", "sub", "mul", "max", "min", "addf", "subf", "mulf"]),
    NUMBERS,
    NUMBERS,
)
TESTS = st.one_of(
    TEXTS,
    NUMBERS,
    LISTS,
    MAPS,
    st.builds(lambda a, b: f"(and {a} {b})", TEXTS, NUMBERS),
    st.builds("(not {})".format, LISTS),
)
PRINTED = st.builds(
    lambda v, x: f'printf "%{v}" {x}',
    st.sampled_from(["v", "s", "d", "5v", "q", "t", "x", ".2f", "T", "-6v|"]),
    TESTS,
)
VALUE = st.one_of(TEXT_PIPES, LIST_PIPES, SUMS, PRINTED).map("{{{{ {} }}}}".format)
PIECES = st.recursive(
    VALUE,
    lambda inner: st.one_of(
        st.builds("{{{{ if {} }}}}{}{{{{ else }}}}{}{{{{ end }}}}".format, TESTS, inner, inner),
        st.builds(
            "{{{{- range $i, $e := {} }}}}{{{{ $i }}}}={{{{ $e }}}} {}{{{{ end -}}}} ".format,
            st.one_of(LISTS, MAPS),
            inner,
        ),
        st.builds("{{{{ with {} }}}}{{{{ . }}}}{{{{ end }}}} {}".format, TESTS, st.just("")),
        st.builds("{}-{}".format, inner, inner),
    ),
    max_leaves=4,
)


@settings(
    max_examples=depth(10, 100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(pieces=st.lists(PIECES, min_size=40, max_size=40))
def test_made_up_templates_are_equal(
    pieces: list[str], tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """Pipelines, branches and loops put together at random, forty at a time; what one refuses the
    other refuses.
    """
    kept, mine = [], []
    for piece in pieces:
        try:
            mine.append(ours(piece))
            kept.append(piece)
        except TemplateError:
            assert through_helm([piece], tmp_path, tool_env["PATH"]) is None, piece
    want = through_helm(kept, tmp_path, tool_env["PATH"])
    if want is None:
        refused = [
            piece for piece in kept if through_helm([piece], tmp_path, tool_env["PATH"]) is None
        ]
        raise AssertionError(f"helm refuses {refused}")
    assert [(p, g, w) for p, g, w in zip(kept, mine, want, strict=True) if g != w] == []
