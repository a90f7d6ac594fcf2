"""Texts as tokens, without special tokens: of a long text only what a backbone may come to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.truncation import Counts

MOST_ROWS, MOST_CHARACTERS = 1000, 1_000_000
"""Of texts that are tokenised together: the tokenizer gives their tokens as Python numbers."""
CHARACTERS_PER_TOKEN, FEWEST_CHARACTERS = 16, 10_000
"""Characters read of either end of a long text for each token wanted (English takes 4 to 5), and at least."""

Encode = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class Raw:
    """The tokens of texts, one text after another."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    """Text i is `ids[offsets[i]:offsets[i + 1]]`."""
    lengths: Counts
    """Tokens of each text before its middle was left out; of a very long text more than are asked for."""


def read_texts(texts: Iterable[str], tokenizer: Any, begin: int, end: int) -> Raw:
    """The tokens of each text: all of them, or of a longer text the first `begin` and the last `end`."""

    def encode(part: Sequence[str]) -> list[list[int]]:
        return _encoded(part, tokenizer)

    most = begin + end
    ids, stored, lengths = [], [], []
    for part in parts(texts):
        rows = [_of_long(text, encode, begin, end) if len(text) > 2 * _width(most) else None for text in part]
        short = iter(encode([text for text, row in zip(part, rows, strict=True) if row is None]))
        found = [next(short) if row is None else row for row in rows]
        lengths += [len(row) for row in found]
        kept = [row if len(row) <= most else row[:begin] + row[len(row) - end :] for row in found]
        stored += [len(row) for row in kept]
        ids.append(np.fromiter(chain.from_iterable(kept), dtype=np.int32))
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    offsets = np.cumsum([0, *stored], dtype=np.int64)
    return Raw(flat, offsets, np.array(lengths, dtype=np.int64))


def count_tokens(texts: Iterable[str], tokenizer: Any) -> Counts:
    """How many tokens each text has; of a text of more than a million characters, its first million."""
    capped = (text[:MOST_CHARACTERS] for text in texts)
    found = [len(row) for part in parts(capped) for row in _encoded(part, tokenizer)]
    return np.array(found, dtype=np.int64)


def _of_long(text: str, encode: Encode, begin: int, end: int) -> list[int]:
    """The tokens of a text of very many characters, or of its first and last ones where these are enough.

    The text is cut where white space is, so every tokenizer that splits there first gives the first tokens
    that it would give of the whole text, and the last ones. Where there is none a cut may change the tokens
    beside it; so more are asked for than are wanted. If a million characters at either end have fewer, such
    as one endless word, that is what is read of the text.
    """
    wanted = begin + end
    width = _width(wanted)
    most = max(width, MOST_CHARACTERS)
    while 2 * width < len(text):
        first = encode([_begin_of(text, width)])[0] if begin else []
        last = encode([_end_of(text, width)])[0] if end else []
        enough = (not begin or len(first) > 2 * wanted) and (not end or len(last) > 2 * wanted)
        if enough or width == most:
            return first + last
        width = min(4 * width, most)
    return encode([text])[0]


def _width(tokens: int) -> int:
    return max(FEWEST_CHARACTERS, CHARACTERS_PER_TOKEN * tokens)


def _begin_of(text: str, width: int) -> str:
    place = max(text.rfind(space, width // 2, width) for space in " \n\t")
    return text[: place if place > 0 else width]


def _end_of(text: str, width: int) -> str:
    begin = len(text) - width
    places = [text.find(space, begin, begin + width // 2) for space in " \n\t"]
    return text[min((place for place in places if place > 0), default=begin) :]


def _encoded(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    if not texts:
        return []
    found: list[list[int]] = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # it would warn of every text beyond its limit
    )["input_ids"]
    return found


def parts(texts: Iterable[Any]) -> Iterator[list[Any]]:
    """The texts, or the words of rows, in parts that need little memory as tokens."""
    part: list[Any] = []
    characters = 0
    for text in texts:
        part.append(text)
        characters += len(text)
        if len(part) == MOST_ROWS or characters > MOST_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part
