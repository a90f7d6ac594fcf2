"""What one candidate trains at one site of the frozen model: changes, keys and values, prompts, weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float as FloatTensor
from torch import Tensor

from trainers.rows import Rows

Tensors = Mapping[str, Tensor]
"""Name -> tensor, for all candidates of a stack: `[candidates, ...]`."""


class Trained(ABC):
    """What one candidate trains at one site: sizes and numbers, no tensors.

    The stack calls `initial` and `constants` once for each candidate, pads the
    results with zeros to the largest candidate's sizes and lays them side by side
    as `[candidates, ...]`. Padding must change nothing and receive no gradient;
    zeros see to that wherever two trained tensors are multiplied.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """Names the computation; what shares a kind and a site is stacked."""

    @property
    def shared(self) -> frozenset[str]:
        """Names of trained tensors that all sites of a candidate share."""
        return frozenset()

    @abstractmethod
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Name -> first value of each trained tensor, fp32 on the CPU."""

    def shapes(self) -> dict[str, torch.Size]:
        """Name -> shape of each trained tensor."""
        return {name: tensor.shape for name, tensor in self.initial(torch.Generator()).items()}

    def constants(self) -> dict[str, Tensor]:
        """Name -> number or tensor that is not trained but may differ between candidates."""
        return {}

    @property
    def on_host(self) -> frozenset[str]:
        """Names of constants that decide what is computed: they stay on the CPU, where reading them waits for
        no device."""
        return frozenset()

    def frozen(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Name -> tensor that is not trained and the same for all candidates.

        `weight` (`[d_out, d_in]`) and `bias` are the frozen module's, on its device and in its dtype.
        A quantised weight cannot be read: `weight` then is empty and `bias` None.
        Delivered to `change` without a `candidates` axis.
        """
        return {}

    @property
    def reads_padding(self) -> bool:
        """Whether what padding is computed to changes what it computes for real tokens."""
        return False

    def rates(self) -> Mapping[str, float]:
        """Name -> factor of the learning rate, for tensors that learn faster or slower than the rest."""
        return {}

    def settle(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What remains of one candidate's trained tensors once training is over."""
        return dict(tensors)


class Delta(Trained):
    """A change that is added to what a frozen module gives or gets."""

    per_example: ClassVar[bool] = False
    """True where `change` needs to know which row belongs to which example."""

    @abstractmethod
    def change(
        self,
        tensors: Tensors,
        x: FloatTensor[Tensor, "candidates rows d_in"],
        y: FloatTensor[Tensor, "candidates rows d_out"],
        rows: Rows,
    ) -> FloatTensor[Tensor, " candidates #rows d_out"]:
        """The change, for all candidates at once.

        Called on the delta of one of the candidates: sizes and numbers come from
        `tensors`, never from `self`, unless they are part of `kind` or of the method's `stack_key`.
        """


class KeyValueDelta(Trained):
    """Keys and values that are prepended in an attention module."""

    @abstractmethod
    def keys_values(
        self,
        tensors: Tensors,
        x: FloatTensor[Tensor, "candidates rows d_in"],
        rows: Rows,
    ) -> tuple[
        FloatTensor[Tensor, " candidates #batch length d_out"],
        FloatTensor[Tensor, " candidates #batch length d_out"],
    ]:
        """Keys and values in front of the sequence, heads side by side in `d_out`.

        The constant `visible` (`[candidates, length]`, 1 or 0) hides the slots
        that a candidate with a shorter prefix does not have.
        """


class PromptDelta(Trained):
    """Vectors in front of the embedded tokens; the constant `visible` hides a shorter prompt's slots."""

    @abstractmethod
    def vectors(self, tensors: Tensors) -> FloatTensor[Tensor, "candidates length d_out"]:
        """The vectors; the first stands next to the tokens, those that a candidate lacks come last."""


class WeightDelta(Trained):
    """A change of one of the model's own parameters; the trained tensor is named `change`."""
