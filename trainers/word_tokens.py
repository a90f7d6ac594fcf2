"""Tokens of texts that come as words, and which token stands for each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.checkpoint import BackboneError


@dataclass(frozen=True)
class Encoded:
    """Rows of words as tokens; a row that is too long is several parts, one after another."""

    ids: list[list[int]]
    types: list[list[int]] | None
    places: NDArray[np.int64]
    """`[words]`: position of each word's token among all tokens, ascending."""


def encode_words(rows: Sequence[Sequence[str]], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise the words of each row, joined with spaces: what the backbone reads is ordinary text.

    So every tokenizer treats a word as it does inside a text; GPT-2's and RoBERTa's write a word after a
    space in another way. A word is its first token (Devlin et al. 2019); one of which the tokenizer leaves
    nothing, such as a character without width, shares the token that follows it, or the last of its row.

    Raises:
        BackboneError: if the tokenizer does not tell where its tokens stand in a text.
    """
    if not tokenizer.is_fast:
        raise BackboneError(
            f"the tokenizer {type(tokenizer).__name__} does not tell which words its tokens stand for, which "
            f"a task of token-classification needs; give a --backbone with a tokenizer.json"
        )
    encoded = tokenizer(
        [" ".join(words) for words in rows],
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_offsets_mapping=True,
        return_overflowing_tokens=True,
    )
    parts = zip(encoded["overflow_to_sample_mapping"], encoded["offset_mapping"], strict=True)
    places, before = [], 0
    for row, own in groupby(parts, key=lambda part: part[0]):
        ends = np.array([end for _, spans in own for _, end in spans], dtype=np.int64)
        places.append(before + first_tokens(rows[row], ends))
        before += len(ends)
    flat = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
    return Encoded(encoded["input_ids"], encoded.get("token_type_ids"), flat)


def first_tokens(words: Sequence[str], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first token that ends after the begin of each word, where words stand a space apart.

    `ends` are the tokens' last characters; special tokens end at 0.
    """
    begins = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    found = np.searchsorted(np.maximum.accumulate(ends), begins, side="right")
    return np.minimum(found, len(ends) - 1)
