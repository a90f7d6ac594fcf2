"""What a candidate costs, known before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.head import Head
from trainers.layout import full_name
from trainers.method import MethodConfig
from trainers.sites import Site

BYTES_PER_NUMBER = 4
"""Modules are stored in fp32."""


@dataclass(frozen=True)
class Cost:
    """Sizes of one candidate."""

    module_parameters: int
    """Trained numbers outside the head."""
    deployed_parameters: int
    """What of them remains after training: the figure that papers give."""
    head_parameters: int
    frozen_bytes: int = 0
    """Size of tensors that are stored but not trained, such as random projections."""

    @property
    def trainable_parameters(self) -> int:
        """All numbers that training changes."""
        return self.module_parameters + self.head_parameters

    @property
    def stored_bytes(self) -> int:
        """Size of the stored tensors; the few kilobytes of file header are not counted."""
        return BYTES_PER_NUMBER * (self.deployed_parameters + self.head_parameters) + self.frozen_bytes


def cost_of(
    config: MethodConfig, sites: Sequence[Site], classes: int, hidden_size: int, head: Head | None = None
) -> Cost:
    """Count a configuration's parameters on a backbone with these sites; without a `head` its one layer."""
    tensors = (head or Head()).initial(classes, hidden_size, torch.Generator())
    return Cost(
        module_parameters=_numbers(config, sites),
        deployed_parameters=_numbers(config.deployed(), sites),
        head_parameters=sum(tensor.numel() for tensor in tensors.values()),
    )


def _numbers(config: MethodConfig, sites: Sequence[Site]) -> int:
    sizes = {
        full_name(site, delta, short): shape.numel()
        for site, delta in config.placed(sites)
        for short, shape in delta.shapes().items()
    }
    return sum(sizes.values())
