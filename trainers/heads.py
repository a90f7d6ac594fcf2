"""Task heads, one for each candidate, side by side."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.method import Tensors

HEAD_TENSORS = 2
"""Tensors of a head; they come first in a candidate's state."""


def initial_head(classes: int, width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A linear classifier on the pooled features: weight Normal(0, 0.02), bias 0."""
    return {
        "head.weight": torch.empty(classes, width).normal_(0, 0.02, generator=generator),
        "head.bias": torch.zeros(classes),
    }


def head_logits(
    tensors: Tensors, features: Float[Tensor, "candidates batch d_in"]
) -> Float[Tensor, "candidates batch classes"]:
    """Each candidate's logits from its own features."""
    return torch.baddbmm(tensors["head.bias"].unsqueeze(1), features, tensors["head.weight"].mT)


def losses(
    logits: Float[Tensor, "candidates batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, " candidates"]:
    """Mean cross-entropy of each candidate over the batch."""
    candidates, batch, classes = logits.shape
    flat = cross_entropy(logits.reshape(-1, classes), labels.repeat(candidates), reduction="none")
    return flat.view(candidates, batch).mean(1)
