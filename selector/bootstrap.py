"""A bootstrap over examples and seeds that stays honest with few seeds.

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
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.metrics import score

Predictions = npt.NDArray[Any]
"""Class indices `[seeds, rows]` and labels `[rows]`, or what else `trainers.metrics.outcomes` gives."""
Classes = int | Sequence[str]
"""How many classes there are, or their names; nothing (0) where numbers are predicted."""
Numbers = npt.NDArray[np.float64]

CELLS = 4_000_000
"""Resampled predictions held at once; bounds the memory, not the result."""


@dataclass(frozen=True)
class Sample:
    """Scores of one contender's seeds, as they are and under each resampling of the rows."""

    mean: float
    changes: Numbers
    """[draws]: what the resampled rows change of the mean over seeds."""
    between: float
    """Variance between seeds that the rows do not explain."""
    spread: float
    """Variance between seeds as observed, noise of the rows included."""
    explained: float
    """Variance between seeds that the rows alone would give."""
    seeds: int

    @classmethod
    def of(
        cls,
        metric: str,
        predictions: Predictions,
        labels: Predictions,
        classes: Classes,
        draws: int,
        seed: int,
    ) -> Sample:
        seeds, rows = _checked(predictions, labels)
        scores = _score(metric, predictions, labels, classes)
        changes = _resampled(metric, predictions, labels, classes, draws, seed) - scores
        spread = float(scores.var(ddof=1)) if seeds > 1 else 0.0
        explained = float(changes.var(axis=1, ddof=1).mean()) if seeds > 1 else 0.0
        between = max(0.0, spread - explained)
        return cls(float(scores.mean()), changes.mean(axis=1), between, spread, explained, seeds)


def _checked(predictions: Predictions, labels: Predictions) -> tuple[int, int]:
    if predictions.ndim < 2 or labels.ndim < 1 or predictions.shape[1] != len(labels):
        raise ValueError(
            f"predictions are {list(predictions.shape)} and labels {list(labels.shape)}; "
            f"they must be [seeds, rows, ...] and [rows, ...]"
        )
    if not predictions.size:
        raise ValueError("an interval needs at least one seed and one row")
    return predictions.shape[0], predictions.shape[1]


def _score(metric: str, predictions: Predictions, labels: Predictions, classes: Classes) -> Numbers:
    return np.asarray(score(metric, predictions, labels, classes), dtype=np.float64)


def _resampled(
    metric: str, predictions: Predictions, labels: Predictions, classes: Classes, draws: int, seed: int
) -> Numbers:
    """Scores `[draws, seeds]`; equal seeds of the generator draw equal rows for every contender."""
    generator = np.random.default_rng([seed, 0])
    rows = len(labels)
    # Depends on the labels and one seed, so that contenders with unlike numbers of seeds stay paired.
    chunk = max(1, CELLS // max(labels.size, predictions[0].size))
    parts = []
    for start in range(0, draws, chunk):
        picked = generator.integers(rows, size=(min(chunk, draws - start), rows))
        parts.append(
            np.stack([_score(metric, one[picked], labels[picked], classes) for one in predictions], axis=-1)
        )
    return np.concatenate(parts)


def drawn_scores(mean: float, samples: Sequence[Sample], seed: int) -> Numbers:
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


def ends(resampled: Numbers, level: float) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
