"""The winner's curse: how much lower than it looks the highest of several scores is to be expected.

Among equal contenders the one that these examples and seeds happened to favour has the highest score. The
estimate splits the validation rows at random into halves, many times: one half chooses, the other half
scores both that choice and the one that all rows chose. The difference is the expected drop. The halves
share no row, so among equals the other half's score is unbiased; where one contender leads clearly, every
half chooses it, and there is no drop; in between the estimate is rather too high, because half of the rows
choose worse than all. This is bootstrap bias correction (BBC-CV: Tsamardinos, Greasidou and Borboudakis,
Machine Learning 107, 2018) with half-samples, whose means vary as those of a bootstrap do. Chance between
seeds is split in the same way: a normal number with the variance of the mean over seeds is added to
the score that chooses and taken from the one that counts, which makes the two independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.bootstrap import CELLS, Classes, Numbers, Predictions, Sample
from trainers.metrics import score

SPLITS = 1000


def expected_drop(
    metric: str,
    contenders: Sequence[Predictions],
    samples: Sequence[Sample],
    best: int,
    labels: Predictions,
    classes: Classes,
    *,
    splits: int = SPLITS,
    seed: int = 0,
) -> float:
    """What the highest score is expected to lose on new examples and seeds, in the metric's unit; 0 or more.

    `samples` are those of the contenders, and `best` is the position of the highest score.
    """
    if len(contenders) < 2 or len(labels) < 2:
        return 0.0
    chosen, counted = _halves(metric, contenders, labels, classes, splits, seed)
    spread = np.sqrt([one.between / one.seeds for one in samples])[:, None]
    z = np.random.default_rng([seed, 3]).standard_normal(chosen.shape) * spread
    winners = (chosen + z).argmax(axis=0)
    counted = counted - z
    lost = counted[best] - np.take_along_axis(counted, winners[None], axis=0)[0]
    return max(0.0, float(lost.mean()))


def _halves(
    metric: str,
    contenders: Sequence[Predictions],
    labels: Predictions,
    classes: Classes,
    splits: int,
    seed: int,
) -> tuple[Numbers, Numbers]:
    """Means over seeds `[contenders, splits]` on one half of the rows, and on the other."""
    generator = np.random.default_rng([seed, 2])
    rows, half = len(labels), len(labels) // 2
    largest = max(labels.size, *(one[0].size for one in contenders))
    chunk = max(1, CELLS // largest)
    parts = []
    for start in range(0, splits, chunk):
        order = np.tile(np.arange(rows), (min(chunk, splits - start), 1))
        order = generator.permuted(order, axis=1)
        parts.append(
            [
                [_mean(metric, one, labels, picked, classes) for one in contenders]
                for picked in (order[:, :half], order[:, half : 2 * half])
            ]
        )
    first, second = np.concatenate(parts, axis=-1)
    return first, second


def _mean(
    metric: str, predictions: Predictions, labels: Predictions, picked: Predictions, classes: Classes
) -> Numbers:
    scores = [score(metric, one[picked], labels[picked], classes) for one in predictions]
    return np.asarray(np.mean(scores, axis=0), dtype=np.float64)
