"""What a candidate costs, known before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.heads import initial_head
from trainers.method import MethodConfig
from trainers.sites import Site

BYTES_PER_NUMBER = 4
"""Modules are stored in fp32."""


@dataclass(frozen=True)
class Cost:
    """Sizes of one candidate."""

    module_parameters: int
    """Trained numbers outside the head: the figure that papers give."""
    head_parameters: int

    @property
    def trainable_parameters(self) -> int:
        """All numbers that training changes."""
        return self.module_parameters + self.head_parameters

    @property
    def stored_bytes(self) -> int:
        """Size of the stored tensors; the few kilobytes of file header are not counted."""
        return BYTES_PER_NUMBER * self.trainable_parameters


def cost_of(config: MethodConfig, sites: Sequence[Site], classes: int, hidden_size: int) -> Cost:
    """Count a configuration's parameters on a backbone with these sites."""
    generator = torch.Generator().manual_seed(0)
    modules = sum(
        tensor.numel() for _, delta in config.deltas(sites) for tensor in delta.initial(generator).values()
    )
    head = sum(tensor.numel() for tensor in initial_head(classes, hidden_size, generator).values())
    return Cost(module_parameters=modules, head_parameters=head)
