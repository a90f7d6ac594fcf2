"""Bottleneck adapters: Pfeiffer, Houlsby and parallel placement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, silu

from trainers.domains import Choice, Float, Int
from trainers.method import MethodConfig, register
from trainers.rows import Rows
from trainers.sites import Insertion, Site
from trainers.trained import Delta, Tensors

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "gelu": gelu,
    "swish": silu,
    "tanh": torch.tanh,
}
"""All of them are 0 at 0, so padding of the bottleneck changes nothing."""


@register
@dataclass(frozen=True, kw_only=True)
class AdapterConfig(MethodConfig):
    """A small network of two layers beside or behind the frozen ones.

    With `f` the feed-forward output, `a` its residual and `A(h) = scaling * up(activation(down(h)))`:
    `pfeiffer` (arXiv 2005.00247): y = LN(A(LN(f + a)) + f + a), once a layer; models that normalise
    before their blocks have no such LN, there it is f + A(f). `houlsby` (arXiv 1902.00751): f + A(f), and
    the same after attention. `parallel` (He et al., arXiv 2110.04366): f + A(input of the network).
    """

    name = "adapter"
    formula = "f + s Up(act(Down(h))), h behind (Pfeiffer, Houlsby) or beside (parallel) the frozen block f"
    reference = "Pfeiffer et al., 2005.00247; Houlsby et al., 1902.00751; He et al., 2110.04366"
    mergeable = False

    placement: Annotated[str, Choice("pfeiffer", "houlsby", "parallel")] = "pfeiffer"
    bottleneck: Annotated[int, Int(4, 256, log=True)] = 48
    """Width in the middle; 48 is 768/16, the paper's for BERT-base."""
    activation: Annotated[str, Choice(*ACTIVATIONS)] = "relu"
    scaling: Annotated[float, Choice(1.0, 2.0, 4.0)] = 1.0
    """Factor of the change; 4 is He et al.'s for the parallel placement."""
    learning_rate: Annotated[float, Float(2e-4, 1e-2, log=True)] = 1e-3

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, AdapterDelta]]:
        return [(site, self._delta(site)) for site in self._places(sites)]

    def _places(self, sites: Sequence[Site]) -> list[Site]:
        if self.placement == "houlsby":
            return [site for site in sites if site.role in ("attention_output", "ffn_out")]
        residuals = [site for site in sites if site.role == "ffn_residual"]
        if self.placement == "pfeiffer" and residuals:
            return residuals
        return [site for site in sites if site.role == "ffn"]

    def _delta(self, site: Site) -> AdapterDelta:
        behind = self.placement != "parallel" and site.insertion is Insertion.OUTPUT
        return AdapterDelta(
            d_in=site.d_out if behind else site.d_in,
            d_out=site.d_out,
            bottleneck=self.bottleneck,
            activation=self.activation,
            scaling=self.scaling,
            behind=behind,
        )

    @property
    def stack_key(self) -> tuple[object, ...]:
        return (self.name, self.placement, self.activation)


@dataclass(frozen=True, kw_only=True)
class AdapterDelta(Delta):
    """`scaling * up(activation(down(h)))`."""

    d_in: int
    d_out: int
    bottleneck: int
    activation: str = "relu"
    scaling: float = 1.0
    behind: bool = False
    """Whether it reads the module's output instead of what the site gives it."""
    kind = "adapter"

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Normal(0, 0.02) and zero biases: as in UniPELT's authors' code.
        return {
            "down.weight": torch.empty(self.bottleneck, self.d_in).normal_(0, 0.02, generator=generator),
            "down.bias": torch.zeros(self.bottleneck),
            "up.weight": torch.empty(self.d_out, self.bottleneck).normal_(0, 0.02, generator=generator),
            "up.bias": torch.zeros(self.d_out),
        }

    def constants(self) -> dict[str, Tensor]:
        return {"scaling": torch.tensor(self.scaling)}

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        h = y if self.behind else x
        hidden = torch.baddbmm(tensors["down.bias"].unsqueeze(1), h, tensors["down.weight"].mT)
        scaled = tensors["scaling"][:, None, None].to(h.dtype)
        up, bias = tensors["up.weight"] * scaled, tensors["up.bias"].unsqueeze(1) * scaled
        return torch.baddbmm(bias, ACTIVATIONS[self.activation](hidden), up.mT)
