"""Ranks, crowding and hypervolume against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from selector.pareto import crowding, dominates, hypervolume, in_order, ranks


def volume_by_inclusion_and_exclusion(points: np.ndarray, reference: np.ndarray) -> float:
    """The union of boxes from each point to the reference: the sum over subsets with alternating sign."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(points, size):
            sides = np.clip(reference - np.max(subset, axis=0), 0, None)
            total += (-1) ** (size + 1) * float(np.prod(sides))
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_hypervolume_equals_inclusion_and_exclusion(objectives: int) -> None:
    chance = np.random.default_rng(objectives)
    for _ in range(60):
        points = chance.integers(0, 6, (chance.integers(1, 8), objectives)) / 5  # ties, and points outside
        reference = np.full(objectives, 0.9)
        expected = volume_by_inclusion_and_exclusion(points, reference)
        assert hypervolume(points.tolist(), reference.tolist()) == pytest.approx(expected, abs=1e-12)


def test_hypervolume_of_a_staircase_and_of_a_corner_is_known() -> None:
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (4, 4)) == 6
    assert hypervolume([(0, 0, 0)], (2, 3, 4)) == 24
    assert hypervolume([(0, 0, 1), (0, 1, 0), (1, 0, 0)], (2, 2, 2)) == 7  # all of eight cubes but the first
    assert hypervolume([], (1, 1)) == hypervolume([(1, 0)], (1, 1)) == 0
    with pytest.raises(ValueError, match="up to 3 objectives, not 4"):
        hypervolume([(0, 0, 0, 0)], (1, 1, 1, 1))


def test_ranks_peel_one_front_after_another() -> None:
    chance = np.random.default_rng(0)
    for _ in range(40):
        points = chance.integers(0, 5, (9, 3)).tolist()
        found = ranks(points)
        for i, one in enumerate(points):
            above = [found[j] for j, other in enumerate(points) if dominates(other, one)]
            assert found[i] == max(above, default=-1) + 1  # one front behind the last that beats it


def test_crowding_is_the_papers() -> None:
    # By hand after Deb et al. (2002), section III B: of the second point (4 - 0) / 10 and (9 - 3) / 8.
    assert crowding([(0, 9), (1, 8), (4, 3), (10, 1)]) == [math.inf, 0.4 + 6 / 8, 0.9 + 7 / 8, math.inf]


def test_the_best_of_every_objective_stand_first_and_equals_keep_their_order() -> None:
    points = [(5.0, 5.0), (0.0, 9.0), (4.0, 4.0), (9.0, 0.0), (9.0, 9.0)]
    assert set(in_order(points)[:2]) == {1, 3}
    assert in_order(points)[2:] == [2, 0, 4]
    assert in_order([(1.0, 1.0)] * 3) == [0, 1, 2]
    assert in_order([]) == []
