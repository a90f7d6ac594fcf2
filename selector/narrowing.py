"""What a user leaves of the search space: read from options and TOML files, and said in words.

A narrowing is plain JSON: method (or `all`) -> field -> what is left of it, which is one value, a
list of values, or `{"low": ..., "high": ...}`. Whether a method allows it, `selector/narrowed.py` says.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selector.study import RequestError

Narrowing = Mapping[str, Mapping[str, Any]]
ALL = "all"
"""In place of a method: every chosen method that has the field."""
KEY = re.compile(r"(?:(?P<method>[\w:-]+)\.)?(?P<field>\w+)")


@dataclass(frozen=True)
class SpaceFile:
    """What a TOML file says of a space."""

    methods: tuple[str, ...] | None = None
    """None where it does not say which methods are searched."""
    narrowing: Narrowing = field(default_factory=dict)


def read_space(path: Path) -> SpaceFile:
    """Read a TOML file: `methods = [...]`, then a table for each method, and `[all]`.

    Raises:
        RequestError: if it cannot be read, or holds anything else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"--space {path} cannot be read as TOML: {error}") from None
    methods = content.pop("methods", None)
    if methods is not None and not (isinstance(methods, list) and all(isinstance(m, str) for m in methods)):
        raise RequestError(f'--space {path}: methods must be a list of names, such as ["lora", "adapter"]')
    for name, table in content.items():
        if not isinstance(table, dict):
            raise RequestError(
                f"--space {path}: {name} stands outside the tables; put fields under the name of a method, "
                f"such as [lora], or under [{ALL}]"
            )
    return SpaceFile(None if methods is None else tuple(methods), content)


def read_options(fixed: Iterable[str], ranges: Iterable[str]) -> Narrowing:
    """The narrowing that `--fix lora.rank=8` and `--range lora.alpha=8:32` ask for.

    Raises:
        RequestError: for an option of another form, or a field that is given twice.
    """
    found: dict[str, dict[str, Any]] = {}
    options = [("--fix", text) for text in fixed] + [("--range", text) for text in ranges]
    for option, text in options:
        key, _, value = text.partition("=")
        match = KEY.fullmatch(key.strip())
        if match is None or not value.strip():
            example = "lora.rank=8" if option == "--fix" else "lora.rank=4:16 or lora.rank=4,8,16"
            raise RequestError(f"{option} {text} is not understood; write it like {option} {example}")
        fields = found.setdefault(match["method"] or ALL, {})
        if match["field"] in fields:
            raise RequestError(f"{key.strip()} is narrowed twice; give one --fix or --range for it")
        fields[match["field"]] = literal(value) if option == "--fix" else _left(text, value)
    return found


def _left(text: str, value: str) -> Any:
    if "," in value:
        return [literal(part) for part in value.split(",")]
    low, colon, high = value.partition(":")
    if not colon:
        raise RequestError(
            f"--range {text} leaves one value; write LOW:HIGH or several values with commas, or --fix {text}"
        )
    return {"low": literal(low), "high": literal(high)}


def literal(text: str) -> bool | int | float | str:
    """A value as TOML would read it; what is no number or truth value is text, without quotes."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def combined(weaker: Narrowing, stronger: Narrowing) -> Narrowing:
    """Both together; where they speak of the same field, the stronger one counts."""
    everywhere = stronger.get(ALL, {})
    found = {
        method: {name: left for name, left in fields.items() if name not in everywhere}
        for method, fields in weaker.items()
    }
    for method, fields in stronger.items():
        found[method] = {**found.get(method, {}), **fields}
    return {method: fields for method, fields in found.items() if fields}


def words(narrowing: Narrowing) -> str:
    """A narrowing in one line, such as `lora.rank 8, learning_rate 0.001 to 0.005`."""
    return ", ".join(
        f"{name if method == ALL else f'{method}.{name}'} {left_in_words(left)}"
        for method, fields in narrowing.items()
        for name, left in fields.items()
    )


def left_in_words(left: Any) -> str:
    """What is left of one field."""
    if isinstance(left, Mapping):
        return f"{left_in_words(left.get('low'))} to {left_in_words(left.get('high'))}"
    if isinstance(left, list | tuple):
        return " or ".join(map(left_in_words, left)) or "[]"
    if isinstance(left, str) and (" " in left or not left):
        return repr(left)
    if isinstance(left, bool):
        return str(left).lower()
    return f"{left:g}" if isinstance(left, float) else str(left)


def searched_in_words(spec: Mapping[str, Any]) -> str:
    """What a stored request says of its search space and sampler, other than the usual; often nothing."""
    sampler = spec.get("sampler", "tpe")
    parts = [words(spec.get("narrowing", {})), "" if sampler == "tpe" else f"sampler {sampler}"]
    return ", ".join(part for part in parts if part)
