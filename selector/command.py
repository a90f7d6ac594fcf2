"""The command line that asks for what a request asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from selector.durations import duration_of
from selector.narrowing import ALL, Narrowing
from selector.provenance import told
from selector.study import DEFAULT_DATABASE, DataFile, StudySpec

SHORT = {"budget_seconds": "budget", "device_seconds": "device-budget", "objectives": "objective"}
"""Fields whose option has another name than they."""
DEFAULTS = {field.name: field.default for field in fields(StudySpec) if field.default is not MISSING}


def search_command(
    spec: StudySpec, *, name: str | None = None, force: bool = False, database: str = DEFAULT_DATABASE
) -> str:
    """What one would type for it in the folder of its files; defaults are left out, and a password, too.

    `bracket_size` has no option. A budget loses the fraction of its seconds.
    """
    words = ["peltier", "search", _file(spec.train), *_options(spec)]
    words += ["--name", name] if name is not None else []
    words += ["--force"] if force else []
    words += ["--database", database] if database != DEFAULT_DATABASE else []
    return told(words)


def _options(spec: StudySpec) -> Iterator[str]:
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name in ("train", "bracket_size") or value == DEFAULTS.get(field.name, MISSING):
            continue
        if field.name == "narrowing":
            yield from _narrowed(value)
        elif field.name == "early_exit":
            yield "--hyperband" if value == "hyperband" else "--no-halving"
        elif isinstance(value, bool):
            yield f"--no-{field.name.replace('_', '-')}"
        else:
            yield f"--{SHORT.get(field.name, field.name.replace('_', '-'))}"
            yield _written(field.name, value)


def _written(name: str, value: Any) -> str:
    if isinstance(value, DataFile):
        return _file(value)
    if name.endswith("_seconds"):
        return duration_of(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _file(given: DataFile) -> str:
    """A name that no command takes for an option."""
    return f"./{given.name}" if given.name.startswith("-") else given.name


def _narrowed(narrowing: Narrowing) -> Iterator[str]:
    for method, left_of in narrowing.items():
        for name, left in left_of.items():
            field = name if method == ALL else f"{method}.{name}"
            several = isinstance(left, Mapping | list | tuple)
            yield from ("--range" if several else "--fix", f"{field}={_left(left)}")


def _left(left: Any) -> str:
    if isinstance(left, Mapping):
        return f"{left['low']}:{left['high']}"
    return ",".join(map(str, left)) if isinstance(left, list | tuple) else str(left)
