"""How sure we are: intervals, paired differences and the tied set, from class predictions.

Two things make a score uncertain: which examples the split happens to hold, and
which seeds happened to be drawn. Examples are resampled by the bootstrap. Seeds
are few (1 to 5), and resampling three seeds understates their variance by a
third and knows nothing of its own uncertainty. So each draw is

    mean + (change by the resampled examples + z * sqrt(between / seeds)) * sqrt(df / chi2(df))

with z normal. `between` is the variance between seeds' scores less the part
that the examples explain already: the variance between the seeds' changes under
the resampling. The last factor makes Student's t of the normal, with
Satterthwaite's degrees of freedom, because a variance from three seeds is itself
a guess. One seed says nothing of other seeds: only example noise is then claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.metrics import score

Predictions = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

LEVEL = 0.95
DRAWS = 2000
CELLS = 4_000_000
"""Resampled predictions held at once; bounds the memory, not the result."""
LOWEST = {"matthews": -1.0}
"""Smallest value of a metric where it is not 0; the largest is 1 for all."""


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
    classes: int,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The mean over seeds and an interval over examples and seeds; `predictions` is `[seeds, rows]`.

    Where no resampling changes the score (all rows right), the bootstrap is blind to what it
    has not seen; the slack is then Clopper and Pearson's, `1 - ((1 - level) / 2) ** (1 / rows)`.
    """
    sample = _Sample.of(metric, predictions, labels, classes, draws, seed)
    low, high = _ends(_spread(sample.mean, [sample], seed), level)
    if not sample.changes.any():
        slack = 1 - ((1 - level) / 2) ** (1 / len(labels))
        low, high = low - slack, high + slack
    lowest = LOWEST.get(metric, 0.0)
    return Interval(sample.mean, max(lowest, low), min(1.0, high), seeds=len(predictions))


def paired_difference(
    metric: str,
    a: Predictions,
    b: Predictions,
    labels: Predictions,
    classes: int,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """`a` less `b` over the same resampled rows; their seeds are independent and may differ in number.

    The p value is `(k + 1) / (draws + 1)`, where k counts twice the draws on the rarer side of zero.
    """
    first, second = (_Sample.of(metric, one, labels, classes, draws, seed) for one in (a, b))
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
    classes: int,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Tied:
    """Who cannot be told from the best: Holm-adjusted paired difference above `1 - level`.

    Each contender is `[seeds, rows]`. Being tied is not being equal: small splits
    tie what larger ones would tell apart.

    Raises:
        ValueError: without contenders.
    """
    if not contenders:
        raise ValueError("a tied set needs at least one contender")
    samples = [_Sample.of(metric, one, labels, classes, draws, seed) for one in contenders]
    best = max(range(len(samples)), key=lambda position: samples[position].mean)
    found = [_difference(samples[best], one, level, seed) for one in samples]
    others = [position for position in range(len(samples)) if position != best]
    found[best] = Difference(0.0, 0.0, 0.0, 1.0)
    for position, p_value in zip(others, holm([found[one].p_value for one in others]), strict=True):
        one = found[position]
        found[position] = Difference(one.mean, one.low, one.high, p_value)
    members = frozenset(position for position, one in enumerate(found) if one.p_value > 1 - level)
    return Tied(best, members, tuple(found))


# ----------------------------------------------------------------------------------- bootstrap


@dataclass(frozen=True)
class _Sample:
    """Scores of one contender's seeds, as they are and under each resampling of the rows."""

    mean: float
    changes: Numbers
    """[draws]: what the resampled rows change of the mean over seeds."""
    between: float
    """Variance between seeds that the rows do not explain."""
    spread: float
    """Variance between seeds as observed, noise of the rows included."""
    seeds: int

    @classmethod
    def of(
        cls,
        metric: str,
        predictions: Predictions,
        labels: Predictions,
        classes: int,
        draws: int,
        seed: int,
    ) -> _Sample:
        seeds, rows = _checked(predictions, labels)
        scores = _score(metric, predictions, labels, classes)
        changes = _resampled(metric, predictions, labels, classes, draws, seed) - scores
        spread = float(scores.var(ddof=1)) if seeds > 1 else 0.0
        explained = float(changes.var(axis=1, ddof=1).mean()) if seeds > 1 else 0.0
        return cls(float(scores.mean()), changes.mean(axis=1), max(0.0, spread - explained), spread, seeds)


def _checked(predictions: Predictions, labels: Predictions) -> tuple[int, int]:
    if predictions.ndim != 2 or labels.ndim != 1 or predictions.shape[1] != len(labels):
        raise ValueError(
            f"predictions are {list(predictions.shape)} and labels {list(labels.shape)}; "
            f"they must be [seeds, rows] and [rows]"
        )
    if not predictions.size:
        raise ValueError("an interval needs at least one seed and one row")
    return predictions.shape[0], predictions.shape[1]


def _score(metric: str, predictions: Predictions, labels: Predictions, classes: int) -> Numbers:
    return np.asarray(score(metric, predictions, labels, classes), dtype=np.float64)


def _resampled(
    metric: str, predictions: Predictions, labels: Predictions, classes: int, draws: int, seed: int
) -> Numbers:
    """Scores `[draws, seeds]`; equal seeds of the generator draw equal rows for every contender."""
    generator = np.random.default_rng([seed, 0])
    rows = len(labels)
    # Depends on the rows alone, so that contenders with unlike numbers of seeds stay paired.
    chunk = max(1, CELLS // rows)
    parts = []
    for start in range(0, draws, chunk):
        picked = generator.integers(rows, size=(min(chunk, draws - start), rows))
        parts.append(
            np.stack([_score(metric, one[picked], labels[picked], classes) for one in predictions], axis=-1)
        )
    return np.concatenate(parts)


def _difference(a: _Sample, b: _Sample, level: float, seed: int) -> Difference:
    mean = a.mean - b.mean
    # Rounded, because a difference of exactly zero must count on both sides.
    resampled = np.round(_spread(mean, [a, b], seed), 12)
    rarer = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    p_value = (min(2 * int(rarer), len(resampled)) + 1) / (len(resampled) + 1)
    low, high = _ends(resampled, level)
    return Difference(mean, low, high, p_value)


def _spread(mean: float, samples: Sequence[_Sample], seed: int) -> Numbers:
    """Draws of the score of one sample, or of the first less the second."""
    changes = samples[0].changes if len(samples) == 1 else samples[0].changes - samples[1].changes
    over_seeds = sum(one.between / one.seeds for one in samples)
    several = [one for one in samples if one.seeds > 1 and one.spread > 0]
    generator = np.random.default_rng([seed, 1])
    drawn = changes + generator.standard_normal(len(changes)) * np.sqrt(over_seeds)
    guessed = sum((one.spread / one.seeds) ** 2 / (one.seeds - 1) for one in several)
    if not guessed:
        return np.asarray(mean + drawn)
    freedom = max(1.0, (float(changes.var()) + over_seeds) ** 2 / guessed)
    widening = np.sqrt(freedom / generator.chisquare(freedom, len(changes)))
    return np.asarray(mean + drawn * widening)


def _ends(resampled: Numbers, level: float) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
