"""A task as a short vector: what is known of a dataset before the first configuration is trained.

Nothing of the texts themselves is in it. A feature that a kind of task does not have, or
that is not known yet, is left out, and two tasks are compared on what both have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.records import Baseline
from trainers.task import Task

Features = Mapping[str, float]

SPREAD = {
    "rows": 0.41,
    "classes": 0.51,
    "mean_tokens": 0.25,
    "median_tokens": 0.038,
    "long_tokens": 0.073,
    "label_entropy": 0.21,
    "imbalance": 0.63,
    "words": 0.31,
    "probe": 0.38,
    "separation": 0.23,
}
"""Feature -> its standard deviation over datasets: the unit in which distances are measured.

Over 17 public datasets of all kinds with 100, 300 and 1,000 training rows each, on the packaged MiniLM
(benchmarks/meta_features.py); that of the rows follows from these three numbers.
"""
STRANGERS = math.sqrt(2)
"""Distance of two tasks of which nothing comparable is known: the root mean square for any two at random."""
ONE_ANSWER = ("majority", "mean")
"""The baselines that do not look at the text."""
WORD_COUNTS = ("tfidf_logistic_regression", "tfidf_ridge", "word_tags")
"""The baselines that know words and no backbone."""


def of_task(task: Task, tokens: NDArray[np.int64]) -> dict[str, float]:
    """What the rows themselves tell; `tokens` holds the lengths of rows in the backbone's tokens.

    | feature | is | unit |
    |---|---|---|
    | rows | log10 of the training rows | decades |
    | classes | log10 of the number of labels; 0 where numbers are predicted | decades |
    | mean_tokens | log10 of the mean length | decades |
    | median_tokens | log10 of the median length / the mean length | decades |
    | long_tokens | log10 of the 95 % quantile of the lengths / the mean length | decades |
    | label_entropy | entropy of the labels' shares in training / log(labels) | share of the most possible |
    | imbalance | log10 of the rows (or words) of the most frequent label / of the rarest | decades |

    The last two are left out where numbers are predicted; where rows have several labels, the entropy is the
    mean of that of having each, / log(2). Lengths are compared as ratios, so that long texts do not count
    three times.
    """
    mean = float(tokens.mean())
    found = {
        "rows": math.log10(len(task.train)),
        "classes": math.log10(task.outputs),
        "mean_tokens": math.log10(mean),
        "median_tokens": math.log10(max(1.0, float(np.median(tokens))) / mean),
        "long_tokens": math.log10(float(np.quantile(tokens, 0.95)) / mean),
    }
    return _rounded(found | _of_labels(task))


def _of_labels(task: Task) -> dict[str, float]:
    labels: NDArray[Any] = task.train.labels
    if not task.labels:
        return {}
    if labels.ndim == 2:
        counts = labels.sum(0)
        share = counts / len(labels)
        entropy = float(np.mean(_entropy(np.stack([share, 1 - share])))) / math.log(2)
    else:
        counts = np.bincount(labels, minlength=len(task.labels))
        # with one label there is nothing to be in doubt about
        entropy = float(_entropy(counts / counts.sum())) / math.log(max(2, len(counts)))
    occurring = counts[counts > 0]
    imbalance = math.log10(occurring.max() / occurring.min()) if len(occurring) else 0.0
    return {"label_entropy": entropy, "imbalance": imbalance}


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """-sum of p log(p) along the first axis, in nats."""
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(0))


def of_baselines(baselines: Sequence[Baseline], metric: str) -> dict[str, float]:
    """What the baselines tell: how much of the way from one answer for all to a perfect score each makes.

    | feature | is | unit |
    |---|---|---|
    | words | (score of the word counts - score of one answer) / (1 - score of one answer), on validation | \
share of what is possible |
    | probe | the same for the linear probe | share of what is possible |

    With accuracy this is accuracy relative to the majority. What is not known, or no number, is left out.
    """
    scores = {baseline.name: baseline.validation.get(metric, math.nan) for baseline in baselines}
    floor = next((scores[name] for name in ONE_ANSWER if name in scores), math.nan)
    words = next((scores[name] for name in WORD_COUNTS if name in scores), math.nan)
    room = 1 - floor
    found = {"words": words, "probe": scores.get("linear_probe", math.nan)}
    gains = {name: (score - floor) / room for name, score in found.items() if room > 0}
    return _rounded({name: gain for name, gain in gains.items() if math.isfinite(gain)})


def distance(one: Features, other: Features) -> float:
    """Root mean square of the standardised differences over the features that both tasks have."""
    shared = [name for name in SPREAD if name in one and name in other]
    if not shared:
        return STRANGERS
    return math.sqrt(sum(((one[n] - other[n]) / SPREAD[n]) ** 2 for n in shared) / len(shared))


def _rounded(features: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in features.items()}
