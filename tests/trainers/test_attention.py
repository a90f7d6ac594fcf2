"""Attention computes the same the plain way and the fused way, and takes the faster one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainers import attention as file
from trainers.attention import FUSED_FROM, Prefix, attention, fused_pays, leave_prefix

HEADS, WIDTH = 4, 8


def tensors(tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, HEADS, tokens, WIDTH, generator=generator).requires_grad_()


def prefix(length: int) -> Prefix:
    """Of two candidates, the second of which has a slot less."""
    generator = torch.Generator().manual_seed(9)
    keys, values = (torch.randn(2, 1, length, HEADS * WIDTH, generator=generator) for _ in range(2))
    visible = torch.ones(2, length)
    visible[1, -1] = 0
    return Prefix(keys, values, visible)


@pytest.mark.parametrize("tokens", [FUSED_FROM, 100])
@pytest.mark.parametrize("length", [0, 3])
@pytest.mark.parametrize("biased", [False, True])
def test_both_ways_give_the_same_output_and_gradients(
    tokens: int, length: int, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = (tensors(tokens, seed) for seed in range(3))
    mask = torch.ones(6, 1, tokens, tokens, dtype=torch.bool)
    mask[1:3, :, :, -20:] = False
    bias = torch.randn(1, HEADS, tokens, tokens) if biased else None
    found = []
    for pays in (True, False):
        monkeypatch.setattr(file, "fused_pays", lambda query, key, pays=pays: pays)
        module = nn.Identity()
        if length:
            leave_prefix(module, prefix(length))
        output, _ = attention(module, query, key, value, mask, position_bias=bias)
        gradients = torch.autograd.grad(output.square().sum(), (query, key, value))
        found.append((output, *gradients))
    for fused, plain in zip(*found, strict=True):
        assert torch.allclose(fused, plain, atol=1e-5)


def test_fused_attention_is_taken_on_processors_in_fp32_and_from_some_length_on() -> None:
    short, long = tensors(FUSED_FROM - 1, 0), tensors(FUSED_FROM, 0)
    assert fused_pays(long, long) and not fused_pays(short, short)
    assert not fused_pays(long.bfloat16(), long.bfloat16())
