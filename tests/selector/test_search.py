"""The search loop without torch's slowness: a table of learning curves stands in for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainers.methods  # noqa: F401
from selector.budget import Clock, affordable_repeats
from selector.halving import Standing, keep
from selector.jobs import BaselineResult, Baselines, Bracket, Job, Outcome, Result, Rung, Wait
from selector.search import Search, SearchError
from selector.space import space_of
from selector.study import DataFile, StudySpec
from storage.database import Database, open_database
from storage.files import Files
from storage.records import State, Study
from trainers.cost import Cost
from trainers.fidelity import Gate, Report
from trainers.method import METHODS, MethodConfig
from trainers.metrics import metrics_of
from trainers.splits import Split
from trainers.task import Task

CLASSES, ROWS = 2, 40


def split(rows: int = ROWS) -> Split:
    return Split(tuple(map(str, range(rows))), None, np.arange(rows) % CLASSES)


def make_task() -> Task:
    return Task(
        name="table",
        kind="classification",
        text="text",
        text_pair=None,
        label="label",
        labels=("no", "yes"),
        metric="accuracy",
        train=split(),
        validation=split(),
        test=split(),
        origin={},
        data_hash="0",
    )


def logits_with(accuracy: float) -> np.ndarray:
    """Logits that are right on this share of the rows."""
    labels = np.arange(ROWS) % CLASSES
    right = np.arange(ROWS) < round(accuracy * ROWS)
    return np.eye(CLASSES, dtype=np.float32)[np.where(right, labels, 1 - labels)]


def gate_after(epochs: int) -> Gate:
    """A gate that opens with the epochs."""
    return Gate(layer=3, module="lora", role="query", mean=epochs / 16, deviation=0.125)


class Table:
    """Trains by looking up: the score grows with the learning rate and the epochs."""

    def __init__(self, *, diverging: str | None = None, checkpoints: bool = False) -> None:
        self.diverging = diverging
        self.checkpoints = checkpoints
        self.trained: list[int] = []
        self.begun: list[tuple[int, int]] = []
        """Brackets, and after how many rungs they went on."""

    def perform(self, job: Job) -> Iterator[Result]:
        if isinstance(job, Baselines):
            for name in ("majority", "tfidf_logistic_regression", "linear_probe"):
                yield BaselineResult(
                    name=name,
                    config={},
                    validation_logits=logits_with(0.5),
                    test_logits=logits_with(0.5),
                    trainable_parameters=0,
                    stored_bytes=0,
                    seconds=0.0,
                    features={"separation": 0.25} if name == "linear_probe" else {},
                )
            return
        entries = list(job.entries)
        self.begun.append((job.number, job.begun))
        for rung, epochs in list(enumerate(job.rungs))[job.begun :]:
            last = rung == len(job.rungs) - 1
            reports = {e.number: self._report(e.method, e.values["learning_rate"], epochs) for e in entries}
            standings = [
                Standing(
                    number=e.number, method=e.method, score=reports[e.number].metrics["accuracy"], cost=1.0
                )
                for e in entries
            ]
            kept = {e.number for e in entries} if job.final else keep(rung, standings, len(job.rungs))
            outcomes = []
            for e in entries:
                report = reports[e.number]
                if not np.isfinite(report.train_loss):
                    outcomes.append(
                        Outcome(number=e.number, state=State.FAIL, report=report, message="diverged")
                    )
                elif last:
                    self.trained.append(e.number)
                    logits = logits_with(report.metrics["accuracy"])
                    test = logits if job.final else None
                    outcomes.append(
                        Outcome(
                            number=e.number,
                            state=State.COMPLETE,
                            report=report,
                            module=b"module",
                            validation_logits=logits,
                            test_logits=test,
                        )
                    )
                else:
                    state = State.RUNNING if e.number in kept else State.PRUNED
                    stands = f"checkpoint of {e.number} at {rung}".encode()
                    keeps = self.checkpoints and state is State.RUNNING
                    checkpoint = stands if keeps else None
                    outcomes.append(
                        Outcome(number=e.number, state=state, report=report, checkpoint=checkpoint)
                    )
            yield Rung(bracket=job.number, rung=rung, outcomes=tuple(outcomes))
            entries = [e for e, o in zip(entries, outcomes, strict=True) if o.state is State.RUNNING]
            if not entries:
                return

    def _report(self, method: str, learning_rate: float, epochs: int) -> Report:
        if method == self.diverging:
            loss = float("nan")
            return Report(
                epochs=epochs,
                metrics=metrics_of(logits_with(0) * np.nan, np.arange(ROWS) % 2),
                train_loss=loss,
                seconds=1.0,
            )
        accuracy = min(1.0, 0.5 + 20 * learning_rate) * (0.8 + 0.2 * epochs / 8)
        report = metrics_of(logits_with(accuracy), np.arange(ROWS) % CLASSES)
        gates = (gate_after(epochs),) if method == "unipelt" else ()
        return Report(epochs=epochs, metrics=report, train_loss=0.1, seconds=float(epochs), gates=gates)


SPACE = space_of([METHODS[name] for name in ("adapter", "bitfit", "lora", "prefix", "unipelt")])


class Store:
    """Studies in a fresh SQLite file, one at a time."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.database: Database = open_database(f"sqlite:///{folder / 'study.db'}")
        self.files = Files(folder / "files")
        self.again("table", **options)

    def again(self, name: str, **options: object) -> None:
        """Another study in the same file."""
        spec = StudySpec(
            train=DataFile(name="t.csv"), backbone="none", **{"epochs": 8, "trials": 12, **options}
        )  # type: ignore[arg-type]
        self.id = self.database.create_study(name, spec.to_json(), make_task().summary(), worker="test").id

    def search(
        self,
        clock: Clock | None = None,
        *,
        on: Any = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Search:
        database, clock = on or self.database, clock or Clock(None)
        return Search(database, self.files, self.id, make_task(), SPACE, cost, clock, stopping=stopping)

    @property
    def study(self) -> Study:
        return self.database.study(self.id)


def cost(config: MethodConfig) -> Cost:
    return Cost(module_parameters=100, deployed_parameters=100, head_parameters=10)


def run(search: Search, table: Table, *, stop_after: int | None = None) -> int:
    """The local loop; with `stop_after`, dies after so many results. Returns how many there were."""
    results = 0
    while (job := search.next_job(slots=1)) is not None:
        assert not isinstance(job, Wait)
        for result in table.perform(job):
            search.record(job, result)
            results += 1
            if results == stop_after:
                return results
        search.ended(job)
    return results


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
    repeats = [trial for trial in store.study.trials if trial.repeat_of is not None]
    assert len(repeats) == 9
    assert {trial.seed for trial in repeats} == {1, 2, 3}, "finalists get fresh seeds"
    assert all(trial.test is not None for trial in repeats)
    finalists = [searched[number] for number in sorted({trial.repeat_of for trial in repeats})]
    assert len({trial.method for trial in finalists}) == 3, "finalists are spread over methods"
    assert [b.name for b in store.study.baselines] == [
        "majority",
        "tfidf_logistic_regression",
        "linear_probe",
    ]


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


@pytest.mark.parametrize("options", [{}, {"early_exit": "hyperband"}, {"early_exit": "none"}])
def test_a_search_that_died_anywhere_goes_on_as_if_nothing_had_happened(
    options: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Store(tmp_path / "undisturbed", bracket_size=4, **options)
    results = run(undisturbed.search(), Table(diverging="prefix"))
    for death in range(1, results):
        folder = tmp_path / str(death)
        folder.mkdir()
        store = Store(folder, bracket_size=4, **options)
        first, second = Table(diverging="prefix"), Table(diverging="prefix")
        assert run(store.search(), first, stop_after=death) == death
        again = death if death < 3 else 0  # baselines are scored as one job
        assert run(store.search(), second) == results - death + again, "nothing is measured twice"
        # repr: a loss that is no number differs from itself
        assert repr(store.study.trials) == repr(undisturbed.study.trials), f"after {death} results"
        assert store.study.baselines == undisturbed.study.baselines
        assert not set(first.trained) & set(second.trained), "nothing finished is trained twice"


def test_a_search_may_die_between_any_two_writes(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Store(tmp_path / "undisturbed", trials=4, seeds=1, finalists=1)
    run(undisturbed.search(), Table())
    for death in range(1, 30):
        folder = tmp_path / str(death)
        folder.mkdir()
        store = Store(folder, trials=4, seeds=1, finalists=1)
        try:
            run(store.search(on=DyingDatabase(store.database, death)), Table())
            break
        except Died:
            run(store.search(), Table())
        assert store.study.trials == undisturbed.study.trials, f"at write {death}"
        assert store.study.baselines == undisturbed.study.baselines
    assert 8 < death < 29, "it died at every write there is"


def test_a_bracket_whose_worker_is_lost_goes_on_after_its_last_rung(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Store(tmp_path / "undisturbed", trials=4)
    run(undisturbed.search(), Table())
    store, table = Store(tmp_path, trials=4), Table()
    search = store.search()
    lost = 0
    while (job := search.next_job(slots=1)) is not None:
        assert not isinstance(job, Wait)
        for result in table.perform(job):
            search.record(job, result)
            if isinstance(job, Bracket) and (job.final or job.begun < 2):
                break  # each worker of the search is lost after one rung
        else:
            search.ended(job)
            continue
        lost += 1
        search.ended(job, "the worker was killed", lost=True)
    assert table.begun == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (3, 0)]
    assert lost == 5 and store.study.trials == undisturbed.study.trials


def test_a_bracket_that_loses_every_worker_fails(tmp_path: Path) -> None:
    store = Store(tmp_path, trials=4)
    search = store.search()
    run_baselines(search)
    for _ in range(3):
        job = search.next_job(slots=1)
        assert isinstance(job, Bracket) and job.number == 0
        search.ended(job, "the worker was killed", lost=True)
    assert {(t.state, t.message) for t in store.study.trials} == {(State.FAIL, "the worker was killed")}


def test_a_study_that_is_left_gives_no_job_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Store(tmp_path / "undisturbed", trials=4)
    run(undisturbed.search(), Table())
    store, table = Store(tmp_path, trials=4), Table()
    left: list[bool] = []
    search = store.search(stopping=lambda: bool(left))
    run_baselines(search)
    bracket = search.next_job(slots=1)
    assert isinstance(bracket, Bracket)
    search.record(bracket, next(table.perform(bracket)))
    left.append(True)
    assert search.stopping and search.next_job(slots=1) is None
    search.ended(bracket)
    assert State.FAIL not in {trial.state for trial in store.study.trials}
    run(store.search(), Table())
    assert store.study.trials == undisturbed.study.trials


def test_checkpoints_are_kept_while_they_are_needed_and_no_longer(tmp_path: Path) -> None:
    store, table = Store(tmp_path, trials=4, seeds=1), Table(checkpoints=True)
    search = store.search()
    seen = set()
    while (job := search.next_job(slots=1)) is not None:
        assert not isinstance(job, Wait)
        for result in table.perform(job):
            search.record(job, result)
            kept = {t.checkpoint_file for t in store.study.trials if t.checkpoint_file is not None}
            assert kept == {path.name for path in store.files.folder.iterdir() if is_checkpoint(path)}
            running = {t.number for t in store.study.trials if t.state is State.RUNNING and t.reports}
            assert running == {t.number for t in store.study.trials if t.checkpoint_file is not None}
            seen |= kept
        search.ended(job)
    assert len(seen) == 4 + 3  # the best of each method after the first cut, three after the second
    assert not any(map(is_checkpoint, store.files.folder.iterdir()))


def test_a_bracket_that_is_taken_up_carries_its_checkpoints(tmp_path: Path) -> None:
    store = Store(tmp_path, trials=4)
    run(store.search(), Table(checkpoints=True), stop_after=4)
    bracket = store.search().next_job(slots=1)
    assert isinstance(bracket, Bracket) and bracket.begun == 1
    assert [entry.checkpoint for entry in bracket.entries] == [
        f"checkpoint of {entry.number} at 0".encode() for entry in bracket.entries
    ]
    assert len(bracket.entries) + len(bracket.left) == 4


def is_checkpoint(path: Path) -> bool:
    return path.read_bytes().startswith(b"checkpoint")


def run_baselines(search: Search) -> None:
    job = search.next_job(slots=1)
    assert isinstance(job, Baselines)
    for result in Table().perform(job):
        search.record(job, result)
    search.ended(job)


class Died(Exception):
    """As if the process had been killed."""


class DyingDatabase:
    """The real one, until just before the write with a number, from 1."""

    def __init__(self, database: Database, number: int) -> None:
        self._database = database
        self._left = number

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        if name in ("study", "studies", "files_in_use", "set_study_state"):
            return found

        def write(*given: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise Died
            return found(*given, **named)

        return write


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
