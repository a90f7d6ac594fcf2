"""The baselines of a task with folds against scikit-learn's `cross_val_predict`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from tiny import LABELS, rows_of, task_of

from trainers.baselines import majority, tfidf_label_sets, tfidf_logistic_regression, tfidf_ridge, word_tags
from trainers.splits import Split
from trainers.task import Task
from trainers.tfidf import ngrams

FOLDS = 4


def folded(kind: str, rows: int = 60) -> Task:
    """Random sentences in which single words make the label likelier."""
    split, held_out = rows_of(kind, rows), rows_of(kind, 10, seed=1)
    has = np.array([["good" in text, "plot" in text, "warm" in text] for text in split.texts])
    if kind == "multi-label":
        split = Split(split.texts, None, has.astype(np.float32))
    elif kind == "regression":
        split = Split(split.texts, None, (has @ [1.0, 2.0, 3.0] + split.labels / 20).astype(np.float32))
    metric = {"multi-label": "micro_f1", "regression": "pearson", "token-classification": "token_accuracy"}
    task = task_of(
        split,
        split,
        held_out,
        kind=kind,
        labels=0 if kind == "regression" else len(LABELS),
        metric=metric.get(kind, "accuracy"),
    )
    return replace(task, folds=np.random.default_rng(0).permutation(np.arange(rows) % FOLDS))


def theirs(model: Any, task: Task, method: str, labels: Any = None) -> np.ndarray:
    """Out-of-fold predictions by scikit-learn; the model includes the vectoriser."""
    found: np.ndarray = cross_val_predict(
        model,
        np.array(task.train.texts, dtype=object),
        task.train.labels if labels is None else labels,
        cv=PredefinedSplit(task.folds),
        method=method,
    )
    return found


def features() -> FeatureUnion:
    return FeatureUnion(list(zip(("words", "characters"), ngrams(), strict=True)))


def test_logistic_regression_is_that_of_cross_val_predict() -> None:
    task = folded("classification")
    scores = tfidf_logistic_regression(task)
    model = make_pipeline(features(), LogisticRegression(C=scores.config["C"], max_iter=300, tol=1e-3))
    expected = theirs(model, task, "predict_log_proba")
    np.testing.assert_allclose(scores.validation_logits, expected, atol=1e-5)
    model.fit(task.train.texts, task.train.labels)
    np.testing.assert_allclose(scores.test_logits, model.predict_log_proba(task.test.texts), atol=1e-5)


def test_the_strength_is_chosen_by_all_rows_out_of_fold() -> None:
    task = folded("classification")
    merits = []
    for strength in (0.1, 1.0, 10.0):
        model = make_pipeline(features(), LogisticRegression(C=strength, max_iter=300, tol=1e-3))
        metrics = task.metrics(task.train, theirs(model, task, "predict_log_proba").astype(np.float32))
        merits.append((metrics["accuracy"], -metrics["loss"], strength))
    assert tfidf_logistic_regression(task).config["C"] == max(merits)[-1]


def test_ridge_is_that_of_cross_val_predict() -> None:
    task = folded("regression")
    scores = tfidf_ridge(task)
    model = make_pipeline(features(), Ridge(alpha=scores.config["alpha"], solver="lsqr"))
    np.testing.assert_allclose(scores.validation_logits[:, 0], theirs(model, task, "predict"), atol=1e-3)


def test_label_sets_are_those_of_cross_val_predict() -> None:
    task = folded("multi-label")
    scores = tfidf_label_sets(task)
    solver = LogisticRegression(C=scores.config["C"], solver="liblinear", tol=1e-2, random_state=0)
    model = make_pipeline(features(), OneVsRestClassifier(solver))
    expected = theirs(model, task, "decision_function", task.train.labels.astype(int))
    np.testing.assert_allclose(scores.validation_logits, expected, atol=1e-4)


def test_one_answer_for_all_is_that_of_the_other_folds() -> None:
    task = folded("classification")
    expected = theirs(DummyClassifier(strategy="prior"), task, "predict_log_proba")
    np.testing.assert_allclose(majority(task).validation_logits, expected, atol=1e-6)
    numbers = folded("regression")
    means = theirs(DummyRegressor(), numbers, "predict")
    np.testing.assert_allclose(majority(numbers).validation_logits[:, 0], means, rtol=1e-5)
    whole = majority(replace(numbers, folds=None))
    np.testing.assert_array_equal(majority(numbers).test_logits, whole.test_logits)


def test_tags_of_words_are_counted_without_their_own_sentence() -> None:
    task = folded("token-classification", 12)
    rows = np.arange(12)
    scores = word_tags(replace(task, folds=rows))
    assert task.train.offsets is not None
    for row in rows:
        others, own = (task.train.take(np.flatnonzero(one)) for one in (rows != row, rows == row))
        alone = word_tags(replace(task, train=others, validation=own, folds=None))
        words = slice(task.train.offsets[row], task.train.offsets[row + 1])
        np.testing.assert_array_equal(scores.validation_logits[words], alone.validation_logits)


@pytest.mark.parametrize("fit", [tfidf_logistic_regression, majority])
def test_a_label_that_stands_in_one_fold_only_is_not_predicted_there(fit: Any) -> None:
    task = folded("classification")
    labels = np.arange(60) % 2
    labels[task.folds == 1] = 2
    split = Split(task.train.texts, None, labels)
    scores = fit(replace(task, train=split, validation=split))
    assert not (scores.validation_logits[task.folds == 1].argmax(1) == 2).any()
    assert np.isfinite(scores.validation_logits).all()
