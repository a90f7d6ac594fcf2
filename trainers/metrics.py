"""The metrics of each kind of task, and all of them for the logits of one candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.correlation import MEASURES, auroc
from trainers.counts import class_index, count_classes, f1, label_accuracy, label_counts, matthews
from trainers.kinds import single
from trainers.spans import marks_spans, span_counts, word_counts

Floats = NDArray[np.float64]
Offsets = NDArray[np.int64]

METRICS = ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "matthews")
"""Metrics of class indices; larger is better for every one."""
METRICS_OF = {
    "classification": (*METRICS, "auroc"),
    "multi-label": ("micro_f1", "macro_f1", "weighted_f1", "accuracy", "auroc"),
    "regression": ("pearson", "spearman", "r2", "rmse"),
    "token-classification": ("span_f1", "token_accuracy"),
}
"""Kind -> its metrics; a pair has those of its `single` kind. Classes can also be scored by `f1:LABEL`."""
POSITIVE = "f1:"
"""Before the label whose F1 is the metric, such as f1:spam."""
LOWER_IS_BETTER = frozenset({"rmse"})
"""The metrics of which less is better; all others grow with quality."""
RANGES = {
    "matthews": (-1.0, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "rmse": (0.0, math.inf),
}
"""Smallest and largest value of a metric where they are not 0 and 1."""


def score(
    metric: str, predictions: NDArray[Any], labels: NDArray[Any], classes: int | Sequence[str]
) -> Floats:
    """The metric over the rows, as an array [...] of the axes before them: candidates, draws of a bootstrap.

    `outcomes` gives predictions and labels in the form that a metric needs; labels broadcast to predictions:

    | of | predictions | labels | metrics |
    |---|---|---|---|
    | classes | int [..., rows] | int [..., rows] | accuracy, F1, Matthews |
    | label sets | bool [..., rows, classes] | bool [..., rows, classes] | accuracy (whole sets), F1 |
    | ranks of classes | float [..., rows, classes] | int [..., rows] or bool [..., rows, classes] | auroc |
    | numbers | float [..., rows] | float [..., rows] | pearson, spearman, r2, rmse |
    | words of a row | int [..., rows, 2] | int [..., rows] | span_f1, token_accuracy |

    Follows scikit-learn's defaults, but gives 0 where a correlation is undefined, and 0.5 for an AUROC
    without a class that some rows have and others have not: resampled rows may miss a class. `classes` is
    the number of classes, or their names in order, which `f1:LABEL` needs.

    Raises:
        ValueError: if the metric is unknown, there is no row, or an index is not a class.
    """
    check_metric(metric)
    if not labels.size:
        raise ValueError(f"{metric} needs at least one row; the predictions have shape {predictions.shape}")
    if metric in MEASURES:
        return MEASURES[metric](predictions, labels)
    number = classes if isinstance(classes, int) else len(classes)
    if metric == "auroc":
        return auroc(predictions, labels, number)
    if metric in METRICS_OF["token-classification"]:
        return word_score(metric, predictions, labels)
    predictions, labels = np.broadcast_arrays(predictions, labels)
    of_sets = labels.dtype == np.bool_
    if metric == "accuracy":
        return label_accuracy(predictions, labels, number, of_sets=of_sets)
    if of_sets:
        true, predicted, correct = label_counts(predictions, labels)
    else:
        true = count_classes(labels, number)
        predicted = count_classes(predictions, number)
        correct = count_classes(labels, number, where=predictions == labels)
    if metric == "matthews":
        return matthews(true, predicted, correct)
    if metric.startswith(POSITIVE):
        only = [class_index(metric.removeprefix(POSITIVE), classes)]
        return f1(true[..., only], predicted[..., only], correct[..., only], average="micro")
    return f1(true, predicted, correct, average=metric.removesuffix("_f1"), every_class=of_sets)


def word_score(metric: str, predictions: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """F1 of the spans, or the share of right words, from their numbers in each row."""
    correct, predicted = predictions[..., 0].sum(axis=-1), predictions[..., 1].sum(axis=-1)
    true = labels.sum(axis=-1)
    if metric == "token_accuracy":
        return np.asarray(correct / true)
    return np.asarray(2 * correct / np.maximum(true + predicted, 1))


def check_metric(metric: str) -> None:
    """Refuse a name that is no metric of any kind."""
    every = dict.fromkeys(name for names in METRICS_OF.values() for name in names)
    if metric not in every and not metric.startswith(POSITIVE):
        raise ValueError(f"metric {metric!r} is unknown; choose one of {', '.join(every)} or f1:LABEL")


def range_of(metric: str) -> tuple[float, float]:
    """The smallest and the largest value that a metric can have."""
    return RANGES.get(metric, (0.0, 1.0))


def outcomes(
    metric: str,
    logits: NDArray[np.floating[Any]],
    labels: NDArray[Any],
    *,
    kind: str = "classification",
    names: Sequence[str] = (),
    offsets: Offsets | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predictions [..., rows, ...] and labels [rows, ...] of which `score` takes the metric.

    A row is what a bootstrap may draw. Logits are [..., rows, classes] for classification and multi-label
    (a label is predicted where its logit is above 0, that is, its sigmoid above 0.5), [..., rows] or
    [..., rows, 1] for regression, and [..., words, classes] for tokens, whose rows begin at `offsets`.
    """
    kind = single(kind)
    if kind == "regression":
        numbers = logits[..., 0] if logits.ndim > labels.ndim and logits.shape[-1] == 1 else logits
        return numbers.astype(np.float64), labels.astype(np.float64)
    if metric == "auroc":
        return class_scores(logits, kind), labels > 0.5 if kind == "multi-label" else labels
    if kind == "multi-label":
        return logits > 0, labels > 0.5
    predictions = logits.argmax(axis=-1)
    if kind == "classification":
        return predictions, labels
    if offsets is None:
        raise ValueError(f"{metric} of words needs the offsets of their rows")
    if metric == "span_f1":
        return span_counts(predictions, labels, offsets, names)
    return word_counts(predictions, labels, offsets)


