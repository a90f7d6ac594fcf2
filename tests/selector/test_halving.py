"""Rungs and cuts of a bracket."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.halving import Plan, Standing, keep, plan


def bracket(scores: list[float], methods: str = "") -> list[Standing]:
    """Candidates numbered from 0, of equal cost, all of one method unless each has a letter."""
    names = methods or "a" * len(scores)
    return [
        Standing(i, name, score, cost=1.0) for i, (name, score) in enumerate(zip(names, scores, strict=True))
    ]


@pytest.mark.parametrize(
    ("epochs", "ends"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (5, (2, 3, 5)), (20, (5, 10, 20))],
)
def test_rungs_end_at_a_quarter_a_half_and_all_of_the_epochs(epochs: int, ends: tuple[int, ...]) -> None:
    assert plan(epochs, 8).rungs == ends


@pytest.mark.parametrize(
    ("epochs", "parts", "ends"),
    [
        (1, 4, (0.25, 0.5, 1)),
        (1, 2, (0.5, 1)),
        (2, 4, (0.5, 1, 2)),
        (3, 4, (0.75, 1.5, 3)),
        (3, 2, (1, 1.5, 3)),
        (10, 4, (2.5, 5, 10)),
    ],
)
def test_rungs_end_at_a_part_of_an_epoch_where_it_has_parts(
    epochs: int, parts: int, ends: tuple[float, ...]
) -> None:
    assert plan(epochs, 8, parts=parts).rungs == ends
    assert plan(epochs, 9, "hyperband", 2, parts=parts).rungs == (epochs,)


@given(st.integers(1, 1000), st.sampled_from([1, 2, 4]))
def test_no_cut_comes_before_a_quarter_of_the_epochs(epochs: int, parts: int) -> None:
    ends = plan(epochs, 8, parts=parts).rungs
    assert ends[0] >= 0.25 * epochs and ends[-1] == epochs
    assert all((parts * end).is_integer() for end in ends)
    assert list(ends) == sorted(set(ends))


def test_the_replayed_plan_of_twenty_candidates_keeps_seven_then_three() -> None:
    scores = [i / 20 for i in range(20)]
    first = keep(0, bracket(scores), rungs=3)
    assert first == set(range(13, 20))
    second = keep(1, [one for one in bracket(scores) if one.number in first], rungs=3)
    assert second == {17, 18, 19}
    assert keep(2, [one for one in bracket(scores) if one.number in second], rungs=3) == second


def test_the_first_cut_spares_the_best_of_a_slow_method_and_the_second_does_not() -> None:
    candidates = bracket([0.9, 0.8, 0.7, 0.6, 0.2, 0.1], methods="aaaabb")
    assert keep(0, candidates, rungs=3) == {0, 1, 2, 4}
    assert keep(1, candidates, rungs=3) == {0, 1, 2}


def test_equal_scores_go_to_the_cheaper_then_to_the_earlier_candidate() -> None:
    candidates = [Standing(number, "a", 0.5, cost) for number, cost in enumerate([3, 1, 2, 1, 3])]
    assert keep(1, candidates, rungs=3) == {1, 3, 2}
    assert keep(1, [Standing(number, "a", 0.5, 1.0) for number in range(5)], rungs=3) == {0, 1, 2}


def test_the_loss_decides_between_equal_scores_before_the_size() -> None:
    # after a short training with several labels: no label is predicted yet, but some are nearer to it
    losses = [0.69, 0.40, math.nan, 0.55, 0.60]
    candidates = [Standing(i, "a", 0.0, cost=10.0 - i, loss=loss) for i, loss in enumerate(losses)]
    assert keep(1, candidates, rungs=3) == {1, 3, 4}
    better = Standing(5, "a", 0.01, cost=99.0, loss=0.9)
    assert keep(1, [*candidates, better], rungs=3) == {5, 1, 3}


def test_diverged_candidates_are_never_kept_even_as_the_best_of_their_method() -> None:
    candidates = bracket([math.nan, 0.5, math.inf], methods="abc")
    for rung in range(3):
        assert keep(rung, candidates, rungs=3) == {1}


@given(
    st.lists(st.floats(0, 1) | st.just(math.nan), max_size=30),
    st.integers(0, 3),
)
def test_a_cut_keeps_a_third_and_three_of_those_that_can_go_on(scores: list[float], rung: int) -> None:
    kept = keep(rung, bracket(scores), rungs=4)
    finite = sum(map(math.isfinite, scores))
    assert len(kept) >= min(finite, max(3, len(scores) / 3))
    worst = min((scores[i] for i in kept), default=0.0)
    assert all(scores[i] <= worst for i in set(range(len(scores))) - kept if math.isfinite(scores[i]))


def test_hyperband_takes_turns_from_early_cuts_of_many_to_no_cuts_of_few() -> None:
    turns = [plan(20, 9, "hyperband", turn) for turn in range(4)]
    assert [one.rungs for one in turns] == [(5, 10, 20), (10, 20), (20,), (5, 10, 20)]
    assert [one.size for one in turns] == [9, 6, 5, 9]


def test_without_halving_every_bracket_is_full_and_trained_to_the_end() -> None:
    assert {plan(20, 8, "none", turn) for turn in range(4)} == {Plan((20,), 8)}


def test_a_plan_without_epochs_or_rungs_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 epoch, not 0"):
        plan(0, 8)
    with pytest.raises(ValueError, match="no rung 3 in a plan of 3"):
        keep(3, [], rungs=3)
