"""The parts of a dataset: training, validation and test rows, given or made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.reading import Texts
from trainers.sampling import draw_rows, following_rows, group_keys, hold_out
from trainers.source import MOST_LISTED, TaskError, listed, quoted

# Each use of the seed has its own stream, so that giving one split does not change how another is made.
TEST_STREAM, VALIDATION_STREAM, ROWS_STREAM = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a dataset."""

    texts: Texts
    pairs: Texts | None
    labels: NDArray[np.int64]
    """Indices into the task's labels, one for each row."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Split:
        pairs = None if self.pairs is None else tuple(self.pairs[row] for row in rows)
        return Split(tuple(self.texts[row] for row in rows), pairs, self.labels[rows])


def make_splits(
    splits: dict[str, Split],
    origin: dict[str, str],
    file: str,
    labels: Sequence[str],
    train_rows: int | None,
    seed: int,
) -> None:
    """Add the splits that are missing, and say in `origin` how they were made."""
    if "test" not in splits:
        held_out(splits, origin, "test", file, labels, seed, TEST_STREAM)
    if train_rows is not None:
        draw(splits, origin, labels, train_rows, seed)
    elif "validation" not in splits:
        held_out(splits, origin, "validation", file, labels, seed, VALIDATION_STREAM)


def held_out(
    splits: dict[str, Split],
    origin: dict[str, str],
    name: str,
    file: str,
    labels: Sequence[str],
    seed: int,
    stream: int,
) -> None:
    """Move about 20 % of the training rows into the split with this name.

    Raises:
        TaskError: if a label of the file has a single row, or nothing can be held out.
    """
    train = splits["train"]
    counts = np.bincount(train.labels, minlength=len(labels))
    single = [quoted(label) for label, count in zip(labels, counts, strict=True) if count == 1]
    # a label that another split has already taken from may be down to one row: it keeps that
    if single and origin["train"] == "given":
        raise TaskError(
            f"{len(single):,} of {len(labels):,} labels have a single row in {file} "
            f"({listed(single, MOST_LISTED)}), so no {name} split can be made; pass --{name}, "
            f"add rows, or drop these labels"
        )
    keys = group_keys(train.texts, train.pairs)
    kept, chosen = hold_out(keys, train.labels, len(labels), np.random.default_rng([seed, stream]))
    if not len(chosen):
        raise TaskError(
            f"no {name} split can be made from {len(train):,} rows of {file}: they are too few, or too many "
            f"have the same text; add rows, or pass --{name}"
        )
    whole = file if origin["train"] == "given" else f"the other rows of {file}"
    splits[name], splits["train"] = train.take(chosen), train.take(kept)
    origin[name] = f"made: 20 % of {whole}, stratified, grouped by text, seed {seed}"
    origin["train"] = f"the remaining rows of {file}"


def draw(
    splits: dict[str, Split], origin: dict[str, str], labels: Sequence[str], train_rows: int, seed: int
) -> None:
    """Cut the training split to `train_rows`; those that follow become the validation where none is given."""
    train = splits["train"]
    if not len(labels) <= train_rows <= len(train):
        raise TaskError(
            f"--train-rows is {train_rows:,}, but there are {len(labels):,} labels and {len(train):,} rows "
            f"to train on; give a number from {len(labels):,} to {len(train):,}"
        )
    rng = np.random.default_rng([seed, ROWS_STREAM])
    drawn, rest = draw_rows(train.labels, train_rows, len(labels), rng)
    splits["train"] = train.take(drawn)
    origin["train"] = f"{train_rows:,} of {len(train):,} rows, with every label, seed {seed}"
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
        f"next {len(following):,} rows after the {train_rows:,} training rows (seed {seed})"
    )


def content_hash(kind: str, labels: Sequence[str], splits: Mapping[str, Split]) -> str:
    """SHA-256 over the kind and, for each split and row, the texts and the label, each with its length."""
    digest = hashlib.sha256()

    def add(value: str) -> None:
        data = value.encode()
        digest.update(f"{len(data)}:".encode() + data)

    add(kind)
    for name in ("train", "validation", "test"):
        split = splits[name]
        add(f"{name} {len(split)}")
        for row, label in enumerate(split.labels):
            add(split.texts[row])
            if split.pairs is not None:
                add(split.pairs[row])
            add(labels[label])
    return digest.hexdigest()
