"""Values have the same value and type in fleetctl and in helm, which gets them as text here."""

from __future__ import annotations

import json
import subprocess

from fleetctl.core.formats.yaml import json_for_yaml, load
from tests.localkube.toolchain import tools

SCALARS = [
    "0644", "0o17", "08", "0x_1F", "0B11", "0b-1", "1_000", "1e3", "1e999", "1234e567", ".5", "5.", ".5_0", "=", "<<", "no", "y", "On",  # noqa: E501
    "~", "", "2001-01-01", "1:30", "1.10", "99999999999999999999", "-9223372036854775809", "18446744073709551615",  # noqa: E501
    "0xFFFFFFFFFFFFFFFFF", "!!binary aGk=", "!!str 5", "!!float 3", "!vault x", "! '5'", '"\\u00e9\\N"',  # noqa: E501
    "{<<: [{a: 1}, {a: 2, b: 3}]}", "{1e6: a, 1.5: b, yes: c}",
]  # fmt: skip
REST = "x: &a {p: 1}\ny: {p: 2, <<: *a}\nz: &a 5\nv: *a\n"


def test_helm_and_fleetctl_read_the_same_values(tmp_path):
    """Numbers, words, tags, merge keys and anchors; as YAML, and as the JSON that fleetctl makes of
    it.
    """
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 0.0.0\n")
    (tmp_path / "templates" / "a.yaml").write_text(
        'values: {{ omit .Values "global" | toJson | quote }}\n'
    )
    text = "".join(f"k{at}: {scalar}\n" for at, scalar in enumerate(SCALARS)) + REST

    def helm(values: bytes) -> object:
        argv = [*tools.find("helm").argv, "template", str(tmp_path), "--values", "-"]
        done = subprocess.run(argv, input=values, capture_output=True, check=True, timeout=60)
        # every number is a float64 in helm
        return json.loads(load(done.stdout)["values"], parse_int=float)

    ours = json_for_yaml(load(text))
    assert helm(text.encode()) == json.loads(ours, parse_int=float)
    assert helm(ours) == helm(text.encode())
