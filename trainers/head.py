"""What a head computes: how it pools the last hidden states, and the layers that each candidate trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers.activations import ACT2FN

from trainers.trained import Tensors

MEAN, NATIVE = "mean", "native"
HEADS = (MEAN, NATIVE)
"""`mean`: one linear layer on the mean of the real tokens (of decoders on the last one). `native`: what the
family's own sequence classifier in transformers has, so that an export is a plain model."""

PREFIX = "head."
"""Begins the names of a head's tensors in a state."""
ORDER = ("weight", "bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias")
"""In which a stack lays a head's tensors out."""


@dataclass(frozen=True)
class Norm:
    """A trained LayerNorm behind the dense layer."""

    epsilon: float
    bias: bool


@dataclass(frozen=True)
class Dense:
    """A trained layer of the backbone's width in front of the last one: `norm(activation(W x + b))`."""

    activation: str
    """As transformers names it."""
    bias: bool = True
    norm: Norm | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """A pooling, a dense layer where the family has one, and a linear layer with a row for each output."""

    name: str = MEAN
    pooling: str = "mean of the real tokens"
    """What of the last layer it reads; one of `POOLINGS`."""
    dense: Dense | None = None
    bias: bool = True
    """Whether the last layer has one."""

    def pooled(
        self,
        hidden: Float[Tensor, "examples tokens d"],
        mask: Int[Tensor, "examples tokens"],
        model: nn.Module,
    ) -> Float[Tensor, "examples d"]:
        """What it reads of the last layer, fp32."""
        return POOLINGS[self.pooling](hidden, mask, model)

    def initial(self, outputs: int, width: int, generator: torch.Generator) -> dict[str, Tensor]:
        """First values: weights Normal(0, 0.02), biases 0, a norm that only normalises."""
        first = {"weight": torch.empty(outputs, width).normal_(0, 0.02, generator=generator)}
        if self.bias:
            first["bias"] = torch.zeros(outputs)
        if self.dense is not None:
            first["dense.weight"] = torch.empty(width, width).normal_(0, 0.02, generator=generator)
            if self.dense.bias:
                first["dense.bias"] = torch.zeros(width)
            if self.dense.norm is not None:
                first["norm.weight"] = torch.ones(width)
                if self.dense.norm.bias:
                    first["norm.bias"] = torch.zeros(width)
        return {f"{PREFIX}{name}": tensor for name, tensor in first.items()}

    def inner(
        self, tensors: Tensors, features: Float[Tensor, "candidates items d"]
    ) -> Float[Tensor, "candidates items d"]:
        """What the last layer reads, from what is pooled."""
        if self.dense is None:
            return features
        x: Tensor = ACT2FN[self.dense.activation](_linear(tensors, "dense", features))
        if self.dense.norm is None:
            return x
        x = layer_norm(x, x.shape[-1:], eps=self.dense.norm.epsilon)
        x = x * tensors["head.norm.weight"].unsqueeze(1)
        return x + tensors["head.norm.bias"].unsqueeze(1) if self.dense.norm.bias else x

    def logits(
        self, tensors: Tensors, features: Float[Tensor, "candidates items d"]
    ) -> Float[Tensor, "candidates items outputs"]:
        """Each candidate's logits from what is pooled of its own hidden states."""
        return _linear(tensors, "", self.inner(tensors, features))


def head_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head's part of a state, in the order in which a stack lays it out."""
    names = (f"{PREFIX}{name}" for name in ORDER)
    return {name: state[name] for name in names if name in state}


def _linear(tensors: Tensors, layer: str, x: Tensor) -> Tensor:
    path = f"{PREFIX}{layer}." if layer else PREFIX
    weight, bias = tensors[f"{path}weight"].mT, tensors.get(f"{path}bias")
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight)


# ---------------------------------------------------------------------------------------- pooling


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens of `hidden` (`[examples, tokens, d]`), fp32: `[examples, d]`."""
    weights = mask.to(torch.float32).unsqueeze(-1)
    return (hidden.float() * weights).sum(1) / weights.sum(1)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last real token of `hidden` (`[examples, tokens, d]`), fp32: `[examples, d]`."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * places).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last].float()


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The first token of `hidden` (`[examples, tokens, d]`), fp32; padding stands behind the text."""
    return hidden[:, 0].float()


def pooler_of(model: nn.Module) -> nn.Module | None:
    """The checkpoint's dense layer for its first token (ALBERT has it bare); None where it has none."""
    pooler = getattr(model, "pooler", None)
    return getattr(pooler, "dense", pooler)


def _pooler(hidden: Tensor, model: nn.Module) -> Tensor:
    dense = pooler_of(model)
    assert dense is not None
    pooled: Tensor = torch.tanh(dense(hidden[:, 0]))
    return pooled.float()


POOLINGS: Mapping[str, Callable[[Tensor, Tensor, nn.Module], Tensor]] = {
    "mean of the real tokens": lambda hidden, mask, model: mean_of_tokens(hidden, mask),
    "last real token": lambda hidden, mask, model: last_token(hidden, mask),
    "first token": lambda hidden, mask, model: first_token(hidden, mask),
    "first token through the checkpoint's pooler": lambda hidden, mask, model: _pooler(hidden, model),
}
"""What a head reads of the last hidden states, their mask and the model."""
