"""The tokens of one split, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tokens:
    """The tokens of one split, one row after another."""

    ids: NDArray[np.int32]
    types: NDArray[np.int32] | None
    """Segment of each token (first or second text), for tokenizers that have segments."""
    offsets: NDArray[np.int64]
    """Row i is `ids[offsets[i]:offsets[i + 1]]`."""
    labels: NDArray[Any]
    """As in `Split`: of each row, or of each word."""
    places: NDArray[np.int64] | None = None
    """For token-classification: the position in `ids` of the token that stands for each word.

    A row of more tokens than a backbone reads is several rows here, so that every word is read.
    """
    whole: tuple[Tokens, NDArray[np.int64]] | None = field(default=None, repr=False, compare=False)
    """For a part of a split: the split's tokens, and which of their rows these are."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Row i has the labels from `bounds[i]` up to `bounds[i + 1]`."""
        if self.places is None:
            return np.arange(len(self) + 1)
        return np.searchsorted(self.places, self.offsets)

    def items(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the labels these rows have, one row after another."""
        return ranges(self.bounds, rows)

    def take(self, rows: NDArray[np.int64]) -> Tokens:
        """The tokens of these rows, in this order."""
        source, items = ranges(self.offsets, rows), self.items(rows)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64)
        places = None
        if self.places is not None:
            moved = np.repeat(offsets[:-1] - self.offsets[rows], np.diff(self.bounds)[rows])
            places = self.places[items] + moved
        types = None if self.types is None else self.types[source]
        return Tokens(self.ids[source], types, offsets, self.labels[items], places)

    def part(self, rows: NDArray[np.int64]) -> Tokens:
        """As `take`, of a split in many parts: what is computed for the rows of one serves the others."""
        return replace(self.take(rows), whole=(self, rows))


def ranges(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """`offsets[row]` up to `offsets[row + 1]` of each row, one after another."""
    lengths = np.diff(offsets)[rows]
    begins = np.cumsum(lengths) - lengths
    return np.repeat(offsets[rows] - begins, lengths) + np.arange(lengths.sum())
