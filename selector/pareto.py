"""Several objectives at once: ranks, crowding and hypervolume. Smaller is better everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere larger than `b` and somewhere smaller."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def ranks(points: Sequence[Point]) -> list[int]:
    """Non-dominated rank of each point: 0 on the front, 1 on the front of the rest, ... (NSGA-II)."""
    found = [-1] * len(points)
    left, rank = set(range(len(points))), 0
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in front:
            found[i] = rank
        left, rank = left - front, rank + 1
    return found


def crowding(points: Sequence[Point]) -> list[float]:
    """How far a point's neighbours in a front are; infinite at the ends (NSGA-II: Deb et al., 2002)."""
    found = [0.0] * len(points)
    for axis in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda i: (points[i][axis], i))
        low, high = points[order[0]][axis], points[order[-1]][axis]
        if low == high:
            continue
        found[order[0]] = found[order[-1]] = math.inf
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            found[i] += (points[after][axis] - points[before][axis]) / (high - low)
    return found


def in_order(points: Sequence[Point]) -> list[int]:
    """Positions, the best first: by rank, in a front by crowding; of equals the earlier one."""
    rank = ranks(points)
    distance = [0.0] * len(points)
    for level in set(rank):
        front = [i for i, one in enumerate(rank) if one == level]
        for i, found in zip(front, crowding([points[i] for i in front]), strict=True):
            distance[i] = found
    return sorted(range(len(points)), key=lambda i: (rank[i], -distance[i], i))


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Volume that the points dominate below the reference, exact, for 1 to 3 objectives.

    The last axis is swept: between two of its values the dominated part is a slab, whose base
    is a hypervolume of one objective less.

    Raises:
        ValueError: for more than three objectives.
    """
    if len(reference) > 3:
        raise ValueError(f"a hypervolume is computed for up to 3 objectives, not {len(reference)}")
    inside = sorted(
        (tuple(one) for one in points if all(x < r for x, r in zip(one, reference, strict=True))),
        key=lambda one: one[-1],
    )
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    levels = [*(one[-1] for one in inside), reference[-1]]
    return sum(
        hypervolume([one[:-1] for one in inside[: i + 1]], reference[:-1]) * (levels[i + 1] - levels[i])
        for i in range(len(inside))
        if levels[i + 1] > levels[i]
    )
