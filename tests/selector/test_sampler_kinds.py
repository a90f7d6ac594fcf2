"""Every sampler on tabulated curves: it beats chance, repeats itself, and takes no part for the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from simulation import Simulation, simulate
from tabulated import TREE, Landscape, drawn

from selector.knowledge import measured
from selector.narrowed import narrowed
from selector.narrowing import Narrowing
from selector.objectives import directions
from selector.samplers import SAMPLERS, propose
from selector.space import defaults, key_of, space_of
from selector.study import SAMPLERS as NAMES
from storage.records import Report, State, Trial
from trainers.method import METHODS, MethodConfig

SMALL = TREE.only("lora", "unipelt", "adapter")
FEW: Narrowing = {
    "all": {"weight_decay": 0.0, "layers": "all", "learning_rate": {"low": 3e-4, "high": 1e-2}},
    "lora": {"alpha": 16.0, "dropout": 0.0, "rslora": False, "b_rate": 1.0, "targets": "all linear"},
    "unipelt": {
        "gates": "none",
        "modules": ["APL", "AL", "AP"],
        "pooling": "real tokens",
        "prefix_length": 8,
        "reparametrised": False,
        "rank": 8,
    },
    "adapter": {"placement": "pfeiffer", "activation": "relu", "scaling": 1.0},
}
"""What is left of it has two to four fields for each method, one of them conditional."""


def mean_regret(sampler: str, trials: int, seeds: int) -> float:
    """How far the best configuration of a search lies below the best that there is, over seeds."""
    best = SMALL.ceiling(SMALL.optimum())
    runs = [
        simulate(SMALL, sampler=sampler, seed=seed, trials=trials, epochs=8, narrowing=FEW)
        for seed in range(seeds)
    ]
    return float(np.mean([best - max(map(SMALL.ceiling, run.configs)) for run in runs]))


@pytest.mark.parametrize(("sampler", "trials", "seeds"), [("tpe", 64, 4), ("gp", 32, 3)])
def test_a_sampler_comes_nearer_to_the_known_optimum_than_chance(
    sampler: str, trials: int, seeds: int
) -> None:
    assert mean_regret(sampler, trials, seeds) < 0.75 * mean_regret("random", trials, 12)


def front_area(run: Simulation, landscape: Landscape) -> float:
    """Area below the best score for each size, sizes on a log scale: larger when scores cost fewer bytes."""
    points = [(math.log2(landscape.cost(c).stored_bytes), landscape.ceiling(c)) for c in run.configs]
    sizes = np.linspace(12, 20, 200)
    return float(np.mean([max((s for size, s in points if size <= most), default=0.5) for most in sizes]))


def test_nsga2_finds_more_of_the_front_between_score_and_size_than_chance() -> None:
    gains = []
    for seed in range(24):
        landscape = drawn(seed, *(name for name, method in METHODS.items() if method.searched == "always"))
        runs = [
            simulate(landscape, sampler=one, seed=seed, trials=48, epochs=8) for one in ("nsga2", "random")
        ]
        gains.append(front_area(runs[0], landscape) - front_area(runs[1], landscape))
    assert np.mean(gains) > 2 * np.std(gains) / math.sqrt(len(gains))


def test_random_draws_are_uniform_over_methods_and_then_over_their_fields() -> None:
    space = space_of([METHODS["lora"], METHODS["bitfit"]])
    tried = [trial_of(number, config) for number, config in enumerate(defaults(space))]
    configs = propose(tried, 1000, space, "accuracy", 0, sampler="random")
    lora = [config for config in configs if config.name == "lora"]
    assert 430 <= len(lora) <= 570
    # Log-uniform from 1 to 64: as many below 8 as above; b_rate is one of three.
    assert 0.42 <= np.mean([config.rank < 8 for config in lora]) <= 0.58
    assert 0.26 <= np.mean([config.b_rate == 16.0 for config in lora]) <= 0.41


# ------------------------------------------------------------------------- what all have in common


def trial_of(number: int, config: MethodConfig, state: State = State.WAITING, *scores: float) -> Trial:
    """A trial scored after 2, 4, 8 epochs, as far as there are scores."""
    reports = tuple(
        Report(rung=i, epochs=2 * 2**i, metrics={"accuracy": score}, train_loss=score, seconds=1.0)
        for i, score in enumerate(scores)
    )
    return Trial(
        number=number,
        method=config.name,
        config=config.values(),
        seed=0,
        state=state,
        reports=reports,
        stored_bytes=1000 * (number + 1),
        trainable_parameters=250 * (number + 1),
    )


def searched(trials: int = 24) -> list[Trial]:
    return simulate(SMALL, sampler="random", trials=trials, epochs=8, narrowing=FEW, seed=5).searched


def test_the_names_of_the_samplers_are_those_of_the_request() -> None:
    assert tuple(SAMPLERS) == NAMES


@pytest.mark.parametrize("sampler", NAMES)
def test_the_same_trials_and_seed_give_the_same_proposals_of(sampler: str) -> None:
    trials, space = searched(), narrowed(SMALL.space, FEW)
    found = propose(trials, 3, space, "accuracy", 3, sampler=sampler)
    assert propose(trials, 3, space, "accuracy", 3, sampler=sampler) == found
    assert len({key_of(config) for config in found}) == 3
    # A Gaussian process may name the same best point under any seed; trials it must heed.
    trials, seed = (trials[:-4], 3) if sampler == "gp" else (trials, 4)
    assert propose(trials, 3, space, "accuracy", seed, sampler=sampler) != found


@pytest.mark.parametrize("sampler", NAMES)
def test_strong_defaults_come_first_and_failing_methods_are_given_up_by(sampler: str) -> None:
    space = space_of([METHODS["lora"], METHODS["bitfit"]])
    assert propose([], 2, space, "accuracy", 0, sampler=sampler) == defaults(space)
    failed = [trial_of(i, METHODS["lora"](rank=2**i), State.FAIL) for i in range(3)]  # type: ignore[call-arg]
    assert {one.name for one in propose(failed, 8, space, "accuracy", 0, sampler=sampler)} == {"bitfit"}


@pytest.mark.parametrize("sampler", NAMES)
def test_several_objectives_are_taken_by(sampler: str) -> None:
    found = propose(
        searched(), 2, SMALL.space, "accuracy", 0, sampler=sampler, objectives=("metric", "bytes")
    )
    assert len(found) == 2


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_when_only_size_counts_small_ones_are_proposed_by(sampler: str) -> None:
    space = space_of([METHODS["lora"]])
    sizes = [trial_of(i, METHODS["lora"](rank=1 + i), State.COMPLETE, 0.5, 0.6, 0.7) for i in range(40)]  # type: ignore[call-arg]
    found = propose(sizes, 12, space, "accuracy", 0, sampler=sampler, objectives=("bytes",))
    assert np.median([one.rank for one in found]) <= 8
    assert all(isinstance(one, METHODS["lora"]) for one in found)


def test_an_unknown_sampler_is_refused_with_the_possible_ones() -> None:
    space = space_of([METHODS["lora"]])
    with pytest.raises(ValueError, match="sampler 'cmaes' is unknown; samplers: tpe, random, gp, nsga2"):
        propose([], 1, space, "accuracy", 0, sampler="cmaes")


def test_scores_are_maximised_and_sizes_minimised() -> None:
    trial = trial_of(1, METHODS["lora"](), State.COMPLETE, 0.5, 0.75)
    assert directions(("metric", "bytes", "parameters")) == ["maximize", "minimize", "minimize"]
    assert measured(trial, "accuracy", ("metric", "bytes", "parameters")) == [0.75, 2000, 500]
    assert measured(replace(trial, stored_bytes=None), "accuracy", ("metric", "bytes")) is None
    lost = trial_of(1, METHODS["lora"](), State.COMPLETE, math.nan)
    assert measured(lost, "accuracy", ("metric",)) is None


# --------------------------------------------------------------------------- parts and wholes


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> list[optuna.Study]:
    """The studies that samplers build in memory."""
    made: list[optuna.Study] = []
    create: Callable[..., optuna.Study] = optuna.create_study

    def remembered(**options: Any) -> optuna.Study:
        made.append(create(**options))
        return made[-1]

    monkeypatch.setattr(optuna, "create_study", remembered)
    return made


LORA = METHODS["lora"]


def history() -> list[Trial]:
    """Two whole trainings, two that were cut at different rungs, one diverged, one failed, one at work."""
    configs = [LORA(rank=rank) for rank in (2, 4, 8, 16, 32, 63, 64)]  # type: ignore[call-arg]
    return [
        trial_of(0, configs[0], State.COMPLETE, 0.5, 0.6, 0.8),
        trial_of(1, configs[1], State.COMPLETE, 0.55, 0.7, 0.75),
        trial_of(2, configs[2], State.PRUNED, 0.4),
        trial_of(3, configs[3], State.PRUNED, 0.54, 0.69),
        trial_of(4, configs[4], State.FAIL, math.nan),
        trial_of(5, configs[5], State.FAIL),
        trial_of(6, configs[6], State.RUNNING, 0.6),
    ]


def test_tpe_sees_values_of_whole_trainings_and_rungs_of_those_that_were_cut(
    studies: list[optuna.Study],
) -> None:
    propose(history(), 1, space_of([LORA]), "accuracy", 0)
    (study,) = studies
    told = {trial.params["lora.rank"]: trial for trial in study.trials[:6]}
    assert told.keys() == {2, 4, 8, 16, 32, 64}, "what failed otherwise teaches nothing"
    assert {rank: trial.value for rank, trial in told.items() if trial.state is TrialState.COMPLETE} == {
        2: 0.8,
        4: 0.75,
    }
    cut = {r: t.intermediate_values for r, t in told.items() if t.state is TrialState.PRUNED}
    assert cut == {8: {8: 0.4}, 16: {8: 0.54, 16: 0.69}, 32: {}}  # after 2 and 4 epochs, in quarters
    assert all(trial.value is None for trial in told.values() if trial.state is not TrialState.COMPLETE)
    assert told[64].state is TrialState.RUNNING


def test_with_several_objectives_those_that_were_cut_have_no_value_at_all(
    studies: list[optuna.Study],
) -> None:
    propose(history(), 1, space_of([LORA]), "accuracy", 0, objectives=("metric", "bytes"))
    whole = [trial for trial in studies[0].trials if trial.state is TrialState.COMPLETE]
    assert [trial.values for trial in whole] == [[0.8, 1000.0], [0.75, 2000.0]]
    cut = [trial for trial in studies[0].trials if trial.state is TrialState.PRUNED]
    assert len(cut) == 3 and all(not t.intermediate_values and t.values is None for t in cut)


def test_a_gaussian_process_sees_estimates_in_place_of_partial_values(studies: list[optuna.Study]) -> None:
    propose(history(), 1, space_of([LORA]), "accuracy", 0, sampler="gp")
    told = {round(t.params["rank"]): t.value for t in studies[1].trials if t.state is TrialState.COMPLETE}
    assert told == {
        2: 0.8,
        4: 0.75,
        8: pytest.approx(0.4 + (0.3 + 0.2) / 2),  # the gains of both whole trainings from that rung on
        16: pytest.approx(min(0.8, 0.69 + (0.2 + 0.05) / 2)),  # no better than the best that was measured
        32: pytest.approx(0.65),  # diverged: as bad as the worst
    }
    assert [t.params["rank"] for t in studies[1].trials if t.state is TrialState.RUNNING][0] == 64


def test_only_whole_trainings_have_children() -> None:
    space = space_of([LORA])
    whole = [trial_of(i, LORA(rank=4, alpha=8.0 + i), State.COMPLETE, 0.5, 0.6, 0.7) for i in range(12)]  # type: ignore[call-arg]
    cut = [trial_of(12 + i, LORA(rank=64, alpha=8.0 + i), State.PRUNED, 0.99) for i in range(12)]  # type: ignore[call-arg]
    found = propose(whole + cut, 24, space, "accuracy", 0, sampler="nsga2")
    assert sum(config.rank == 4 for config in found) >= 5
    assert sum(config.rank == 64 for config in found) <= 2
