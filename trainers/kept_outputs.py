"""What frozen layers give for whole splits, kept for all stacks whose modules begin above them."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from trainers.tokens import Tokens

SHARE = 4
"""All that a worker keeps takes at most a fourth of its part of the memory: of a GPU's, or of what is there
for each core. This depends on the machine, but not on what is free at the moment: a training that is
repeated takes the same way and gives the same bits."""
SPLITS = 2
"""So many fit at least: training and validation rows."""


class KeptOutputs:
    """Hidden states in front of a layer for the tokens of splits; what was used longest ago makes room."""

    def __init__(self, device: torch.device, most_bytes: float | None = None) -> None:
        self.most_bytes = memory_part(device) / SHARE if most_bytes is None else most_bytes
        """Of all that is kept."""
        self._kept: dict[tuple[int, int], tuple[weakref.ref[Tokens], Tensor]] = {}

    def __len__(self) -> int:
        """How many are kept: of tokens that are gone nothing is."""
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Size of what is kept now."""
        return sum(hidden.nbytes for _, hidden in self._kept.values())

    def fits(self, tokens: Tokens, width: int, dtype: torch.dtype) -> bool:
        """Whether hidden states of so many numbers a token may be kept of these tokens."""
        return len(tokens.ids) * width * dtype.itemsize <= self.most_bytes / SPLITS

    def of(self, tokens: Tokens, layer: int, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` gave for these very tokens and this layer, when it was asked the last time."""
        key = (id(tokens), layer)  # another object may have this number later, but the entry is gone by then
        entry = self._kept.pop(key, None)
        if entry is None:
            entry = (weakref.ref(tokens, lambda _: self._kept.pop(key, None)), compute())
        while self._kept and self.bytes + entry[1].nbytes > self.most_bytes:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = entry  # the last one now
        return entry[1]


def memory_part(device: torch.device) -> float:
    """Bytes of memory that one worker may count on; infinite where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
    return total / (os.cpu_count() or 1)
