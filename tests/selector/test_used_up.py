"""Spaces that hold fewer configurations than there are trials: all are tried, once, and the search ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import simulate
from tabulated import TREE

from selector.finite import configurations, fewer_than, is_finite, is_used_up
from selector.narrowed import narrowed
from selector.narrowing import Narrowing
from selector.samplers import propose
from selector.space import Space, key_of, space_of
from selector.study import SAMPLERS
from storage.records import State, Trial
from trainers.method import METHODS, MethodConfig

LORA, PREFIX, UNIPELT = METHODS["lora"], METHODS["prefix"], METHODS["unipelt"]
LAST: Narrowing = {
    "all": {
        "weight_decay": 0.0,
        "layers": "all",
        "learning_rate": 2e-3,
        "warmup": 0.06,
        "class_weights": "none",
    },
    "lora": {"alpha": 16.0, "targets": "attention", "dropout": 0.0, "rslora": False, "b_rate": 1.0},
    "unipelt": {
        "gates": "none",
        "pooling": "real tokens",
        "prefix_length": 4,
        "bottleneck": [4, 8],
        "rank": 2,
    },
}


def lora_space() -> Space:
    """Six: three ranks with and without DoRA."""
    return narrowed(space_of([LORA]), {**LAST, "lora": {**LAST["lora"], "rank": {"low": 2, "high": 4}}})


def test_each_configuration_is_told_once() -> None:
    found = list(configurations(LORA, lora_space()))
    assert len({key_of(config) for config in found}) == len(found) == 6
    assert {(one.rank, one.dora) for one in found} == {(r, d) for r in (2, 3, 4) for d in (False, True)}


def test_fields_that_do_not_count_make_no_difference() -> None:
    space = narrowed(space_of([UNIPELT]), {**LAST, "unipelt": {**LAST["unipelt"], "modules": ["AP", "LB"]}})
    found = [config.values() for config in configurations(UNIPELT, space)]
    # AP: two bottlenecks with and without reparametrisation; LB has neither.
    assert len(found) == 5
    assert sum("bottleneck" in values for values in found) == 4


def test_a_real_number_makes_a_space_endless_unless_it_cannot_count() -> None:
    assert not is_finite(LORA, space_of([LORA]))
    assert is_finite(LORA, lora_space())
    assert fewer_than(7, lora_space()) == 6 and fewer_than(6, lora_space()) is None
    assert fewer_than(100, space_of([LORA])) is None


def trial_of(number: int, config: MethodConfig) -> Trial:
    return Trial(number=number, method=config.name, config=config.values(), seed=0, state=State.PRUNED)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_last_configurations_are_found_and_then_there_are_none(sampler: str) -> None:
    space, trials = lora_space(), []
    for left in range(6, 0, -1):
        proposed = propose(trials, 8, space, "accuracy", left, sampler=sampler)
        assert len({key_of(config) for config in proposed}) == len(proposed) == left
        trials.append(trial_of(len(trials), proposed[0]))
    assert propose(trials, 8, space, "accuracy", 0, sampler=sampler) == []


def test_a_method_that_is_used_up_leaves_the_trials_to_the_others() -> None:
    fixed = narrowed(
        space_of([LORA, PREFIX]), {"lora": {**LAST["lora"], **LAST["all"], "rank": 8, "dora": False}}
    )
    first = propose([], 4, fixed, "accuracy", 0)
    assert [config.name for config in first].count("lora") == 1
    assert is_used_up(LORA, fixed, {key_of(config) for config in first})
    trials = [trial_of(number, config) for number, config in enumerate(first)]
    assert {config.name for config in propose(trials, 12, fixed, "accuracy", 0)} == {"prefix"}


@given(st.sets(st.integers(1, 8), min_size=1), st.integers(1, 12), st.sampled_from(["random", "nsga2"]))
@settings(deadline=None, max_examples=25)
def test_a_search_tries_all_that_there_is_and_says_so(ranks: set[int], trials: int, sampler: str) -> None:
    asked = {**LAST, "lora": {**LAST["lora"], "rank": sorted(ranks), "dora": False}}
    asked.pop("unipelt")
    run = simulate(TREE.only("lora"), trials=trials, narrowing=asked, sampler=sampler, epochs=4)
    assert len(run.searched) == len({key_of(config) for config in run.configs}) == min(trials, len(ranks))
    repeats = [trial for trial in run.study.trials if trial.repeat_of is not None]
    assert len(repeats) == 3 * min(3, len([t for t in run.searched if t.state is State.COMPLETE]))
    assert (str(len(ranks)) in run.note) == bool(run.note) == (trials > len(ranks))


def test_what_was_in_training_when_a_run_ended_is_tried_again_when_nothing_else_is_left() -> None:
    asked = {"all": LAST["all"], "lora": {**LAST["lora"], "rank": [2, 4], "dora": False}}
    run = simulate(TREE.only("lora"), trials=6, narrowing=asked, epochs=4, stop_after=4)
    assert {trial.state for trial in run.searched} == {State.RUNNING}
    run.run()
    ended = {trial.state: trial.config["rank"] for trial in run.searched if trial.state is State.COMPLETE}
    assert ended and {t.config["rank"] for t in run.searched if t.state is State.COMPLETE} == {2, 4}
