"""What every method must beat: one answer for every row, and words and characters with a linear model."""

from __future__ import annotations

from collections.abc import Iterator

from trainers.baseline_scores import BaselineScores
from trainers.constant_baselines import majority, word_tags
from trainers.kinds import single
from trainers.task import Task
from trainers.tfidf import overlap, tfidf_label_sets, tfidf_logistic_regression, tfidf_ridge

__all__ = [
    "BaselineScores",
    "majority",
    "overlap",
    "text_baselines",
    "tfidf_label_sets",
    "tfidf_logistic_regression",
    "tfidf_ridge",
    "word_tags",
]


def text_baselines(task: Task) -> Iterator[BaselineScores]:
    """The baselines of the task's kind that need no backbone, the cheaper one first."""
    yield majority(task)
    models = {
        "classification": tfidf_logistic_regression,
        "multi-label": tfidf_label_sets,
        "regression": tfidf_ridge,
        "token-classification": word_tags,
    }
    yield models[single(task.kind)](task)
