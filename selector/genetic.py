"""NSGA-II on the tree of methods and fields: the best trials are crossed, their children changed a little.

Optuna's own NSGA-II crosses only what all trials have in common, which in this space is the method
alone, and numbers its generations in a study that it keeps. Here parents are the best of all
finished trials, so the same trials give the same children.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator, default_rng

from selector.knowledge import Knowledge
from selector.objectives import directions
from selector.space import Space, start_of
from selector.uniform import draw, draw_value
from trainers.method import MethodConfig, conditions_of

FEWEST, PARENTS = 5, 10
"""Trials that have children: from five on, at most ten."""
FRESH = 0.2
"""Share of the proposals that are drawn at random, so that no method dies out."""
Losses = npt.NDArray[np.float64]
"""`[trials, objectives]`, less is better."""


def genetic(knowledge: Knowledge) -> Iterator[MethodConfig]:
    """Children of the best whole trainings by the objectives; random draws until there are enough.

    A trial that was cut has no children. Of two parents drawn at random the better one is taken: the one
    in the better front, or in its emptier part (Deb et al., 2002).
    """
    generator = default_rng(knowledge.seed)
    whole = knowledge.whole()
    signs = np.array([1.0 if way == "minimize" else -1.0 for way in directions(knowledge.objectives)])
    losses = np.array([values for _, values in whole]).reshape(len(whole), len(signs)) * signs
    parents = [whole[i][0].config for i in best_first(losses)[:PARENTS]]
    while True:
        if len(parents) < FEWEST or generator.random() < FRESH:
            yield draw(knowledge.space, generator)
        else:
            yield _child(parents, knowledge.space, generator)


def best_first(losses: Losses) -> list[int]:
    """Trials in order: by their front, and within a front those first that have most room around them."""
    fronts, room = fronts_of(losses), np.zeros(len(losses))
    for front in np.unique(fronts):
        room[fronts == front] = room_of(losses[fronts == front])
    return sorted(range(len(losses)), key=lambda i: (fronts[i], -room[i], i))


def fronts_of(losses: Losses) -> npt.NDArray[np.int_]:
    """For each trial its front: 0 if no other dominates it, 1 if only those of front 0 do, ..."""
    one, other = losses[:, None], losses[None]
    below = np.all(one <= other, axis=2) & np.any(one < other, axis=2)
    fronts, left, front = np.zeros(len(losses), dtype=int), np.ones(len(losses), dtype=bool), 0
    while left.any():
        first = left & ~np.any(below[left], axis=0)
        fronts[first] = front
        left, front = left & ~first, front + 1
    return fronts


def room_of(losses: Losses) -> Losses:
    """How far the neighbours of each trial lie apart (crowding distance); infinite at the ends."""
    room = np.zeros(len(losses))
    for values in losses.T:
        order = np.argsort(values, kind="stable")
        span = values[order[-1]] - values[order[0]] or 1.0
        room[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
        room[order[[0, -1]]] = np.inf
    return room


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
