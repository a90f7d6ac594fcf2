"""The stacked optimizer against torch's own."""

from __future__ import annotations

import pytest
import torch

from trainers import optim
from trainers.optim import AdamW, clip_per_candidate, schedule


def test_each_candidate_moves_as_torch_moves_it_alone() -> None:
    torch.manual_seed(0)
    rates, decays = [1e-3, 1e-2, 3e-2], [0.0, 0.1, 0.01]
    start = torch.randn(3, 20)
    ours = start.clone()
    adam = AdamW(ours.shape, rates, decays)
    alone = [torch.nn.Parameter(row.clone()) for row in start]
    theirs = [
        torch.optim.AdamW([p], lr=rate, weight_decay=decay)
        for p, rate, decay in zip(alone, rates, decays, strict=True)
    ]
    for step in range(20):
        gradient = torch.randn(3, 20) * torch.tensor([[0.01], [1.0], [30.0]])
        factor = schedule(step, 20)
        adam.step(ours, gradient, factor)
        for i, optimizer in enumerate(theirs):
            alone[i].grad = gradient[i].clone()
            torch.nn.utils.clip_grad_norm_([alone[i]], 1.0)
            optimizer.param_groups[0]["lr"] = rates[i] * factor
            optimizer.step()
    assert torch.allclose(ours, torch.stack([p.detach() for p in alone]), atol=1e-6)


def test_one_large_candidate_moves_as_under_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 10)
    torch.manual_seed(1)
    ours = torch.randn(1, 20)
    alone = torch.nn.Parameter(ours[0].clone())
    adam, theirs = AdamW(ours.shape, [1e-2], [0.1]), torch.optim.AdamW([alone], lr=1e-2, weight_decay=0.1)
    for step in range(20):
        gradient = torch.randn(1, 20)
        alone.grad = gradient[0].clone()
        adam.step(ours, gradient, schedule(step, 20))
        torch.nn.utils.clip_grad_norm_([alone], 1.0)
        theirs.param_groups[0]["lr"] = 1e-2 * schedule(step, 20)
        theirs.step()
    assert torch.allclose(ours[0], alone.detach(), atol=1e-6)


def test_a_spike_of_one_candidate_does_not_slow_the_others() -> None:
    gradient = torch.tensor([[0.3, 0.4], [300.0, 400.0]])
    clipped = clip_per_candidate(gradient, 1.0)
    assert torch.equal(clipped[0], gradient[0])
    assert clipped[1].norm() == pytest.approx(1.0, abs=1e-5)


def test_a_candidate_that_diverged_leaves_the_others_untouched() -> None:
    gradient = torch.tensor([[float("nan"), 1.0], [0.3, 0.4]])
    parameters = torch.zeros(2, 2)
    adam = AdamW(parameters.shape, [0.1, 0.1], [0.0, 0.0])
    adam.step(parameters, gradient, 1.0)
    alone = torch.zeros(1, 2)
    AdamW(alone.shape, [0.1], [0.0]).step(alone, gradient[1:], 1.0)
    assert torch.equal(parameters[1:], alone)


def test_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [schedule(step, 100) for step in range(101)]
    assert max(factors) == factors[6] == factors[5] == 1.0
    assert factors[0] == pytest.approx(1 / 6)
    assert factors[100] == 0.0
    assert all(a > b for a, b in zip(factors[6:], factors[7:], strict=False))
