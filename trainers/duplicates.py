"""Texts that are nearly the same: MinHash signatures, and locality-sensitive hashing into bands.

Broder (1997), "On the resemblance and containment of documents". Two texts are
near duplicates when the Jaccard overlap of their words and neighbouring words is
0.8 or more, as 128 hash functions estimate it (standard error 0.035 there).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.int64]
"""Positions [pairs, 2], the earlier one first."""


@runtime_checkable
class Counted(Protocol):
    """Texts that can be counted and read one after another, more than once."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[str]: ...


OVERLAP = 0.8
HASHES = 128
# 16 bands of 8: a pair at overlap 0.8 shares a band with probability 0.95, at 0.9 with 0.9999, at 0.5 with
# 0.06
BAND = 8
# Scripts without spaces between words: each of their characters counts as a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
CHUNK = 100_000


def near_duplicates(parts: Sequence[Counted]) -> Pairs:
    """Pairs of rows that overlap enough in each part: in the text, of text pairs in both texts.

    Of many rows alike, each is paired with the first or the one before, so the number of pairs grows with
    the rows, not with their square: `MinHashLSH` of datasketch gives every pair of a bucket, 394 million for
    20,000 texts that share a template, and took 100 s for them where this took 2 s.
    """
    signatures = [signatures_of(texts) for texts in parts]
    whole = np.minimum.reduce(signatures)  # the signature of the union
    found = [banded(whole[:, start : start + BAND]) for start in range(0, HASHES, BAND)]
    candidates = np.unique(np.concatenate(found), axis=0)
    chunks = (candidates[start : start + CHUNK] for start in range(0, len(candidates), CHUNK))
    alike = [np.min([overlaps(part, chunk) for part in signatures], axis=0) >= OVERLAP for chunk in chunks]
    kept = np.concatenate([*alike, np.zeros(0, dtype=bool)])
    return np.asarray(candidates[kept])


def signatures_of(texts: Counted) -> NDArray[np.uint32]:
    """MinHash signatures [texts, HASHES]; the same in every process."""
    # Loads parts of SciPy, which takes a third of a second: who compares no texts goes without.
    from datasketch import MinHash

    signatures = np.empty((len(texts), HASHES), dtype=np.uint32)
    hashed = MinHash.generator(map(shingles, texts), num_perm=HASHES, seed=1, hashfunc=zlib.crc32)
    for row, sketch in enumerate(hashed):
        signatures[row] = sketch.hashvalues
    return signatures


def shingles(text: str) -> Iterable[bytes]:
    """The words of a text and its pairs of neighbouring words, each once; a text without words is its own."""
    words = words_of(text)
    if not words:
        return [text.encode()]
    neighbours = map(" ".join, zip(words, words[1:], strict=False))
    return {part.encode() for part in (*words, *neighbours)}


def words_of(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def banded(band: NDArray[np.uint32]) -> Pairs:
    """Pairs of rows that agree in the whole band: each with the first such row and with the one before it."""
    keys = np.ascontiguousarray(band).view(f"V{band.shape[1] * band.itemsize}").ravel()
    _, bucket = np.unique(keys, return_inverse=True)
    order = np.argsort(bucket, kind="stable")
    sorted_bucket = bucket[order]
    starts = np.r_[True, sorted_bucket[1:] != sorted_bucket[:-1]][: len(order)]
    first = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]] if len(order) else order
    follows = np.flatnonzero(~starts)
    with_first = np.stack([first[follows], order[follows]], axis=1)
    with_previous = np.stack([order[follows - 1], order[follows]], axis=1)
    return np.concatenate([with_first, with_previous])


def overlaps(signatures: NDArray[np.uint32], pairs: Pairs) -> NDArray[np.float64]:
    """Estimated Jaccard overlap of each pair: the share of hash functions that agree."""
    return np.asarray((signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1))
