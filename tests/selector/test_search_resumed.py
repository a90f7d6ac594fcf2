"""A search that is killed, left, or loses its workers ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import Store, Table, run

from selector.jobs import Baselines, Bracket, Wait
from selector.search import Search
from storage.database import Database
from storage.records import State


@pytest.mark.parametrize(
    "options",
    [
        {"full_finetuning": True, "seeds": 2},
        {"early_exit": "hyperband"},
        {"early_exit": "none", "trials": 6, "seeds": 1},
    ],
)
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
