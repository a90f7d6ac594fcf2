"""LoRA+, dropout and VeRA's frozen matrices: what peft's logits do not show."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import CLASSES, away_from_its_start, batch_of, train
from torch import Tensor

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.method import MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.vera import VeRAConfig
from trainers.rows import Rows
from trainers.stack import Candidate, Stack

# --------------------------------------------------------------------------------------- LoRA+


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("dora", [False, True])
def test_b_moves_its_rate_times_as_far_and_everything_else_as_far_as_without(
    dora: bool, optimizer: str, backbone: Backbone
) -> None:
    rates = (1.0, 4.0, 16.0)
    configs: list[MethodConfig] = [LoRAConfig(rank=3, dora=dora, b_rate=rate) for rate in rates]
    _, start = away_from_its_start(backbone, configs[0])
    stack = Stack(backbone, [Candidate(config, 0) for config in configs], CLASSES, [start] * 3)
    plain, *faster = train(stack, 1, optimizer)
    for rate, state in zip(rates[1:], faster, strict=True):
        for name, before in start.items():
            expected = (plain[name] - before) * (rate if name.endswith(".b") else 1.0)
            assert expected.any(), name
            assert torch.allclose(state[name] - before, expected, atol=1e-6), name


# ------------------------------------------------------------------------------------- dropout


def test_dropout_keeps_the_expectation_and_drops_its_share() -> None:
    rows = Rows(torch.ones(1, 100_000, dtype=torch.bool), [torch.Generator().manual_seed(0)])
    dropped = rows.dropout(torch.ones(1, 100_000, 1), torch.tensor([0.1]))
    values, counts = dropped.unique(return_counts=True)
    assert torch.allclose(values, torch.tensor([0.0, 1 / 0.9]))
    # Standard deviation of a share of 0.1 in 100,000 draws: 0.001.
    assert counts[0] / 100_000 == pytest.approx(0.1, abs=0.005)
    assert dropped.mean() == pytest.approx(1.0, abs=0.005)


def test_candidate_drops_the_same_alone_and_beside_others() -> None:
    x = torch.ones(3, 200, 8)
    mask = torch.ones(4, 50, dtype=torch.bool)
    shares = torch.tensor([0.1, 0.0, 0.05])
    together = Rows(mask, [torch.Generator().manual_seed(seed) for seed in range(3)]).dropout(x, shares)
    assert torch.equal(together[1], x[1])
    for i in range(3):
        alone = Rows(mask, [torch.Generator().manual_seed(i)]).dropout(x[i : i + 1], shares[i : i + 1])
        assert torch.equal(alone[0], together[i])
    assert not torch.equal(together[0], together[2])


def test_dropout_draws_anew_at_every_step_and_never_in_evaluation(backbone: Backbone) -> None:
    stack, state = away_from_its_start(backbone, LoRAConfig(rank=3, dropout=0.1))
    without = Stack(backbone, [Candidate(LoRAConfig(rank=3), 0)], CLASSES, [state])
    batch = batch_of(backbone)

    def logits(of: Stack, batch: Batch, *, training: bool) -> Tensor:
        with of.attached(), torch.no_grad():
            return of.logits(batch, training=training)

    assert torch.equal(logits(stack, batch, training=False), logits(without, batch, training=True))
    first, second = (logits(stack, batch, training=True) for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)
    again = Stack(backbone, stack.candidates, CLASSES, [state])
    assert torch.equal(logits(again, batch, training=True), first)


# ---------------------------------------------------------------------------------------- VeRA


@pytest.mark.parametrize("rank", [16, 64])
def test_frozen_matrices_are_kaiming_uniform_and_the_same_everywhere(rank: int, backbone: Backbone) -> None:
    stack = Stack(backbone, [Candidate(VeRAConfig(rank=rank), seed) for seed in range(2)], CLASSES)
    first, *others = stack.places
    a, b = first.constants["A"][:rank], first.constants["B"][:, :rank] / math.sqrt(rank)
    assert all(torch.equal(place.constants[n], first.constants[n]) for place in others for n in "AB")
    # Uniform in [-bound, bound] has the deviation bound / sqrt(3); hundreds of draws give it to some percent.
    for matrix, fan_in in ((a, a.shape[1]), (b, rank)):
        bound = math.sqrt(6 / fan_in)
        assert matrix.abs().max() <= bound
        assert matrix.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_change_is_the_formula_for_each_rank_in_a_stack(backbone: Backbone) -> None:
    configs = [VeRAConfig(rank=rank, d_initial=d) for rank, d in ((16, 0.1), (40, 0.3))]
    states = [away_from_its_start(backbone, config)[1] for config in configs]
    stack = Stack(backbone, [Candidate(config, 0) for config in configs], CLASSES, states)
    place = stack.places[0]
    outputs: list[Tensor] = []
    module = backbone.model.get_submodule(place.site.module)
    with stack.attached(), torch.no_grad():
        hook = module.register_forward_hook(lambda _, args, y: outputs.extend([args[0], y, module.weight]))
        stack.logits(batch_of(backbone))
        hook.remove()
    x, y, weight = outputs
    a, b = place.constants["A"], place.constants["B"]
    for i, (config, state) in enumerate(zip(configs, states, strict=True)):
        r, path = config.rank, f"{place.site.module}.vera"
        own_x, own_y = x.chunk(2)[i], y.chunk(2)[i]
        low = (own_x @ a[:r].T) * state[f"{path}.d"]
        change = (low @ (b[:, :r] / math.sqrt(r)).T) * state[f"{path}.b"]
        assert torch.allclose(own_y, own_x @ weight.T + module.bias + change, atol=1e-5)
