"""Folds of the training rows, which score each other where there are too few to hold some out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.grouping import Groups
from trainers.kinds import single
from trainers.sampling import Rows, draw_folds, strata_of
from trainers.source import TaskError, quoted
from trainers.splits import Making, Split

FEW_ROWS = 400
"""Below this a held-out fifth has fewer than 80 rows: a score of 0.8 has a standard error over 0.045."""
FOLDS = 5
FEWEST_FOLDS = 3
"""With two, what is scored was trained on half of the rows."""
FOLDS_STREAM = 3
"""Beside the streams of `trainers.making`."""


def fold(splits: dict[str, Split], origin: dict[str, str], how: Making, groups: Groups) -> Rows | None:
    """Make the training rows their own validation rows; returns the fold of each.

    None, and nothing is done, where no folds are asked for or there are rows enough, and where they are not
    asked for and cannot be made.

    Raises:
        TaskError: if folds are asked for and cannot be made.
    """
    train = splits["train"]
    number, why = number_of_folds(train, how, groups, refusable=origin["train"] == "given")
    if number == 1:
        return None
    strata, count = strata_of(how.kind, train.labels, train.offsets, len(how.labels))
    rng = np.random.default_rng([how.seed, FOLDS_STREAM])
    folds = draw_folds(groups.near, strata, count, number, rng)
    if any(same(how.kind, train, folds != one) for one in range(number)):
        if how.folds is None:
            return None
        raise TaskError(
            f"--folds {number} would leave rows of one label only to train on: too many rows of {how.file} "
            f"have nearly the same text; give --folds 1, add rows, or pass --validation"
        )
    splits["validation"] = train
    origin["validation"] = (
        f"the training rows, out of fold: {number} folds{why}, stratified, {groups.by}, seed {how.seed}"
    )
    return folds


def number_of_folds(train: Split, how: Making, groups: Groups, *, refusable: bool) -> tuple[int, str]:
    """How many folds there are to be, 1 for none, and why not as many as usual.

    Without being asked for: five where fewer than 400 rows are left for training and validation, lowered to
    the rows of the rarest label, but not below three.

    Raises:
        TaskError: if more are asked for than the rarest label has rows, or than there are groups.
    """
    most = len(np.unique(groups.near))
    rarest, label = rarest_label(train, how)
    if how.folds is not None:
        refuse_too_many(how, rarest, label, most)
        return how.folds, ""
    if how.train_rows is not None or len(train) >= FEW_ROWS or most < FEWEST_FOLDS:
        return 1, ""
    if rarest == 1 and refusable:
        return 1, ""  # the label is refused as for a held-out split
    number = max(FEWEST_FOLDS, min(FOLDS, rarest, most))
    return number, "" if rarest >= FOLDS else f" (label {label} has {rarest} rows)"


def rarest_label(train: Split, how: Making) -> tuple[int, str]:
    """How many rows the rarest label has, and its name; all rows where a row has not one label."""
    if not how.one_label_a_row:
        return len(train), ""
    counts = np.bincount(train.labels, minlength=len(how.labels))
    counts = np.where(counts > 0, counts, len(train))
    rarest = int(counts.argmin())
    return int(counts[rarest]), quoted(how.labels[rarest])


def refuse_too_many(how: Making, rarest: int, label: str, groups: int) -> None:
    if how.folds is None or how.folds <= min(rarest, groups):
        return
    if rarest <= groups:
        found = f"label {label} has {rarest:,} rows to train on" if label else f"there are {rarest:,} rows"
    else:
        found = f"the rows of {how.file} have {groups:,} different texts"
    most = min(rarest, groups)
    instead = f"give at most {most:,}" if most > 1 else "give 1 for none"
    raise TaskError(f"--folds is {how.folds:,}, but {found}; {instead}, or add rows")


def same(kind: str, train: Split, rows: NDArray[np.bool_]) -> bool:
    """Whether all of these rows have one and the same label or number, so that nothing can be learned."""
    return single(kind) in ("classification", "regression") and bool(np.ptp(train.labels[rows]) == 0)
