"""Baselines that do not look at the text, or only at one word of it."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from trainers.baseline_scores import BaselineScores, Logits, best_of
from trainers.kinds import single
from trainers.splits import Split
from trainers.task import Task

NUMBER_BYTES = 4
CONSTANTS = {
    "classification": "majority",
    "multi-label": "frequent_labels",
    "regression": "mean",
    "token-classification": "frequent_tag",
}
"""Kind -> the name of the baseline that gives one answer for all; in older studies "majority" for tags and
several labels, too."""


def majority(task: Task) -> BaselineScores:
    """One answer for all: the most frequent label or tag, the labels that most rows have, the mean number.

    As the log probabilities of the label frequencies in training; for several labels as the log odds of each.
    """
    return best_of(task, lambda part: [constant(part)])


def constant(task: Task) -> BaselineScores:
    kind, train = single(task.kind), task.train.labels
    if kind == "regression":
        logits = np.array([train.mean()])
    elif kind == "multi-label":
        # half a row more of both, so that the odds of a label that all or no rows have are finite
        shares = (train.sum(axis=0) + 0.5) / (len(train) + 1)
        logits = np.log(shares / (1 - shares))
    else:
        counts = np.bincount(train, minlength=len(task.labels)).astype(np.float64)
        # a tag may occur in other splits only
        counts += 0.5 * (counts == 0)
        logits = np.log(counts / counts.sum())
    row = logits.astype(np.float32)
    return BaselineScores(
        name=CONSTANTS[kind],
        validation_logits=np.tile(row, (len(task.validation.labels), 1)),
        test_logits=np.tile(row, (len(task.test.labels), 1)),
        config={},
        stored_bytes=0,
        trainable_parameters=0,
    )


def word_tags(task: Task) -> BaselineScores:
    """The most frequent tag of each word in training, in its own case or else in any.

    A word that was not seen gets the tags of the words that occur once, which are the likest to it (Jurafsky
    and Martin). Given as the logarithm of the tags' shares, where each tag is seen a hundredth time more.
    """
    return best_of(task, lambda part: [tag_table(part)])


def tag_table(task: Task) -> BaselineScores:
    tags = len(task.labels)
    counts = tag_counts(task.train, tags)
    rare = (tally for word, tally in counts.items() if word == word.casefold() and tally.sum() == 1)
    once = sum(rare, np.zeros(tags))
    every = np.bincount(task.train.labels, minlength=tags).astype(np.float64)
    table = {word: log_shares(tally) for word, tally in counts.items()}
    unseen = log_shares(once if once.any() else every)

    def logits(split: Split) -> Logits:
        words = (word for words in split.texts for word in words)
        found = [table.get(word, table.get(word.casefold(), unseen)) for word in words]
        return np.array(found, dtype=np.float32).reshape(-1, tags)

    return BaselineScores(
        name="word_tags",
        validation_logits=logits(task.validation),
        test_logits=logits(task.test),
        config={"words": len(table)},
        stored_bytes=sum(len(word.encode()) + NUMBER_BYTES for word in table),
        trainable_parameters=len(table),
    )


def tag_counts(split: Split, tags: int) -> dict[str, NDArray[np.float64]]:
    """Word, as it is and in lower case -> how often it has each tag."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    words = (word for words in split.texts for word in words)
    for word, tag in zip(words, split.labels.tolist(), strict=True):
        for form in {word, word.casefold()}:
            found[form][tag] += 1
    counts = {word: np.zeros(tags) for word in found}
    for word, tally in found.items():
        counts[word][list(tally)] = list(tally.values())
    return counts


def log_shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed = counts + 0.01
    return np.asarray(np.log(smoothed / smoothed.sum()))
