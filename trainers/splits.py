"""The parts of a dataset: their rows, and the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.kinds import single
from trainers.texts import Texts


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a dataset."""

    texts: Sequence[Any]
    """One for each row: a str, or for token-classification the tuple of its words."""
    pairs: Sequence[str] | None
    labels: NDArray[Any]
    """What is to be predicted, by kind of task:

    classification: indices into the task's labels, int64 [rows]
    multi-label: 1 where a row has a label, float32 [rows, classes]
    regression: numbers, float32 [rows]
    token-classification: indices of all words, one row after another, int64 [words]
    """
    offsets: NDArray[np.int64] | None = None
    """For token-classification: the words of row i are `labels[offsets[i]:offsets[i + 1]]`; else None."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The split of these rows, in this order."""
        texts, pairs = taken(self.texts, rows), None if self.pairs is None else taken(self.pairs, rows)
        if self.offsets is None:
            return Split(texts, pairs, self.labels[rows])
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # where each word was: the begin of its row, and its place in the row
        words = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Split(texts, pairs, self.labels[words], offsets)


def taken(texts: Sequence[Any], rows: NDArray[np.int64]) -> Sequence[Any]:
    return texts.take(rows) if isinstance(texts, Texts) else tuple(texts[row] for row in rows)


@dataclass(frozen=True, kw_only=True)
class Making:
    """How missing splits are made."""

    file: str
    """The training file, for messages."""
    kind: str
    labels: Sequence[str]
    train_rows: int | None
    seed: int
    folds: int | None = 1
    """Folds of the training rows in place of a validation split; None: where there are few rows; 1: never."""

    @property
    def one_label_a_row(self) -> bool:
        return single(self.kind) == "classification"


def content_hash(
    kind: str,
    labels: Sequence[str],
    splits: Mapping[str, Split],
    folds: NDArray[np.int64] | None = None,
) -> str:
    """SHA-256 over the kind and, for each split and row, the texts and the labels, each with its length.

    Words and several labels come after their number; a number is written with nine digits. The fold of each
    training row, where there are folds, comes last.
    """
    digest = hashlib.sha256()

    def add(value: str) -> None:
        data = value.encode()
        digest.update(f"{len(data)}:".encode() + data)

    add(kind)
    for name in ("train", "validation", "test"):
        split = splits[name]
        add(f"{name} {len(split)}")
        pairs = repeat(None) if split.pairs is None else split.pairs
        for text, pair, label in zip(split.texts, pairs, written_labels(split, labels), strict=False):
            for part in (text,) if isinstance(text, str) else (str(len(text)), *text):
                add(part)
            if pair is not None:
                add(pair)
            for part in label:
                add(part)
    if folds is not None:
        add("folds " + " ".join(map(str, folds.tolist())))
    return digest.hexdigest()


def written_labels(split: Split, labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The labels of each row in words."""
    if split.offsets is not None:
        for begin, end in pairwise(split.offsets.tolist()):
            yield tuple(labels[tag] for tag in split.labels[begin:end].tolist())
    elif split.labels.ndim == 2:
        for row in split.labels:
            found = np.flatnonzero(row).tolist()
            yield (str(len(found)), *(labels[label] for label in found))
    elif np.issubdtype(split.labels.dtype, np.floating):
        # nine digits tell all 32-bit numbers apart
        yield from ((f"{number:.9g}",) for number in split.labels.tolist())
    else:
        yield from ((labels[label],) for label in split.labels.tolist())
