"""How sure we are: intervals, paired differences and the tied set, from predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.bootstrap import Classes, Predictions, Sample, drawn_scores, ends
from trainers.metrics import range_of

LEVEL = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A score with its bootstrap interval."""

    mean: float
    """Mean over seeds on the split as it is."""
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Difference:
    """One contender's score less another's, on the same examples."""

    mean: float
    low: float
    high: float
    p_value: float
    """Two-sided, of the hypothesis that both are equally good; never 0."""


@dataclass(frozen=True)
class Tied:
    """The contenders that are not significantly worse than the best of them."""

    best: int
    """Position of the highest mean; of equal means the first."""
    members: frozenset[int]
    differences: tuple[Difference, ...]
    """The best less each contender, at `level` each; the p values are Holm-adjusted."""


def interval(
    metric: str,
    predictions: Predictions,
    labels: Predictions,
    classes: Classes,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The mean over seeds and an interval over examples and seeds; `predictions` is `[seeds, rows]`.

    Where no resampling changes the score (all rows right), the bootstrap is blind to what it
    has not seen; the slack is then Clopper and Pearson's, `1 - ((1 - level) / 2) ** (1 / rows)`.
    """
    sample = Sample.of(metric, predictions, labels, classes, draws, seed)
    low, high = ends(drawn_scores(sample.mean, [sample], seed), level)
    if not sample.changes.any():
        slack = 1 - ((1 - level) / 2) ** (1 / len(labels))
        low, high = low - slack, high + slack
    lowest, highest = range_of(metric)
    return Interval(sample.mean, max(lowest, low), min(highest, high), seeds=len(predictions))


def paired_difference(
    metric: str,
    a: Predictions,
    b: Predictions,
    labels: Predictions,
    classes: Classes,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """`a` less `b` over the same resampled rows; their seeds are independent and may differ in number.

    The p value is `(k + 1) / (draws + 1)`, where k counts twice the draws on the rarer side of zero.
    """
    first, second = (Sample.of(metric, one, labels, classes, draws, seed) for one in (a, b))
    return _difference(first, second, level, seed)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given: at most 5 % of families hold a false rejection."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def tied_set(
    metric: str,
    contenders: Sequence[Predictions],
    labels: Predictions,
    classes: Classes,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Tied:
    """Who cannot be told from the best: Holm-adjusted p value of the paired difference above `1 - level`.

    Each contender is `[seeds, rows]`. Being tied is not being equal: small splits
    tie what larger ones would tell apart.

    Raises:
        ValueError: without contenders.
    """
    samples = [Sample.of(metric, one, labels, classes, draws, seed) for one in contenders]
    return tied_samples(samples, level=level, seed=seed)


def tied_samples(samples: Sequence[Sample], *, level: float = LEVEL, seed: int = 0) -> Tied:
    """The tied set of contenders whose rows were resampled already, all with the same seed."""
    if not samples:
        raise ValueError("a tied set needs at least one contender")
    # Rounded, so that the order of summing cannot break a tie.
    best = max(range(len(samples)), key=lambda position: round(samples[position].mean, 12))
    found = [_difference(samples[best], one, level, seed) for one in samples]
    others = [position for position in range(len(samples)) if position != best]
    found[best] = Difference(0.0, 0.0, 0.0, 1.0)
    for position, p_value in zip(others, holm([found[one].p_value for one in others]), strict=True):
        one = found[position]
        found[position] = Difference(one.mean, one.low, one.high, p_value)
    members = frozenset(position for position, one in enumerate(found) if one.p_value > 1 - level)
    return Tied(best, members, tuple(found))


def _difference(a: Sample, b: Sample, level: float, seed: int) -> Difference:
    mean = a.mean - b.mean
    # Rounded, because a difference of exactly zero must count on both sides.
    resampled = np.round(drawn_scores(mean, [a, b], seed), 12)
    rarer = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    p_value = (min(2 * int(rarer), len(resampled)) + 1) / (len(resampled) + 1)
    low, high = ends(resampled, level)
    return Difference(mean, low, high, p_value)
