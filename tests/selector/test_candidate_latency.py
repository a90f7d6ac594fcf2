"""What a worker times: candidates where it matters, finalists always, and how fast it trains itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import task_of_kind

from selector.allowance import Allowance
from selector.candidate_latency import INFEASIBLE, LATE
from selector.jobs import Baselines, Bench, Bracket, Calibration, Entry, Rung
from selector.limits import NO_LIMITS, Limits
from selector.work import Worker
from storage.records import State
from trainers.method import METHODS


@pytest.fixture(scope="module")
def worker(tiny_folder: Path) -> Worker:
    task = task_of_kind("classification", 24, 12, 12)
    return Worker(Bench(study=1, task=task, backbone=str(tiny_folder), dtype="fp32", device="cpu"))


def rungs_of(
    worker: Worker,
    *,
    limits: Limits = NO_LIMITS,
    objectives: tuple[str, ...] = ("metric",),
    rungs: tuple[int, ...] = (1, 2),
    final: bool = False,
    timed: tuple[int, ...] = (0, 1),
    allowance: Allowance = Allowance(),  # noqa: B008  (frozen)
) -> list[Rung]:
    """What becomes of a LoRA and a BitFit candidate."""
    entries = [
        Entry(
            number=i,
            method=name,
            values=METHODS[name]().values(),
            seed=i,
            stored_bytes=400,
            parameters=100,
            time=i in timed,
        )
        for i, name in enumerate(("lora", "bitfit"))
    ]
    bracket = Bracket(
        number=0,
        entries=tuple(entries),
        rungs=rungs,
        metric="accuracy",
        order_seed=0,
        final=final,
        limits=limits,
        objectives=objectives,
        allowance=allowance,
    )
    results = list(worker.perform(bracket))
    assert all(isinstance(one, Rung) for one in results)
    return [one for one in results if isinstance(one, Rung)]


def test_candidates_beyond_the_limit_on_latency_are_never_trained(worker: Worker) -> None:
    (only,) = rungs_of(worker, limits=Limits(latency_ratio=0.01))
    for outcome in only.outcomes:
        assert (outcome.state, outcome.report) == (State.PRUNED, None)
        assert outcome.message.startswith(f"{INFEASIBLE}one text takes")
        assert outcome.message.endswith("the limit is 0.01x")
        assert outcome.latency is not None and outcome.latency["ratio"] > 0.01


def test_candidates_within_the_limit_are_timed_once_and_trained_to_the_end(worker: Worker) -> None:
    first, last = rungs_of(worker, limits=Limits(latency_ratio=1000.0))
    assert all(
        outcome.latency is not None and outcome.latency["form"] == "hooks" for outcome in first.outcomes
    )
    assert all((o.state, o.latency) == (State.COMPLETE, None) for o in last.outcomes)


def test_nobody_is_trained_when_the_time_ends_while_candidates_are_timed(worker: Worker) -> None:
    (only,) = rungs_of(worker, limits=Limits(latency_ratio=1000.0), allowance=Allowance(deadline=0.0))
    assert {(one.state, one.report, one.message) for one in only.outcomes} == {(State.PRUNED, None, LATE)}


def test_a_latency_that_is_an_objective_is_measured_before_the_first_rung(worker: Worker) -> None:
    first, *_ = rungs_of(worker, objectives=("metric", "latency"))
    assert all(outcome.latency is not None for outcome in first.outcomes)


def test_only_finalists_are_timed_where_nothing_depends_on_it(worker: Worker) -> None:
    assert all(outcome.latency is None for rung in rungs_of(worker) for outcome in rung.outcomes)
    (final,) = rungs_of(worker, rungs=(1,), final=True)
    assert all(outcome.latency is not None and outcome.latency["ms"] > 0 for outcome in final.outcomes)
    (final,) = rungs_of(worker, rungs=(1,), final=True, timed=(1,))
    assert [outcome.number for outcome in final.outcomes if outcome.latency is not None] == [1]


def test_the_pace_of_training_comes_before_the_baselines(worker: Worker) -> None:
    first, *baselines = worker.perform(Baselines(seed=0, rungs=(1, 2, 4)))
    assert isinstance(first, Calibration) and first.stacked == first.alone > 0
    probe = baselines[-1]
    assert probe.latency is not None and probe.latency["ratio"] == 1.0
    assert all(one.latency is None for one in baselines[:-1]), "word counts run no backbone"
    assert not any(isinstance(one, Calibration) for one in worker.perform(Baselines(seed=0)))
