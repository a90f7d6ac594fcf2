"""The baselines on tasks whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from trainers.baselines import BaselineScores, majority, overlap, tfidf_logistic_regression
from trainers.metrics import metrics_of
from trainers.task import Split, Task

WORDS = ["red", "green", "blue", "grey"]


def task_of(train: Split, held_out: Split, labels: Sequence[str]) -> Task:
    pairs = train.pairs is not None
    return Task(
        name="toy",
        kind="pair-classification" if pairs else "classification",
        text="text1",
        text_pair="text2" if pairs else None,
        label="label",
        labels=tuple(labels),
        metric="accuracy",
        train=train,
        validation=held_out,
        test=held_out,
        origin={},
        data_hash="",
    )


def colours(rows: int, seed: int) -> Split:
    """Sentences of noise in which one word tells the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rows)
    noise = [" ".join(f"w{word}" for word in rng.integers(0, 50, 6)) for _ in range(rows)]
    return Split(
        tuple(f"{text} {WORDS[label]}" for text, label in zip(noise, labels, strict=True)), None, labels
    )


def repeats(rows: int, seed: int) -> Split:
    """Pairs whose label is whether the second text has the words of the first, in another order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    words = [[f"w{word}" for word in rng.integers(0, 500, 6)] for _ in range(rows)]
    others = [[f"w{word}" for word in rng.integers(0, 500, 6)] for _ in range(rows)]
    pairs = [
        " ".join((own if label else other)[::-1])
        for own, other, label in zip(words, others, labels, strict=True)
    ]
    return Split(tuple(map(" ".join, words)), tuple(pairs), labels)


def accuracy(scores: BaselineScores, task: Task) -> float:
    return metrics_of(scores.test_logits, task.test.labels)["accuracy"]


def test_majority_predicts_the_most_frequent_label_with_its_frequency() -> None:
    train = Split(("a", "b", "c", "d"), None, np.array([1, 0, 1, 1]))
    scores = majority(task_of(train, train, ["x", "y"]))
    np.testing.assert_allclose(np.exp(scores.test_logits), [[0.25, 0.75]] * 4, rtol=1e-6)
    assert (scores.stored_bytes, scores.trainable_parameters) == (0, 0)


def test_words_that_tell_the_label_are_found() -> None:
    task = task_of(colours(200, 0), colours(100, 1), WORDS)
    scores = tfidf_logistic_regression(task)
    assert accuracy(scores, task) > 0.95
    assert scores.validation_logits.dtype == np.float32
    np.testing.assert_allclose(np.exp(scores.validation_logits).sum(axis=1), 1, rtol=1e-5)
    # a weight for each label and feature, and an intercept for each label
    assert scores.trainable_parameters == 4 * (scores.config["features"] + 1)
    assert scores.stored_bytes > 4 * scores.trainable_parameters


def test_a_pair_is_compared_by_its_words() -> None:
    task = task_of(repeats(300, 0), repeats(100, 1), ["no", "yes"])
    assert accuracy(tfidf_logistic_regression(task), task) > 0.95


def test_overlap_counts_shared_words() -> None:
    assert overlap("The cat sat", "the cat") == pytest.approx((2 / 3, 1, 2 / 3))
    assert overlap("", " ") == (0, 0, 0)


def test_texts_without_a_word_are_no_obstacle() -> None:
    split = Split(("🙂", "🙁", "!", "") * 5, None, np.array([0, 1, 1, 0] * 5))
    task = task_of(split, split, ["good", "bad"])
    assert accuracy(tfidf_logistic_regression(task), task) == 1
