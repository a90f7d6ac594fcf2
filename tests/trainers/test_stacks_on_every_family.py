"""Unlike candidates side by side on every family: each as it is alone, whatever layers the others choose."""

from __future__ import annotations

import pytest
import torch
from tiny import CLASSES, away_from_its_start, batch_of
from torch import Tensor

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.heads import losses
from trainers.method import MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.stack import Candidate, Stack, State

NEIGHBOURS: dict[str, tuple[MethodConfig, ...]] = {
    "lora": (
        LoRAConfig(rank=3, targets="all linear"),
        LoRAConfig(rank=5, targets="all linear", layers="top 1"),
    ),
    "prefix": (PrefixConfig(prefix_length=3), PrefixConfig(prefix_length=5, positions="shifted", layers="0")),
    "unipelt": (
        UniPELTConfig(modules="APLI", prefix_length=3, rank=3),
        UniPELTConfig(modules="APLI", prefix_length=5, layers="top 1", gate_penalty=0.1),
    ),
}


def logits_and_gradients(stack: Stack) -> tuple[Tensor, list[State]]:
    batch = batch_of(stack.backbone)
    with stack.attached():
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    return logits.detach(), stack.unpack(rows)


@pytest.mark.parametrize("method", NEIGHBOURS)
def test_neighbours_change_neither_logits_nor_gradients(method: str, any_backbone: Backbone) -> None:
    configs = NEIGHBOURS[method]
    states = [away_from_its_start(any_backbone, config)[1] for config in configs]
    candidates = [Candidate(config, 0) for config in configs]
    logits, gradients = logits_and_gradients(Stack(any_backbone, candidates, CLASSES, states))
    for i, candidate in enumerate(candidates):
        expected, (alone,) = logits_and_gradients(Stack(any_backbone, [candidate], CLASSES, [states[i]]))
        assert torch.allclose(logits[i], expected[0], atol=1e-5)
        for name, gradient in alone.items():
            assert torch.allclose(gradients[i][name], gradient, rtol=1e-4, atol=1e-6), name
