"""Estimates follow the measured pace and come near what a tabulated study costs in the end."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from simulated import ROWS, SPACE, Simulation, World

from selector.estimate import bracket_epochs
from selector.halving import Standing, keep, plan

UNIT = {"s": 1.0, "min": 60.0, "h": 3600.0}


def told(message: str) -> tuple[float, float]:
    """(seconds left, device-seconds in all) as a progress line says them."""
    found = re.search(r"about ([\d.]+) (s|min|h) left .*, ([\d.]+) (s|min|h) of device time", message)
    assert found is not None, message
    return float(found[1]) * UNIT[found[2]], float(found[3]) * UNIT[found[4]]


def world(pace: float, calibrated: float, **others: float) -> World:
    return World(paces={**{method.name: pace for method in SPACE.methods}, **others}, calibrated=calibrated)


@pytest.mark.parametrize("slots", [1, 2])
def test_the_first_estimate_is_there_before_any_training_and_near_the_truth(
    tmp_path: Path, slots: int
) -> None:
    simulation = Simulation(tmp_path, world(20.0, 20.0), slots=slots, trials=32)
    simulation.run()
    _, used, message = simulation.world.messages[0]
    assert used == 0.0, "nothing was trained yet"
    left, total = told(message)
    assert 0.7 < total / simulation.world.device_seconds < 1.4
    assert 0.6 < left / simulation.seconds < 1.5


def test_a_wrong_calibration_is_corrected_by_the_first_rung(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, world(20.0, 5.0), trials=32)
    simulation.run()
    estimates = [told(message)[1] for _, used, message in simulation.world.messages]
    trained = [used > 0 for _, used, _ in simulation.world.messages]
    true = simulation.world.device_seconds
    assert estimates[0] < 0.4 * true
    assert all(0.7 < one / true < 1.4 for one, after in zip(estimates, trained, strict=True) if after)
    assert estimates[-1] == pytest.approx(true, rel=0.05)


def test_one_epoch_cut_inside_is_estimated_like_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.epochs.PART_ROWS", ROWS // 4)
    simulation = Simulation(tmp_path, world(20.0, 20.0, full=100.0), trials=32, epochs=1)
    simulation.run()
    true = simulation.world.device_seconds
    ends = {report.epochs for trial in simulation.study.trials for report in trial.reports}
    assert ends == {0.25, 0.5, 1.0}
    estimates = [told(message)[1] for _, _, message in simulation.world.messages]
    assert 0.6 < estimates[0] / true < 1.1, "full fine-tuning is guessed as three times as slow as the others"
    assert all(0.8 < one / true < 1.3 for one in estimates[len(estimates) // 2 :])
    assert estimates[-1] == pytest.approx(true, rel=0.05)


def test_full_finetuning_is_counted_from_the_start_and_at_its_own_pace_once_it_runs(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, world(20.0, 20.0, full=100.0), trials=32)
    simulation.run()
    true = simulation.world.device_seconds
    full = [t for t in simulation.study.trials if t.method == "full"]
    assert sum(trial.reports[-1].seconds for trial in full) > 0.25 * true
    estimates = [told(message)[1] for _, _, message in simulation.world.messages]
    assert 0.6 < estimates[0] / true < 1.1, "guessed as three times as slow as the others"
    assert all(0.8 < one / true < 1.3 for one in estimates[len(estimates) // 2 :])
    assert estimates[-1] == pytest.approx(true, rel=0.05)


def test_an_estimate_never_exceeds_the_budget(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, world(20.0, 20.0), trials=64, budget_seconds=1800.0)
    simulation.run()
    for _, _, message in simulation.world.messages:
        assert told(message)[0] <= 1800 + 30  # half a minute of rounding


@pytest.mark.parametrize("size", [3, 4, 8, 12])
def test_epochs_of_a_bracket_are_those_that_halving_trains(size: int) -> None:
    chance, rungs = np.random.default_rng(0), plan(12, 8).rungs
    methods = [f"m{i % 3}" for i in range(size)]
    totals = []
    for _ in range(20):
        scores, alive, total = chance.random(size), set(range(size)), 0
        for rung, epochs in enumerate(rungs):
            total += len(alive) * (epochs - (rungs[rung - 1] if rung else 0))
            alive = keep(rung, [Standing(i, methods[i], scores[i], 1.0) for i in alive], len(rungs))
        totals.append(total)
    assert bracket_epochs(size, len(set(methods)), rungs) == pytest.approx(np.mean(totals), rel=0.15)
