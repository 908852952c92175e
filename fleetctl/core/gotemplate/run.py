"""Executes a tree over a context, as Go's text/template does with missingkey=error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from fleetctl.core.gotemplate import functions
from fleetctl.core.gotemplate.calling import Untyped, truth
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.hints import default_of, optional
from fleetctl.core.gotemplate.lex import place
from fleetctl.core.gotemplate.parse import (
    Branch,
    Call,
    Chain,
    CommandNode,
    Constant,
    Dot,
    Invoke,
    Jump,
    Pipe,
    TemplateTree,
    Text,
    Variable,
)
from fleetctl.core.gotemplate.show import text_of, type_of


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


_JUMPS: dict[str, type[Exception]] = {"break": _Break, "continue": _Continue}
_NO_VALUE = object()


def run(tree: TemplateTree, text: str, context: Any, budget: TemplateBudget) -> str:
    """Raises TemplateError."""
    return _Execution(tree, text, context, budget).result()


class _Execution:
    def __init__(self, tree: TemplateTree, text: str, context: Any, budget: TemplateBudget) -> None:
        self._tree, self._text, self._limits, self._budget = tree, text, budget.limits, budget
        self._context = context
        self._out: list[str] = []
        self._size = self._steps = self._depth = 0
        self._position = 0
        self._default = ""  # the constant of a `default` in the same pipe, for the hint
        self._scope: list[tuple[str, Any]] = [("$", context)]

    def result(self) -> str:
        try:
            self._body(self._tree.root, self._context)
        except TemplateMistake as error:
            raise place(self._text, self._position, error.problem, error.next_step) from error
        except (RecursionError, MemoryError) as error:
            raise place(self._text, self._position, "it is nested too deep or too large") from error
        return "".join(self._out)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > self._limits.steps:
            raise TemplateMistake(f"more than {self._limits.steps} steps")

    def _write(self, text: str) -> None:
        self._budget.spend(len(text))
        self._size += len(text)
        if self._size > self._limits.size:
            raise TemplateMistake(f"the result is longer than {self._limits.size} characters")
        self._out.append(text)

    # Statements

    def _body(self, nodes: list[Any], dot: Any) -> None:
        for node in nodes:
            self._step()
            if isinstance(node, Text):
                self._write(node.text)
                continue
            self._position = node.at
            if isinstance(node, Pipe):
                value = self._pipe(node, dot)
                if not node.declares:
                    self._write(text_of(self._budget, value))
            elif isinstance(node, Branch):
                self._branch(node, dot)
            elif isinstance(node, Invoke):
                self._invoke(node, dot)
            elif isinstance(node, Jump):
                raise _JUMPS[node.kind]

    def _branch(self, node: Branch, dot: Any) -> None:
        mark = len(self._scope)
        if node.kind == "range":
            self._range(node, dot)
        else:
            value = self._pipe(node.pipe, dot)
            if truth(value):
                self._body(node.body, value if node.kind == "with" else dot)
            else:
                self._body(node.otherwise, dot)
        del self._scope[mark:]

    def _range(self, node: Branch, dot: Any) -> None:
        value = self._pipe(node.pipe, dot, declare=False)
        empty = True
        for key, item in self._items(value):
            empty = False
            self._step()
            mark = len(self._scope)
            self._bind(node.pipe, key, item)
            try:
                self._body(node.body, item)
            except _Continue:
                continue
            except _Break:
                break
            finally:
                del self._scope[mark:]
        if empty:
            self._body(node.otherwise, dot)

    def _items(self, value: Any) -> Iterator[tuple[Any, Any]]:
        if value is None:
            return iter(())
        if isinstance(value, dict):
            self._budget.visit(len(value))
            return ((key, value[key]) for key in sorted(value))
        if isinstance(value, list):
            return iter(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return ((n, type(value)(n)) for n in range(value))
        raise TemplateMistake(f"range can't iterate over {type_of(value)}")

    def _bind(self, pipe: Pipe, key: Any, item: Any) -> None:
        values = (item,) if len(pipe.declares) == 1 else (key, item)
        for name, value in zip(pipe.declares, values, strict=False):
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._scope.append((name, value))

    def _invoke(self, node: Invoke, dot: Any) -> None:
        value = self._pipe(node.pipe, dot) if node.pipe else None
        if node.name not in self._tree.templates:
            raise TemplateMistake(f'template "{node.name}" is not defined')
        if self._depth >= self._limits.depth:
            raise TemplateMistake(f"templates call each other more than {self._limits.depth} deep")
        outer_scope, self._scope = self._scope, [("$", value)]
        self._depth += 1
        self._body(self._tree.templates[node.name], value)
        self._depth -= 1
        self._scope = outer_scope

    # Values

    def _pipe(self, pipe: Pipe, dot: Any, *, declare: bool = True) -> Any:
        value: Any = _NO_VALUE
        outer_default, self._default = self._default, default_of(pipe)
        for command in pipe.commands:
            value = self._command(command, dot, value)
            if isinstance(value, Untyped):
                value = value.value
        self._default = outer_default
        if declare:
            for name in pipe.declares:
                if pipe.assigns:
                    self._assign(name, value)
                else:
                    self._scope.append((name, value))
        return value

    def _assign(self, name: str, value: Any) -> None:
        self._scope[self._place(name)] = (name, value)

    def _place(self, name: str) -> int:
        """Where the innermost variable of that name is in the scope."""
        for at in reversed(range(len(self._scope))):
            if self._scope[at][0] == name:
                self._budget.spend(4 * (len(self._scope) - at))
                return at
        raise TemplateMistake(f"undefined variable {name:.100}")

    def _command(self, command: CommandNode, dot: Any, last: Any) -> Any:
        self._step()
        first, *rest = command.args
        if isinstance(first, Call):
            return self._call(first.name, rest, dot, last)
        if rest or last is not _NO_VALUE:
            if isinstance(first, Chain):
                raise TemplateMistake(
                    f"{first.fields[-1]} is not a function, and was given arguments"
                )
            raise TemplateMistake("only a function takes arguments")
        return self._value(first, dot)

    def _value(self, node: Any, dot: Any) -> Any:
        self._step()
        if isinstance(node, Constant):
            if node.value is None and not node.is_number:
                raise TemplateMistake("nil is not a command")
            return Untyped(node.value) if node.is_number else node.value
        return self._operand(node, dot)

    def _operand(self, node: Any, dot: Any) -> Any:
        if isinstance(node, Constant):
            return Untyped(node.value) if node.is_number else node.value
        if isinstance(node, Dot):
            return dot
        if isinstance(node, Variable):
            return self._scope[self._place(node.name)][1]
        if isinstance(node, Chain):
            return self._chain(node, dot)
        if isinstance(node, Pipe):
            return self._pipe(node, dot)
        assert isinstance(node, Call)
        return self._call(node.name, [], dot, _NO_VALUE)

    def _chain(self, node: Chain, dot: Any) -> Any:
        base = self._operand(node.base, dot)
        for at, name in enumerate(node.fields):
            if isinstance(base, Mapping) and name not in base:
                near = "" if self._default else functions.nearest(name, base)
                step = (
                    f"Did you mean {near}?"
                    if near
                    else (
                        f"Set it, or write `${{ {optional(node, at, self._default or 'VALUE')} }}`."
                    )
                )
                raise TemplateMistake(f'map has no entry for key "{name:.100}"', step)
            base = _field(base, name)
        return base

    def _call(self, name: str, nodes: list[Any], dot: Any, last: Any) -> Any:
        if name in {"and", "or"}:
            return self._and_or(name, nodes, dot, last)
        function = functions.find(name)
        values = [self._operand(node, dot) for node in nodes]
        if last is not _NO_VALUE:
            values.append(last)
        return function(name, values, self._budget)

    def _and_or(self, name: str, nodes: list[Any], dot: Any, last: Any) -> Any:
        """The only ones that do not look at what they do not need."""
        thunks: list[Callable[[], Any]] = [partial(self._operand, node, dot) for node in nodes]
        thunks += [lambda: last] if last is not _NO_VALUE else []
        if not thunks:
            raise TemplateMistake(f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for thunk in thunks:
            value = thunk()
            value = value.value if isinstance(value, Untyped) else value
            if truth(value) == (name == "or"):
                break
        return value


def _field(base: Any, name: str) -> Any:
    if isinstance(base, Mapping):
        return base[name]
    if base is None:
        raise TemplateMistake(f"nil pointer evaluating interface {{}}.{name}")
    raise TemplateMistake(f"can't evaluate field {name} in type {type_of(base)}")
