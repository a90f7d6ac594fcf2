"""Where a head starts from: numbers from the mean of the training rows, several labels from their odds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from trainers.heads import losses
from trainers.imbalance import Weighting
from trainers.kinds import single
from trainers.task import Task


@dataclass(frozen=True, eq=False)
class OutputScale:
    """What a trained head gives, times `deviation` plus `centre`, is what is predicted.

    | kind | centre | deviation |
    |---|---|---|
    | regression | mean of the training labels | their standard deviation |
    | multi-label | log odds of each label in training | 1 |
    | others | 0 | 1 |

    The centre is 0 for heads without a bias, which cannot hold it. So the same learning rates suit scores
    from 0 to 1 and prices in thousands, and labels of which each is rare are not all pushed down from even
    odds first (as Lin et al. 2017 start theirs).
    """

    centre: NDArray[np.float64]
    """`[outputs]`."""
    deviation: float = 1.0

    def losses(
        self,
        logits: Float[Tensor, "candidates items outputs"],
        labels: Shaped[Tensor, "items ..."],
        weighting: Weighting | None = None,
    ) -> Float[Tensor, " candidates"]:
        """Each candidate's loss; of numbers the squared error in standard deviations."""
        centre = torch.from_numpy(self.centre).to(logits, non_blocking=True)
        return losses(logits * self.deviation + centre, labels, weighting) / self.deviation**2

    def applied(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The predictions of trained heads, from what they give."""
        return (logits * self.deviation + self.centre).astype(np.float32)

    def folded(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a candidate whose head predicts by itself."""
        folded = {"head.weight": state["head.weight"].double() * self.deviation}
        if "head.bias" in state:
            bias = state["head.bias"].double() * self.deviation
            folded["head.bias"] = bias + torch.from_numpy(self.centre).to(bias)
        return {**state, **{name: tensor.float() for name, tensor in folded.items()}}


def output_scale(task: Task, *, centred: bool = True) -> OutputScale:
    """That of the training split; not `centred` for heads without a bias."""
    scale = _scale(task)
    return scale if centred else replace(scale, centre=np.zeros_like(scale.centre))


def _scale(task: Task) -> OutputScale:
    labels: NDArray[Any] = task.train.labels
    if single(task.kind) == "regression":
        numbers = labels.astype(np.float64)
        return OutputScale(np.array([numbers.mean()]), float(numbers.std()))
    if task.kind == "multi-label":
        return OutputScale(log_odds(labels))
    return OutputScale(np.zeros(task.outputs))


def log_odds(sets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each label, as if half a row more had it and half a row more had it not: finite for all."""
    shares = (sets.sum(axis=0, dtype=np.float64) + 0.5) / (len(sets) + 1)
    return np.asarray(np.log(shares / (1 - shares)))
