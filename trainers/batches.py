"""Token batches: bucketed by length, in a seeded order that all candidates share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.tokenising import tokenise as tokenise
from trainers.tokens import Tokens as Tokens
from trainers.tokens import ranges

WINDOW = 50
"""Batches that are sorted by length together: long enough to save padding, short enough to keep chance."""


@dataclass(frozen=True)
class Below:
    """What the frozen layers below one of them give for a batch."""

    layer: int
    hidden: Tensor
    """`[batch, tokens, d]`; of padding anything."""


@dataclass(frozen=True)
class Batch:
    """Padded tokens, the same for every candidate unless they have `owners`."""

    input_ids: Tensor
    """`[batch, tokens]`."""
    attention_mask: Tensor
    """`[batch, tokens]`: 1 for real tokens."""
    token_type_ids: Tensor | None
    labels: Tensor
    """`[items]`, or `[items, classes]` of several labels; an item is an example, or a word of one."""
    items: NDArray[np.int64]
    """Row, or word, of the split that each item is."""
    words: Tensor | None = None
    """`[items]`: where the words stand in the flattened `input_ids`; None where examples are the items.
    With `owners`, `[owners, items]` in the part of each."""
    owners: int = 1
    """1: every candidate gets all examples. More: as many candidates have examples of their own, equally many
    and in order (`trainers.routing`)."""
    rows: NDArray[np.int64] | None = None
    """Row of the tokens that each example is, where all candidates have the same."""
    below: Below | None = None
    """Where it is known: a stack that changes nothing below that layer begins there."""

    def __len__(self) -> int:
        """Examples that each candidate gets."""
        return len(self.input_ids) // self.owners

    @property
    def real(self) -> Tensor:
        """True for real tokens: `[batch, tokens]`, of owners `[owners, batch, tokens]`."""
        mask = self.attention_mask.bool()
        return mask if self.owners == 1 else mask.unflatten(0, (self.owners, -1))


def training_order(lengths: NDArray[np.int64], batch_size: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each batch of one epoch: shuffled, sorted by length inside windows, batches shuffled."""
    chance = np.random.default_rng(seed)
    rows = chance.permutation(len(lengths))
    window = WINDOW * batch_size
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), window):
        part = rows[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in chance.permutation(len(batches))]


def evaluation_order(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, sorted by length: the least padding."""
    rows = np.argsort(lengths, kind="stable")
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]


def batches(
    tokens: Tokens, order: list[NDArray[np.int64]], pad: int, device: torch.device
) -> Iterator[Batch]:
    """The batches of an order, padded to their longest row."""
    for rows in order:
        lengths = tokens.lengths[rows]
        real = np.arange(lengths.max()) < lengths[:, None]
        source, items = ranges(tokens.offsets, rows), tokens.items(rows)
        yield Batch(
            input_ids=_padded(tokens.ids, source, real, pad, device),
            attention_mask=torch.from_numpy(real.astype(np.int64)).to(device, non_blocking=True),
            token_type_ids=None if tokens.types is None else _padded(tokens.types, source, real, 0, device),
            labels=torch.from_numpy(tokens.labels[items]).to(device, non_blocking=True),
            items=items,
            words=_words(tokens, rows, items, real.shape[1], device),
            rows=rows,
        )


def _words(
    tokens: Tokens, rows: NDArray[np.int64], items: NDArray[np.int64], width: int, device: torch.device
) -> Tensor | None:
    if tokens.places is None:
        return None
    begins = np.arange(len(rows)) * width - tokens.offsets[rows]
    places = tokens.places[items] + np.repeat(begins, np.diff(tokens.bounds)[rows])
    return torch.from_numpy(places).to(device, non_blocking=True)


def _padded(
    values: NDArray[np.int32],
    source: NDArray[np.int64],
    real: NDArray[np.bool_],
    pad: int,
    device: torch.device,
) -> Tensor:
    grid = np.full(real.shape, pad, dtype=np.int64)
    grid[real] = values[source]
    return torch.from_numpy(grid).to(device, non_blocking=True)
