"""Candidates that a sampler may draw, with all their fields different at once: stacked as alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from tiny import CLASSES, batch_of, make_backbone

import trainers.methods  # noqa: F401
from selector.space import space_of
from selector.uniform import draw
from trainers.backbone import Backbone, load
from trainers.heads import losses
from trainers.method import METHODS, MethodConfig
from trainers.stack import Candidate, Stack

DRAWN = 80
GROUPS = 4
MEMBERS = 4
SEARCHED = [m for m in METHODS.values() if m.searched != "never" and not m().alone]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Four layers, so that candidates differ in those that they change."""
    folder = make_backbone(tmp_path_factory.mktemp("deep"), "bert", num_hidden_layers=4)
    return load(str(folder), dtype="fp32")


def drawn(method: type[MethodConfig], backbone: Backbone) -> list[list[MethodConfig]]:
    """Groups of candidates that may share a stack."""
    space, chance = space_of([method], backbone.sites), np.random.default_rng(0)
    groups: dict[tuple[object, ...], list[MethodConfig]] = {}
    for _ in range(DRAWN):
        config = draw(space, chance)
        if not config.alone:
            groups.setdefault(config.stack_key, []).append(config)
    shared = (group[:MEMBERS] for group in groups.values() if len(group) > 1)
    return list(islice(shared, GROUPS))


@pytest.mark.parametrize("method", SEARCHED, ids=lambda m: m.name)
def test_drawn_candidates_have_the_logits_and_gradients_in_a_stack_that_they_have_alone(
    method: type[MethodConfig], deep: Backbone
) -> None:
    groups = drawn(method, deep)
    assert groups
    for group in groups:
        candidates = [Candidate(config, seed) for seed, config in enumerate(group)]
        states = []
        for one in candidates:
            (state,) = Stack(deep, [one], CLASSES).states()
            chance = torch.Generator().manual_seed(one.seed)
            states.append({n: t + 0.05 * torch.randn(t.shape, generator=chance) for n, t in state.items()})
        together = measured(Stack(deep, candidates, CLASSES, states))
        for i, (one, state) in enumerate(zip(candidates, states, strict=True)):
            logits, (gradients,) = measured(Stack(deep, [one], CLASSES, [state]))
            assert torch.allclose(together[0][i], logits[0], atol=1e-4), group
            for name, alone in gradients.items():
                limit = 1e-7 + 1e-3 * float(alone.abs().max())
                assert float((together[1][i][name] - alone).abs().max()) <= limit, (name, group)


def measured(stack: Stack) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    batch = batch_of(stack.backbone)
    with stack.attached():
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    return logits.detach(), stack.unpack(rows)
