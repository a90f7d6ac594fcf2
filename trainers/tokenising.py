"""From the texts of a split to its tokens, cut to a length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.raw_tokens import Raw, parts, read_texts
from trainers.special_tokens import Frame, filler, frame_of
from trainers.splits import Split
from trainers.tokens import Tokens
from trainers.truncation import HEAD, Counts, ends, kept_counts
from trainers.word_tokens import encode_words

BLOCK_ROWS = 10_000
"""Rows that are put together at once: it takes several numbers for each token."""


def tokenise(split: Split, tokenizer: Any, max_length: int, truncation: str = HEAD) -> Tokens:
    """Tokenise a split; longer texts are cut as `trainers.truncation` says (the longer text of a pair first).

    Words are never cut off: a row with too many is read in several parts.

    Raises:
        BackboneError: if the tokenizer cannot say which words its tokens stand for.
    """
    if split.offsets is not None:
        return _tokenise_words(split, tokenizer, max_length)
    return read_rows(split, tokenizer, max_length, truncation).cut(max_length)


def read_rows(split: Split, tokenizer: Any, longest: int, truncation: str = HEAD) -> RawRows:
    """Tokenise a split once, to be cut to any length up to `longest`."""
    frame = frame_of(tokenizer, 1 if split.pairs is None else 2)
    begin, end = (int(one[0]) for one in ends(np.array([longest]), truncation, tokenizer.truncation_side))
    columns: list[Iterable[str]] = [split.texts]
    if split.pairs is not None:
        # a tokenizer that puts nothing between the texts of a pair, such as GPT-2's, gets a line break
        columns.append(split.pairs if frame.ids[1] else ("\n" + text for text in split.pairs))
    return RawRows(
        texts=tuple(read_texts(column, tokenizer, begin, end) for column in columns),
        frame=frame,
        labels=np.asarray(split.labels),
        tokenizer=tokenizer,
        truncation=truncation,
    )


@dataclass(frozen=True)
class RawRows:
    """The tokens of a split before they are cut."""

    texts: tuple[Raw, ...]
    """The first texts, and of pairs the second."""
    frame: Frame
    labels: NDArray[Any]
    tokenizer: Any
    truncation: str

    @property
    def lengths(self) -> Counts:
        """Tokens of each row, special ones included; of very long texts more than may be asked for."""
        return np.asarray(sum(text.lengths for text in self.texts)) + self.frame.count

    def cut(self, length: int) -> Tokens:
        """The tokens with the special ones, at most `length` a row: what the tokenizer itself would give."""
        room = max(0, length - self.frame.count)
        odd_to_first = not self.tokenizer.is_fast
        kept = kept_counts([text.lengths for text in self.texts], room, odd_to_first=odd_to_first)
        pieces = self._pieces(kept)
        rows = len(self.labels)
        offsets = np.cumsum(np.concatenate([[0], sum(piece.lengths for piece in pieces)])).astype(np.int64)
        blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS)]
        ids = [joined([(p.ids, p.begins[b], p.lengths[b]) for p in pieces]) for b in blocks]
        types = None
        if "token_type_ids" in self.tokenizer.model_input_names:
            types = _flat([joined([(p.types, p.begins[b], p.lengths[b]) for p in pieces]) for b in blocks])
        return Tokens(_flat(ids), types, offsets, self.labels)

    def _pieces(self, kept: Sequence[Counts]) -> list[Piece]:
        """What each row is made of, from left to right."""
        rows = len(self.labels)
        pieces = [_special(self.frame.ids[0], self.frame.types[0], rows)]
        for i, (text, count) in enumerate(zip(self.texts, kept, strict=True)):
            begin, end = ends(count, self.truncation, self.tokenizer.truncation_side)
            types = np.broadcast_to(np.int32(self.frame.text_types[i]), text.ids.shape)
            pieces += [
                Piece(text.ids, types, text.offsets[:-1], begin),
                Piece(text.ids, types, text.offsets[1:] - end, end),
                _special(self.frame.ids[i + 1], self.frame.types[i + 1], rows),
            ]
        # a tokenizer without special tokens makes nothing of an empty text; heads need a token to read
        empty = sum(piece.lengths for piece in pieces) == 0
        spare = np.array([filler(self.tokenizer)], dtype=np.int32)
        zeros = np.zeros(rows, dtype=np.int64)
        return [*pieces, Piece(spare, np.zeros(1, dtype=np.int32), zeros, np.asarray(empty, dtype=np.int64))]


@dataclass(frozen=True)
class Piece:
    """A part of every row: `ids[begins[i]:begins[i] + lengths[i]]` of row i."""

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    begins: NDArray[np.int64]
    lengths: Counts


def _special(ids: Sequence[int], types: Sequence[int], rows: int) -> Piece:
    """The same tokens in every row."""
    begins, lengths = np.zeros(rows, dtype=np.int64), np.full(rows, len(ids), dtype=np.int64)
    return Piece(np.array(ids, dtype=np.int32), np.array(types, dtype=np.int32), begins, lengths)


def joined(
    pieces: Sequence[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]],
) -> NDArray[np.int32]:
    """The pieces of the first row, then those of the second, ...; each is values, begins and lengths."""
    totals = np.sum([lengths for _, _, lengths in pieces], axis=0)
    place = np.cumsum(totals) - totals
    found = np.empty(int(totals.sum()), dtype=np.int32)
    for values, begins, lengths in pieces:
        steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found[np.repeat(place, lengths) + steps] = values[np.repeat(begins, lengths) + steps]
        place = place + lengths
    return found


def _tokenise_words(split: Split, tokenizer: Any, max_length: int) -> Tokens:
    ids, types, places = [], [], []
    lengths: list[int] = []
    tokens = 0
    for part in parts(split.texts):
        encoded = encode_words(part, tokenizer, max_length)
        ids.append(_listed(encoded.ids))
        types.append(None if encoded.types is None else _listed(encoded.types))
        places.append(encoded.places + tokens)
        lengths += map(len, encoded.ids)
        tokens += len(ids[-1])
    with_types = [one for one in types if one is not None]
    found = Tokens(
        ids=_flat(ids),
        types=_flat(with_types) if len(with_types) == len(types) else None,
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        labels=split.labels,
        places=np.concatenate(places),
    )
    used = np.diff(found.bounds) > 0  # a part may hold nothing but the rest of a long word
    return found if used.all() else found.take(np.flatnonzero(used))


def _flat(blocks: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int32)


def _listed(rows: Iterable[Sequence[int]]) -> NDArray[np.int32]:
    return np.fromiter((token for row in rows for token in row), dtype=np.int32)
