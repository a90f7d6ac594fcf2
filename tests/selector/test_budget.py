"""Budgets on simulated devices: whichever ends first, and never overshot by more than one rung."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated import ROWS, SPACE, Simulation, World

from selector.allowance import Allowance, Meter
from selector.search import SearchError
from storage.records import State


def world_of(seed: int, spread: float = 4.0, error: float = 2.0, full: float | None = None) -> World:
    """Methods whose paces differ by up to `spread`, and a calibration that is wrong by up to `error`.

    Full fine-tuning is trained where it is said how many times slower than the others it is.
    """
    chance = np.random.default_rng(seed)
    paces = {method.name: float(np.exp(chance.uniform(0, np.log(spread)))) for method in SPACE.methods}
    wrong = float(np.exp(chance.uniform(-np.log(error), np.log(error))))
    mean = float(np.mean(list(paces.values())))
    return World(paces=paces if full is None else {**paces, "full": full * mean}, calibrated=wrong * mean)


def repeats(simulation: Simulation) -> int:
    return sum(
        t.repeat_of is not None and t.state is State.COMPLETE and t.method != "full"
        for t in simulation.study.trials
    )


def run(simulation: Simulation) -> bool:
    """Whether the study came to its end; the budget may be too small for anything."""
    try:
        simulation.run()
    except SearchError as error:
        assert "the budget pays for no candidate" in str(error)
        return False
    return True


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("kind", ["budget_seconds", "device_seconds"])
@pytest.mark.parametrize("full", [None, 6.0])
def test_a_budget_is_never_overshot_by_more_than_one_rung(
    tmp_path: Path, full: float | None, kind: str, slots: int
) -> None:
    chance = np.random.default_rng(slots)
    for seed in range(12):
        folder = tmp_path / str(seed)
        folder.mkdir()
        budget = float(np.exp(chance.uniform(np.log(10), np.log(2000))))
        simulation = Simulation(folder, world_of(seed, full=full), slots=slots, trials=24, **{kind: budget})
        run(simulation)
        rung = max(simulation.world.rungs, default=0.0)
        used = simulation.seconds if kind == "budget_seconds" else simulation.world.device_seconds
        assert used <= budget + rung, (
            f"seed {seed}: {used:.0f} s of {budget:.0f} s, longest rung {rung:.0f} s"
        )


@pytest.mark.parametrize("kind", ["budget_seconds", "device_seconds"])
def test_rungs_inside_an_epoch_keep_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("trainers.epochs.PART_ROWS", ROWS // 4)
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = world_of(seed)
        world = World({name: 8 * pace for name, pace in world.paces.items()}, 8 * world.calibrated)
        budget = 5 * max(world.paces.values())  # so many whole trainings
        simulation = Simulation(folder, world, trials=24, epochs=1, **{kind: budget})
        assert run(simulation) and repeats(simulation) >= 1
        used = simulation.seconds if kind == "budget_seconds" else world.device_seconds
        assert used <= budget + max(world.rungs)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("kind", ["budget_seconds", "device_seconds"])
def test_a_budget_that_pays_for_a_few_trainings_ends_with_a_repeated_finalist(
    tmp_path: Path, kind: str, slots: int
) -> None:
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = world_of(seed, full=6.0)
        training = 8 * max(pace for method, pace in world.paces.items() if method != "full")
        simulation = Simulation(folder, world, slots=slots, trials=24, **{kind: 5 * training})
        assert run(simulation)
        assert repeats(simulation) >= 1


def test_a_large_budget_changes_nothing(tmp_path: Path) -> None:
    found = []
    for name, options in (("free", {}), ("limited", {"budget_seconds": 1e6, "device_seconds": 1e6})):
        folder = tmp_path / name
        folder.mkdir()
        simulation = Simulation(folder, world_of(0), trials=16, **options)
        simulation.run()
        found.append([(t.method, t.config, t.state, t.epochs) for t in simulation.study.trials])
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["budget_seconds", "device_seconds"])
def test_full_finetuning_takes_nothing_from_the_finalists(tmp_path: Path, kind: str) -> None:
    found = []
    for name, full in (("without", None), ("with", 3.0)):
        folder = tmp_path / name
        folder.mkdir()
        simulation = Simulation(folder, world_of(1, error=1.0, full=full), trials=16, **{kind: 1500.0})
        simulation.run()
        found.append(repeats(simulation))
    full_repeats = [t for t in simulation.study.trials if t.method == "full" and t.repeat_of is not None]
    assert found[0] == found[1] == 15 and full_repeats
    assert {t.state for t in full_repeats} == {State.COMPLETE}


@pytest.mark.parametrize("kind", ["budget_seconds", "device_seconds"])
def test_full_finetuning_that_no_budget_holds_is_left_out_with_the_reason(tmp_path: Path, kind: str) -> None:
    simulation = Simulation(tmp_path, world_of(1, error=1.0, full=3.0), trials=1000, **{kind: 60.0})
    simulation.run()
    assert not any(t.method == "full" for t in simulation.study.trials)
    assert simulation.search.left_out.startswith("comparing its rates takes about")


def test_more_budget_is_used_not_left(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, world_of(1, error=1.0), trials=1000, device_seconds=2000.0)
    simulation.run()
    assert 0.55 * 2000 < simulation.world.device_seconds <= 2000 + max(simulation.world.rungs)


def test_repeats_that_are_not_paid_for_are_given_up_with_the_reason(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, world_of(2), trials=8, seeds=5, device_seconds=300.0)
    simulation.run()
    given_up = [t for t in simulation.study.trials if t.repeat_of is not None and t.state is State.PRUNED]
    assert repeats(simulation) >= 1
    assert all(t.message.startswith("the budget does not pay for it: it takes about") for t in given_up)


@pytest.mark.parametrize("kind", ["budget_seconds", "device_seconds"])
def test_where_nothing_is_left_for_the_finalists_the_best_is_repeated_once_all_the_same(
    tmp_path: Path, kind: str
) -> None:
    world = World({method.name: 10.0 for method in SPACE.methods}, calibrated=1.0)
    simulation = Simulation(tmp_path, world, trials=8, **{kind: 100.0})
    simulation.run()
    assert repeats(simulation) == 1
    assert world.rungs == [160.0, 80.0]  # of eight candidates, which was foretold to take 16, and the repeat
    assert any("the budget is used up, but" in message for _, _, message in world.messages)


def test_a_budget_for_nothing_says_what_a_training_takes(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, world_of(0, error=1.0), trials=8, budget_seconds=3.0)
    with pytest.raises(SearchError, match=r"the budget pays for no candidate: .* takes about \d+ s here"):
        simulation.run()
    assert not simulation.study.trials


def test_both_budgets_count_and_the_shorter_one_ends_the_search(tmp_path: Path) -> None:
    spent = []
    for name, options in (
        ("clock", {"budget_seconds": 200.0, "device_seconds": 1e5}),
        ("device", {"budget_seconds": 1e5, "device_seconds": 200.0}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        simulation = Simulation(folder, world_of(3), trials=64, **options)
        simulation.run()
        spent.append(simulation.world.device_seconds)
    assert all(100 < one < 260 for one in spent)


def test_a_rung_starts_only_before_the_deadline_and_if_it_will_end_in_time() -> None:
    allowance = Allowance(deadline=100.0, ends=150.0, device_deadline=40.0, device_ends=60.0)
    assert allowance.pays(now=90, used=30, predicted=30)
    assert not allowance.pays(now=101, used=30, predicted=1)
    assert not allowance.pays(now=90, used=10, predicted=61)
    assert not allowance.pays(now=90, used=41, predicted=1)
    assert not allowance.pays(now=90, used=35, predicted=30)
    assert Allowance().pays(now=1e12, used=1e12, predicted=1e12)


def test_the_next_rung_is_predicted_from_the_pace_of_the_last() -> None:
    time = [0.0]
    meter = Meter(Allowance(device_ends=100.0), clock=lambda: time[0])
    meter.start()
    time[0] = 40.0
    meter.stop(candidate_epochs=16)  # 2.5 s each
    assert meter.pays_for(24) and not meter.pays_for(25)
    assert meter.used == 40.0
