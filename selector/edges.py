"""Which numbers of a configuration lie at an end of what was searched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from selector.leaderboard import value_text
from trainers.domains import Choice, Domain, Int

MARGIN = 0.05
"""Share of a range at each end that counts as its edge."""


def at_edge(values: Mapping[str, Any], domains: Mapping[str, Domain]) -> tuple[str, ...]:
    """Such as "learning_rate 9.8e-3, searched up to 1e-2"; a choice from a list has no ends."""
    return tuple(text for name, value in values.items() for text in _ends(name, value, domains[name]))


def _ends(name: str, value: Any, domain: Domain) -> Iterator[str]:
    if isinstance(domain, Choice) or domain.low == domain.high:
        return
    low, high, place = (math.log(one) if domain.log else one for one in (domain.low, domain.high, value))
    share = (place - low) / (high - low)
    if share <= MARGIN and domain.low > isinstance(domain, Int):  # below 1, or below 0, there is nothing
        yield f"{name} {value_text(value)}, searched down to {value_text(domain.low)}"
    if share >= 1 - MARGIN:
        yield f"{name} {value_text(value)}, searched up to {value_text(domain.high)}"
