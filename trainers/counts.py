"""Scores that follow from how often each class is true, predicted and both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Sets = NDArray[np.bool_]
Floats = NDArray[np.float64]


def count_classes(indices: Integers, classes: int, where: Sets | None = None) -> Floats:
    """How often each class stands in each row of indices [..., rows]: [..., classes]."""
    check_classes(indices, classes)
    leading = indices.shape[:-1]
    flat = indices.reshape(-1, indices.shape[-1])
    # each leading position counts into its own range of bins
    bins = flat + classes * np.arange(len(flat))[:, None]
    kept = bins.ravel() if where is None else bins[where.reshape(flat.shape)]
    counts = np.bincount(kept, minlength=len(flat) * classes)
    return counts.reshape(*leading, classes).astype(np.float64)


def check_classes(indices: Integers, classes: int) -> None:
    """Refuse an index outside 0 ... classes - 1, which would be counted for another row."""
    if indices.size and (indices.min() < 0 or indices.max() >= classes):
        found = f"{indices.min()} to {indices.max()}"
        raise ValueError(f"class indices run from {found}, but must lie in 0 to {classes - 1}")


def class_index(label: str, classes: int | Sequence[str]) -> int:
    """The index of a label among the names of the classes."""
    names = () if isinstance(classes, int) else tuple(classes)
    if label not in names:
        raise ValueError(f"the F1 of {label!r} needs the names of the classes with it; given are {classes!r}")
    return names.index(label)


def label_counts(predictions: Sets, labels: Sets) -> tuple[Floats, Floats, Floats]:
    """How many rows have each label, are predicted to have it, and both, of [..., rows, classes]."""
    counts = (labels.sum(axis=-2), predictions.sum(axis=-2), (labels & predictions).sum(axis=-2))
    true, predicted, correct = (np.asarray(count, dtype=np.float64) for count in counts)
    return true, predicted, correct


def label_accuracy(predictions: NDArray[Any], labels: NDArray[Any], classes: int, *, of_sets: bool) -> Floats:
    """The share of rows whose class, or whose whole set of labels, is right."""
    if of_sets:
        return np.asarray((predictions == labels).all(axis=-1).mean(axis=-1))
    check_classes(predictions, classes)
    check_classes(labels, classes)
    return np.asarray((predictions == labels).mean(axis=-1))


def f1(
    true: Floats, predicted: Floats, correct: Floats, *, average: str, every_class: bool = False
) -> Floats:
    """Mean over classes of 2 correct / (true + predicted); 0 where there is nothing to count.

    micro: of the sums over classes; weighted: by the true counts; macro: over the classes that occur in the
    labels or the predictions, or over `every_class`, as scikit-learn does for sets of labels.
    """
    occurrences = true + predicted
    if average == "micro":
        return np.asarray(2 * correct.sum(axis=-1) / np.maximum(occurrences.sum(axis=-1), 1))
    per_class = 2 * correct / np.maximum(occurrences, 1)
    weights = true if average == "weighted" else ((occurrences > 0) | every_class).astype(np.float64)
    return np.asarray((per_class * weights).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1))


def matthews(true: Floats, predicted: Floats, correct: Floats) -> Floats:
    """Multi-class Matthews correlation (Gorodkin 2004): the correlation of the two one-hot codings."""
    rows = true.sum(axis=-1)
    covariance = correct.sum(axis=-1) * rows - (true * predicted).sum(axis=-1)
    variances = (rows**2 - (true**2).sum(axis=-1)) * (rows**2 - (predicted**2).sum(axis=-1))
    return np.asarray(np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0))
