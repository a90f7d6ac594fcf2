"""Token batches: tokenised once, bucketed by length, in a seeded order that all candidates share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.task import Split

WINDOW = 50
"""Batches that are sorted by length together: long enough to save padding, short enough to keep chance."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one split, one row after another."""

    ids: NDArray[np.int32]
    types: NDArray[np.int32] | None
    """Segment of each token (first or second text), for tokenizers that have segments."""
    offsets: NDArray[np.int64]
    """Row i is `ids[offsets[i]:offsets[i + 1]]`."""
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Batch:
    """Padded tokens, the same for every candidate."""

    input_ids: Tensor
    """`[batch, tokens]`."""
    attention_mask: Tensor
    """`[batch, tokens]`: 1 for real tokens."""
    token_type_ids: Tensor | None
    labels: Tensor
    """`[batch]`."""
    rows: NDArray[np.int64]
    """Row of the split that each example is."""

    def __len__(self) -> int:
        return len(self.rows)


def tokenise(split: Split, tokenizer: Any, max_length: int) -> Tokens:
    """Tokenise a split; longer texts are cut at the end (the longer text of a pair first)."""
    pairs = None if split.pairs is None else list(split.pairs)
    if pairs is not None and not _separates(tokenizer):
        pairs = ["\n" + text for text in pairs]
    encoded = tokenizer(
        list(split.texts),
        pairs,
        truncation="longest_first",
        max_length=max_length,
        return_attention_mask=False,
    )
    # A tokenizer without special tokens makes nothing of an empty text; heads need a token to read.
    rows: list[list[int]] = [row or [_filler(tokenizer)] for row in encoded["input_ids"]]
    types: list[list[int]] | None = encoded.get("token_type_ids")
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Tokens(
        _flat(rows), None if types is None else _flat(types), offsets, np.asarray(split.labels, np.int64)
    )


def _separates(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a token of its own between the texts of a pair; GPT-2's does not."""
    single, pair = (tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
    return bool(pair > single)


def _filler(tokenizer: Any) -> int:
    known = (tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    return int(next(number for number in known if number is not None))


def _flat(rows: list[list[int]]) -> NDArray[np.int32]:
    return np.fromiter((token for row in rows for token in row), dtype=np.int32)


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
        source = np.concatenate([np.arange(tokens.offsets[row], tokens.offsets[row + 1]) for row in rows])
        yield Batch(
            input_ids=_padded(tokens.ids, source, real, pad, device),
            attention_mask=torch.from_numpy(real.astype(np.int64)).to(device),
            token_type_ids=None if tokens.types is None else _padded(tokens.types, source, real, 0, device),
            labels=torch.from_numpy(tokens.labels[rows]).to(device),
            rows=rows,
        )


def _padded(
    values: NDArray[np.int32],
    source: NDArray[np.int64],
    real: NDArray[np.bool_],
    pad: int,
    device: torch.device,
) -> Tensor:
    grid = np.full(real.shape, pad, dtype=np.int64)
    grid[real] = values[source]
    return torch.from_numpy(grid).to(device)
