"""Scores of predictions, vectorised over whatever axes stand before the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

METRICS = ("accuracy", "macro_f1", "weighted_f1", "matthews")
"""Names that `score` knows; larger is better for every one."""


def score(metric: str, predictions: Integers, labels: Integers, classes: int) -> Floats:
    """The metric of predictions [..., rows] against labels that broadcast to them, as an array [...].

    Follows scikit-learn's defaults: macro F1 averages over the classes that occur in the labels or the
    predictions, an F1 without a true positive is 0, and Matthews is 0 where it is undefined. Needs only the
    true, predicted and correct count of each class, so 1,000 bootstrap draws are one call.

    Raises:
        ValueError: if the metric is unknown, there is no row, or an index is not a class.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is unknown; choose one of {', '.join(METRICS)}")
    predictions, labels = np.broadcast_arrays(predictions, labels)
    rows = predictions.shape[-1] if predictions.ndim else 0
    if not rows:
        raise ValueError(f"{metric} needs at least one row; the predictions have shape {predictions.shape}")
    if metric == "accuracy":
        check_classes(predictions, classes)
        check_classes(labels, classes)
        return np.asarray((predictions == labels).mean(axis=-1))
    true = count_classes(labels, classes)
    predicted = count_classes(predictions, classes)
    correct = count_classes(labels, classes, where=predictions == labels)
    if metric == "matthews":
        return matthews(true, predicted, correct)
    return f1(true, predicted, correct, weighted=metric == "weighted_f1")


def metrics_of(logits: NDArray[np.floating[Any]], labels: Integers) -> dict[str, float]:
    """Every metric of logits [rows, classes], and "loss", the mean cross-entropy (smaller is better).

    All are NaN when a logit is NaN or +inf: a diverged candidate must never look like one that always
    predicts the first class.
    """
    if np.isnan(logits).any() or np.isposinf(logits).any():
        return dict.fromkeys((*METRICS, "loss"), float("nan"))
    predictions = logits.argmax(axis=-1)
    metrics = {name: float(score(name, predictions, labels, logits.shape[-1])) for name in METRICS}
    return metrics | {"loss": cross_entropy(logits.astype(np.float64), labels)}


def cross_entropy(logits: Floats, labels: Integers) -> float:
    """Mean of -log softmax(logits)[label] over the rows, in nats; inf where a label's logit is -inf."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=-1))
    return float((log_sums - shifted[np.arange(len(labels)), labels]).mean())


def count_classes(indices: Integers, classes: int, where: NDArray[np.bool_] | None = None) -> Floats:
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


def f1(true: Floats, predicted: Floats, correct: Floats, *, weighted: bool) -> Floats:
    """Mean over classes of 2 correct / (true + predicted); weighted: by the true counts."""
    occurrences = true + predicted
    per_class = 2 * correct / np.maximum(occurrences, 1)
    weights = true if weighted else (occurrences > 0).astype(np.float64)
    return np.asarray((per_class * weights).sum(axis=-1) / weights.sum(axis=-1))


def matthews(true: Floats, predicted: Floats, correct: Floats) -> Floats:
    """Multi-class Matthews correlation (Gorodkin 2004): the correlation of the two one-hot codings."""
    rows = true.sum(axis=-1)
    covariance = correct.sum(axis=-1) * rows - (true * predicted).sum(axis=-1)
    variances = (rows**2 - (true**2).sum(axis=-1)) * (rows**2 - (predicted**2).sum(axis=-1))
    return np.asarray(np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0))
