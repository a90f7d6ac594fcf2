"""The domains of a method's fields: what a value may be, and what is searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Int:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False

    def contains(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Float:
    """Real numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False

    def contains(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high  # never true of NaN

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


Value = bool | int | float | str
PLAIN = frozenset({bool, int, float, str})


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few values; those are searched.

    `also` allows more values, which a user may ask for, and `hint` says which.
    """

    options: tuple[Value, ...]
    also: Callable[[object], bool] | None
    hint: str
    _typed: frozenset[tuple[type, Value]] = field(repr=False, compare=False)

    def __init__(self, *options: Value, also: Callable[[object], bool] | None = None, hint: str = "") -> None:
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "also", also)
        object.__setattr__(self, "hint", hint)
        # A search looks through all its trials at each round. 1, 1.0 and True are different values.
        object.__setattr__(self, "_typed", frozenset((type(option), option) for option in options))

    def contains(self, value: object) -> bool:
        return self.searches(value) or (self.also is not None and self.also(value))

    def searches(self, value: object) -> bool:
        """Whether it is among those that are searched, not only allowed."""
        return type(value) in PLAIN and (type(value), value) in self._typed

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.options)) + (f", or {self.hint}" if self.hint else "")


Domain = Int | Float | Choice


def _names_layers(value: object) -> bool:
    return isinstance(value, str) and _LAYERS.fullmatch(value) is not None


_LAYERS = re.compile(r"(top|bottom) [1-9]\d*|\d+( \d+)*")
LAYERS = Choice(
    "all",
    "top half",
    "top third",
    "bottom half",
    "every second",
    also=_names_layers,
    hint="'top 3', 'bottom 3', or numbers from 0 such as '0 2 5'",
)
"""Layers that carry modules; `every second` counts from the last layer."""

WARMUP = Choice(0.0, 0.06, 0.2, also=Float(0.0, 0.5).contains, hint="another share up to 0.5")
"""Shares of the steps over which the learning rate rises."""
CLASS_WEIGHTS = Choice("none", "balanced")
FOCAL = Choice(0.0, also=Float(0.0, 5.0).contains, hint="a number up to 5")
"""Gamma of the focal loss; 5 is the largest that Lin et al. tried."""


@dataclass(frozen=True)
class When:
    """The field counts only where `holds(values of the fields)`; elsewhere it is not searched."""

    holds: Callable[[Mapping[str, Any]], bool]
