"""Compacter against torch.kron, and against the counts that follow from the paper's sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import CLASSES, batch_of, train
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, linear
from transformers import AutoModel, BertConfig

from trainers.backbone import Backbone
from trainers.cost import cost_of
from trainers.domains import Choice
from trainers.families import FAMILIES
from trainers.head import mean_of_tokens
from trainers.heads import losses
from trainers.methods.compacter import CompacterConfig
from trainers.sites import sites_of
from trainers.stack import Candidate, Stack, State


def by_kron(state: State, path: str, half: str) -> Tensor:
    """The matrix as the paper writes it: a sum of Kronecker products."""
    s, t = state[f"{path}.compacter.{half}.s"], state[f"{path}.compacter.{half}.t"]
    return sum((torch.kron(a, s[i] @ t[i]) for i, a in enumerate(state["compacter.a"])), torch.tensor(0.0))


def adapted(state: State, path: str) -> Callable[..., Tensor]:
    def hook(module: torch.nn.Module, inputs: Any, f: Tensor) -> Tensor:
        bias = {half: state[f"{path}.compacter.{half}.bias"].flatten() for half in ("down", "up")}
        inner = gelu(f @ by_kron(state, path, "down") + bias["down"])
        return f + inner @ by_kron(state, path, "up") + bias["up"]

    return hook


@pytest.mark.parametrize(
    "config",
    [
        CompacterConfig(),
        CompacterConfig(placement="ffn", rank=2),
        CompacterConfig(dimension=8, bottleneck=8, rank=3),
    ],
    ids=["compacter", "compacter++", "dimension 8"],
)
def test_compacter_equals_sums_of_kronecker_products(config: CompacterConfig, backbone: Backbone) -> None:
    stack, batch = (
        Stack(backbone, [Candidate(replace(config, learning_rate=1e-2), 0)], CLASSES),
        batch_of(backbone),
    )
    (state,) = train(stack, 5, "adamw")
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    model = copy.deepcopy(backbone.model)
    paths = [name.removesuffix(".compacter.up.t") for name in state if name.endswith(".up.t")]
    assert len(paths) == (4 if config.placement == "attention and ffn" else 2)
    for path in paths:
        model.get_submodule(path).register_forward_hook(adapted(state, path))
    hidden = model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    by_hand = linear(mean_of_tokens(hidden, batch.attention_mask), state["head.weight"], state["head.bias"])
    expected = torch.autograd.grad(cross_entropy(by_hand, batch.labels), list(state.values()))
    with stack.attached():
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    assert torch.allclose(logits[0], by_hand, atol=1e-5)
    for (name, found), gradient in zip(stack.unpack(rows)[0].items(), expected, strict=True):
        assert torch.allclose(found, gradient, atol=1e-5), name


@pytest.mark.parametrize(("placement", "count"), [("attention and ffn", 57_088), ("ffn", 28_576)])
def test_counts_for_bert_base_are_those_of_compacter_and_compacter_plus_plus(
    placement: str, count: int
) -> None:
    # 24 or 12 adapters of (768 + 24) numbers for each of two matrices, and biases 24 + 768; 4 * 4 * 4 shared.
    with torch.device("meta"):
        sites = sites_of(AutoModel.from_config(BertConfig()), FAMILIES["bert"], 768)
    assert cost_of(CompacterConfig(placement=placement), sites, 2, 768).deployed_parameters == count


def test_dimensions_are_those_that_divide_the_width(backbone: Backbone) -> None:
    def narrowed(width: int) -> list[Any]:
        return [replace(site, d_out=width) for site in backbone.sites]

    assert CompacterConfig.options_on(narrowed(36)) == {"dimension": Choice(2, 4)}
    assert CompacterConfig.missing(narrowed(36)) == ""
    assert CompacterConfig.missing(narrowed(35)) == "a width that 2, 4 or 8 divides"
    with pytest.raises(ValueError, match="dimension is 8; it must divide the width 36"):
        CompacterConfig(dimension=8).deltas(narrowed(36))
