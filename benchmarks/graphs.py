"""Steps of a stack as CUDA graphs: recorded once for each shape of a batch, then played again.

What a graph leaves away is the time in which the processor tells the GPU what to do. Recording
asks of a step that it reads nothing back and copies nothing from the processor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainers.batches import Batch
from trainers.train import Training

WARM_UP = 3
"""Steps before one is recorded, as torch asks for."""


@dataclass(frozen=True)
class Recorded:
    """A step on a batch whose tensors stay where they are: other rows are copied into them."""

    graph: Any
    batch: Batch


class GraphedSteps:
    """The steps of one training; only inside `stack.attached()`.

    The step number is recorded, too, so that Adam corrects its moments as if all steps were the
    same: for the clock, not for the weights.
    """

    def __init__(self, training: Training, factor: Tensor) -> None:
        """`factor`, `[candidates, 1]` on the device, is that of all learning rates."""
        self._training = training
        self._factor = factor
        self._pool = torch.cuda.graph_pool_handle()
        self._recorded: dict[torch.Size, Recorded] = {}

    def record(self, batch: Batch) -> None:
        """Record a step on a batch of this shape, unless there is one.

        Raises:
            RuntimeError: if it cannot be recorded.
        """
        shape = batch.input_ids.shape
        if shape in self._recorded:
            return
        own = replace(batch, **{name: tensor.clone() for name, tensor in _tensors(batch).items()})
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._step(own)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._step(own)
        self._recorded[shape] = Recorded(graph, own)

    def step(self, batch: Batch) -> None:
        """A step on a batch of a recorded shape."""
        recorded = self._recorded[batch.input_ids.shape]
        for name, tensor in _tensors(batch).items():
            getattr(recorded.batch, name).copy_(tensor, non_blocking=True)
        recorded.graph.replay()

    def _step(self, batch: Batch) -> None:
        self._training._step(batch, 0, 1, self._factor)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    found = {
        name: getattr(batch, name) for name in ("input_ids", "attention_mask", "token_type_ids", "labels")
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}
