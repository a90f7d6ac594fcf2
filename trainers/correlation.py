"""Scores of numbers and of rankings, over the last axis of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads `stats` when it is first asked for; `peltier show` need not wait for it
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pearson(predictions: Floats, labels: Floats) -> Floats:
    """Correlation of predictions and labels [..., rows]; 0 where either is constant."""
    predictions, labels = np.broadcast_arrays(predictions, labels)
    x, y = (values - values.mean(axis=-1, keepdims=True) for values in (predictions, labels))
    norms = np.sqrt(np.square(x).sum(axis=-1) * np.square(y).sum(axis=-1))
    # the mean of equal numbers is not always that number, so their deviations are noise and not 0
    varied = (np.ptp(predictions, axis=-1) > 0) & (np.ptp(labels, axis=-1) > 0) & (norms > 0)
    found = (x * y).sum(axis=-1) / np.where(varied, norms, 1.0)
    return np.asarray(np.where(varied, np.clip(found, -1.0, 1.0), 0.0))


def spearman(predictions: Floats, labels: Floats) -> Floats:
    """Correlation of the ranks, where equal numbers share the mean of theirs."""
    return pearson(*(scipy.stats.rankdata(values, axis=-1) for values in (predictions, labels)))


def r2(predictions: Floats, labels: Floats) -> Floats:
    """1 - squared error / squared deviation of the labels; of constant labels 1 if all are met, else 0."""
    left = np.square(predictions - labels).sum(axis=-1)
    whole = np.square(labels - labels.mean(axis=-1, keepdims=True)).sum(axis=-1)
    varied = np.broadcast_to(np.ptp(labels, axis=-1) > 0, left.shape)
    return np.asarray(np.where(varied, 1 - left / np.where(varied, whole, 1.0), left == 0))


def rmse(predictions: Floats, labels: Floats) -> Floats:
    """Root of the mean squared error, in the labels' unit."""
    return np.asarray(np.sqrt(np.square(predictions - labels).mean(axis=-1)))


def auroc(scores: Floats, labels: NDArray[Any], classes: int) -> Floats:
    """Mean over the classes of the chance that a row of the class ranks above another row: [...].

    Scores are [..., rows, classes]; labels are class indices [..., rows] or sets [..., rows, classes]. Each
    class against the rest (macro, one-vs-rest). A class that no row or every row has does not count; without
    any class left the value is 0.5.
    """
    own = labels if labels.dtype == np.bool_ else labels[..., None] == np.arange(classes)
    ranks = scipy.stats.rankdata(scores, axis=-2)
    rows = scores.shape[-2]
    positive = np.broadcast_to(own.sum(axis=-2), (*ranks.shape[:-2], classes)).astype(np.float64)
    wins = (ranks * own).sum(axis=-2) - positive * (positive + 1) / 2
    pairs = positive * (rows - positive)
    counted = (pairs > 0).sum(axis=-1)
    total = (wins / np.maximum(pairs, 1)).sum(axis=-1)
    return np.asarray(np.where(counted > 0, total / np.maximum(counted, 1), 0.5))


MEASURES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "pearson": pearson,
    "spearman": spearman,
    "r2": r2,
    "rmse": rmse,
}
"""The metrics of regression."""
