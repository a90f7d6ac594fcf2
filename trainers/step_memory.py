"""Memory that training a candidate takes, told by what its forward pass keeps of one row and of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from trainers.backbone import Backbone
from trainers.batches import batches
from trainers.building import AnyStack, build_stack
from trainers.cost import BYTES_PER_NUMBER
from trainers.data import Data
from trainers.kept_outputs import memory_part
from trainers.method import MethodConfig
from trainers.stack import Candidate
from trainers.train import BATCH_SIZE

AT_REST = 3
"""Trained numbers and their two moments."""
IN_STEP = 2
"""Gradients, and what the optimizer makes of them."""
PASSING = 1.12
"""What a step holds at its peak, in units of what is kept for the backward pass: the rest comes and goes.
Between 1.06 and 1.18 for eleven methods (docs/performance.md)."""
SHARE = 2
"""A stack may take half of a worker's part of the memory. Like that of what is kept, this does not depend on
what is free at the moment: a training that is repeated has the same neighbours."""


def training_bytes(backbone: Backbone, data: Data, config: MethodConfig) -> int:
    """Peak bytes that training takes alone, beside the frozen backbone, on batches with the longest row.

    In a stack of N each candidate takes as much. Where nothing inside the backbone is trained, what its
    layers pass on is more than this.

    Raises:
        RuntimeError: as building the candidate or its forward pass does.
    """
    stack = build_stack(backbone, [Candidate(config, 0)], data.task.outputs)
    longest = int(data.train.lengths.argmax())
    one, two = (_kept(stack, data, np.full(rows, longest)) for rows in (1, 2))
    kept = one + (min(BATCH_SIZE, len(data.train)) - 1) * (two - one)
    numbers = BYTES_PER_NUMBER * stack.parameters.numel()
    return round(AT_REST * numbers + max(PASSING * kept, IN_STEP * numbers))


def _kept(stack: AnyStack, data: Data, rows: NDArray[np.int64]) -> int:
    """Bytes of all that a forward pass keeps for the backward pass and that was not there before."""
    model = stack.backbone.model
    known = (*model.parameters(), *model.buffers(), stack.parameters)
    there = {tensor.untyped_storage().data_ptr() for tensor in known}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    (batch,) = batches(data.train, [rows], stack.backbone.pad_token_id, stack.backbone.device)
    with stack.attached(), saved_tensors_hooks(keep, lambda tensor: tensor):
        held = stack.logits(batch, training=True)  # as long as it is held no storage gets another's address
    del held
    return sum(found.values())


def fitting_stack(sizes: Sequence[int], device: torch.device) -> int:
    """How many of these candidates, in their order, one stack may hold; one at least."""
    room, count = memory_part(device) / SHARE, 0
    while count < len(sizes) and (count + 1) * max(sizes[: count + 1]) <= room:
        count += 1
    return max(1, count)
