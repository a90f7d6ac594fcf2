"""LoReFT against its formula and torch's own orthogonal parametrisation (Wu et al., arXiv 2404.03592)."""

from __future__ import annotations

import pytest
import torch
from tiny import CLASSES, away_from_its_start, batch_of, train
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.method import METHODS
from trainers.methods.reft import ReFTConfig, orthonormal
from trainers.stack import Candidate, Stack, State

RANK, ENDS = 3, 2
LAST = "encoder.layer.1.reft"
CONFIG = ReFTConfig(rank=RANK, positions=ENDS, layers="top 1")


def last_hidden_states(stack: Stack) -> Tensor:
    """What the heads read."""
    found: list[Tensor] = []
    hook = stack.backbone.model.register_forward_hook(lambda _, __, out: found.append(out.last_hidden_state))
    with stack.attached():
        stack.logits(batch_of(stack.backbone))
    hook.remove()
    return found[0]


def directions(state: State) -> Tensor:
    return orthonormal(state[f"{LAST}.directions"].unsqueeze(0), torch.ones(1, RANK))[0]


def test_directions_stay_orthonormal_through_a_training(backbone: Backbone) -> None:
    configs = [ReFTConfig(rank=rank, learning_rate=2e-2) for rank in (1, 4, 32)]
    states = train(Stack(backbone, [Candidate(config, 0) for config in configs], CLASSES), 20, "adamw")
    for config, state in zip(configs, states, strict=True):
        trained = state[f"{LAST}.directions"]
        r = orthonormal(trained.unsqueeze(0), torch.ones(1, config.rank))[0]
        assert not torch.allclose(trained @ trained.T, torch.eye(config.rank), atol=1e-2)
        assert torch.allclose(r @ r.T, torch.eye(config.rank), atol=1e-5)
        assert torch.allclose(trained @ r.T @ r, trained, atol=1e-5)  # they span the same


def test_edit_is_the_formula_at_the_chosen_tokens_and_nothing_elsewhere(backbone: Backbone) -> None:
    stack, state = away_from_its_start(backbone, CONFIG)
    plain = Stack(backbone, [Candidate(METHODS["linear_probe"](), 0)], CLASSES)
    h, edited = last_hidden_states(plain), last_hidden_states(stack)
    r, w, b = directions(state), state[f"{LAST}.weight"], state[f"{LAST}.bias"]
    for row, length in enumerate(batch_of(backbone).attention_mask.sum(1).tolist()):
        chosen = [t for t in range(length) if t < ENDS or t >= length - ENDS]
        others = [t for t in range(h.shape[1]) if t not in chosen]
        assert torch.equal(edited[row, others], h[row, others])
        for t in chosen:
            change = r.T @ (w @ h[row, t] + b - r @ h[row, t])
            assert torch.allclose(edited[row, t], h[row, t] + change, atol=1e-5)


def test_edit_and_gradients_equal_torchs_orthogonal_parametrisation(backbone: Backbone) -> None:
    stack, state = away_from_its_start(backbone, CONFIG)
    rotation = orthogonal(nn.Linear(32, RANK, bias=False))
    rotation.weight = directions(state)
    source = nn.Linear(32, RANK)
    source.load_state_dict({"weight": state[f"{LAST}.weight"], "bias": state[f"{LAST}.bias"]})
    plain = Stack(backbone, [Candidate(METHODS["linear_probe"](), 0)], CLASSES)
    h = last_hidden_states(plain).detach()
    mask = batch_of(backbone).attention_mask
    place, length = torch.arange(mask.shape[1]), mask.sum(1, keepdim=True)
    chosen = ((place < ENDS) | (place >= length - ENDS)) & mask.bool()
    expected = h + (source(h) - rotation(h)) @ rotation.weight * chosen.unsqueeze(-1)
    edited = last_hidden_states(stack)
    assert torch.allclose(edited, expected, atol=1e-5)
    upstream = torch.randn(h.shape, generator=torch.Generator().manual_seed(0))
    theirs = torch.autograd.grad((expected * upstream).sum(), list(source.parameters()))
    (rows,) = torch.autograd.grad((edited * upstream).sum(), stack.parameters)
    ours = stack.unpack(rows)[0]
    for name, gradient in zip(("weight", "bias"), theirs, strict=True):
        assert torch.allclose(ours[f"{LAST}.{name}"], gradient, atol=1e-4)


@pytest.mark.parametrize("layers", ["all", "top 1"])
def test_gradient_of_the_directions_is_the_slope_of_the_loss(layers: str, backbone: Backbone) -> None:
    # The parametrisation differs from torch's, so a finite difference stands in for it.
    stack, _ = away_from_its_start(backbone, ReFTConfig(rank=2, positions=ENDS, layers=layers))
    generator = torch.Generator().manual_seed(0)
    step = torch.randn(stack.parameters.shape, generator=generator)
    upstream = torch.randn(batch_of(backbone).attention_mask.shape, generator=generator).unsqueeze(-1)
    (rows,) = torch.autograd.grad((last_hidden_states(stack) * upstream).sum(), stack.parameters)
    sides = []
    for sign in (1, -1):
        moved = stack.on(backbone)
        with torch.no_grad():
            moved.parameters += sign * 1e-3 * step
        sides.append((last_hidden_states(moved).detach() * upstream).sum())
    slope = float(sides[0] - sides[1]) / 2e-3
    assert float((rows * step).sum()) == pytest.approx(slope, rel=1e-2)
