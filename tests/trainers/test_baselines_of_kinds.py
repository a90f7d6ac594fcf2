"""The baselines of label sets, numbers and tags on tasks whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from trainers.baselines import majority, text_baselines, tfidf_label_sets, tfidf_ridge, word_tags
from trainers.splits import Split
from trainers.task import Task
from trainers.texts import Texts

WORDS = ("red", "green", "blue")


def task_of(kind: str, metric: str, train: Split, held_out: Split, labels: Sequence[str] = ()) -> Task:
    return Task(
        name="toy",
        kind=kind,
        text="text",
        text_pair=None if train.pairs is None else "text_pair",
        label="label",
        labels=tuple(labels),
        metric=metric,
        train=train,
        validation=held_out,
        test=held_out,
        origin={},
        data_hash="",
    )


def coloured(rows: int, seed: int) -> tuple[Texts, np.ndarray]:
    """Sentences of noise with any of three colours in them: [rows, 3]."""
    rng = np.random.default_rng(seed)
    has = rng.integers(0, 2, (rows, 3))
    texts = []
    for row in has:
        words = [f"w{word}" for word in rng.integers(0, 50, 6)]
        texts.append(" ".join([*words, *(word for word, there in zip(WORDS, row, strict=True) if there)]))
    return Texts.of(texts), has


def sets(rows: int, seed: int) -> Split:
    texts, has = coloured(rows, seed)
    return Split(texts, None, has.astype(np.float32))


def amounts(rows: int, seed: int) -> Split:
    texts, has = coloured(rows, seed)
    return Split(texts, None, (has @ [1.0, 2.0, -4.0]).astype(np.float32))


def alike(rows: int, seed: int) -> Split:
    """Pairs whose number is how many of six words they share."""
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, 7, rows)
    words = rng.integers(0, 500, (rows, 12))
    texts = [" ".join(f"w{word}" for word in row[:6]) for row in words]
    pairs = [
        " ".join(f"w{word}" for word in [*row[:count], *row[6 + count :]])
        for row, count in zip(words, shared, strict=True)
    ]
    return Split(Texts.of(texts), Texts.of(pairs), shared.astype(np.float32))


def tagged(rows: Sequence[str]) -> Split:
    """Words with a tag after a slash: 0 or 1."""
    words = [[word.split("/") for word in row.split()] for row in rows]
    offsets = np.cumsum([0, *map(len, words)]).astype(np.int64)
    labels = np.array([int(tag) for row in words for _, tag in row])
    return Split(Texts.of([tuple(word for word, _ in row) for row in words]), None, labels, offsets)


def test_words_that_tell_each_of_several_labels_are_found() -> None:
    task = task_of("multi-label", "micro_f1", sets(200, 0), sets(100, 1), WORDS)
    scores = tfidf_label_sets(task)
    assert task.metrics(task.test, scores.test_logits)["micro_f1"] > 0.95
    assert scores.trainable_parameters == 3 * (scores.config["features"] + 1)
    nothing = task.metrics(task.test, majority(task).test_logits)
    assert nothing["micro_f1"] < 0.9


def test_a_label_of_no_training_row_is_not_predicted() -> None:
    train = sets(100, 0)
    train.labels[:, 2], train.labels[:, 1] = 0, 1
    task = task_of("multi-label", "macro_f1", train, sets(50, 1), WORDS)
    logits = tfidf_label_sets(task).test_logits
    assert (logits[:, 2] < 0).all() and (logits[:, 1] > 0).all()
    assert np.isfinite(majority(task).test_logits).all()


def test_a_number_that_words_add_up_to_is_found() -> None:
    task = task_of("regression", "pearson", amounts(300, 0), amounts(100, 1))
    scores = tfidf_ridge(task)
    assert scores.test_logits.shape == (100, 1)
    assert task.metrics(task.test, scores.test_logits)["pearson"] > 0.95


def test_the_likeness_of_a_pair_is_found() -> None:
    task = task_of("pair-regression", "rmse", alike(300, 0), alike(100, 1))
    metrics = task.metrics(task.test, tfidf_ridge(task).test_logits)
    assert metrics["spearman"] > 0.95 and metrics["rmse"] < 0.7


def test_the_mean_is_the_baseline_of_numbers() -> None:
    task = task_of("regression", "rmse", amounts(300, 0), amounts(100, 1))
    scores = majority(task)
    assert scores.name == "mean"
    metrics = task.metrics(task.train, np.full((300, 1), scores.test_logits[0, 0]))
    assert metrics["rmse"] == pytest.approx(float(task.train.labels.std()), rel=1e-5)
    assert metrics["pearson"] == 0


def test_a_word_gets_its_most_frequent_tag() -> None:
    # "new" is seen once, so an unknown word gets its tag
    train = tagged(["the/0 run/1 run/1 the/0", "run/0 The/0 new/1"])
    task = task_of("token-classification", "token_accuracy", train, tagged(["The/0 RUN/1 strange/1"]), "xy")
    scores = word_tags(task)
    assert scores.test_logits.argmax(axis=1).tolist() == [0, 1, 1]
    np.testing.assert_allclose(np.exp(scores.test_logits).sum(axis=1), 1, rtol=1e-5)
    assert task.metrics(task.test, scores.test_logits)["token_accuracy"] == 1
    assert majority(task).test_logits.argmax(axis=1).tolist() == [0, 0, 0]
    assert [scores.name for scores in text_baselines(task)] == ["frequent_tag", "word_tags"]


@pytest.mark.parametrize(
    ("kind", "metric", "split", "names"),
    [
        ("multi-label", "micro_f1", sets, ["frequent_labels", "tfidf_logistic_regression"]),
        ("regression", "rmse", amounts, ["mean", "tfidf_ridge"]),
        ("pair-regression", "r2", alike, ["mean", "tfidf_ridge"]),
    ],
)
def test_each_kind_has_its_baselines(kind: str, metric: str, split: object, names: list[str]) -> None:
    assert callable(split)
    task = task_of(kind, metric, split(60, 0), split(20, 1), WORDS if kind == "multi-label" else ())
    assert [scores.name for scores in text_baselines(task)] == names
