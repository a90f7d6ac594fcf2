"""Gates: a delta that wraps a delta and multiplies its change by a learned number for each example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.rows import Rows
from trainers.trained import Delta, KeyValueDelta, Tensors, Trained

POOLINGS: Mapping[str, Callable[[Rows, Tensor], Tensor]] = {
    "real tokens": Rows.mean,
    "first token": Rows.first,
    "all tokens": Rows.mean_with_padding,
}
"""From the sigmoid at each token to one value for each example."""


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """How a gate is computed, where it starts, and what it costs."""

    pooling: str
    bias: float
    """First value of its bias; 0 opens it by one half."""
    penalty: float
    """Added to the loss, times the mean gate."""


def gate(tensors: Tensors, x: Tensor, rows: Rows, pooling: str) -> Tensor:
    """Gate values `[candidates, batch]`: sigmoid at each token, then pooled; `rows` keeps them."""
    logits = x @ tensors["gate.weight"].unsqueeze(-1)
    opened = (logits.squeeze(-1).float() + tensors["gate.bias"].float()).sigmoid()
    value = POOLINGS[pooling](rows, opened)
    rows.gates.append(value)
    return value


@dataclass(frozen=True)
class _Gated(Trained):
    inner: Delta | KeyValueDelta
    width: int
    settings: GateSettings

    @property
    def kind(self) -> str:
        return f"gated {self.inner.kind}"

    @property
    def shared(self) -> frozenset[str]:
        return self.inner.shared

    @property
    def reads_padding(self) -> bool:
        return POOLINGS[self.settings.pooling] is Rows.mean_with_padding or self.inner.reads_padding

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        # Weight Normal(0, 0.02), as in the authors' code: with bias 0 every gate starts near one half.
        weight = torch.empty(self.width).normal_(0, 0.02, generator=generator)
        bias = torch.full((1,), self.settings.bias)
        return {**self.inner.initial(generator), "gate.weight": weight, "gate.bias": bias}

    def constants(self) -> dict[str, Tensor]:
        found = self.inner.constants()
        return {**found, "penalty": torch.tensor(self.settings.penalty)} if self.settings.penalty else found

    @property
    def on_host(self) -> frozenset[str]:
        return self.inner.on_host

    def frozen(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        return self.inner.frozen(weight, bias)

    def rates(self) -> Mapping[str, float]:
        return self.inner.rates()

    def settle(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {name: tensor for name, tensor in tensors.items() if name.startswith("gate.")}
        return {**self.inner.settle({n: t for n, t in tensors.items() if n not in own}), **own}


@dataclass(frozen=True)
class GatedDelta(_Gated, Delta):
    """A delta whose change is multiplied by its gate."""

    inner: Delta
    per_example = True

    def change(self, tensors: Tensors, x: Tensor, y: Tensor, rows: Rows) -> Tensor:
        value = rows.spread(gate(tensors, x, rows, self.settings.pooling)).unsqueeze(-1)
        return self.inner.change(tensors, x, y, rows) * value.to(y.dtype)


@dataclass(frozen=True)
class GatedKeyValueDelta(_Gated, KeyValueDelta):
    """Prefix keys and values, both multiplied by one gate."""

    inner: KeyValueDelta

    def keys_values(self, tensors: Tensors, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        keys, values = self.inner.keys_values(tensors, x, rows)
        value = gate(tensors, x, rows, self.settings.pooling)[:, :, None, None].to(keys.dtype)
        return keys * value, values * value
