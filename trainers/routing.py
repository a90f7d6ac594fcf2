"""Each row through its own candidate: rows that belong to different candidates, in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from trainers.batches import Batch, batches
from trainers.predictions import Logits
from trainers.stack import Stack
from trainers.tokens import Tokens

ROWS_AT_ONCE = 64
"""Rows of one forward pass, of all candidates together."""
MOST_PADDED = 2
"""Where candidates have unlike numbers of rows, some rows are repeated, as long as that makes at most so
many times the rows; else as many as all have go first, and the rest without those that are done."""
MOST_PARTS = 16
"""Sets of candidates for which a stack is kept at hand."""


class Router:
    """A stack whose candidates each have rows of their own.

    No row passes through another's module, so n candidates with m rows in all cost a forward pass of m rows,
    where each candidate by itself takes a pass, and all of them over all rows take n m rows.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._part = lru_cache(MOST_PARTS)(self._selected)

    def _selected(self, kept: tuple[int, ...]) -> Stack:
        return self._stack if len(kept) == len(self._stack) else self._stack.select(kept)

    @torch.no_grad()
    def logits(self, tokens: Sequence[Tokens]) -> list[Logits]:
        """The logits of each candidate for its rows or words, in their order; fp32."""
        found = [np.empty((len(own.labels), self._stack.classes), np.float32) for own in tokens]
        for rows in shares([own.lengths for own in tokens], ROWS_AT_ONCE):
            stack, padding = self._part(tuple(rows)), self._stack.backbone.pad_token_id
            device = self._stack.backbone.device
            parts = [next(batches(tokens[i], [own], padding, device)) for i, own in rows.items()]
            with stack.attached():
                given = stack.logits(side_by_side(parts, padding)).cpu().numpy()
            for i, part, logits in zip(rows, parts, given, strict=True):
                found[i][part.items] = logits[: len(part.items)]
        return found


def shares(lengths: Sequence[NDArray[np.int64]], rows_at_once: int) -> Iterator[dict[int, NDArray[np.int64]]]:
    """Candidate -> rows of each pass: equally many, long ones first, so that those of a pass are alike."""
    left = {i: list(np.argsort(-own, kind="stable")) for i, own in enumerate(lengths) if len(own)}
    while left:
        counts = [len(rows) for rows in left.values()]
        most = max(counts) if len(counts) * max(counts) <= MOST_PADDED * sum(counts) else min(counts)
        each = min(most, max(1, rows_at_once // len(left)))
        yield {i: np.resize(np.array(rows[:each]), each) for i, rows in left.items()}  # repeats if too few
        left = {i: rows[each:] for i, rows in left.items() if len(rows) > each}


def side_by_side(parts: Sequence[Batch], padding: int) -> Batch:
    """Batches of equally many rows, one for each candidate, as one."""
    if len(parts) == 1:
        return parts[0]
    tokens = max(part.input_ids.shape[1] for part in parts)

    def joined(grids: Sequence[Tensor], value: int) -> Tensor:
        return torch.cat([pad(grid, (0, tokens - grid.shape[1]), value=value) for grid in grids])

    types = [part.token_type_ids for part in parts if part.token_type_ids is not None]
    return Batch(
        input_ids=joined([part.input_ids for part in parts], padding),
        attention_mask=joined([part.attention_mask for part in parts], 0),
        token_type_ids=joined(types, 0) if types else None,
        labels=torch.cat([part.labels for part in parts]),
        items=np.concatenate([part.items for part in parts]),
        words=_words(parts, tokens),
        owners=len(parts),
    )


def _words(parts: Sequence[Batch], tokens: int) -> Tensor | None:
    """Where the words of each candidate stand in its part; the shorter lists end with zeros."""
    moved = []
    for part in parts:
        if part.words is None:
            return None
        width = part.input_ids.shape[1]
        moved.append(part.words // width * tokens + part.words % width)
    most = max(len(words) for words in moved)
    return torch.stack([pad(words, (0, most - len(words))) for words in moved])
