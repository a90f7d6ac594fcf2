"""When a configuration from elsewhere fits into a space, and when two are no different."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from selector.space import Space
from trainers.domains import Choice, Domain, Float, Int
from trainers.method import MethodConfig

ALIKE = 0.1
"""Numbers of which one lies this share of the domain from the other, on its own scale, are alike."""


def config_inside(method: str, values: Mapping[str, Any], space: Space) -> MethodConfig | None:
    """The configuration, if the space has its method and its sampler could have proposed the values.

    None also for fields that are no longer known, and for values that a domain allows but that are not
    searched, such as the layers 0 2 5 of a larger backbone.
    """
    by_name = {one.name: one for one in space.methods}
    if method not in by_name:
        return None
    try:
        config = by_name[method].from_values(values)
    except ValueError:  # an older Peltier's field or value
        return None
    known = space.domains[method]
    return config if all(_searched(known[name], value) for name, value in config.values().items()) else None


def _searched(domain: Domain, value: Any) -> bool:
    return domain.contains(value) and (not isinstance(domain, Choice) or value in domain.options)


def alike(one: MethodConfig, other: MethodConfig, space: Space) -> bool:
    """Whether two configurations in a space are of one method, with equal choices and similar numbers."""
    if one.name != other.name:
        return False
    values, others = one.values(), other.values()
    known = space.domains[one.name]
    return values.keys() == others.keys() and all(
        _near(known[name], value, others[name]) for name, value in values.items()
    )


def _near(domain: Domain, value: Any, other: Any) -> bool:
    if value == other or isinstance(domain, Choice):
        return bool(value == other)
    return abs(_place(domain, value) - _place(domain, other)) <= ALIKE


def _place(domain: Int | Float, value: float) -> float:
    """Where a number lies in its domain, from 0 to 1; on a logarithmic scale where it is searched on one."""
    low, high = (math.log(end) if domain.log else end for end in (domain.low, domain.high))
    return ((math.log(value) if domain.log else value) - low) / (high - low)
