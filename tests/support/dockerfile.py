"""A reader of Dockerfiles, strict where a builder would be: for tests on machines that cannot build
images.

Knows the instructions of the reference (docs.docker.com/reference/dockerfile) that our file uses,
and refuses all others.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

_WORD = re.compile(r"\$\{(\w+)(?::[?-][^}]*)?\}")
_KNOWN = {"ARG", "FROM", "WORKDIR", "ENV", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    """`copied`: sources out of the build context; `args`: name and default."""

    image: str
    name: str = ""
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    args: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> list[Stage]:
    """The stages in order. Raises ValueError with the line for what a builder would refuse."""
    outside: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction, rest in _instructions(text):
        if instruction not in _KNOWN:
            raise ValueError(f"unknown instruction: {instruction} {rest}")
        if instruction == "ARG" and not stages:
            name, _, default = rest.partition("=")
            outside[name] = default
        elif instruction == "FROM":
            stages.append(_from(rest, outside))
        elif not stages:
            raise ValueError(f"before the first FROM: {instruction} {rest}")
        else:
            _take(stages[-1], [s.name for s in stages[:-1] if s.name], instruction, rest)
    if not stages:
        raise ValueError("no FROM")
    return stages


def _instructions(text: str) -> list[tuple[str, str]]:
    """Comments out, continued lines joined."""
    joined = re.sub(
        r"\\\n",
        " ",
        "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")),
    )
    found = []
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            if not word.isupper() or not rest.strip():
                raise ValueError(f"not an instruction: {line}")
            found.append((word, rest.strip()))
    return found


def _from(rest: str, args: dict[str, str]) -> Stage:
    match = re.fullmatch(r"(\S+)(?: AS ([a-z][a-z0-9_.-]*))?", rest)
    if match is None:
        raise ValueError(f"FROM {rest}")
    image = _filled(match[1], args)
    if not image or image.endswith(":"):
        raise ValueError(f"FROM {rest}: no image")
    return Stage(image, match[2] or "")


def _take(stage: Stage, earlier: list[str], instruction: str, rest: str) -> None:
    if instruction == "ARG":
        name, _, default = rest.partition("=")
        stage.args[name] = default
    elif instruction == "COPY":
        words = [_filled(word, stage.args) for word in shlex.split(rest)]
        flags = dict(
            word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--")
        )
        places = [word for word in words if not word.startswith("--")]
        if len(places) < 2 or set(flags) - {"from", "chmod", "chown"}:
            raise ValueError(f"COPY {rest}")
        if "from" in flags and flags["from"] not in earlier:
            raise ValueError(f"COPY {rest}: no such stage")
        if "from" not in flags:
            stage.copied += places[:-1]
    elif instruction == "RUN":
        for name in _WORD.findall(rest):
            if name not in stage.args:
                raise ValueError(f"RUN uses {name}, which is no argument of this stage")
    elif instruction == "USER":
        stage.user = rest
    elif instruction in {"ENTRYPOINT", "CMD"}:
        words = json.loads(rest)
        stage.entrypoint = words if instruction == "ENTRYPOINT" else stage.entrypoint


def _filled(word: str, args: dict[str, str]) -> str:
    """With the defaults of arguments, which must be known here."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in args:
            raise ValueError(f"{word}: {match[1]} is no argument here")
        return args[match[1]]

    return _WORD.sub(value, word)
