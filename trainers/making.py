"""The splits that are not given: held out of the training rows, drawn from them, or folds of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.folding import fold
from trainers.grouping import Groups, grouped
from trainers.sampling import HELD_OUT_SHARE, draw_rows, following_rows, hold_out, strata_of
from trainers.source import MOST_LISTED, TaskError, listed, quoted
from trainers.splits import Making, Split

# Each use of the seed has its own stream, so that giving one split does not change how another is made.
TEST_STREAM, VALIDATION_STREAM, ROWS_STREAM = 0, 1, 2


def make_splits(splits: dict[str, Split], origin: dict[str, str], how: Making) -> NDArray[np.int64] | None:
    """Add the splits that are missing, and say in `origin` how they were made.

    Returns the fold of each training row where the validation split is made of folds: then it is the training
    split itself.

    Raises:
        TaskError: if a split cannot be made as asked.
    """
    missing = {"validation", "test"} - splits.keys()
    if "validation" not in missing and (how.folds or 1) > 1:
        raise TaskError(
            f"--folds {how.folds} makes the training rows score each other, but validation rows are given; "
            f"leave out --folds, or the validation rows"
        )
    train = splits["train"]
    groups = grouped(train.texts, train.pairs) if missing else None
    if "test" in missing and groups is not None:
        groups = held_out(splits, origin, "test", how, groups, TEST_STREAM)
    if how.train_rows is not None:
        groups = draw(splits, origin, how, how.train_rows, groups)
    if "validation" in splits or groups is None:
        return None
    folds = fold(splits, origin, how, groups)
    if folds is None:
        held_out(splits, origin, "validation", how, groups, VALIDATION_STREAM)
    return folds


def held_out(
    splits: dict[str, Split], origin: dict[str, str], name: str, how: Making, groups: Groups, stream: int
) -> Groups:
    """Move about 20 % of the training rows into the split with this name; returns the groups of the others.

    Raises:
        TaskError: if a label of the file has a single row, or nothing can be held out.
    """
    train = splits["train"]
    # a label that another split has already taken from may be down to one row: it keeps that
    if how.one_label_a_row and origin["train"] == "given":
        refuse_single_rows(train, name, how)
    strata, count = strata_of(how.kind, train.labels, train.offsets, len(how.labels))
    kept, chosen = hold_out(groups.near, strata, count, np.random.default_rng([how.seed, stream]))
    if len(chosen) < HELD_OUT_SHARE * len(train) / 2:
        # the labels owe less than their groups of near duplicates hold
        exact = groups.only_exact
        again = hold_out(exact.near, strata, count, np.random.default_rng([how.seed, stream]))
        if len(again[1]) > len(chosen):
            (kept, chosen), groups = again, exact
    if not len(chosen):
        raise TaskError(
            f"no {name} split can be made from {len(train):,} rows of {how.file}: they are too few, or too "
            f"many have the same text; add rows, or pass --{name}"
        )
    splits[name], splits["train"] = train.take(chosen), train.take(kept)
    whole = how.file if origin["train"] == "given" else f"the other rows of {how.file}"
    origin[name] = f"made: 20 % of {whole}, stratified, {groups.by}, seed {how.seed}"
    origin["train"] = f"the remaining rows of {how.file}"
    return groups.take(kept)


def refuse_single_rows(train: Split, name: str, how: Making) -> None:
    counts = np.bincount(train.labels, minlength=len(how.labels))
    alone = [quoted(label) for label, count in zip(how.labels, counts, strict=True) if count == 1]
    if alone:
        raise TaskError(
            f"{len(alone):,} of {len(how.labels):,} labels have a single row in {how.file} "
            f"({listed(alone, MOST_LISTED)}), so no {name} split can be made; pass --{name}, "
            f"add rows, or drop these labels"
        )


def draw(
    splits: dict[str, Split], origin: dict[str, str], how: Making, train_rows: int, groups: Groups | None
) -> Groups | None:
    """Cut the training split to `train_rows`; returns their groups.

    Those that follow become the validation where none is given and no folds are asked for. Where each row has
    one label, every label occurs in the drawn rows.
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
    if groups is None or "validation" in splits:
        return None
    if (how.folds or 1) > 1:
        return groups.take(drawn)
    following = following_rows(groups.near, drawn, rest)
    if not len(following):
        raise TaskError(
            f"--train-rows {train_rows:,} leaves no other text of {len(train):,} rows for validation; "
            f"give fewer, or pass --validation"
        )
    splits["validation"] = train.take(following)
    origin["validation"] = (
        f"next {len(following):,} rows after the {train_rows:,} training rows, {groups.by}, seed {how.seed}"
    )
    return None
