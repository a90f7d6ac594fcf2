"""Which rows are drawn and held out: stratified by label, seeded, and equal texts never on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

HELD_OUT_SHARE = 0.2
# UniPELT's low-resource protocol (Mao et al. 2022): K training rows, and the next 1,000 as validation.
MOST_VALIDATION_ROWS = 1000


def group_keys(texts: Sequence[str], pairs: Sequence[str] | None) -> list[Hashable]:
    """What makes two rows the same example: the text (both texts of a pair) without outer spaces and case."""
    first = [text.strip().casefold() for text in texts]
    if pairs is None:
        return list(first)
    return list(zip(first, (pair.strip().casefold() for pair in pairs), strict=True))


def hold_out(
    keys: Sequence[Hashable], labels: Rows, classes: int, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """The kept and the held-out row numbers, each in file order; about 20 % are held out.

    Each label gives up its share, in whole groups of equal texts and in shuffled order, and always keeps a
    row. A group with more rows than its labels still owe stays, so nothing may be left to hold out.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    members = list(groups.values())
    owed = quotas(np.bincount(labels, minlength=classes)).tolist()
    label_of = labels.tolist()
    held: list[int] = []
    for number in rng.permutation(len(members)):
        # equal texts may carry different labels: each label gives up its own rows
        taken = Counter(label_of[row] for row in members[number])
        if all(count <= owed[label] for label, count in taken.items()):
            held.extend(members[number])
            for label, count in taken.items():
                owed[label] -= count
    chosen = np.sort(np.array(held, dtype=np.int64))
    return np.setdiff1d(np.arange(len(keys)), chosen), chosen


def quotas(counts: Rows) -> Rows:
    """How many rows each label gives up: 20 % of all by largest remainders, at most all rows but one."""
    exact = counts * HELD_OUT_SHARE
    owed = np.floor(exact).astype(np.int64)
    total = max(1, round(float(exact.sum())))
    # the stable sort breaks ties by label, the same on every machine
    order = np.argsort(-(exact - owed), kind="stable")
    order = order[counts[order] - owed[order] > 1]
    owed[order[: total - int(owed.sum())]] += 1
    return np.asarray(owed)


def draw_rows(labels: Rows, count: int, classes: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """`count` rows of the seeded shuffle in which every label occurs, and the other rows in shuffled order.

    A label that the first `count` rows miss takes the place of the last drawn row whose label occurs more
    than once; that row goes to where the new one stood. `count` must be at least the number of labels.
    """
    order = rng.permutation(len(labels))
    counts = np.bincount(labels[order[:count]], minlength=classes)
    for label in np.flatnonzero(counts == 0):
        position = count + int(np.flatnonzero(labels[order[count:]] == label)[0])
        spare = int(np.flatnonzero(counts[labels[order[:count]]] > 1)[-1])
        counts[labels[order[spare]]] -= 1
        counts[label] += 1
        order[[spare, position]] = order[[position, spare]]
    return order[:count], order[count:]


def following_rows(keys: Sequence[Hashable], drawn: Rows, rest: Rows) -> Rows:
    """The next rows of the shuffle, at most 1,000, without those that repeat a drawn text."""
    trained = {keys[row] for row in drawn}
    fresh = [row for row in rest if keys[row] not in trained]
    return np.array(fresh[:MOST_VALIDATION_ROWS], dtype=np.int64)
