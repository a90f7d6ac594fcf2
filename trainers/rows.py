"""What a delta may know of the batch it works on: which rows belong to which example, chance, watchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass
class Rows:
    """How the rows of `[candidates, rows, width]` belong to the examples of a batch.

    Rows are the tokens of all examples one after another, padding included.
    """

    mask: Bool[Tensor, "*candidates batch tokens"]
    """True for real tokens; the same for all candidates, or where each has rows of its own, one for each."""
    chance: Sequence[torch.Generator] | None = None
    """A generator for each candidate while training; None: nothing is left to chance."""
    gates: list[Tensor] = field(default_factory=list)
    """Gate values `[candidates, batch]` that the deltas computed since the list was last emptied."""

    def mean(self, values: Float[Tensor, "candidates rows"]) -> Float[Tensor, "candidates batch"]:
        """Mean over the real tokens of each example, so that padding changes nothing."""
        weights = self.mask.to(values.dtype)
        return (self._grid(values) * weights).sum(-1) / weights.sum(-1)

    def mean_with_padding(
        self, values: Float[Tensor, "candidates rows"]
    ) -> Float[Tensor, "candidates batch"]:
        """Mean over all tokens of each example, padding included."""
        return self._grid(values).mean(-1)

    def first(self, values: Float[Tensor, "candidates rows"]) -> Float[Tensor, "candidates batch"]:
        """The value of the first real token of each example."""
        grid = self._grid(values)
        start = self.mask.int().argmax(-1).expand(grid.shape[:2]).unsqueeze(-1)
        return grid.gather(-1, start).squeeze(-1)

    def spread(self, values: Float[Tensor, "candidates batch"]) -> Float[Tensor, "candidates rows"]:
        """Give each row the value of its example."""
        return values.unsqueeze(-1).expand(*values.shape, self.mask.shape[-1]).flatten(1)

    def near_the_ends(
        self, first: Float[Tensor, " candidates"], last: Float[Tensor, " candidates"]
    ) -> Bool[Tensor, "candidates rows"]:
        """True for the first and the last few real tokens of each example."""
        place = self.mask.cumsum(-1) - 1
        from_end = self.mask.sum(-1, keepdim=True) - 1 - place
        near = (place < first[:, None, None]) | (from_end < last[:, None, None])
        return (near & self.mask).flatten(1)

    def _grid(self, values: Float[Tensor, "candidates rows"]) -> Float[Tensor, "candidates batch tokens"]:
        return values.view(len(values), *self.mask.shape[-2:])

    def dropout(
        self, x: Float[Tensor, "candidates rows d"], share: Float[Tensor, " candidates"]
    ) -> Float[Tensor, "candidates rows d"]:
        """Drop each candidate's share of the values while training, the rest scaled up.

        Every candidate draws from its own generator, so it drops the same values alone and in any stack.
        `share` is on the CPU.
        """
        if self.chance is None or not bool(share.any()):
            return x
        kept = torch.ones_like(x)
        for i, (generator, dropped) in enumerate(zip(self.chance, share.tolist(), strict=True)):
            if dropped:
                drawn = torch.rand(x.shape[1:], generator=generator, device=x.device)
                kept[i] = (drawn >= dropped).to(x.dtype) / (1 - dropped)
        return x * kept
