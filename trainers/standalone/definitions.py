"""Definitions of this code base as text that stands alone: without shapes, and without what is not called."""

from __future__ import annotations

import ast
import json
import re
import symtable
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import accumulate, pairwise
from pathlib import Path

WIDTH = 110
ABSTRACT = "trainers.trained"
"""The module of the classes that say what a method is; the file does without them."""

IGNORED = re.compile(r"  # type: ignore\[[\w, -]+\]")

Edit = tuple[int, int, str]
"""From a character to another of a text, what stands there instead."""


@dataclass(frozen=True)
class Source:
    """The definitions of one module."""

    name: str
    text: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name -> module, and the name there; of a whole module an empty one."""
    followers: dict[int, ast.stmt] = field(default_factory=dict)
    """Line of a statement -> the statement behind it."""

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def begins(self) -> list[int]:
        """The place of each line's first character."""
        return [0, *accumulate(len(line) + 1 for line in self.lines)]


def parsed(name: str, text: str) -> Source:
    """A module from its text; shapes in annotations become plain tensors."""
    source = Source(name, _simplified(IGNORED.sub("", text)))
    body = ast.parse(source.text).body
    source.followers.update((node.lineno, after) for node, after in pairwise(body))
    for node in body:
        if isinstance(node, ast.Import):
            source.imports.update({each.asname or each.name: (each.name, "") for each in node.names})
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            source.imports.update({each.asname or each.name: (module, each.name) for each in node.names})
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            source.definitions[node.name] = node
        else:
            source.definitions.update(dict.fromkeys(_targets(node), node))
    return source


@cache
def of_module(name: str) -> Source:
    """The definitions of an installed module."""
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None
    return parsed(name, Path(spec.origin).read_text(encoding="utf-8"))


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


# ------------------------------------------------------------------------------ for prediction only


def _simplified(text: str) -> str:
    """What a file that only predicts writes otherwise."""
    tree, source = ast.parse(text), Source("", text)
    shaped = {
        each.asname or each.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping"
        for each in node.names
    }
    edits: list[Edit] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in shaped:
            assert isinstance(node.slice, ast.Tuple)
            edits.append((*span(source, node), ast.unparse(node.slice.elts[0])))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "rows.dropout":  # nothing is dropped
            begin, end = span(source, node.args[0])
            edits.append((*span(source, node), text[begin:end]))
        elif isinstance(node, ast.Expr) and ast.unparse(node).startswith(
            "rows.gates.append("
        ):  # for training
            begin, end = span(source, node)
            edits.append((text.rfind("\n", 0, begin), end, ""))
    for begin, end, instead in sorted(edits, reverse=True):
        text = text[:begin] + instead + text[end:]
    return text


def span(source: Source, node: ast.expr | ast.stmt) -> tuple[int, int]:
    """Where a node begins and ends in its text."""

    def place(line: int, column: int) -> int:
        # Columns are counted in bytes.
        return source.begins[line - 1] + len(source.lines[line - 1].encode()[:column].decode())

    assert node.end_lineno is not None and node.end_col_offset is not None
    return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)


# ------------------------------------------------------------------------------------ writing


