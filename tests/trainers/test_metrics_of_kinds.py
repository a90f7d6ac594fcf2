"""Metrics of label sets, numbers and rankings against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, r2_score, roc_auc_score, root_mean_squared_error

from trainers.metrics import METRICS_OF, metrics_of, outcomes, range_of, score

NAMES = ("ham", "spam", "toxic")


def rows_of(draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Few different numbers, so that there are ties."""
    return draws / 4


numbers = st.integers(2, 30).flatmap(
    lambda rows: st.tuples(*[st.lists(st.integers(-8, 8), min_size=rows, max_size=rows)] * 2)
)


@given(columns=numbers)
def test_regression_metrics_equal_scipy_and_scikit_learn(columns: tuple[list[int], list[int]]) -> None:
    predictions, labels = (rows_of(np.array(column)) for column in columns)
    found = {name: float(score(name, predictions, labels, 1)) for name in METRICS_OF["regression"]}
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, predictions))
    assert found["r2"] == pytest.approx(r2_score(labels, predictions))
    if np.ptp(predictions) and np.ptp(labels):
        assert found["pearson"] == pytest.approx(pearsonr(predictions, labels).statistic, abs=1e-9)
        assert found["spearman"] == pytest.approx(spearmanr(predictions, labels).statistic, abs=1e-9)
    else:
        assert found["pearson"] == found["spearman"] == 0


def test_one_number_for_every_row_does_not_correlate() -> None:
    # the mean of these is not exactly 2.7, which must not pass for variation
    constant = np.full(1379, np.float32(2.7)).astype(np.float64)
    assert score("pearson", constant, np.arange(1379.0), 1) == 0


sets = st.integers(1, 20).flatmap(
    lambda rows: st.tuples(
        *[st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=rows, max_size=rows)] * 2
    )
)


@given(columns=sets)
def test_label_set_metrics_equal_scikit_learn(columns: tuple[list[list[bool]], list[list[bool]]]) -> None:
    predictions, labels = (np.array(column) for column in columns)
    assert score("accuracy", predictions, labels, 3) == pytest.approx(accuracy_score(labels, predictions))
    for average in ("micro", "macro", "weighted"):
        expected = f1_score(labels, predictions, average=average, zero_division=0)
        assert score(f"{average}_f1", predictions, labels, 3) == pytest.approx(expected)
    per_class = f1_score(labels, predictions, average=None, zero_division=0)
    for name, expected in zip(NAMES, per_class, strict=True):
        assert score(f"f1:{name}", predictions, labels, NAMES) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 3])
def test_f1_of_a_named_class_equals_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    predictions, labels = rng.integers(0, classes, (2, 60))
    expected = f1_score(labels == 1, predictions == 1)
    assert score("f1:spam", predictions, labels, NAMES[:classes]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="'eggs' needs the names"):
        score("f1:eggs", predictions, labels, NAMES[:classes])
    with pytest.raises(ValueError, match=f"needs the names of the classes with it; given are {classes}"):
        score("f1:spam", predictions, labels, classes)


@pytest.mark.parametrize(
    ("kind", "classes"), [("classification", 2), ("classification", 4), ("multi-label", 3)]
)
def test_auroc_equals_scikit_learn(kind: str, classes: int) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, classes))
    labels = rng.integers(0, classes, 50)
    if kind == "multi-label":
        logits, labels = np.round(logits, 1), rng.integers(0, 2, (50, classes)).astype(np.float32)  # some tie
        expected = roc_auc_score(labels, logits, average="macro")
    else:
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        chances = chances if classes > 2 else chances[:, 1]
        expected = roc_auc_score(labels, chances, multi_class="ovr")
    assert score("auroc", *outcomes("auroc", logits, labels, kind=kind), classes) == pytest.approx(expected)


def test_auroc_leaves_out_a_class_that_no_row_has() -> None:
    logits, labels = np.array([[3.0, 1, 0], [1, 2, 0], [0, 1, 0.5]]), np.array([0, 1, 1])
    with_third = score("auroc", *outcomes("auroc", logits, labels), 3)
    assert with_third == score("auroc", *outcomes("auroc", logits[:, :2], labels), 2) == 1
    assert score("auroc", *outcomes("auroc", logits, np.array([1, 1, 1])), 3) == 0.5


def test_auroc_still_ranks_logits_whose_probabilities_round_to_one() -> None:
    logits = np.array([[0.0, 50.0], [0.0, 60.0]])
    assert score("auroc", *outcomes("auroc", logits, np.array([0, 1])), 2) == 1


CASES = [(kind, metric) for kind, metrics in METRICS_OF.items() for metric in metrics]


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_candidates_and_draws_are_scored_one_by_one(kind: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    tags = ("O", "B-x", "I-x")
    offsets = np.array([0, 3, 4, 9, 12]) if kind == "token-classification" else None
    items = 12 if offsets is not None else 4
    logits = rng.normal(size=(2, items) if kind == "regression" else (2, items, 3))
    shapes = {"multi-label": (4, 3)}
    labels = rng.normal(size=4) if kind == "regression" else rng.integers(0, 3, items)
    if kind == "multi-label":
        labels = rng.integers(0, 2, shapes[kind]).astype(np.float32)
    predictions, truth = outcomes(metric, logits, labels, kind=kind, names=tags, offsets=offsets)
    together = score(metric, predictions, truth, 3)
    picked = rng.integers(4, size=(5, 4))
    for i in range(2):
        drawn = score(metric, predictions[i][picked], truth[picked], 3)
        assert together[i] == pytest.approx(float(score(metric, predictions[i], truth, 3)))
        assert drawn.shape == (5,)
        for draw, rows in enumerate(picked):
            assert drawn[draw] == pytest.approx(float(score(metric, predictions[i][rows], truth[rows], 3)))


def test_metrics_of_a_kind_come_with_its_loss() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (20, 3)).astype(np.float32)
    logits = rng.normal(size=(20, 3)).astype(np.float32)
    found = metrics_of(logits, labels, kind="multi-label", metric="f1:toxic", names=NAMES)
    assert set(found) == {"micro_f1", "macro_f1", "weighted_f1", "accuracy", "f1:toxic", "loss"}
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -np.where(labels == 1, np.log(chance), np.log(1 - chance)).mean()
    assert found["loss"] == pytest.approx(expected)
    numbers = metrics_of(logits[:, :1], labels[:, 0], kind="pair-regression")
    assert set(numbers) == {*METRICS_OF["regression"], "loss"}
    assert numbers["loss"] == pytest.approx(numbers["rmse"] ** 2, rel=1e-5)


def test_a_diverged_candidate_of_any_kind_has_no_score() -> None:
    found = metrics_of(np.array([np.nan, 1.0]), np.array([0.0, 1.0]), kind="regression")
    assert all(np.isnan(value) for value in found.values())


def test_the_range_of_a_metric_is_known() -> None:
    assert range_of("matthews") == (-1, 1)
    assert range_of("f1:spam") == (0, 1)
    assert range_of("rmse") == (0, np.inf)
