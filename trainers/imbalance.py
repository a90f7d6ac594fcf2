"""Classes of which some are rare: how much each row counts in training, and when that is worth searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from trainers.domains import CLASS_WEIGHTS, Choice
from trainers.kinds import single
from trainers.method import MethodConfig
from trainers.task import Task

WITH_CLASSES = ("classification", "token-classification")
"""Single kinds in which a row, or a word, has one class."""
UNBALANCED = 1.5
"""Class weights are searched where the largest class of the training split has this many times the smallest's
rows, or words."""


@dataclass(frozen=True, eq=False)
class Weighting:
    """How much each item counts in the losses of a stack's candidates; by default all count alike."""

    classes: Float[Tensor, "candidates classes"] | None
    """Factor of an item's loss by its class; None: 1 for all."""
    focal: Float[Tensor, " candidates"] | None
    """Gamma of the focal loss; None: 0 for all."""

    def applied(
        self, each: Float[Tensor, "candidates items ..."], labels: Shaped[Tensor, "items ..."]
    ) -> Float[Tensor, "candidates items ..."]:
        """Cross-entropies, of items or of each of their labels, as they count.

        The focal loss (Lin et al., arXiv 1708.02002) is `(1 - p) ** gamma * -log p`, where p is the
        probability of what is right.
        """
        if self.focal is not None:
            gamma = self.focal.view(-1, *[1] * (each.ndim - 1))
            # At 0 the slope of a power below 1 is infinite.
            missing = (-torch.expm1(-each)).clamp(min=torch.finfo(each.dtype).tiny)
            each = missing**gamma * each
        if self.classes is not None:
            each = self.classes[:, labels] * each
        return each


def weighting(task: Task, configs: Sequence[MethodConfig], device: torch.device) -> Weighting | None:
    """That of candidates side by side; None where everything counts alike.

    Raises:
        ValueError: if a configuration has a value that means nothing for this kind of task.
    """
    for config in configs:
        for name, allowed in choices_for(task).items():
            if not allowed.contains(getattr(config, name)):
                raise ValueError(
                    f"{config.name}.{name} is {getattr(config, name)!r}; "
                    f"for a task of kind {task.kind} it must be {allowed}"
                )
    balanced = [config.class_weights == "balanced" for config in configs]
    gammas = [float(config.focal) for config in configs]
    if not any(balanced) and not any(gammas):
        return None
    weights = None
    if any(balanced):
        ones, own = torch.ones(task.outputs), torch.from_numpy(class_weights(task))
        weights = torch.stack([own if each else ones for each in balanced]).to(device)
    return Weighting(weights, torch.tensor(gammas, device=device) if any(gammas) else None)


def class_weights(task: Task) -> NDArray[np.float32]:
    """Of each class `rows / (classes * rows of the class)`, as scikit-learn balances.

    The mean over the rows is 1. Of tagged words, words stand for rows. Classes that no row has take no part.
    """
    counts = _counts(task)
    found = counts > 0
    weights = np.ones(len(counts))
    weights[found] = counts.sum() / (found.sum() * counts[found])
    return weights.astype(np.float32)


def choices_for(task: Task) -> dict[str, Choice]:
    """Fields of every method that this task leaves no choice, or less -> what it leaves.

    Balanced classes are not weighed in a search, but may be where it is asked for.
    """
    if single(task.kind) == "regression":
        return {"class_weights": Choice("none"), "focal": Choice(0.0)}
    if single(task.kind) not in WITH_CLASSES:
        return {"class_weights": Choice("none")}
    return {} if unbalanced(task) else {"class_weights": _ONLY_IF_ASKED}


def unbalanced(task: Task) -> bool:
    """Whether the classes of the training split differ so much in size that weights may matter."""
    counts = _counts(task)
    found = counts[counts > 0]
    return bool(found.max() >= UNBALANCED * found.min())


def _counts(task: Task) -> NDArray[Any]:
    return np.bincount(task.train.labels, minlength=task.outputs)


_ONLY_IF_ASKED = Choice("none", also=CLASS_WEIGHTS.contains, hint="balanced")
