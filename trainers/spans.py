"""Entities in tagged words: which there are, and how many of a row are found exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Offsets = NDArray[np.int64]
Flags = NDArray[np.bool_]

OUTSIDE = "O"
# IOB2 uses B and I; BIOES also E and S, which BILOU calls L and U.
PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}


def marks_spans(tags: Sequence[str]) -> bool:
    """Whether the tags are O and prefixed types such as B-PER, so that entities can be counted."""
    prefixed = [tag for tag in tags if tag != OUTSIDE]
    return bool(prefixed) and all(tag[:1] in PREFIXES and tag[1:2] == "-" and tag[2:] for tag in prefixed)


@dataclass(frozen=True)
class Scheme:
    """What each tag does, as arrays [tags]."""

    kinds: Integers
    """A number for the type after the prefix."""
    inside: Flags
    opens: Flags
    """B and S begin a span whatever stands before them."""
    closes: Flags
    """After O, E and S a span has to begin anew."""

    @classmethod
    def of(cls, tags: Sequence[str]) -> Scheme:
        prefixes = [PREFIXES[tag[0]] if tag != OUTSIDE else OUTSIDE for tag in tags]
        kinds = np.unique([tag[2:] for tag in tags], return_inverse=True)[1]
        inside, opens, closes = (
            np.array([prefix in members for prefix in prefixes]) for members in ("BIES", "BS", "OES")
        )
        return cls(kinds, inside, opens, closes)


def span_counts(
    predictions: Integers, labels: Integers, offsets: Offsets, tags: Sequence[str]
) -> tuple[Integers, Integers]:
    """Right and predicted spans of each row [..., rows, 2], and its true spans [rows].

    Predictions [..., words] and labels [words] are indices into the tags; row i is the words from
    `offsets[i]` to `offsets[i + 1]`. A span is right when its first word, last word and type are. Like
    conlleval (and seqeval's default) an I or E that continues nothing begins a span.

    Raises:
        ValueError: if the tags are not those of spans.
    """
    if not marks_spans(tags):
        raise ValueError(f"spans need tags such as O, B-PER and I-PER; given are {', '.join(tags) or 'none'}")
    scheme = Scheme.of(tags)
    true_start, true_end = span_ends(labels, offsets, scheme)
    start, end = span_ends(predictions, offsets, scheme)
    same_kind = scheme.kinds[predictions] == scheme.kinds[labels]
    right = start & true_start & (end == true_end) & same_kind
    return np.stack([sums(right, offsets), sums(start, offsets)], axis=-1), sums(true_start, offsets)


def span_ends(indices: Integers, offsets: Offsets, scheme: Scheme) -> tuple[Flags, Integers]:
    """For each word whether a span begins there, and the last word of the span that it is in."""
    words = indices.shape[-1]
    first = np.zeros(words, dtype=np.bool_)
    first[offsets[:-1]] = True
    kind, inside = scheme.kinds[indices], scheme.inside[indices]
    anew = first | np.roll(scheme.closes[indices], 1, axis=-1) | (np.roll(kind, 1, axis=-1) != kind)
    start = inside & (anew | scheme.opens[indices])
    # a word is its span's last where the next one is outside, begins a span, or belongs to the next row
    last = np.roll(start | ~inside | first, -1, axis=-1)
    places = np.where(last, np.arange(words), words)
    return start, np.minimum.accumulate(places[..., ::-1], axis=-1)[..., ::-1]


def word_counts(predictions: Integers, labels: Integers, offsets: Offsets) -> tuple[Integers, Integers]:
    """Right words and all words of each row [..., rows, 2], and all words again [rows]."""
    right = sums(predictions == labels, offsets)
    words = np.diff(offsets)
    return np.stack([right, np.broadcast_to(words, right.shape)], axis=-1), words


def sums(flags: Flags, offsets: Offsets) -> Integers:
    """How many flags [..., words] are set in each row: [..., rows]."""
    zero = np.zeros((*flags.shape[:-1], 1), dtype=np.int64)
    running = np.concatenate([zero, np.cumsum(flags, axis=-1)], axis=-1)
    return np.asarray(running[..., offsets[1:]] - running[..., offsets[:-1]])
