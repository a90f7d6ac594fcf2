"""What a baseline predicts, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    seconds: float
    """To fit and to predict both splits."""
    stored_bytes: int
    """Weights as 32-bit numbers and the vocabulary as UTF-8."""
    trainable_parameters: int


def merit(logits: Logits, task: Task) -> tuple[float, float]:
    """How good validation logits are, larger is better: the task's metric, and the loss where it ties."""
    metrics = task.metrics(task.validation, logits)
    value = metrics[task.metric]
    return -value if task.metric in LOWER_IS_BETTER else value, -metrics["loss"]
