"""Bottleneck adapters against plain torch: each placement, in layers that normalise after and before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import away_from_its_start, batch_of, make_backbone
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear
from transformers import AutoModel

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.batches import Batch
from trainers.heads import losses
from trainers.methods.adapter import AdapterConfig
from trainers.stack import Stack, State

PLACEMENTS = ("pfeiffer", "houlsby", "parallel")
Network = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Network] = {
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "swish": lambda x: x * torch.sigmoid(x),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
}


def network(state: State, path: str, config: AdapterConfig) -> Network:
    """`scaling * up(activation(down(h)))` with the tensors of one place."""
    down, down_bias = state[f"{path}.adapter.down.weight"], state[f"{path}.adapter.down.bias"]
    up, up_bias = state[f"{path}.adapter.up.weight"], state[f"{path}.adapter.up.bias"]
    active = ACTIVATIONS[config.activation]
    return lambda h: config.scaling * linear(active(linear(h, down, down_bias)), up, up_bias)


def stock(backbone: Backbone) -> nn.Module:
    model: nn.Module = AutoModel.from_pretrained(
        backbone.folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().requires_grad_(False)


def bert_by_hand(model: nn.Module, ids: Tensor, state: State, config: AdapterConfig) -> Tensor:
    """The last hidden states of one sentence."""
    x = model.get_submodule("embeddings")(ids.unsqueeze(0))
    for i in range(2):
        path, layer = f"encoder.layer.{i}", model.get_submodule(f"encoder.layer.{i}")
        attended = layer.attention.output.dense(layer.attention.self(x)[0])
        if config.placement == "houlsby":
            attended = attended + network(state, f"{path}.attention.output.dense", config)(attended)
        a = layer.attention.output.LayerNorm(attended + x)
        f = layer.output.dense(layer.intermediate(a))
        if config.placement == "houlsby":
            f = f + network(state, f"{path}.output.dense", config)(f)
        if config.placement == "parallel":
            f = f + network(state, f"{path}.output.dense", config)(a)
        if config.placement == "pfeiffer":
            f = f + network(state, f"{path}.output.LayerNorm.input", config)(layer.output.LayerNorm(f + a))
        x = layer.output.LayerNorm(f + a)
    return x[0]


def same_logits_and_gradients(stack: Stack, state: State, features: Tensor, batch: Batch) -> None:
    expected = linear(features, state["head.weight"], state["head.bias"])
    gradients = torch.autograd.grad(cross_entropy(expected, batch.labels), list(state.values()))
    with stack.attached():
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    assert torch.allclose(logits[0], expected, atol=1e-5)
    for (name, found), gradient in zip(stack.unpack(rows)[0].items(), gradients, strict=True):
        assert torch.allclose(found, gradient, atol=1e-5), name


FORMS = [AdapterConfig(placement=placement, bottleneck=5) for placement in PLACEMENTS]
FORMS += [AdapterConfig(placement="parallel", activation=a, scaling=4.0, bottleneck=5) for a in ACTIVATIONS]
FORMS += [AdapterConfig(placement="houlsby", activation="swish", scaling=2.0, bottleneck=5)]


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.placement} {c.activation} {c.scaling:g}")
def test_bert_with_adapters_equals_its_equations(config: AdapterConfig, backbone: Backbone) -> None:
    stack, state = away_from_its_start(backbone, config)
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    batch, model = batch_of(backbone), stock(backbone)
    sentences = [ids[mask.bool()] for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    features = torch.stack([bert_by_hand(model, ids, state, config).mean(0) for ids in sentences])
    same_logits_and_gradients(stack, state, features, batch)


@pytest.mark.parametrize(
    ("family", "block", "out"),
    [("gpt2", "h.{}.mlp", "h.{}.mlp.c_proj"), ("llama", "layers.{}.mlp", "layers.{}.mlp.down_proj")],
)
@pytest.mark.parametrize("placement", ["pfeiffer", "parallel"])
def test_layers_that_normalise_first_get_the_adapter_at_the_whole_network(
    family: str, block: str, out: str, placement: str, tmp_path: Path
) -> None:
    # f + A(f) behind (Pfeiffer: there is no LayerNorm to use twice), f + A(x) beside the network f = f(x).
    backbone = load(str(make_backbone(tmp_path, family)), dtype="fp32")
    config = AdapterConfig(placement=placement, bottleneck=5, scaling=2.0)
    stack, state = away_from_its_start(backbone, config)
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    model, batch = stock(backbone), batch_of(backbone)
    for i in range(2):
        adapter = network(state, out.format(i), config)

        def hook(_: nn.Module, inputs: tuple[Tensor], f: Tensor, adapter: Network = adapter) -> Tensor:
            return f + adapter(f if placement == "pfeiffer" else inputs[0])

        model.get_submodule(block.format(i)).register_forward_hook(hook)
    hidden = model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    same_logits_and_gradients(stack, state, backbone.features(hidden, batch.attention_mask), batch)
