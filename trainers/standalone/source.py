"""The predict.py of a standalone export: the template and the methods' own code, less what is not called."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from trainers.standalone.definitions import (
    WIDTH,
    Definition,
    Source,
    attributes_in,
    laid_out,
    names_in,
    of_module,
    parsed,
    quoted,
    resolved,
)
from trainers.trained import Trained

TEMPLATE = "trainers.standalone.template"
MARK = re.compile(r" *# <(?P<end>/?)(?P<without>!?)(?P<feature>[\w +-]+)>$")
ROOTS = ("Predictor", "load")
PASSED = frozenset({"mask"})
"""Fields of `Rows` that the template fills."""


def with_features(text: str, features: Collection[str]) -> str:
    """A template's lines for an export with these features."""
    lines: list[str] = []
    hidden: list[str] = []
    for line in text.split("\n"):
        mark = MARK.fullmatch(line)
        if mark is None:
            lines += [] if hidden else [line]
        elif mark["end"]:
            hidden = [each for each in hidden if each != mark["without"] + mark["feature"]]
        elif (mark["feature"] in features) == bool(mark["without"]):
            hidden.append(mark["without"] + mark["feature"])
    return "\n".join(lines)


def source_of(
    docstring: str, features: Collection[str], deltas: Mapping[str, Trained]
) -> tuple[str, dict[str, str]]:
    """The whole file, and which of the names of `deltas` it has for each of them.

    Deltas that differ only in numbers that the file does without have one name there.
    """
    template = parsed(TEMPLATE, with_features(of_module(TEMPLATE).text, features))
    parts = [part for delta in deltas.values() for part in _parts(delta)]
    classes = {type(part).__name__: type(part) for part in parts if dataclasses.is_dataclass(part)}
    words = {part for part in parts if isinstance(part, str)}
    needed = _Needed(template, deltas, classes, words)
    needed.collect()
    blocks = [f'"""{docstring}"""', "from __future__ import annotations", needed.import_lines()]
    return "\n\n".join([*blocks, needed.in_order()]) + "\n", needed.names()


def _parts(value: Any) -> Iterator[Any]:
    """A delta and all that it is made of."""
    yield value
    if dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from _parts(getattr(value, each.name))


@dataclass
class _Needed:
    """The definitions that the file needs, found by following names until there are no new ones."""

    template: Source
    deltas: Mapping[str, Trained]
    classes: Mapping[str, type]
    """Of the deltas and of what they are made of, by name."""
    words: Collection[str]
    """The strings among their numbers."""
    used: set[str] = field(default_factory=lambda: set(PASSED))
    imports: set[tuple[str, str]] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    """Name -> text, what is needed first before what needs it."""
    origins: dict[str, str] = field(default_factory=dict)
    """Name -> the module that it is defined in."""

    def collect(self) -> None:
        """Follow the names; a method that is called may need others, so again until nothing changes."""
        before = -1
        while before != len(self.used):
            before = len(self.used)
            self.imports.clear()
            self.texts.clear()
            for name in ("DELTAS", *ROOTS) if self.deltas else ROOTS:
                self._visit(Definition(self.template, name), set())

    def _visit(self, definition: Definition, above: set[str]) -> None:
        name, source = definition.name, definition.source
        if self.origins.setdefault(name, source.name) != source.name:
            raise ValueError(f"{name} is defined in {self.origins[name]} and in {source.name}; rename one")
        if name in self.texts or name in above:
            return
        text = self._text(definition)
        self.used |= attributes_in(text)
        for each in names_in(text):
            found = self._meaning(source, each)
            if isinstance(found, Definition):
                self._visit(found, above | {name})
            elif found is not None:
                self.imports.add(found)
        self.texts[name] = text

    def _meaning(self, source: Source, name: str) -> Definition | tuple[str, str] | None:
        if source is self.template and name in self.classes:
            return Definition(of_module(self.classes[name].__module__), name)
        return resolved(source, name)

    def _text(self, definition: Definition) -> str:
        if definition.name == "DELTAS" and definition.source is self.template:
            kept = sorted(set(self.names().values()), key=list(self.deltas).index)
            entries = [self._built(self.deltas[name], f"{quoted(name)}: ") for name in kept]
            front = "DELTAS: dict[str, Any] = "
            docstring = definition.text(self.used, (), public=True).split("\n")[1:]
            return "\n".join([laid_out(front, entries, brackets=("{", "}")), *docstring])
        return definition.text(self.used, self.words, public=definition.source is self.template)

    def names(self) -> dict[str, str]:
        """Name of each delta -> the first name of those that are written alike."""
        first: dict[str, str] = {}
        return {name: first.setdefault(self._built(delta), name) for name, delta in self.deltas.items()}

    def _built(self, value: Any, front: str = "") -> str:
        """An expression for a delta, with those of its fields that are used."""
        if dataclasses.is_dataclass(value):
            kept = [each.name for each in dataclasses.fields(value) if each.name in self.used]
            parts = [f"{name}={self._built(getattr(value, name))}" for name in kept]
            return laid_out(front + type(value).__name__, parts, width=WIDTH - 5)  # indented, with a comma
        return front + (quoted(value) if isinstance(value, str) else repr(value))

    def import_lines(self) -> str:
        """The imports, sorted: the standard library's first."""
        from_where: dict[str, list[str]] = {}
        for module, name in sorted(self.imports, key=lambda each: (each[0], each[1].lower())):
            from_where.setdefault(module, []).append(name)
        own = [module for module in from_where if module.split(".")[0] in sys.stdlib_module_names]
        others = [module for module in from_where if module not in own]
        return "\n\n".join("\n".join(_imports(part, from_where)) for part in (own, others) if part)

    def in_order(self) -> str:
        """The texts, two empty lines around functions and classes and one between constants."""
        texts = list(self.texts.values())
        found = "\n" + texts[0] if _is_block(texts[0]) else texts[0]
        for before, text in pairwise(texts):
            found += ("\n\n\n" if _is_block(before) or _is_block(text) else "\n\n") + text
        return found


def _is_block(text: str) -> bool:
    return text.startswith(("def ", "class ", "@"))


def _imports(modules: Iterable[str], names: Mapping[str, list[str]]) -> Iterator[str]:
    """`import module` lines, then `from module import names` lines."""
    modules = list(modules)
    yield from (f"import {module}" for module in modules if "" in names[module])
    for module in modules:
        wanted = sorted(
            (each for each in names[module] if each),
            key=lambda each: (not each.isupper(), each[0].islower(), each),
        )
        if wanted:
            line = f"from {module} import {', '.join(wanted)}"
            yield line if len(line) <= 110 else laid_out(f"from {module} import ", wanted)
