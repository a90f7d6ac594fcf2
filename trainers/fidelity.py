"""How much is spent on a candidate, and what was measured for it: plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Epochs = int | float
"""Passes over the training split, counted from the start; a part of one is 0.25, 0.5 or 0.75."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How far to train."""

    epochs: Epochs


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How far one gate of a mixture is open, over the validation split."""

    layer: int
    """Transformer layer from 0; -1 for the embeddings."""
    module: str
    """Name of the method behind the gate, such as lora."""
    role: str
    """Role of the site where it sits, such as query."""
    mean: float
    """In (0, 1); near 0 the module adds nothing. NaN when training diverged."""
    deviation: float
    """Standard deviation over the examples."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured of one candidate at a fidelity."""

    epochs: Epochs
    metrics: Mapping[str, float]
    """Name -> value on the validation split."""
    train_loss: float
    """Mean of the loss that was trained on, weights of classes included, over what was seen of the last
    epoch; not finite when training diverged."""
    seconds: float
    """Device seconds used so far: this candidate's share of its stack."""
    gates: tuple[Gate, ...] = ()
    """Empty for a method without gates."""
    best_epoch: Epochs | None = None
    """With early stopping, where metrics, loss and gates were taken, such as after 4; None: at the end."""
