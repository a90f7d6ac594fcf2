"""The stacked optimizer against torch's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from trainers import optim
from trainers.optim import AdamW, clip_per_candidate, schedule


def rise_and_fall(warmup: float, steps: int) -> Callable[[int], float]:
    """The schedule in the words of torch's LambdaLR: step -> factor."""
    rise = max(1, round(warmup * steps))
    return lambda step: (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)


def test_each_candidate_moves_as_torch_moves_it_alone() -> None:
    torch.manual_seed(0)
    rates, decays, warmups = [1e-3, 1e-2, 3e-2], [0.0, 0.1, 0.01], [0.0, 0.06, 0.2]
    start = torch.randn(3, 20)
    ours = start.clone()
    adam = AdamW(ours.shape, rates, decays)
    alone = [torch.nn.Parameter(row.clone()) for row in start]
    theirs = [
        torch.optim.AdamW([p], lr=rate, weight_decay=decay)
        for p, rate, decay in zip(alone, rates, decays, strict=True)
    ]
    schedulers = [
        LambdaLR(optimizer, rise_and_fall(warmup, 20))
        for optimizer, warmup in zip(theirs, warmups, strict=True)
    ]
    for factor in schedule(20, warmups):
        gradient = torch.randn(3, 20) * torch.tensor([[0.01], [1.0], [30.0]])
        adam.step(ours, gradient, factor)
        for i, optimizer in enumerate(theirs):
            alone[i].grad = gradient[i].clone()
            torch.nn.utils.clip_grad_norm_([alone[i]], 1.0)
            optimizer.step()
            schedulers[i].step()
    assert torch.allclose(ours, torch.stack([p.detach() for p in alone]), atol=1e-6)


def test_one_large_candidate_moves_as_under_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 10)
    torch.manual_seed(1)
    ours = torch.randn(1, 20)
    alone = torch.nn.Parameter(ours[0].clone())
    adam, theirs = AdamW(ours.shape, [1e-2], [0.1]), torch.optim.AdamW([alone], lr=1e-2, weight_decay=0.1)
    factors = schedule(20, [0.06])
    for step in range(20):
        gradient = torch.randn(1, 20)
        alone.grad = gradient[0].clone()
        adam.step(ours, gradient, factors[step])
        torch.nn.utils.clip_grad_norm_([alone], 1.0)
        theirs.param_groups[0]["lr"] = 1e-2 * float(factors[step])
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
    factors = schedule(100, [0.06])[:, 0, 0].tolist()
    assert max(factors) == factors[6] == factors[5] == 1.0
    assert factors[0] == pytest.approx(1 / 6)
    assert factors[99] == pytest.approx(1 / 94)
    assert all(a > b for a, b in zip(factors[6:], factors[7:], strict=False))


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.2), (1, 0.0), (2, 0.5), (7, 0.0), (20, 0.5)])
def test_short_trainings_and_long_rises_move_at_every_step(steps: int, warmup: float) -> None:
    factors = schedule(steps, [warmup])[:, 0, 0].tolist()
    assert factors == pytest.approx([rise_and_fall(warmup, steps)(step) for step in range(steps)])
    assert all(0 < factor <= 1 for factor in factors) and max(factors) == 1
