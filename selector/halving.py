"""A bracket's plan: when candidates that started together are compared, and who goes on.

The numbers come from replaying halving over 20 configurations of five methods
on two datasets. After 10 % of the steps the ranking on SST-2 was noise (rank
correlation with the final score -.05 and .03), after 25 % it was .52 and .53,
so the first cut waits for 25 %. Keeping at least a third, then at least three
(25 % -> 7 of 20, 50 % -> 3) had the smallest mean regret of the seven plans
that were replayed, but as the best of seven on four curves: a saving at equal
regret against training everything in full has not been shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RUNG_SHARES = (0.25, 0.5, 1.0)
"""Share of the epochs at which each rung ends."""
ONE_IN = 3
"""At least one candidate in so many survives a cut."""
KEPT_LEAST = 3
"""Least number of candidates that survives a cut, if so many entered."""


@dataclass(frozen=True)
class Standing:
    """How one candidate stands at the end of a rung."""

    number: int
    method: str
    score: float
    """On the validation split, larger is better; NaN when training diverged."""
    cost: float
    """Decides between equal scores, smaller is better; any unit that the candidates share."""


def plan(epochs: int) -> tuple[int, ...]:
    """Epochs after which each rung ends, rounded up and without repeats: 8 -> (2, 4, 8), 1 -> (1,).

    Raises:
        ValueError: if there is no epoch to plan.
    """
    if epochs < 1:
        raise ValueError(f"a bracket needs at least 1 epoch, not {epochs}")
    return tuple(sorted({math.ceil(share * epochs) for share in RUNG_SHARES}))


def keep(rung: int, candidates: Sequence[Standing], rungs: int) -> set[int]:
    """Numbers of the candidates that go on after `rung` (from 0) of `rungs`.

    Every cut keeps at least a third and at least three. The first also keeps the
    best of each method, because learning curves of different methods cross.
    After the last rung nobody is cut. A score that is not finite never goes on.

    Raises:
        ValueError: if the plan has no such rung.
    """
    if not 0 <= rung < rungs:
        raise ValueError(f"there is no rung {rung} in a plan of {rungs}; the first is 0")
    ranked = sorted((one for one in candidates if math.isfinite(one.score)), key=_rank)
    if rung == rungs - 1:
        return {one.number for one in ranked}
    places = max(KEPT_LEAST, math.ceil(len(candidates) / ONE_IN))
    kept = {one.number for one in ranked[:places]}
    return kept | _best_of_each_method(ranked) if rung == 0 else kept


def keep_best(candidates: Sequence[Standing]) -> set[int]:
    """Number of the best candidate alone; a score that is not finite is never the best."""
    finite = (one for one in candidates if math.isfinite(one.score))
    return {one.number for one in sorted(finite, key=_rank)[:1]}


def _rank(standing: Standing) -> tuple[float, float, int]:
    return -standing.score, standing.cost, standing.number


def _best_of_each_method(ranked: Sequence[Standing]) -> set[int]:
    best: dict[str, int] = {}
    for one in ranked:
        best.setdefault(one.method, one.number)
    return set(best.values())
