"""Metrics against scikit-learn."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

from trainers.metrics import METRICS, metrics_of, score

Labels = NDArray[np.int64]
Case = tuple[Labels, Labels, int]


def oracle(metric: str, predictions: Labels, labels: Labels) -> float:
    with warnings.catch_warnings():  # scikit-learn warns of single-label input; the value is what counts
        warnings.simplefilter("ignore")
        if metric == "accuracy":
            return float(accuracy_score(labels, predictions))
        if metric == "matthews":
            return float(matthews_corrcoef(labels, predictions))
        average = metric.removesuffix("_f1")
        return float(f1_score(labels, predictions, average=average, zero_division=0))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    classes = draw(st.integers(1, 6))
    rows = draw(st.integers(1, 30))
    column = st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)
    return np.array(draw(column)), np.array(draw(column)), classes


@pytest.mark.parametrize("metric", METRICS)
@given(case=cases())
def test_every_metric_equals_scikit_learn(metric: str, case: Case) -> None:
    predictions, labels, classes = case
    assert score(metric, predictions, labels, classes) == pytest.approx(oracle(metric, predictions, labels))


@pytest.mark.parametrize("metric", METRICS)
def test_leading_axes_are_scored_one_by_one(metric: str) -> None:
    rng = np.random.default_rng(0)
    predictions = rng.integers(0, 4, (3, 2, 50))
    labels = rng.integers(0, 4, (2, 50))
    scores = score(metric, predictions, labels, 4)
    assert scores.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        assert scores[i, j] == pytest.approx(oracle(metric, predictions[i, j], labels[j]))


@pytest.mark.parametrize("metric", METRICS)
def test_a_class_that_never_occurs_changes_nothing(metric: str) -> None:
    predictions, labels = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert score(metric, predictions, labels, 1000) == score(metric, predictions, labels, 2)


def test_one_predicted_class_has_no_correlation() -> None:
    assert score("matthews", np.array([1, 1, 1]), np.array([0, 1, 2]), 3) == 0


def test_a_thousand_bootstrap_draws_are_one_quick_call() -> None:
    draws = np.random.default_rng(0).integers(0, 77, (2, 1000, 1000))
    started = time.perf_counter()
    assert score("macro_f1", draws[0], draws[1], 77).shape == (1000,)
    # 0.04 s when measured alone; a Python loop over draws through scikit-learn takes over a second
    assert time.perf_counter() - started < 1


def test_metrics_of_logits_hold_every_metric_and_the_cross_entropy() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 3, 40)
    metrics = metrics_of(logits, labels)
    assert set(metrics) == {*METRICS, "loss"}
    exponentials = np.exp(logits.astype(np.float64))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert metrics["loss"] == pytest.approx(log_loss(labels, probabilities))
    for name in METRICS:
        assert metrics[name] == pytest.approx(oracle(name, logits.argmax(axis=1), labels))


def test_large_logits_do_not_overflow() -> None:
    assert metrics_of(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 0]))["loss"] == pytest.approx(5e3)


def test_a_diverged_candidate_has_no_score() -> None:
    metrics = metrics_of(np.array([[np.nan, 0.0], [1.0, 0.0]]), np.array([0, 0]))
    assert all(np.isnan(value) for value in metrics.values())


@pytest.mark.parametrize(
    ("metric", "predictions", "message"),
    [
        ("f1", [0], "choose one of accuracy"),
        ("macro_f1", [], "at least one row"),
        ("accuracy", [2], "0 to 1"),
    ],
)
def test_wrong_arguments_say_what_is_possible(metric: str, predictions: list[int], message: str) -> None:
    chosen = np.array(predictions, dtype=np.int64)
    with pytest.raises(ValueError, match=message):
        score(metric, chosen, np.zeros_like(chosen), 2)
