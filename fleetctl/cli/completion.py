"""Shell completion: small scripts that ask `fleetctl __complete WORD…` for candidates, as programs
made with cobra do.

A candidate is one line, `word` or `word TAB description`. Names come from the manager within two
seconds or not at all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from fleetctl.cli import config
from fleetctl.cli.command_table import COMMANDS
from fleetctl.cli.display import output as out
from fleetctl.cli.display.columns import KINDS, plural_of
from fleetctl.cli.display.safe_text import single_line
from fleetctl.cli.loader import command
from fleetctl.cli.wait_conditions import WORDS
from fleetctl.core.model.errors import FleetError

_SECONDS = 2.0
_ROLLOUT = "rollout"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]{1,253}")
_GROUPS = {
    "gitrepo": "gitrepos",
    "cluster": "clusters",
    "clustergroup": "clustergroups",
    "bundle": "bundles",
    "rollout": "bundles",
    "held": "bundles",
    "plan": "gitrepos",
    "schedule": "schedules",
}


# Commands whose argument is a new name, or no name at all.
_NEW = {"add", "register", "create", "list"}
_BASH = r"""_fleetctl() {
  local line IFS=$'\n' cur="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  while IFS=$'\t' read -r line _; do
    [[ "$line" == "$cur"* ]] && COMPREPLY+=("$line")
  done < <(fleetctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == */ ]] && compopt -o nospace
  return 0
}
complete -o bashdefault -o default -F _fleetctl fleetctl
"""
_ZSH = r"""#compdef fleetctl
_fleetctl() {
  local line word
  local -a words_ shown
  while IFS=$'\t' read -r word line; do
    [[ -n "$word" ]] || continue
    words_+=("$word")
    shown+=("$word${line:+  -- $line}")
  done < <(fleetctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#words_} )); then compadd -l -d shown -a words_; else _files; fi
}
if [[ "$funcstack[1]" = _fleetctl ]]; then _fleetctl "$@"; else compdef _fleetctl fleetctl; fi
"""
_FISH = r"""function __fleetctl_complete
    set -l tokens (commandline -opc)
    set -l current (commandline -ct)
    set -l found (fleetctl __complete $tokens[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c fleetctl -f -a '(__fleetctl_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def candidates_for(words: list[str]) -> list[tuple[str, ...]]:
    """Candidates for the last word, which is unfinished and may be empty."""
    *before, word = words or [""]
    if before and word == "=":  # bash cuts --output=json into three words
        word = ""
    if before and before[-1] == "=":
        before.pop()
    stem = ""
    if word.startswith("--") and "=" in word:
        option, _, word = word.partition("=")
        before, stem = [*before, option], f"{option}="
    if not before:
        candidates: Iterator[tuple[str, ...]] = ((name, summary) for name, summary, _ in COMMANDS)
    else:
        candidates = _within(command(before[0]), before, word)
    return [(stem + answer[0], *answer[1:]) for answer in candidates if answer[0].startswith(word)]


def _within(current: Any, before: list[str], word: str) -> Iterator[tuple[str, ...]]:
    path, rest = [before[0]], before[1:]
    if hasattr(current, "commands"):
        if not rest:
            yield from (
                (name, _first(command_.help)) for name, command_ in current.commands.items()
            )
            return
        current, path, rest = current.commands[rest[0]], [*path, rest[0]], rest[1:]
    waiting = _option(current, rest[-1]) if rest and rest[-1].startswith("-") else None
    if waiting is not None and not waiting.is_flag:
        yield from _values(waiting, [text for text in rest[:-1] if not text.startswith("-")])
    elif word.startswith("-"):
        yield from (
            (name, _first(param.help))
            for param in current.params
            if hasattr(param, "is_flag")
            for name in param.opts
        )
        yield ("--help", "Show this message and exit.")
    else:
        yield from _arguments(path, [text for text in rest if not text.startswith("-")], word)


def _option(current: Any, word: str) -> Any:
    return next((p for p in current.params if hasattr(p, "is_flag") and word in p.opts), None)


def _values(param: Any, arguments: list[str]) -> Iterator[tuple[str, ...]]:
    """What may stand for an option's value; `given` are the arguments before it."""
    if "--output" in param.opts:
        kind = param.type_descriptor.annotation
        yield from (
            (form.value,)
            for form in (
                kind if isinstance(kind, type) and issubclass(kind, StrEnum) else out.Format
            )
        )
    elif "--context" in param.opts:
        yield from ((name,) for name in config.read().by_name)
    elif "--repo" in param.opts:
        yield from _names("gitrepos")
    elif "--cluster" in param.opts or "--target" in param.opts:
        yield from _names("clusters")
    elif "--bundle" in param.opts:
        yield from _names("bundles")
    elif "--for" in param.opts:
        yield from ((word,) for word in (*WORDS, "condition=", "commit=", "state="))
    elif param.metavar == "REV" and arguments:
        items = _request_items("bundles", None, arguments[0], "history")
        yield from (
            (str(item["number"]), single_line(f"{item['commit'][:7]} {item['subject']}"))
            for item in items
        )
    elif "--partition" in param.opts and arguments:
        items = _request_items("rollouts", bundle=arguments[0])
        names = (str(part["name"]) for item in items for part in item["status"]["partitions"])
        yield from ((name,) for name in names if _PLAIN.fullmatch(name))
    elif "--role" in param.opts:
        yield from (("admin",), ("read",))


def _arguments(path: list[str], arguments: list[str], word: str) -> Iterator[tuple[str, ...]]:
    """What may stand for an argument: kinds, then names of that kind."""
    head, verb = path[0], path[-1]
    if head in {"get", "delete", "wait"}:
        if "/" in word:
            kind = word.partition("/")[0]
            yield from (
                answer
                for (name,) in _names(_plural(kind))
                if (answer := (f"{kind}/{name}",))[0] not in arguments
            )
        elif arguments and "/" not in arguments[0]:
            yield from (
                answer for answer in _names(_plural(arguments[0])) if answer[0] not in arguments
            )
        else:
            yield from ((kind.kind.lower(),) for kind in KINDS.values())
            yield from ((_ROLLOUT,),) if head == "wait" else ()
    elif head == "rollback":
        yield from () if arguments else _names("bundles")
    elif head == "why":
        yield from _explainable_names(arguments, word)
    elif head in _GROUPS and verb not in _NEW:
        yield from (answer for answer in _names(_GROUPS[head]) if answer[0] not in arguments)
    elif head == "context" and verb not in _NEW and not arguments:
        yield from ((name,) for name in config.read().by_name)
    elif head == "explain" and not arguments:
        from fleetctl.core.documents.json_schema import topics

        yield from ((topic,) for topic in topics())
    elif head == "completion":
        yield from ((shell,) for shell in SCRIPTS)


def _plural(kind: str) -> str:
    """A rollout has its bundle's name."""
    return "bundles" if kind.lower() in {_ROLLOUT, "rollouts"} else plural_of(kind)


def _explainable_names(arguments: list[str], word: str) -> Iterator[tuple[str, ...]]:
    """A cluster or a bundle, then a bundle."""
    if "/" in word:
        kind = word.partition("/")[0]
        yield from ((f"{kind}/{name}",) for (name,) in _names(plural_of(kind)))
    elif not arguments:
        yield from _names("clusters")
        yield from _names("bundles")
    elif len(arguments) == 1:
        yield from _names("bundles")


def _names(plural: str) -> Iterator[tuple[str]]:
    """Names that are safe in a shell."""
    names = [str(item["metadata"]["name"]) for item in _request_items("objects", plural)]
    yield from ((name,) for name in names if _PLAIN.fullmatch(name))


def _request_items(*path: str | None, **params: str) -> list[dict[str, Any]]:
    """The items of an answer, in the workspace of now (None in `path`, or as a parameter); none
    when it does not come at once.
    """
    from fleetctl.client import Client

    with contextlib.suppress(FleetError):
        context = config.select_context()
        with Client(context.url, context.token, context.ca) as client:
            space = config.workspace() or context.workspace
            if None not in path:
                params["workspace"] = space
            words = "/".join(quote(word or space, safe="") for word in path)
            return list(client.call("GET", words, params=params, seconds=_SECONDS)["items"])
    return []


def _first(text: str | None) -> str:
    return (text or "").partition("\n")[0]
