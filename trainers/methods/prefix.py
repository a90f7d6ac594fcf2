"""Prefix-tuning: trained keys and values in every layer (Li and Liang, arXiv 2101.00190)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Choice, Float, Int, When
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Site
from trainers.trained import KeyValueDelta, Tensors


@register
@dataclass(frozen=True, kw_only=True)
class PrefixConfig(MethodConfig):
    """K' = [P_K; K], V' = [P_V; V] in every attention module.

    `reparametrised`: while training, [P_K; P_V] = W2 tanh(W1 E + b1) + b2 with E, W1 and b1 shared by all
    layers; the network is dropped afterwards, because it always gives the same prefix.
    """

    name = "prefix"
    formula = "K' = [P_K; K], V' = [P_V; V]"
    reference = "Li and Liang, 2101.00190; P-tuning v2, 2110.07602"
    mergeable = False
    peft_class = "PrefixTuningConfig"

    prefix_length: Annotated[int, Int(1, 64, log=True)] = 10
    """Slots in front of the tokens; 10 is UniPELT's."""
    reparametrised: Annotated[bool, Choice(False, True)] = False
    mlp_width: Annotated[
        int, Int(16, 1024, log=True), When(lambda values: bool(values["reparametrised"]))
    ] = 512
    """Hidden width of the network; 512 is UniPELT's."""
    positions: Annotated[str, Choice("unshifted", also=lambda value: value == "shifted", hint="shifted")] = (
        "unshifted"
    )
    """`shifted`: tokens are numbered from `prefix_length`, as peft does; only so peft can load the prefix."""
    learning_rate: Annotated[float, Float(1e-3, 5e-2, log=True)] = 1e-2

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, KeyValueDelta]]:
        found = [site for site in sites if site.role == "attention"]
        if self.reparametrised:
            return [(s, PrefixMLPDelta(s.d_in, s.d_out, self.prefix_length, self.mlp_width)) for s in found]
        return [(s, PrefixDelta(s.d_out, self.prefix_length)) for s in found]

    @property
    def stack_key(self) -> tuple[object, ...]:
        return (self.name, self.reparametrised)

    @property
    def position_shift(self) -> int:
        return self.prefix_length if self.positions == "shifted" else 0

    def deployed(self) -> MethodConfig:
        return replace(self, reparametrised=False)


@dataclass(frozen=True)
class PrefixDelta(KeyValueDelta):
    """Keys and values of one layer."""

    width: int
    length: int
    kind = "prefix"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Normal(0, 0.02), as UniPELT's authors initialise their prefix embedding.
        return {
            "keys": torch.empty(self.length, self.width).normal_(0, 0.02, generator=generator),
            "values": torch.empty(self.length, self.width).normal_(0, 0.02, generator=generator),
        }

    def constants(self) -> dict[str, Tensor]:
        return {"visible": torch.ones(self.length)}

    def keys_values(self, tensors: Tensors, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        return tensors["keys"].unsqueeze(1), tensors["values"].unsqueeze(1)


@dataclass(frozen=True)
class PrefixMLPDelta(KeyValueDelta):
    """Keys and values of one layer from a network whose first half all layers share."""

    hidden_size: int
    width: int
    length: int
    mlp_width: int
    kind = "prefix mlp"
    shared = frozenset({"embedding", "in.weight", "in.bias"})

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # All Normal(0, 0.02) with zero biases, as in UniPELT's authors' code.
        def normal(*shape: int) -> Tensor:
            return torch.empty(shape).normal_(0, 0.02, generator=generator)

        return {
            "embedding": normal(self.length, self.hidden_size),
            "in.weight": normal(self.mlp_width, self.hidden_size),
            "in.bias": torch.zeros(self.mlp_width),
            "out.weight": normal(2 * self.width, self.mlp_width),
            "out.bias": torch.zeros(2 * self.width),
        }

    def constants(self) -> dict[str, Tensor]:
        return {"visible": torch.ones(self.length)}

    def keys_values(self, tensors: Tensors, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        # What layers share is padded to the largest candidate, the rest to the largest with this layer.
        embedding = tensors["embedding"][:, : tensors["visible"].shape[1]]
        both = _reparametrised({**tensors, "embedding": embedding}).unsqueeze(1)
        return both[..., : self.width], both[..., self.width :]

    def settle(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        (both,) = _reparametrised({name: tensor.unsqueeze(0) for name, tensor in tensors.items()})
        return {"keys": both[:, : self.width].clone(), "values": both[:, self.width :].clone()}


def _reparametrised(tensors: Tensors) -> Tensor:
    """Keys and values side by side, `[candidates, length, 2 * width]`."""
    inner = torch.baddbmm(tensors["in.bias"].unsqueeze(1), tensors["embedding"], tensors["in.weight"].mT)
    out = tensors["out.weight"]
    return torch.baddbmm(tensors["out.bias"].unsqueeze(1), inner.tanh()[..., : out.shape[-1]], out.mT)
