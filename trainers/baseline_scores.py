"""What a baseline predicts, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.cross_validation import fold_tasks, out_of_fold
from trainers.metrics import LOWER_IS_BETTER
from trainers.task import Task

Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class BaselineScores:
    """What a baseline predicts, and what it costs."""

    name: str
    validation_logits: Logits
    """[rows, classes] for labels (log probabilities, or log odds of each of several labels), [rows, 1] for
    numbers, [words, classes] for tags."""
    test_logits: Logits
    config: Mapping[str, Any]
    seconds: float = 0.0
    """To fit all that the best was chosen from, and to predict both splits."""
    stored_bytes: int
    """Weights as 32-bit numbers and the vocabulary as UTF-8."""
    trainable_parameters: int


def best_of(task: Task, fit: Callable[[Task], list[BaselineScores]]) -> BaselineScores:
    """The best on validation of what `fit` makes of a task, such as one for each strength.

    With folds the validation logits are those out of fold, of fits without each fold; the rest is of the fit
    on all rows.
    """
    start = time.perf_counter()
    found = fit(task)
    parts = [[one.validation_logits for one in fit(part)] for part in fold_tasks(task)]
    if parts:
        pooled = [out_of_fold(task, each) for each in zip(*parts, strict=True)]
        found = [replace(one, validation_logits=out) for one, out in zip(found, pooled, strict=True)]
    best = max(found, key=lambda one: merit(one.validation_logits, task))
    return replace(best, seconds=time.perf_counter() - start)


def merit(logits: Logits, task: Task) -> tuple[float, float]:
    """How good validation logits are, larger is better: the task's metric, and the loss where it ties."""
    metrics = task.metrics(task.validation, logits)
    value = metrics[task.metric]
    return -value if task.metric in LOWER_IS_BETTER else value, -metrics["loss"]
