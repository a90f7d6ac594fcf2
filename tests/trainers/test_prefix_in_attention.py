"""A prefix in attention of every shape, head by head: grouped, rotated, windowed, biased by distance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import away_from_its_start, batch_of, make_backbone
from torch import Tensor, nn
from torch.nn.functional import linear

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.batches import Batch
from trainers.methods.prefix import PrefixConfig
from trainers.stack import Stack

SLOTS, WINDOW = 3, 8


def seen_in_attention(stack: Stack, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """What each attention module read, and what it gave to its output projection."""
    read: list[Tensor] = []
    formed: list[Tensor] = []

    def keep_input(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Tensor]) -> None:
        read.append(inputs[0] if inputs else options["hidden_states"])

    def keep_formed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        formed.append(inputs[0])

    sites, model = stack.backbone.sites, stack.backbone.model
    attentions = [model.get_submodule(site.module) for site in sites if site.role == "attention"]
    outputs = [model.get_submodule(site.module) for site in sites if site.role == "attention_output"]
    hooks = [module.register_forward_pre_hook(keep_input, with_kwargs=True) for module in attentions]
    hooks += [module.register_forward_pre_hook(keep_formed) for module in outputs]
    with stack.attached():
        stack.logits(batch)
    for hook in hooks:
        hook.remove()
    return list(zip(read, formed, strict=True))


def projected(backbone: Backbone, layer: int, role: str, x: Tensor, width: int) -> Tensor:
    """`[heads, tokens, width]`."""
    (site,) = (site for site in backbone.sites if site.layer == layer and site.role == role)
    module = backbone.model.get_submodule(site.module)
    y = linear(x, module.weight, module.bias).unflatten(-1, (-1, width)).transpose(0, 1)
    name = {"query": "q_norm", "key": "k_norm"}.get(role, "")
    norm = getattr(backbone.model.get_submodule(site.module.rpartition(".")[0]), name, None)
    if norm is None:
        return y
    return y / (y.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt() * norm.weight


def rotated(x: Tensor) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864) of `[heads, tokens, width]`, paired as in Llama."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[1]).unsqueeze(1) * 10_000.0 ** (-torch.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def by_hand(backbone: Backbone, layer: int, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`softmax([q P_k'; q k' + b]) [P_v; v]` of one sentence, head by head."""
    family, config = backbone.model_type, backbone.model.config
    width = config.d_kv if family == "t5" else getattr(config, "head_dim", None) or 8
    q, k, v = (projected(backbone, layer, role, x, width) for role in ("query", "key", "value"))
    place = torch.arange(len(x))
    distance = place.unsqueeze(1) - place
    if family == "t5":
        biased = backbone.model.encoder.block[0].layer[0].SelfAttention
        bias, scale = biased.compute_bias(len(x), len(x))[0], 1.0
    else:
        q, k = rotated(q), rotated(k)
        hidden = (distance < 0) | (distance >= (WINDOW if family == "mistral" else len(x)))
        bias, scale = torch.zeros(len(q), *hidden.shape).masked_fill(hidden, -torch.inf), width**-0.5
    group = len(q) // len(k)
    heads = []
    for head in range(len(q)):
        own = slice(head // group * width, head // group * width + width)
        scores = torch.cat([q[head] @ keys[:, own].T, q[head] @ k[head // group].T], 1) * scale
        scores[:, SLOTS:] += bias[head]
        heads.append(scores.softmax(-1) @ torch.cat([values[:, own], v[head // group]]))
    return torch.cat(heads, -1)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "t5"])
def test_prefix_equals_attention_written_out(family: str, tmp_path: Path) -> None:
    backbone = load(str(make_backbone(tmp_path, family)), dtype="fp32")
    stack, state = away_from_its_start(backbone, PrefixConfig(prefix_length=SLOTS))
    batch = batch_of(backbone)
    prefixes = [tensor for name, tensor in state.items() if ".prefix." in name]
    for layer, (read, formed) in enumerate(seen_in_attention(stack, batch)):
        for sentence, length in enumerate(batch.attention_mask.sum(1).tolist()):
            x = read[sentence, :length].detach()
            expected = by_hand(backbone, layer, x, prefixes[2 * layer], prefixes[2 * layer + 1])
            assert torch.allclose(formed[sentence, :length], expected, atol=1e-5)
