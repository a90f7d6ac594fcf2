"""Which rows belong together, so that no made split or fold parts them: equal texts, and near duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trainers.duplicates import near_duplicates
from trainers.sampling import Rows, group_keys

MOST_TEXTS = 200_000
"""Different texts among which near duplicates are looked for: their signatures take 100 MB, of pairs 200."""
MOST_CHARACTERS = 200_000_000
MOST_SHARE = 0.1
"""Share of the rows beyond which near duplicates are a template, or a chain whose ends are not alike."""


@dataclass(frozen=True)
class Groups:
    """The group of each row, as a number."""

    exact: Rows
    """The same for rows with equal texts."""
    near: Rows
    """The same for rows with equal or nearly equal texts, and for those that others join."""
    by: str
    """How the rows were grouped, for the origin of a split."""

    def take(self, rows: Rows) -> Groups:
        """The groups of these rows, in this order."""
        return Groups(self.exact[rows], self.near[rows], self.by)

    @property
    def only_exact(self) -> Groups:
        """The same rows, grouped by equal texts alone."""
        return Groups(self.exact, self.exact, "grouped by text (groups of near duplicates are too large)")


def grouped(texts: Sequence[Any], pairs: Sequence[str] | None = None) -> Groups:
    """Rows with equal texts, and those that `near_duplicates` finds, in one group (single linkage).

    A group of near duplicates with more than a tenth of the rows falls back into its equal texts. Among more
    than 200,000 different texts, or 200 million characters, no near duplicates are looked for.
    """
    exact = group_keys(texts, pairs)
    is_first, text = numbered(exact)
    parts = [Distinct(part, is_first) for part in (texts, pairs) if part is not None]
    if too_many(parts):
        most = f"{MOST_TEXTS:,} texts or {MOST_CHARACTERS // 1_000_000} million characters"
        return Groups(exact, exact, f"grouped by text (no near duplicates are looked for beyond {most})")
    joined = joined_texts(near_duplicates(parts), len(parts[0]))
    near, dropped = without_large(joined[text], text)
    by = "grouped by text and near duplicates"
    if dropped:
        by += f" (but for {dropped:,} with over {MOST_SHARE:.0%} of the rows)".replace("%", " %")
    return Groups(exact, near, by)


def numbered(exact: Rows) -> tuple[NDArray[np.bool_], Rows]:
    """Which rows come first in their group, and the groups numbered in that order.

    `exact` holds hashes that differ from process to process; what is found must not.
    """
    _, first, inverse = np.unique(exact, return_index=True, return_inverse=True)
    is_first = np.zeros(len(exact), dtype=np.bool_)
    is_first[first] = True
    return is_first, np.argsort(np.argsort(first))[inverse]


@dataclass(frozen=True)
class Distinct:
    """The texts of the rows that come first in their group, words as one text; never all in memory."""

    texts: Sequence[Any]
    is_first: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.is_first.sum())

    def __iter__(self) -> Iterator[str]:
        found = compress(self.texts, self.is_first)
        return (text if isinstance(text, str) else " ".join(text) for text in found)


def too_many(parts: Sequence[Distinct]) -> bool:
    """Whether there are more texts, or more characters in them, than near duplicates are looked for in."""
    if len(parts[0]) > MOST_TEXTS:
        return True
    lengths = accumulate(len(text) for part in parts for text in part)
    return any(length > MOST_CHARACTERS for length in lengths)


def joined_texts(pairs: NDArray[np.int64], count: int) -> Rows:
    """For each of `count` texts the number of the connected part of the graph of pairs that it is in."""
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def without_large(near: Rows, exact: Rows) -> tuple[Rows, int]:
    """The near groups, where too large ones are their exact groups; and how many these were."""
    _, number = np.unique(near, return_inverse=True)
    sizes = np.bincount(number)
    texts = np.bincount(np.unique(np.stack([number, exact], axis=1), axis=0)[:, 0], minlength=len(sizes))
    large = (sizes > MOST_SHARE * len(near)) & (texts > 1)
    return np.where(large[number], len(sizes) + exact, number), int(large.sum())
