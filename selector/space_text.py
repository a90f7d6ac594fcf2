"""A search space for people and files: rows of a table, a JSON object, and TOML that `--space` reads."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from selector.narrowing import left_in_words
from selector.space import Space, countable, start_of
from trainers.conditions import holding
from trainers.domains import Choice, Domain, Value
from trainers.method import MethodConfig, conditions_of


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of one method, as it is searched."""

    method: str
    name: str
    domain: Domain
    default: Value
    """What is tried first."""
    counts: str
    """With which values of another field it counts; empty where it always does."""


def fields_of(space: Space) -> list[Field]:
    """The fields that can count, method by method."""
    return [
        Field(method.name, name, space.domains[method.name][name], start[name], _counts(method, name, space))
        for method in space.methods
        for start in [start_of(method, space)]
        for name in countable(method, space.domains[method.name])
    ]


def _counts(method: type[MethodConfig], name: str, space: Space) -> str:
    condition = conditions_of(method).get(name)
    if condition is None:
        return ""
    found = holding(condition, start_of(method, space), space.domains[method.name])
    if found is None:
        return "" if condition.holds(start_of(method, space)) else "sometimes"
    other, values = found
    return f"with {other} {', '.join(map(left_in_words, values))}"


def table(space: Space) -> Table:
    """A row for each field."""
    shown = Table("method", "field", "searched", "default", "counts only", title_justify="left")
    last = ""
    for field in fields_of(space):
        first = field.method if field.method != last else ""
        shown.add_row(first, field.name, _words(field.domain), left_in_words(field.default), field.counts)
        last = field.method
    return shown


def _words(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return ", ".join(map(left_in_words, domain.options)) + (f", or {domain.hint}" if domain.hint else "")
    return f"{domain.low:g} to {domain.high:g}{', on a log scale' if domain.log else ''}"


def as_json(space: Space) -> dict[str, Any]:
    """Method -> field -> what is searched, as a narrowing says it, with its default and condition."""
    found: dict[str, dict[str, Any]] = {method.name: {} for method in space.methods}
    for field in fields_of(space):
        log = {} if isinstance(field.domain, Choice) else {"log": field.domain.log}
        more = {**log, "default": field.default, "counts": field.counts or "always"}
        found[field.method][field.name] = {"searched": _left(field.domain), **more}
    return {"methods": found}


def as_toml(space: Space) -> str:
    """A file that `--space` reads as this very space."""
    return "\n".join(_lines(space)) + "\n"


def _lines(space: Space) -> Iterator[str]:
    yield f"methods = {_toml([method.name for method in space.methods])}"
    last = ""
    for field in fields_of(space):
        if field.method != last:
            yield f"\n[{_key(field.method)}]"
        last = field.method
        also = f"; or {field.domain.hint}" if isinstance(field.domain, Choice) and field.domain.hint else ""
        counts = f"; counts {field.counts}" if field.counts else ""
        yield f"{field.name} = {_toml(_left(field.domain))}  # default {_toml(field.default)}{also}{counts}"


def _left(domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return domain.options[0] if len(domain.options) == 1 else list(domain.options)
    return {"low": domain.low, "high": domain.high}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