@dataclass(frozen=True)
class Definition:
    """A function, class or constant of a module."""

    source: Source
    name: str

    @property
    def node(self) -> ast.stmt:
        return self.source.definitions[self.name]

    @property
    def is_abstract(self) -> bool:
        return self.source.name == ABSTRACT and isinstance(self.node, ast.ClassDef)

    def text(self, used: Collection[str], words: Collection[str], public: bool) -> str:
        """The definition with those members of a class, and entries of a table, that are used.

        `used` are names of attributes, `words` the strings that may be looked up in tables. `public`:
        public methods stay whether used or not.
        """
        if isinstance(self.node, ast.FunctionDef):
            return "\n".join(self._function(self.node))
        if isinstance(self.node, ast.ClassDef):
            return "\n".join(self._class(self.node, used, public))
        return "\n".join(self._constant(self.node, words))

    def _function(self, node: ast.FunctionDef) -> list[str]:
        indent = " " * node.col_offset
        assert node.returns is not None and node.returns.end_lineno is not None
        decorators = [indent + "@" + self._text(each) for each in node.decorator_list]
        result = f" -> {self._annotation(node.returns)}:"
        head = laid_out(f"def {node.name}", self._arguments(node.args), indent, result)
        body = self.source.lines[node.returns.end_lineno : node.end_lineno]
        return [*decorators, head, *body]

    def _arguments(self, arguments: ast.arguments) -> list[str]:
        plain = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
        found = [self._argument(each, default) for each, default in zip(plain, defaults, strict=True)]
        if arguments.vararg:
            found.append("*" + self._argument(arguments.vararg, None))
        elif arguments.kwonlyargs:
            found.append("*")
        named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        found += [self._argument(each, default) for each, default in named]
        return found + (["**" + self._argument(arguments.kwarg, None)] if arguments.kwarg else [])

    def _argument(self, argument: ast.arg, default: ast.expr | None) -> str:
        found = argument.arg
        if argument.annotation is not None:
            found += f": {self._annotation(argument.annotation)}"
        return found if default is None else f"{found} = {self._text(default)}"

    def _annotation(self, node: ast.expr) -> str:
        """As it stands, or Any where a class is meant that the file does without."""
        names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
        found = (resolved(self.source, name) for name in names)
        hidden = any(isinstance(each, Definition) and each.is_abstract for each in found)
        return "Any" if hidden else " ".join(self._text(node).split())

    def _class(self, node: ast.ClassDef, used: Collection[str], public: bool) -> list[str]:
        fields: list[str] = []
        methods: list[list[str]] = []
        for i, member in enumerate(node.body):
            if isinstance(member, ast.FunctionDef):
                name = member.name
                if name in used or name.startswith("__") or (public and not name.startswith("_")):
                    methods.append(self._function(member))
            elif set(_targets(member)) & set(used):
                fields += self._field(member)
                fields += self._docstring(node.body[i + 1]) if i + 1 < len(node.body) else []
        decorators = [f"@{self._text(each)}" for each in node.decorator_list if fields]
        bases = [self._text(base) for base in node.bases if not self._is_abstract(base)]
        head = f"class {node.name}({', '.join(bases)}):" if bases else f"class {node.name}:"
        parts = [part for part in (self._docstring(node.body[0]), fields, *methods) if part]
        body = [line for part in parts for line in ("", *part)][1:]
        return [*decorators, head, *(body or ["    pass"])]

    def _is_abstract(self, base: ast.expr) -> bool:
        found = resolved(self.source, ast.unparse(base))
        return isinstance(found, Definition) and found.is_abstract or ast.unparse(base) == "ABC"

    def _field(self, member: ast.stmt) -> list[str]:
        if isinstance(member, ast.AnnAssign):
            value = "" if member.value is None else f" = {self._text(member.value)}"
            return [f"    {ast.unparse(member.target)}: {self._annotation(member.annotation)}{value}"]
        return self.source.lines[member.lineno - 1 : member.end_lineno]

    def _docstring(self, node: ast.stmt) -> list[str]:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return self.source.lines[node.lineno - 1 : node.end_lineno]
        return []

    def _constant(self, node: ast.stmt, words: Collection[str]) -> list[str]:
        docstring = self._docstring(self.source.followers.get(node.lineno, node))
        value = getattr(node, "value", None)
        kept = self._looked_up(value, words) if isinstance(value, ast.Dict) else []
        if not kept:
            return [*self.source.lines[node.lineno - 1 : node.end_lineno], *docstring]
        assert isinstance(value, ast.Dict)
        front = self.source.text[span(self.source, node)[0] : span(self.source, value)[0]]
        return [laid_out(front, kept, brackets=("{", "}")), *docstring]

    def _looked_up(self, table: ast.Dict, words: Collection[str]) -> list[str]:
        """The entries that are needed, where some are not."""
        entries = list(zip(table.keys, table.values, strict=True))
        kept = [
            (key, value) for key, value in entries if isinstance(key, ast.Constant) and key.value in words
        ]
        if len(kept) in (0, len(entries)):
            return []
        return [f"{self._text(key)}: {self._text(value)}" for key, value in kept]

    def _text(self, node: ast.expr) -> str:
        begin, end = span(self.source, node)
        return self.source.text[begin:end]


def resolved(source: Source, name: str) -> Definition | tuple[str, str] | None:
    """What a name means in a module: a definition of ours, or an import (module, name); None: built in."""
    if name in source.definitions:
        return Definition(source, name)
    if name in source.imports:
        module, original = source.imports[name]
        if module.split(".")[0] == "trainers":
            return resolved(of_module(module), original)
        return module, original
    return ("typing", "Any") if name == "Any" else None


@cache
def names_in(text: str) -> list[str]:
    """The names that a text takes from its surroundings, in order of appearance."""
    found: list[str] = []

    def visit(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            outside = symbol.is_global() if table.get_type() == "function" else not symbol.is_assigned()
            if symbol.is_referenced() and outside and symbol.get_name() not in found:
                found.append(symbol.get_name())
        for child in table.get_children():
            visit(child)

    visit(symtable.symtable(text, "text", "exec"))
    return found


@cache
def attributes_in(text: str) -> set[str]:
    """The names of attributes that a text reads."""
    return {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}


def laid_out(
    front: str,
    parts: Sequence[str],
    indent: str = "",
    tail: str = "",
    *,
    brackets: tuple[str, str] = ("(", ")"),
    width: int = WIDTH,
) -> str:
    """`front(part, part)tail`, broken into lines as ruff does where it is too long."""
    opening, closing = brackets
    joined, inner = ", ".join(parts), indent + "    "
    line = f"{indent}{front}{opening}{joined}{closing}{tail}"
    if len(line) <= width and "\n" not in line:
        return line
    body = inner + joined
    if len(body) > width or "\n" in body:
        body = "\n".join(inner + part.replace("\n", "\n" + "    ") + "," for part in parts)
    return f"{indent}{front}{opening}\n{body}\n{indent}{closing}{tail}"


def quoted(text: str) -> str:
    """A string as ruff writes it."""
    return json.dumps(text, ensure_ascii=False)
