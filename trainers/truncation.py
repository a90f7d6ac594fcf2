"""Which tokens of a text that is too long are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HEAD, HEAD_AND_TAIL = "head", "head+tail"
STRATEGIES = (HEAD, HEAD_AND_TAIL)
"""The first tokens of a text; or its first and its last tokens, half of each."""

Counts = NDArray[np.int64]
"""Of tokens, for each row."""


def kept_counts(lengths: Sequence[Counts], room: int, *, odd_to_first: bool = False) -> tuple[Counts, ...]:
    """How many tokens each text of a row keeps when the row has room for so many.

    Of a pair the longer text is cut first (`longest_first` of transformers): to what the shorter one leaves,
    or, where half is too little for either, both to half. Of an odd room the longer text gets the odd token,
    or the second of two equally long ones; the tokenizers that are written in Python give it to the first.
    """
    if len(lengths) == 1:
        return (np.minimum(lengths[0], room),)
    first, second = lengths
    half, most = room // 2, room - room // 2
    first_gets_more = np.full(len(first), True) if odd_to_first else first > second
    kept_first = np.maximum(np.where(first_gets_more, most, half), room - second)
    kept_second = np.maximum(np.where(first_gets_more, half, most), room - first)
    return np.minimum(first, kept_first), np.minimum(second, kept_second)


def ends(kept: Counts, strategy: str, side: str = "right") -> tuple[Counts, Counts]:
    """How many of the kept tokens stand at the begin of a text, and how many at its end.

    `side` is where a tokenizer cuts by itself: a few cut the begin of a text, which is its "head" then.

    Raises:
        ValueError: if the strategy is unknown.
    """
    if strategy == HEAD:
        none = np.zeros_like(kept)
        return (none, kept) if side == "left" else (kept, none)
    if strategy == HEAD_AND_TAIL:
        return kept - kept // 2, kept // 2
    raise ValueError(f"truncation {strategy!r} is unknown; possible: {', '.join(STRATEGIES)}")
