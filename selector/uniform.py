"""Configurations drawn at random: a method, then its fields that count, each uniformly over its domain."""

from __future__ import annotations

import math
from collections.abc import Iterator

from numpy.random import Generator, default_rng

from selector.knowledge import Knowledge
from selector.space import Space, start_of
from trainers.domains import Choice, Domain, Float, Value
from trainers.method import MethodConfig, conditions_of


def uniform(knowledge: Knowledge) -> Iterator[MethodConfig]:
    """Draws that learn nothing: the yardstick for all other samplers."""
    generator = default_rng(knowledge.seed)
    while True:
        yield draw(knowledge.space, generator)


def draw(space: Space, generator: Generator) -> MethodConfig:
    """One configuration; a field's condition sees what was drawn before it."""
    method = space.methods[generator.integers(len(space.methods))]
    values, conditions = start_of(method, space), conditions_of(method)
    for name, domain in space.domains[method.name].items():
        if name not in conditions or conditions[name].holds(values):
            values[name] = draw_value(domain, generator)
    return method.from_values(values)


def draw_value(domain: Domain, generator: Generator) -> Value:
    """One value; of numbers on a log scale every factor is as likely."""
    if isinstance(domain, Choice):
        return domain.options[generator.integers(len(domain.options))]
    if isinstance(domain, Float):
        return _real(domain.low, domain.high, domain.log, generator)
    # Each whole number stands for the half unit on either side, so that the ends are as likely.
    found = _real(domain.low - 0.5, domain.high + 0.5, domain.log, generator)
    return min(max(round(found), domain.low), domain.high)


def _real(low: float, high: float, log: bool, generator: Generator) -> float:
    if not log:
        return float(generator.uniform(low, high))
    found = math.exp(generator.uniform(math.log(low), math.log(high)))
    return min(max(found, low), high)
