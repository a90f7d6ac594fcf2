"""The linear probe against scikit-learn on the same features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import CLASSES, data_of, sentences, task_of

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.data import Data, prepare
from trainers.method import METHODS
from trainers.probe import features, linear_probe, separation
from trainers.stack import Candidate, Stack
from trainers.train import logits_of


def data_with(backbone: Backbone, classes: int, labels: int | None = None) -> Data:
    parts = []
    for seed, rows in enumerate((80, 40, 40)):
        split = sentences(rows, seed)
        words = [
            sum(word in text.split() for word in ("good", "bad", "film")) % classes for text in split.texts
        ]
        parts.append(type(split)(split.texts, None, np.array(words)))
    return data_of(backbone, task_of(*parts, labels=labels or classes))


@pytest.mark.parametrize("classes", [2, CLASSES])
def test_probe_equals_scikit_learn_and_predicts_the_same_as_a_stack(classes: int, backbone: Backbone) -> None:
    data = data_with(backbone, classes)
    probe = linear_probe(backbone, data)
    train, test = features(backbone, data.train), features(backbone, data.test)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=probe.strength, max_iter=1000))
    oracle.fit(train, data.train.labels)
    ours = np.exp(probe.test_logits - probe.test_logits.max(1, keepdims=True))
    chances = ours / ours.sum(1, keepdims=True)
    assert np.allclose(chances, oracle.predict_proba(test), atol=5e-3)  # both stop within a tolerance
    stack = Stack(backbone, [Candidate(METHODS["linear_probe"](), 0)], classes, [probe.state])
    assert np.allclose(logits_of(stack, data.test)[0], probe.test_logits, atol=1e-4)


def test_a_class_without_training_rows_is_never_predicted(backbone: Backbone) -> None:
    probe = linear_probe(backbone, data_with(backbone, 2, labels=3))
    assert set(probe.test_logits.argmax(1)) <= {0, 1}


def test_features_of_each_row_are_computed_once_with_folds_too(backbone: Backbone) -> None:
    rows, test = sentences(24), sentences(6, seed=1)
    task = replace(task_of(rows, rows, test), folds=np.arange(24) % 3)
    for _ in range(2):  # as tokenised now, and as kept on disk
        seen: list[int] = []
        handle = backbone.model.register_forward_hook(
            lambda _, __, output, seen=seen: seen.append(len(output[0]))
        )
        linear_probe(backbone, prepare(task, backbone))
        handle.remove()
        assert sum(seen) == 30


@pytest.mark.parametrize("classes", [2, 5])
def test_separation_is_the_variance_that_an_anova_explains_less_what_chance_does(classes: int) -> None:
    chance = np.random.default_rng(classes)
    labels = chance.integers(0, classes, 60)
    values = (chance.normal(size=(60, 7)) + 0.5 * labels[:, None]).astype(np.float32)
    values = (values - values.mean(0)) / values.std(0)
    f, _ = f_classif(values, labels)
    # epsilon squared by its other formula: (F - 1) / (F + (n - C) / (C - 1)), of each feature
    explained = (f - 1) / (f + (60 - classes) / (classes - 1))
    assert separation(values, labels) == pytest.approx(np.sqrt(np.mean(explained)), rel=1e-4)


def test_separation_is_one_where_classes_are_points_and_none_where_all_is_one_point() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    points = np.eye(3, dtype=np.float32)[labels]
    assert separation(points, labels) == pytest.approx(1)
    assert separation(np.ones((5, 3), np.float32), labels) == 0
    sets = np.eye(3, dtype=np.float32)[labels]
    each = [separation(points, column.astype(np.int64)) ** 2 for column in sets.T]
    assert min(each) > 0 and separation(points, sets) == pytest.approx(np.sqrt(np.mean(each)))
    numbers = np.array([1.5, 1.0, 7.0, 9.0, 3.0], np.float32)  # above the median: rows 2 and 3
    assert separation(points, numbers) == separation(points, np.array([0, 0, 1, 1, 0]))


def test_separation_of_classes_that_mean_nothing_is_near_none_whatever_the_rows() -> None:
    chance = np.random.default_rng(0)
    for rows in (40, 400):
        values = chance.normal(size=(rows, 200)).astype(np.float32)
        assert separation(values, chance.integers(0, 10, rows)) ** 2 < 0.02  # unadjusted: 9 / (rows - 1)