def class_scores(logits: NDArray[np.floating[Any]], kind: str) -> Floats:
    """What ranks the rows for each class: the logit, or how far log softmax lifts it above the others."""
    wide = logits.astype(np.float64)
    if kind == "multi-label":
        return wide
    if wide.shape[-1] == 2:
        # the same order as the probabilities, which round to 1 where logits are far apart
        return np.asarray(wide - wide[..., ::-1])
    return np.asarray(wide - log_sums(wide))


def metrics_of(
    logits: NDArray[np.floating[Any]],
    labels: NDArray[Any],
    *,
    kind: str = "classification",
    metric: str | None = None,
    names: Sequence[str] = (),
    offsets: Offsets | None = None,
) -> dict[str, float]:
    """Every quick metric of the kind, `metric` as well if it is another, and "loss" (smaller is better).

    For one candidate's logits, as in `outcomes`. The loss is the mean cross-entropy of rows or words, the
    mean binary cross-entropy of rows and labels, or the mean squared error. All are NaN when a logit is NaN
    or +inf: a diverged candidate must never look like one that always predicts the first class.
    """
    left_out = {"auroc"} if marks_spans(names) else {"auroc", "span_f1"}
    quick = [name for name in METRICS_OF[single(kind)] if name not in left_out]
    every = list(dict.fromkeys([*quick, *([] if metric is None else [metric])]))
    if np.isnan(logits).any() or np.isposinf(logits).any():
        return dict.fromkeys([*every, "loss"], float("nan"))
    classes: int | Sequence[str] = names or logits.shape[-1]
    scores = {}
    for name in every:
        given = outcomes(name, logits, labels, kind=kind, names=names, offsets=offsets)
        scores[name] = float(score(name, *given, classes))
    return scores | {"loss": loss(logits.astype(np.float64), labels, kind)}


def loss(logits: Floats, labels: NDArray[Any], kind: str) -> float:
    """What training of this kind minimises, averaged over rows (and labels) or words."""
    kind = single(kind)
    if kind == "regression":
        return float(np.square(logits.reshape(labels.shape) - labels).mean())
    if kind == "multi-label":
        return float((np.logaddexp(0, logits) - logits * labels).mean())
    return cross_entropy(logits, labels)


def cross_entropy(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Mean of -log softmax(logits)[label] over the rows, in nats; inf where a label's logit is -inf."""
    return float((log_sums(logits)[:, 0] - logits[np.arange(len(labels)), labels]).mean())


def log_sums(logits: Floats) -> Floats:
    """log of the sum of exponentials [..., 1]."""
    largest = logits.max(axis=-1, keepdims=True)
    return np.asarray(largest + np.log(np.exp(logits - largest).sum(axis=-1, keepdims=True)))
