"""NSGA-II on the tree of methods and fields: the best trials are crossed, their children changed a little.

Optuna's own NSGA-II crosses only what all trials have in common, which in this space is the method
alone, and numbers its generations in a study that it keeps. Here parents are the best of all
finished trials, so the same trials give the same children.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.random import Generator, default_rng

from selector.knowledge import Knowledge
from selector.objectives import directions
from selector.pareto import in_order
from selector.space import Space, start_of
from selector.uniform import draw, draw_value
from trainers.method import MethodConfig, conditions_of

FEWEST, PARENTS = 5, 10
"""Trials that have children: from five on, at most ten."""
FRESH = 0.2
"""Share of the proposals that are drawn at random, so that no method dies out."""


def genetic(knowledge: Knowledge) -> Iterator[MethodConfig]:
    """Children of the best whole trainings by the objectives; random draws until there are enough.

    A trial that was cut has no children. Of two parents drawn at random the better one is taken: the one
    in the better front, or in its emptier part (Deb et al., 2002).
    """
    generator = default_rng(knowledge.seed)
    whole = knowledge.whole()
    signs = [1.0 if way == "minimize" else -1.0 for way in directions(knowledge.objectives)]
    losses = [[sign * value for sign, value in zip(signs, values, strict=True)] for _, values in whole]
    parents = [whole[i][0].config for i in in_order(losses)[:PARENTS]]
    while True:
        if len(parents) < FEWEST or generator.random() < FRESH:
            yield draw(knowledge.space, generator)
        else:
            yield _child(parents, knowledge.space, generator)


# ------------------------------------------------------------------------------------- children


def _child(parents: Sequence[MethodConfig], space: Space, generator: Generator) -> MethodConfig:
    """Each field from one of two parents of the same method; one field in their number is drawn anew."""
    mother = _parent(parents, generator)
    father = _parent([one for one in parents if one.name == mother.name], generator)
    given = mother.values(), father.values()
    method = type(mother)
    values, conditions = start_of(method, space), conditions_of(method)
    for name, domain in space.domains[method.name].items():
        if name not in conditions or conditions[name].holds(values):
            held: list[Any] = [one[name] for one in given if name in one]
            fresh = not held or generator.random() < 1 / len(given[0])
            values[name] = draw_value(domain, generator) if fresh else held[generator.integers(len(held))]
    return method.from_values(values)


def _parent(parents: Sequence[MethodConfig], generator: Generator) -> MethodConfig:
    """The better of two; the parents stand in order."""
    return parents[int(generator.integers(len(parents), size=2).min())]
