"""Our constraints beside helm's own `semverCompare`: every pair of a few hundred constraints and
thirty versions.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetctl.core.formats.semver import best
from fleetctl.core.model.errors import UsageError
from tests.support.charts import helm, run_helm

VERSIONS = (
    *(
        "0.0.0",
        "0.0.1",
        "0.0.3",
        "0.0.4",
        "0.1.0",
        "0.2.3",
        "0.2.4",
        "0.3.0-alpha",
        "0.3.0",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
    ),
    *(
        "1.1.0",
        "1.2.0-0",
        "1.2.0",
        "1.2.2",
        "1.2.3-alpha.1",
        "1.2.3-alpha.2",
        "1.2.3-beta",
        "1.2.3",
        "1.2.3+build",
    ),
    *(
        "v1.2.4",
        "1.2.4-rc.1",
        "1.3.0-beta.1",
        "1.3.0",
        "1.10.0",
        "2.0.0-rc.1",
        "2.0.0",
        "2.0.1",
        "2.1.0-alpha",
        "3.0.0",
    ),
)
OPERATORS = ("", "=", "!=", ">", ">=", "=>", "<", "<=", "=<", "~", "~>", "^", "> ", "~ ")
BASES = (
    *(
        "1",
        "1.2",
        "1.2.3",
        "1.x",
        "1.2.x",
        "1.2.*",
        "*",
        "x",
        "0",
        "0.2",
        "0.2.3",
        "0.0",
        "0.0.3",
        "1.2.3-alpha.1",
    ),
    *(
        "1.2.3-0",
        "v1.2.3",
        "2",
        "1.X",
        "0.x",
        "0.0.x",
        "1.2.3-beta",
        "2.0.0-0",
        "1.2.3+build",
        "1.x.x",
        "x.x",
        "0.3-0",
    ),
    *("1.2-beta", "1-0", "1.2.x-0", "*-0"),
)
JOINED = (
    *(
        ">=1.0.0 <2.0.0",
        ">=1.0.0, <2.0.0",
        ">= 1.0 , < 2",
        "1.2 - 1.4",
        "1.2.3 - 2",
        "1.2.3-alpha.1 - 2.0.0",
        "^1 || ^3",
        "1.0.0||2.0.0",
    ),
    *(
        "!=1.2.x, ^1.2",
        "> 1 < 3 || >=10",
        ">=1.2.3-0 <2.0.0-0",
        ">1.2.3-alpha.1, <1.2.4",
        "   ^1.2  ",
        "1.2.0 - 1.2.3 || 2.x",
    ),
    *(
        ">=1.0.0-0 <=1.2.3",
        "^0.2.3-0",
        "^0.0.3-0",
        "~0.2-0",
        "<2.0.0-rc.1",
        ">=1.2.3-alpha.1 <1.2.3-beta",
        "^1 !=1.2.3 !=1.3.x",
    ),
)
TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: answers}
data:
  answers: |
    begin
{{- range $c := .Values.constraints }}{{ range $v := $.Values.versions }}
    {{ printf "@%s@%s@%t" $c $v (semverCompare $c $v) }}
{{- end }}{{ end }}
"""


def chart(folder: Path) -> Path:
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: answers\nversion: 1.0.0\n")
    (folder / "templates" / "answers.yaml").write_text(TEMPLATE)
    return folder


def test_every_answer_is_helms(tmp_path: Path) -> None:
    """About 13,000 of them, from one run of helm."""
    constraints = [op + base for op in OPERATORS for base in BASES] + list(JOINED)
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"constraints": constraints, "versions": VERSIONS}))
    lines = helm("template", "r", chart(tmp_path), "-f", values).splitlines()
    answers = [line.strip().split("@")[1:] for line in lines if line.startswith("    @")]
    assert len(answers) == len(constraints) * len(VERSIONS)
    other = [
        (c, v, said) for c, v, said in answers if (best(c, [v]) is not None) != (said == "true")
    ]
    assert other == []


@pytest.mark.parametrize(
    "constraint", ["latest", "1.2.3,", "||", ">", "1.2.3.4", "^1,,^2", "1.2.3-"]
)
def test_what_helm_refuses_is_refused(tmp_path: Path, constraint: str) -> None:
    """Each alone, because one wrong constraint ends helm's run."""
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"constraints": [constraint], "versions": ["1.0.0"]}))
    assert run_helm("template", "r", chart(tmp_path), "-f", values).returncode != 0
    with pytest.raises(UsageError):
        best(constraint, ["1.0.0"])
