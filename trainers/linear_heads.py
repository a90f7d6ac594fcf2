"""Heads that are solved for: the linear model of each kind of task that suits given features best."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from trainers.kinds import single
from trainers.output_scale import log_odds

Numbers = NDArray[np.float64]
Features = NDArray[np.float32]

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
# Ridge's penalty stands beside a sum over the rows, in which a standard score makes as much as in a loss;
# with hundreds of features it needs more of it.
RIDGE_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
NEVER = -30.0
"""Bias of a class without training rows."""


def strengths(kind: str) -> tuple[float, ...]:
    """Inverse regularisation strengths to try (of ridge: 1 / alpha)."""
    return RIDGE_STRENGTHS if single(kind) == "regression" else STRENGTHS


def solve(
    kind: str,
    features: Features,
    labels: NDArray[Any],
    outputs: int,
    strength: float,
    *,
    with_bias: bool = True,
) -> tuple[Numbers, Numbers]:
    """Weight [outputs, features] and bias [outputs] of the head that fits best.

    Logistic regression for classes and for the tags of words, one for each of several labels (one-vs-rest),
    ridge for numbers. A class that no row has is never predicted; a label that all or no rows have keeps its
    log odds. Without a bias these hold for the mean of the features, and nearly so beside it.
    """
    if single(kind) == "regression":
        ridge = Ridge(alpha=1 / strength, fit_intercept=with_bias).fit(features, labels)
        return ridge.coef_[None].astype(np.float64), np.array([ridge.intercept_], np.float64)
    solver = LogisticRegression(C=strength, max_iter=1000, fit_intercept=with_bias)
    if single(kind) == "multi-label":
        weight, bias = solve_each(features, labels, solver)
    else:
        weight, bias = solve_classes(features, labels, outputs, solver)
    if with_bias:
        return weight, bias
    mean = features.mean(0, dtype=np.float64)
    return weight + np.outer(bias, mean / (mean @ mean)), np.zeros_like(bias)


def solve_classes(
    features: Features, labels: NDArray[np.int64], classes: int, solver: LogisticRegression
) -> tuple[Numbers, Numbers]:
    weight, bias = np.zeros((classes, features.shape[1])), np.full(classes, NEVER)
    found = np.unique(labels)
    if len(found) == 1:
        bias[found] = 0.0
        return weight, bias
    fit(solver, features, labels)
    if len(found) == 2:
        first, second = found
        bias[first], bias[second] = 0.0, solver.intercept_[0]
        weight[second] = solver.coef_[0]
    else:
        weight[found], bias[found] = solver.coef_, solver.intercept_
    return weight, bias


def solve_each(
    features: Features, sets: NDArray[np.float32], solver: LogisticRegression
) -> tuple[Numbers, Numbers]:
    weight, bias = np.zeros((sets.shape[1], features.shape[1])), log_odds(sets)
    for label in np.flatnonzero(np.ptp(sets, axis=0)):
        fit(solver, features, sets[:, label])
        weight[label], bias[label] = solver.coef_[0], solver.intercept_[0]
    return weight, bias


def fit(solver: LogisticRegression, features: Features, labels: NDArray[Any]) -> None:
    with warnings.catch_warnings():
        # a nearly converged head is scored like any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        solver.fit(features, labels)
