"""Numbers to predict: trained on as standard scores, predicted in the data's own unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainers.batches import Tokens
from trainers.kinds import single
from trainers.task import Task

HEAD = ("head.weight", "head.bias")


@dataclass(frozen=True)
class TargetScale:
    """Mean and deviation of the training labels: a head learns (label - mean) / deviation.

    So the same learning rates suit scores from 0 to 1 and prices in thousands. What is no number stays as
    it is: mean 0, deviation 1.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def standard(self, tokens: Tokens) -> Tokens:
        """The tokens with labels as they are trained on."""
        if self == TargetScale():
            return tokens
        labels = (tokens.labels.astype(np.float64) - self.mean) / self.deviation
        return replace(tokens, labels=labels.astype(np.float32))

    def own(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a trained head gives, in the data's own unit."""
        if self == TargetScale():
            return logits
        return (logits.astype(np.float64) * self.deviation + self.mean).astype(np.float32)

    def folded(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a candidate whose head gives the data's own unit by itself."""
        if self == TargetScale():
            return dict(state)
        weight, bias = (state[name].double() * self.deviation for name in HEAD)
        return {**state, **dict(zip(HEAD, (weight.float(), (bias + self.mean).float()), strict=True))}


def target_scale(task: Task) -> TargetScale:
    """That of the training split."""
    if single(task.kind) != "regression":
        return TargetScale()
    labels: NDArray[Any] = task.train.labels.astype(np.float64)
    return TargetScale(float(labels.mean()), float(labels.std()))
