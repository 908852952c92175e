"""Tokens as a tree. The names of the nodes are those of Go's text/template/parse."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.gotemplate.lex import TemplateToken, place, tokens
from fleetctl.core.model.errors import TemplateError


@dataclass(slots=True)
class TemplateNode:
    at: int


@dataclass(slots=True)
class Text(TemplateNode):
    text: str


@dataclass(slots=True)
class Constant(TemplateNode):
    """`is_number`: an untyped constant, which fits any number."""

    value: Any
    is_number: bool = False


@dataclass(slots=True)
class Dot(TemplateNode):
    pass


@dataclass(slots=True)
class Variable(TemplateNode):
    name: str


@dataclass(slots=True)
class Chain(TemplateNode):
    """`.a.b` of `base`."""

    base: Any
    fields: list[str]


@dataclass(slots=True)
class Call(TemplateNode):
    name: str


@dataclass(slots=True)
class CommandNode(TemplateNode):
    args: list[Any]


@dataclass(slots=True)
class Pipe(TemplateNode):
    """`declares`: names on the left of := or =."""

    commands: list[CommandNode]
    declares: list[str] = field(default_factory=list)
    assigns: bool = False


@dataclass(slots=True)
class Branch(TemplateNode):
    """`if`, `with` or `range`; `otherwise` may hold one more branch."""

    kind: str
    pipe: Pipe
    body: list[Any]
    otherwise: list[Any]


@dataclass(slots=True)
class Invoke(TemplateNode):
    """`template NAME PIPE`."""

    name: str
    pipe: Pipe | None


@dataclass(slots=True)
class Jump(TemplateNode):
    """`break` or `continue`."""

    kind: str


@dataclass(slots=True)
class TemplateTree:
    root: list[Any]
    templates: dict[str, list[Any]]


_DEPTH = 100
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))",
    re.DOTALL,
)
_SIMPLE = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))


def parse(text: str, delims: tuple[str, str]) -> TemplateTree:
    """Raises TemplateError."""
    return _Parser(text, list(tokens(text, delims))).tree()


class _Parser:
    def __init__(self, text: str, tokens: list[TemplateToken]) -> None:
        self._text, self._tokens, self._at = text, tokens, 0
        self._templates: dict[str, list[Any]] = {}
        self._loops = 0
        self._depth = 0
        self._open = 0

    def tree(self) -> TemplateTree:
        body, end = self._body(())
        assert end == ""
        return TemplateTree(body, self._templates)

    # Lists of nodes

    def _body(self, ends: tuple[str, ...]) -> tuple[list[Any], str]:
        """Nodes up to one of the words `ends`, which is taken; at the end of the text "" when
        nothing is open.
        """
        start = self._open
        nodes: list[Any] = []
        self._depth += 1
        if self._depth > _DEPTH:
            raise self._wrong("nested too deep")
        while self._at < len(self._tokens):
            token = self._next()
            if token.kind == "text":
                nodes.append(Text(token.at, token.text))
                continue
            self._open = token.at
            self._skip()
            word = self._peek().text if self._peek().kind == "word" else ""
            if word in {"end", "else"}:
                if word not in ends:
                    raise self._wrong(f"unexpected {{{word}}}")
                self._next()
                if word == "end":
                    self._close()
                self._depth -= 1
                return nodes, word
            nodes += self._statement(word)
        if ends:
            self._open = start
            raise self._wrong("unexpected end of the template: an `end` is missing")
        self._depth -= 1
        return nodes, ""

    def _statement(self, word: str) -> list[Any]:
        at = self._open
        if word in {"if", "with", "range"}:
            self._next()
            return [self._branch(word, at)]
        if word in {"define", "block"}:
            self._next()
            return self._parse_named(word, at)
        if word == "template":
            self._next()
            name = self._name()
            self._skip()
            pipe = None if self._peek().kind == "close" else self._pipe()
            self._close()
            return [Invoke(at, name, pipe)]
        if word in {"break", "continue"} and self._loops:
            self._next()
            self._close()
            return [Jump(at, word)]
        pipe = self._pipe()
        pipe.at = at
        self._close()
        return [pipe]

    def _branch(self, kind: str, at: int) -> Branch:
        self._skip()
        pipe = self._pipe(max_variables=2 if kind == "range" else 1)
        self._close()
        self._loops += kind == "range"
        body, end = self._body(("end", "else"))
        self._loops -= kind == "range"
        otherwise: list[Any] = []
        if end == "else":
            self._skip()
            opening, word = self._open, self._peek().text
            if word == kind and kind in {"if", "with"}:
                self._next()
                otherwise = [self._branch(kind, opening)]
            else:
                self._close()
                otherwise, _ = self._body(("end",))
        return Branch(at, kind, pipe, body, otherwise)

    def _parse_named(self, word: str, at: int) -> list[Any]:
        name = self._name()
        self._skip()
        pipe = self._pipe() if word == "block" else None
        self._close()
        loops, self._loops = self._loops, 0
        body, _ = self._body(("end",))
        self._loops = loops
        if word == "define" or name not in self._templates:
            self._templates[name] = body
        return [Invoke(at, name, pipe)] if word == "block" else []

    def _name(self) -> str:
        self._skip()
        token = self._next()
        if token.kind not in {"string", "raw"}:
            raise self._wrong("a template's name must be quoted")
        return _unquote(token)

    # Pipelines

    def _pipe(self, max_variables: int = 1, end: str = "close") -> Pipe:
        at = self._peek().at
        pipe = Pipe(at, [])
        self._declarations(pipe, max_variables)
        while True:
            self._skip()
            pipe.commands.append(self._command(first=not pipe.commands))
            self._skip()
            sign = self._peek().kind
            if sign == end:
                return pipe
            if sign != "|":
                raise self._wrong(f"unexpected {self._peek().text!r}")
            self._next()

    def _declarations(self, pipe: Pipe, max_variables: int) -> None:
        """`$x :=`, `$x =`, and in a range `$i, $x :=`."""
        start = self._at
        names: list[str] = []
        while self._peek().kind == "variable" and len(names) < max_variables:
            names.append(self._next().text)
            self._skip()
            if self._peek().kind in {":=", "="}:
                pipe.declares, pipe.assigns = names, self._next().kind == "="
                return
            if self._peek().kind != ",":
                break
            self._next()
            self._skip()
        self._at = start

    def _command(self, *, first: bool) -> CommandNode:
        command = CommandNode(self._peek().at, [])
        while True:
            self._skip()
            if self._peek().kind in {"close", ")", "|"}:
                break
            command.args.append(self._operand())
            if self._peek().kind not in {"space", "close", ")", "|"}:
                raise self._wrong(f"unexpected {self._peek().text!r}")
        if not command.args:
            raise self._wrong("missing value for a command")
        if not first and isinstance(command.args[0], Constant | Dot):
            raise self._wrong("what follows a | must be a function")
        return command

    def _operand(self) -> Any:
        node = self._term()
        fields: list[str] = []
        at = self._peek().at
        while self._peek().kind == "field":
            fields.append(self._next().text[1:])
        if not fields:
            return node
        if isinstance(node, Constant):
            raise self._wrong("unexpected . after a constant")
        return Chain(at, node, fields)

    def _term(self) -> Any:
        token = self._next()
        kind, at = token.kind, token.at
        if kind == "field":
            return Chain(at, Dot(at), [token.text[1:]])
        if kind == ".":
            return Dot(at)
        if kind == "variable":
            return Variable(at, token.text)
        if kind in {"string", "raw"}:
            return Constant(at, _unquote(token))
        if kind in {"number", "char"}:
            return Constant(at, self._number(token), is_number=True)
        if kind == "word":
            words = {"true": True, "false": False, "nil": None}
            return Constant(at, words[token.text]) if token.text in words else Call(at, token.text)
        if kind == "(":
            self._depth += 1
            if self._depth > _DEPTH:
                raise self._wrong("nested too deep")
            self._skip()
            pipe = self._pipe(end=")")
            self._next()
            self._depth -= 1
            return pipe
        raise self._wrong(f"unexpected {token.text!r}")

    def _number(self, token: TemplateToken) -> int | float:
        if token.kind == "char":
            text = _unescape(token.text[1:-1])
            if len(text) != 1:
                raise self._wrong(f"malformed character constant {token.text}")
            return ord(text)
        text = token.text.replace("_", "").lower()
        try:
            if "x" not in text and any(c in text for c in ".e"):
                return float(text)
            bare = text.lstrip("+-")
            value = (
                int(bare, 8)
                if len(bare) > 1 and bare[0] == "0" and bare.isdigit()
                else int(bare, 0)
            )
        except (ValueError, OverflowError) as error:
            raise self._wrong(f"bad number {token.text!r}") from error
        value = -value if text.startswith("-") else value
        if not -(2**63) <= value < 2**63:
            raise self._wrong(f"{token.text} overflows int")
        return value

    # Tokens

    def _peek(self) -> TemplateToken:
        return (
            self._tokens[self._at]
            if self._at < len(self._tokens)
            else TemplateToken("end", "", len(self._text))
        )

    def _next(self) -> TemplateToken:
        token = self._peek()
        self._at += 1
        return token

    def _skip(self) -> None:
        while self._peek().kind == "space":
            self._at += 1

    def _close(self) -> None:
        self._skip()
        if self._next().kind != "close":
            self._at -= 1
            raise self._wrong(f"unexpected {self._peek().text!r}")

    def _wrong(self, problem: str) -> TemplateError:
        return place(self._text, self._open, problem)


def _unquote(token: TemplateToken) -> str:
    return token.text[1:-1] if token.kind == "raw" else _unescape(token.text[1:-1])


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        simple, x, u, long, octal, _ = match.groups()
        if simple:
            return _SIMPLE[simple]
        code = int(octal, 8) if octal else int(x or u or long or "fffd", 16)
        return chr(code) if code < 0x110000 else "\ufffd"

    return _ESCAPE.sub(replace, text)
