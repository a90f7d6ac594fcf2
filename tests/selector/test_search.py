"""The search loop without torch's slowness: a table of learning curves stands in for training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from tables import SPACE, Store, Table, gate_after, run

from selector.budget import Clock, affordable_repeats
from selector.jobs import Baselines, Bracket, Outcome, Rung, Wait
from selector.search import SearchError
from storage.records import State


def test_a_study_tries_cuts_and_repeats_as_asked(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=3, finalists=3, bracket_size=6)
    run(store.search(), Table())
    searched = [trial for trial in store.study.trials if trial.repeat_of is None]
    assert len(searched) == 12
    assert {trial.method for trial in searched[:6]} == {method.name for method in SPACE.methods}
    assert {trial.state for trial in searched} == {State.COMPLETE, State.PRUNED}
    for trial in searched:
        assert [report.epochs for report in trial.reports] == [2, 4, 8][: len(trial.reports)]
        assert (trial.state is State.COMPLETE) == (len(trial.reports) == 3) == (trial.module_file is not None)
        assert trial.test is None, "the search never sees the test split"
    assert all(baseline.test == {} for baseline in store.study.baselines)
    repeats = [trial for trial in store.study.trials if trial.repeat_of is not None]
    assert len(repeats) == 9
    assert {trial.seed for trial in repeats} == {1, 2, 3}, "finalists get fresh seeds"
    assert all(trial.predictions_file and trial.test is None for trial in repeats), "test is opened later"
    finalists = [searched[number] for number in sorted({trial.repeat_of for trial in repeats})]
    assert len({trial.method for trial in finalists}) == 3, "finalists are spread over methods"
    assert [b.name for b in store.study.baselines] == [
        "majority",
        "tfidf_logistic_regression",
        "linear_probe",
    ]


def test_of_the_repeats_of_a_finalist_one_is_timed_another_where_it_failed(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=3, finalists=2)
    search, table = store.search(), Table()
    timed: list[int | None] = []
    broken = False
    while (job := search.next_job(slots=1)) is not None:
        if isinstance(job, Bracket) and job.final:
            trials = {trial.number: trial for trial in store.study.trials}
            timed += [trials[entry.number].repeat_of for entry in job.entries if entry.time]
            if not broken:
                broken = True
                search.ended(job, "it broke off")
                continue
        for result in table.perform(job):
            search.record(job, result)
        search.ended(job)
    assert len(timed) == 4 and timed[:2] == timed[2:] and len(set(timed)) == 2


def test_without_halving_every_configuration_is_trained_to_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=1, early_exit="none")
    run(store.search(), Table())
    searched = [trial for trial in store.study.trials if trial.repeat_of is None]
    assert {(trial.state, len(trial.reports), trial.epochs) for trial in searched} == {(State.COMPLETE, 1, 8)}


def test_hyperband_brackets_take_turns(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=1, early_exit="hyperband", bracket_size=6)
    run(store.search(), Table())
    firsts: dict[int | None, set[int]] = {}
    for trial in store.study.trials:
        if trial.repeat_of is None:
            firsts.setdefault(trial.bracket, set()).add(trial.reports[0].epochs)
    assert list(firsts.values()) == [{2}, {4}, {8}]


def test_gates_are_kept_with_every_report_of_a_mixture(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(store.search(), Table())
    for trial in store.study.trials:
        for report in trial.reports:
            kept = [asdict(gate) for gate in report.gates]
            assert kept == ([asdict(gate_after(report.epochs))] if trial.method == "unipelt" else [])


def test_a_method_that_diverges_fails_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(store.search(), Table(diverging="prefix"))
    failed = {trial.method for trial in store.study.trials if trial.state is State.FAIL}
    assert failed == {"prefix"}
    assert all(t.message == "diverged" for t in store.study.trials if t.state is State.FAIL)
    assert any(trial.repeat_of is not None for trial in store.study.trials)


def test_a_job_that_breaks_off_fails_its_trials_with_the_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    search = store.search()
    baselines = search.next_job(slots=2)
    bracket = search.next_job(slots=2)
    assert isinstance(baselines, Baselines) and isinstance(bracket, Bracket)
    search.ended(bracket, "the worker was killed")
    assert {t.message for t in store.study.trials} == {"the worker was killed"}
    assert {t.state for t in store.study.trials} == {State.FAIL}
    with pytest.raises(SearchError, match="the baselines could not be scored: out of memory"):
        search.ended(baselines, "out of memory")


def test_finalists_wait_for_brackets_that_are_still_running(tmp_path: Path) -> None:
    store, table = Store(tmp_path), Table()
    search = store.search()
    for job in [search.next_job(slots=2) for _ in range(3)]:
        assert isinstance(search.next_job(slots=2), Wait)
        assert job is not None and not isinstance(job, Wait)
        for result in table.perform(job):
            search.record(job, result)
        search.ended(job)
    final = search.next_job(slots=2)
    assert isinstance(final, Bracket) and final.final
    assert len(final.entries) == 1, "with two places side by side each training is a job of its own"


def test_when_the_budget_ends_the_best_cut_trials_are_repeated(tmp_path: Path) -> None:
    store, table = Store(tmp_path, bracket_size=6, budget_seconds=100.0), Table()
    clock = Clock(100.0)
    search = store.search(clock)
    for _ in range(2):
        job = search.next_job(slots=1)
        assert job is not None and not isinstance(job, Wait)
        for i, result in enumerate(table.perform(job)):
            if isinstance(result, Rung):  # the deadline passed during the first rung
                outcomes = [
                    Outcome(number=o.number, state=State.PRUNED, report=o.report) for o in result.outcomes
                ]
                result = Rung(bracket=result.bracket, rung=result.rung, outcomes=tuple(outcomes))
            search.record(job, result)
            if i == 0 and isinstance(result, Rung):
                break
        search.ended(job)
    object.__setattr__(clock, "started", clock.started - 70)
    final = search.next_job(slots=1)
    assert isinstance(final, Bracket) and final.final
    assert len([t for t in store.study.trials if t.repeat_of is None]) == 6, "no new configuration after 60 %"


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [(1000.0, (3, 3)), (60.0, (3, 2)), (30.0, (3, 1)), (20.0, (2, 1)), (-5.0, (1, 1))],
)
def test_repeats_shrink_to_the_time_that_is_left(remaining: float, expected: tuple[int, int]) -> None:
    # one training takes 10 s and one runs at a time: 60 s pay for six
    assert affordable_repeats(3, 3, training_seconds=10.0, slots=1, remaining=remaining) == expected


def test_defaults_go_first_then_what_a_finished_study_taught_then_the_sampler(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=1, finalists=1)
    run(store.search(), Table())
    first = store.study
    store.database.set_study_state(first.id, State.COMPLETE)
    store.again("second")
    run(store.search(), Table())
    origins = [trial.origin for trial in store.study.trials if trial.repeat_of is None]
    defaults = [trial.origin for trial in store.study.trials].count("default")
    assert defaults == 6 and origins[:6] == ["default"] * 6, "no default makes way for the memory"
    assert origins[6:] == ["memory: table"] * 3 + ["sampler"] * 3, "12 trials: three places for the memory"
    taught = [trial for trial in store.study.trials if trial.origin == "memory: table"]
    known = [(trial.method, trial.config) for trial in first.trials]
    assert all((trial.method, trial.config) in known for trial in taught)
    assert all(t.origin is None for t in store.study.trials if t.repeat_of is not None)


def test_a_study_without_memory_takes_nothing_over(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=1, finalists=1)
    run(store.search(), Table())
    store.database.set_study_state(store.id, State.COMPLETE)
    store.again("second", memory=False)
    run(store.search(), Table())
    assert {trial.origin for trial in store.study.trials} == {"default", "sampler", None}


def test_a_search_that_died_does_not_give_the_memory_its_places_twice(tmp_path: Path) -> None:
    store = Store(tmp_path, seeds=1, finalists=1)
    run(store.search(), Table())
    store.database.set_study_state(store.id, State.COMPLETE)
    store.again("second", bracket_size=4)
    run(store.search(), Table(), stop_after=8)  # in the middle of the second bracket or after it
    run(store.search(), Table())
    finished = [t for t in store.study.trials if t.repeat_of is None and t.state is not State.FAIL]
    assert 2 <= sum(trial.origin == "memory: table" for trial in finished) <= 3


def test_meta_features_are_complete_once_the_probe_is_scored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.database.add_meta_features(store.id, {"rows": 1.6})
    run(store.search(), Table())
    assert store.study.task["meta_features"] == {"rows": 1.6, "words": 0.0, "probe": 0.0, "separation": 0.25}
