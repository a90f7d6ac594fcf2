"""Which rows are drawn, held out and folded: stratified, seeded, and no group of rows on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.kinds import single

Rows = NDArray[np.int64]

HELD_OUT_SHARE = 0.2
# UniPELT's low-resource protocol (Mao et al. 2022): K training rows, and the next 1,000 as validation.
MOST_VALIDATION_ROWS = 1000
QUANTILE_BINS = 10
BLOCK_ROWS = 10_000


def group_keys(texts: Sequence[Any], pairs: Sequence[str] | None = None) -> Rows:
    """What makes two rows the same example, as numbers: the texts without outer spaces and case.

    Words are compared one by one. The numbers are 64-bit hashes, so a million texts need 8 MB. They hold in
    this process only.
    """
    if pairs is None:
        found = (hash(alike(text)) for text in texts)
    else:
        found = (hash((alike(a), alike(b))) for a, b in zip(texts, pairs, strict=True))
    return np.fromiter(found, dtype=np.int64, count=len(texts))


def alike(text: str | tuple[str, ...]) -> Hashable:
    if isinstance(text, str):
        return text.strip().casefold()
    return tuple(word.casefold() for word in text)


def hold_out(keys: Rows, strata: Rows, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """The kept and the held-out row numbers, each in file order; about 20 % are held out.

    Each stratum, such as a label, gives up its share, in whole groups (rows of equal keys) and in shuffled
    order, and always keeps a row. A group with more rows than its strata still owe stays, so nothing may be
    left to hold out.
    """
    members, starts = groups(keys)
    owed = quotas(np.bincount(strata, minlength=count)).tolist()
    left = sum(owed)
    held: list[int] = []
    order = rng.permutation(len(starts) - 1)
    for number in chain.from_iterable(block.tolist() for block in blocks_of(order)):
        if not left:
            break
        group = members[starts[number] : starts[number + 1]]
        # the rows of a group may carry different labels: each label gives up its own rows
        taken = Counter(strata[group].tolist())
        if all(rows <= owed[stratum] for stratum, rows in taken.items()):
            held.extend(group.tolist())
            left -= len(group)
            for stratum, rows in taken.items():
                owed[stratum] -= rows
    is_held = np.zeros(len(keys), dtype=np.bool_)
    is_held[held] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def blocks_of(order: Rows) -> Iterator[Rows]:
    """The numbers in parts, so that a million of them never stand in a Python list."""
    return (order[start : start + BLOCK_ROWS] for start in range(0, len(order), BLOCK_ROWS))


def groups(keys: Rows) -> tuple[Rows, Rows]:
    """The rows of equal keys side by side, in the order of their first rows, and where each group begins."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    numbers = place[inverse]
    counts = np.bincount(numbers, minlength=len(first))
    return np.argsort(numbers, kind="stable"), np.concatenate([[0], np.cumsum(counts)])


def draw_folds(keys: Rows, strata: Rows, count: int, folds: int, rng: np.random.Generator) -> Rows:
    """The fold of each row, from 0 up; rows of equal keys are in one fold.

    The largest groups come first, equal ones in shuffled order; each goes to the fold that has the fewest
    rows of its strata, then the fewest rows. So single rows of a stratum are spread evenly, to one.
    """
    members, starts = groups(keys)
    order = rng.permutation(len(starts) - 1)
    order = order[np.argsort(-np.diff(starts)[order], kind="stable")]
    held = [[0] * folds for _ in range(count)]
    sizes = [0] * folds
    found = np.empty(len(keys), dtype=np.int64)
    for number in chain.from_iterable(block.tolist() for block in blocks_of(order)):
        group = members[starts[number] : starts[number + 1]]
        taken = Counter(strata[group].tolist())
        own = [sum(rows * held[stratum][fold] for stratum, rows in taken.items()) for fold in range(folds)]
        fold = min(range(folds), key=lambda one: (own[one], sizes[one], one))
        found[group] = fold
        sizes[fold] += len(group)
        for stratum, rows in taken.items():
            held[stratum][fold] += rows
    return found


def quotas(counts: Rows) -> Rows:
    """How many rows each stratum gives up: 20 % of all by largest remainders, at most all rows but one."""
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


def following_rows(keys: Rows, drawn: Rows, rest: Rows) -> Rows:
    """The next rows of the shuffle, at most 1,000, without those in the group of a drawn one."""
    fresh = rest[~np.isin(keys[rest], keys[drawn])]
    return np.asarray(fresh[:MOST_VALIDATION_ROWS])


def strata_of(kind: str, labels: NDArray[Any], offsets: Rows | None, classes: int) -> tuple[Rows, int]:
    """What a made split keeps in proportion, as a number for each row, and how many numbers there are.

    The label of a row; of several labels, or of the tags of its words, the rarest in the data (none: a
    stratum of its own); of a number its tenth of all numbers, with fewer bins below 50 rows.
    """
    if single(kind) == "classification":
        return labels, classes
    if single(kind) == "regression":
        bins = min(QUANTILE_BINS, max(1, len(labels) // 5))
        edges = np.unique(np.quantile(labels, np.arange(1, bins) / bins))
        return np.searchsorted(edges, labels, side="right").astype(np.int64), len(edges) + 1
    if offsets is not None:
        # 0 is the rarest; the stable sort breaks ties by label
        rarity = np.argsort(np.argsort(np.bincount(labels, minlength=classes), kind="stable"))
        return np.minimum.reduceat(rarity[labels], offsets[:-1]), classes
    counts = np.where(labels > 0, labels.sum(axis=0), np.inf)
    return np.where(labels.any(axis=1), counts.argmin(axis=1), classes), classes + 1
