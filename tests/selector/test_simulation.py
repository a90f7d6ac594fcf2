"""The simulated search itself: it must be a fair stand-in for training before it may judge a search."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulation import SimulatedClock, Simulation, simulate
from table_worker import logits_with, make_task
from tabulated import TREE, drawn

from selector.decision import decide
from selector.space import defaults
from selector.uniform import draw
from storage.database import open_database
from storage.files import Files
from storage.records import State, Trial
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.bitfit import BitFitConfig
from trainers.methods.lora import LoRAConfig

EPOCHS = 8


def random_configs(count: int) -> list[MethodConfig]:
    generator = np.random.default_rng(0)
    return [draw(TREE.space, generator) for _ in range(count)]


# ------------------------------------------------------------------------------- the landscape


def test_nothing_in_the_space_scores_above_the_known_optimum() -> None:
    best = TREE.ceiling(TREE.optimum())
    assert best == pytest.approx(0.90)
    assert all(TREE.ceiling(config) < best for config in random_configs(2000))
    for seed in range(5):
        other = drawn(seed, "lora", "unipelt")
        assert other.ceiling(other.optimum()) >= max(map(other.ceiling, defaults(other.space)))


def test_curves_rise_and_cross() -> None:
    slow, fast = LoRAConfig(learning_rate=4e-3, rank=16, targets="all linear"), AdapterConfig()
    curves = [TREE.curve(config, EPOCHS) for config in (slow, fast)]
    assert all(curve == sorted(curve) for curve in curves)
    assert curves[0][1] < curves[1][1] and curves[0][-1] > curves[1][-1]


def test_noise_belongs_to_the_seed_and_to_the_measurement() -> None:
    config = LoRAConfig()
    noisy = replace(TREE, seed_noise=0.02)
    scores = [noisy.score(config, EPOCHS, seed) for seed in range(400)]
    assert np.std(scores) == pytest.approx(0.02, rel=0.15)
    assert np.mean(scores) == pytest.approx(TREE.expected(config, EPOCHS), abs=0.004)
    assert noisy.score(config, EPOCHS, 7) == scores[7], "the same seed gives the same training"
    lead = [noisy.score(config, epochs, 3) - TREE.expected(config, epochs) for epochs in (1, 4, 8)]
    assert lead == pytest.approx([lead[0]] * 3), "a lucky seed is lucky all along"
    jagged = replace(TREE, rung_noise=0.02)
    assert len({round(jagged.score(config, e, 3) - TREE.expected(config, e), 6) for e in (1, 4, 8)}) == 3


def test_predictions_have_the_score_of_the_whole_population_and_are_paired() -> None:
    split = make_task(20_000).validation
    first, second = (logits_with(0.8, split, [salt]).argmax(1) == split.labels for salt in (1, 2))
    assert first.mean() == pytest.approx(0.8, abs=0.01) and second.mean() == pytest.approx(0.8, abs=0.01)
    assert np.corrcoef(first, second)[0, 1] > 0.3, "what is hard for one is hard for the other"
    better = logits_with(0.9, split, [1]).argmax(1) == split.labels
    assert (better >= first).all(), "with training errors only become fewer"


# ----------------------------------------------------------------------------------- the driver


def test_a_study_is_the_same_in_memory_and_in_a_database(tmp_path: Path) -> None:
    run = simulate(TREE, trials=12, epochs=EPOCHS)
    database = open_database(f"sqlite:///{tmp_path / 'study.db'}")
    stored = Simulation(run.landscape, run.spec, run.task, SimulatedClock(), database, files=Files(tmp_path))  # type: ignore[arg-type]
    database.create_study("table", run.spec.to_json(), run.task.summary(), worker="test")
    stored.run()
    assert stored.study.trials == run.study.trials
    assert stored.study.baselines == run.study.baselines


def test_a_simulated_study_has_cuts_finalists_and_a_recommendation() -> None:
    run = simulate(TREE, trials=16, epochs=EPOCHS, rows=300, finalists=3)
    assert {trial.state for trial in run.searched} == {State.COMPLETE, State.PRUNED}
    for trial in run.searched:
        assert [report.epochs for report in trial.reports] == [2, 4, 8][: len(trial.reports)]
    repeats = [trial for trial in run.study.trials if trial.repeat_of is not None]
    assert len(repeats) == 9 and all(trial.predictions_file for trial in repeats)
    assert all(trial.test is None for trial in repeats), "test is opened after the choice"
    recommended = decide(run.study, run.files, run.task, run.landscape.space).to_json()  # type: ignore[arg-type]
    assert recommended["method"] in TREE.peaks


def test_time_is_what_rungs_cost_and_passes_faster_with_more_places() -> None:
    alone, beside = (simulate(TREE, trials=16, epochs=EPOCHS, slots=slots) for slots in (1, 3))
    assert alone.clock.seconds == pytest.approx(alone.device_seconds)
    assert beside.clock.seconds < 0.6 * beside.device_seconds
    assert len(beside.searched) == 16


def test_a_budget_ends_the_search_in_simulated_time() -> None:
    run = simulate(TREE, trials=500, epochs=EPOCHS, budget_seconds=300.0)
    longest_rung = 8 * 4 * 1.6
    assert 8 < len(run.searched) < 500
    assert run.clock.seconds < 300 + 2 * longest_rung


def test_failures_and_divergence_happen_where_they_are_asked_for() -> None:
    broken = replace(
        TREE,
        fails=lambda config: "OutOfMemoryError: too wide" if isinstance(config, AdapterConfig) else "",
        diverges=lambda config: isinstance(config, BitFitConfig),
    )
    run = simulate(broken, trials=32, epochs=EPOCHS)
    failed: dict[str, list[Trial]] = {}
    for trial in run.searched:
        if trial.state is State.FAIL:
            failed.setdefault(trial.method, []).append(trial)
    assert failed.keys() == {"adapter", "bitfit"}
    assert {t.message for t in failed["adapter"]} == {"OutOfMemoryError: too wide"}
    assert all(not t.reports for t in failed["adapter"])
    assert all(math.isnan(t.reports[0].train_loss) for t in failed["bitfit"])
    last = {trial.method for trial in run.searched[-8:]}
    assert last <= {"lora", "unipelt"}, "methods that only fail are given up"


def test_scores_on_few_rows_are_a_sample_of_the_exact_ones() -> None:
    exact, sampled = (simulate(TREE, trials=8, epochs=EPOCHS, rows=100, sampled=s) for s in (False, True))
    scores = [{t.number: t.reports[0].metrics["accuracy"] for t in run.searched} for run in (exact, sampled)]
    differences = [abs(scores[0][number] - scores[1][number]) for number in scores[0]]
    assert 0 < max(differences) < 0.2
    assert all(round(score * 100) == pytest.approx(score * 100) for score in scores[1].values())


def test_every_searched_method_can_be_drawn() -> None:
    landscape = drawn(3, *(name for name, method in METHODS.items() if method.searched == "always"))
    run = simulate(landscape, trials=12, epochs=4, sampler="random")
    assert {config.name for config in run.configs} == landscape.peaks.keys()
