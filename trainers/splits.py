"""The parts of a dataset: training, validation and test rows, given or made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.kinds import single
from trainers.sampling import draw_rows, following_rows, group_keys, hold_out, strata_of
from trainers.source import MOST_LISTED, TaskError, listed, quoted
from trainers.texts import Texts

# Each use of the seed has its own stream, so that giving one split does not change how another is made.
TEST_STREAM, VALIDATION_STREAM, ROWS_STREAM = 0, 1, 2


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

    @property
    def one_label_a_row(self) -> bool:
        return single(self.kind) == "classification"


def make_splits(splits: dict[str, Split], origin: dict[str, str], how: Making) -> None:
    """Add the splits that are missing, and say in `origin` how they were made."""
    if "test" not in splits:
        held_out(splits, origin, "test", how, TEST_STREAM)
    if how.train_rows is not None:
        draw(splits, origin, how, how.train_rows)
    elif "validation" not in splits:
        held_out(splits, origin, "validation", how, VALIDATION_STREAM)


def held_out(splits: dict[str, Split], origin: dict[str, str], name: str, how: Making, stream: int) -> None:
    """Move about 20 % of the training rows into the split with this name.

    Raises:
        TaskError: if a label of the file has a single row, or nothing can be held out.
    """
    train = splits["train"]
    # a label that another split has already taken from may be down to one row: it keeps that
    if how.one_label_a_row and origin["train"] == "given":
        refuse_single_rows(train, name, how)
    strata, count = strata_of(how.kind, train.labels, train.offsets, len(how.labels))
    keys = group_keys(train.texts, train.pairs)
    kept, chosen = hold_out(keys, strata, count, np.random.default_rng([how.seed, stream]))
    if not len(chosen):
        raise TaskError(
            f"no {name} split can be made from {len(train):,} rows of {how.file}: they are too few, or too "
            f"many have the same text; add rows, or pass --{name}"
        )
    whole = how.file if origin["train"] == "given" else f"the other rows of {how.file}"
    splits[name], splits["train"] = train.take(chosen), train.take(kept)
    origin[name] = f"made: 20 % of {whole}, stratified, grouped by text, seed {how.seed}"
    origin["train"] = f"the remaining rows of {how.file}"


def refuse_single_rows(train: Split, name: str, how: Making) -> None:
    counts = np.bincount(train.labels, minlength=len(how.labels))
    alone = [quoted(label) for label, count in zip(how.labels, counts, strict=True) if count == 1]
    if alone:
        raise TaskError(
            f"{len(alone):,} of {len(how.labels):,} labels have a single row in {how.file} "
            f"({listed(alone, MOST_LISTED)}), so no {name} split can be made; pass --{name}, "
            f"add rows, or drop these labels"
        )


def draw(splits: dict[str, Split], origin: dict[str, str], how: Making, train_rows: int) -> None:
    """Cut the training split to `train_rows`; those that follow become the validation where none is given.

    Where each row has one label, every label occurs in the drawn rows.
    """
    train = splits["train"]
    fewest = len(how.labels) if how.one_label_a_row else 1
    if not fewest <= train_rows <= len(train):
        labels = f"{fewest:,} labels and " if how.one_label_a_row else ""
        raise TaskError(
            f"--train-rows is {train_rows:,}, but there are {labels}{len(train):,} rows "
            f"to train on; give a number from {fewest:,} to {len(train):,}"
        )
    rng = np.random.default_rng([how.seed, ROWS_STREAM])
    strata = train.labels if how.one_label_a_row else np.zeros(len(train), dtype=np.int64)
    drawn, rest = draw_rows(strata, train_rows, fewest, rng)
    splits["train"] = train.take(drawn)
    every = ", with every label" if how.one_label_a_row else ""
    origin["train"] = f"{train_rows:,} of {len(train):,} rows{every}, seed {how.seed}"
    if "validation" in splits:
        return
    following = following_rows(group_keys(train.texts, train.pairs), drawn, rest)
    if not len(following):
        raise TaskError(
            f"--train-rows {train_rows:,} leaves no other text of {len(train):,} rows for validation; "
            f"give fewer, or pass --validation"
        )
    splits["validation"] = train.take(following)
    origin["validation"] = (
        f"next {len(following):,} rows after the {train_rows:,} training rows (seed {how.seed})"
    )


def content_hash(kind: str, labels: Sequence[str], splits: Mapping[str, Split]) -> str:
    """SHA-256 over the kind and, for each split and row, the texts and the labels, each with its length.

    Words and several labels come after their number; a number is written with nine digits.
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
