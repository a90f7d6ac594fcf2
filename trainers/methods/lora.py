"""LoRA and its variants: a low-rank change of linear layers (Hu et al., arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from trainers.domains import Choice, Float, Int
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import LINEAR_ROLES, Site
from trainers.trained import Delta, Tensors

TARGETS = {
    "query value": ("query", "value"),
    "attention": ("query", "key", "value", "attention_output"),
    "ffn": ("ffn_gate", "ffn_in", "ffn_out"),
    "all linear": LINEAR_ROLES,
}
"""`query value` is the paper's choice; `all linear` is what most later work found to be best."""


def _names_roles(value: object) -> bool:
    words = value.split() if isinstance(value, str) else []
    return bool(words) and len(set(words)) == len(words) and set(words) <= set(LINEAR_ROLES)


@register
@dataclass(frozen=True, kw_only=True)
class LoRAConfig(MethodConfig):
    """y = Wx + s B A x, with B = 0 at the start and s = alpha/rank.

    `rslora` (Kalajdzievski, arXiv 2312.03732) scales by alpha/sqrt(rank). `dora` (Liu et al., arXiv
    2402.09353) learns the length of each row of W + s B A apart from its direction. `b_rate` is LoRA+
    (Hayou et al., arXiv 2402.12354): B learns that many times faster than A.
    """

    name = "lora"
    formula = "W x + s B A x, s = alpha/rank (rsLoRA: alpha/sqrt(rank)); DoRA: m (W + s B A) x / |W + s B A|"
    reference = "Hu et al., 2106.09685; rsLoRA 2312.03732; DoRA 2402.09353; LoRA+ 2402.12354"
    mergeable = True
    peft_class = "LoraConfig"

    rank: Annotated[int, Int(1, 64, log=True)] = 8
    alpha: Annotated[float, Float(1.0, 128.0, log=True)] = 16.0
    """Numerator of the scale alpha/rank; 16 at rank 8 is UniPELT's setting."""
    targets: Annotated[
        str,
        Choice(*TARGETS, also=_names_roles, hint=f"some of {' '.join(LINEAR_ROLES)}, separated by spaces"),
    ] = "query value"
    dropout: Annotated[float, Choice(0.0, 0.05, 0.1)] = 0.0
    """Share of the values dropped from what A reads, in training."""
    rslora: Annotated[bool, Choice(False, True)] = False
    dora: Annotated[bool, Choice(False, True)] = False
    b_rate: Annotated[float, Choice(1.0, 4.0, 16.0)] = 1.0
    """Learning rate of B in units of A's."""
    learning_rate: Annotated[float, Float(1e-4, 2e-2, log=True)] = 2e-3

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Delta]]:
        roles = TARGETS.get(self.targets) or tuple(self.targets.split())
        kind = DoRADelta if self.dora else LoRADelta
        return [
            (s, kind(s.d_in, s.d_out, self.rank, self.scale, self.dropout, self.b_rate))
            for s in sites
            if s.role in roles
        ]

    @property
    def stack_key(self) -> tuple[object, ...]:
        return (self.name, self.targets, self.dora)

    @classmethod
    def options_on(cls, sites: Sequence[Site]) -> Mapping[str, Choice]:
        return {} if all(site.readable for site in sites) else {"dora": Choice(False)}

    @property
    def uses_chance(self) -> bool:
        return self.dropout > 0


@dataclass(frozen=True)
class LoRADelta(Delta):
    """`scale * B A x` at one linear layer."""

    d_in: int
    d_out: int
    rank: int
    scale: float
    dropout: float = 0.0
    b_rate: float = 1.0
    kind = "lora"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Kaiming-uniform with a = sqrt(5), as torch initialises a linear layer: bound 1/sqrt(d_in).
        bound = 1 / math.sqrt(self.d_in)
        a = torch.empty(self.rank, self.d_in).uniform_(-bound, bound, generator=generator)
        return {"a": a, "b": torch.zeros(self.d_out, self.rank)}

    def constants(self) -> dict[str, Tensor]:
        return {"scale": torch.tensor(self.scale), "dropout": torch.tensor(self.dropout)}

    @property
    def on_host(self) -> frozenset[str]:
        return frozenset({"dropout"})

    def rates(self) -> Mapping[str, float]:
        return {"b": self.b_rate} if self.b_rate != 1.0 else {}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        scaled = (tensors["b"] * tensors["scale"][:, None, None]).to(x.dtype)
        return rows.dropout(x, tensors["dropout"]) @ tensors["a"].mT @ scaled.mT


@dataclass(frozen=True)
class DoRADelta(LoRADelta):
    """`m * (W + scale * B A) x / |W + scale * B A|`, row by row, less `W x`.

    `m` is stored as its change from `|W|`. The length in the denominator is not
    differentiated (DoRA, section 4.3).
    """

    kind = "dora"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {**super().initial(generator), "magnitude": torch.zeros(self.d_out)}

    def frozen(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        if not weight.numel():
            raise ValueError("DoRA needs the frozen weights, and quantised ones are hidden: leave dora off")
        found = {"weight": weight, "length": weight.float().norm(dim=1)}
        return found if bias is None else {**found, "bias": bias}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        length = tensors["length"] + tensors["magnitude"].float()
        share = (length / self._length(tensors)).unsqueeze(1).to(y.dtype)
        base = y - tensors["bias"] if "bias" in tensors else y
        return (share - 1) * base + share * super().change(tensors, x, y, rows)

    @torch.no_grad()
    def _length(self, tensors: Tensors) -> Tensor:
        """`|W + scale * B A|` of each row, `[candidates, d_out]`, without forming the product."""
        a, b = tensors["a"].float(), tensors["b"].float() * tensors["scale"][:, None, None]
        crossed = (tensors["weight"].float() @ a.mT * b).sum(-1)
        squared = (b @ (a @ a.mT) * b).sum(-1)
        return (tensors["length"].square() + 2 * crossed + squared).clamp(min=0).sqrt()
