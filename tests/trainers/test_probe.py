"""The linear probe against scikit-learn on the same features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import CLASSES, data_of, sentences, task_of

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.data import Data
from trainers.method import METHODS
from trainers.probe import features, linear_probe
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
