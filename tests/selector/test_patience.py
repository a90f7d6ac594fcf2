"""Early stopping in a study: rungs, what is written down, and what is done without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import write_rows
from safetensors.numpy import load as load_arrays
from tiny import sentences, task_of

import trainers.train
from selector.budget import Clock
from selector.data import DataFiles, read
from selector.decision import module_to_export
from selector.finalists import choose_finalists
from selector.jobs import Bench, Bracket, Entry, Outcome, Rung
from selector.runners.local import LocalRunner
from selector.search import Search
from selector.service import space_for
from selector.study import DataFile, RequestError, StudySpec
from selector.work import Worker
from storage.database import open_database
from storage.files import Files
from storage.records import State
from trainers.building import costs_on
from trainers.task import Split, Task

EPOCHS = 8


@pytest.fixture(scope="module")
def task() -> Task:
    """Labels that no text tells: after their shares there is nothing to learn."""
    splits = [
        Split(sentences(count, seed).texts, None, (np.arange(count) % 4 == 0).astype(np.int64))
        for seed, count in enumerate((40, 24, 24))
    ]
    return task_of(*splits, labels=2)


def entry(number: int, rank: int, rate: float, **values: float) -> Entry:
    values |= {"rank": rank, "learning_rate": rate}
    return Entry(number=number, method="lora", values=values, seed=number, stored_bytes=rank)


SLOW, FAST, STEADY = entry(0, 2, 5e-4), entry(2, 4, 8e-3), entry(1, 3, 1e-3)
"""The fast one is at its best after epoch 4, the others after the last."""


def rungs(folder: Path, task: Task, *entries: Entry, patience: int | None) -> Iterator[dict[int, Outcome]]:
    """What a worker says of each trial at each rung, after 2, 4 and 8 epochs."""
    worker = Worker(Bench(study=1, task=task, backbone=str(folder), dtype="fp32"))
    bracket = Bracket(
        number=0,
        entries=entries,
        rungs=(2, 4, EPOCHS),
        metric="accuracy",
        order_seed=0,
        patience=patience,
    )
    for rung in worker.perform(bracket):
        assert isinstance(rung, Rung)
        yield {outcome.number: outcome for outcome in rung.outcomes}


def test_who_stopped_is_complete_with_its_best_epoch_and_a_message_that_says_so(
    tiny_folder: Path, task: Task
) -> None:
    first, second, last = rungs(tiny_folder, task, SLOW, FAST, STEADY, patience=2)
    assert {outcome.state for outcome in (*first.values(), *second.values())} == {State.RUNNING}
    assert {outcome.state for outcome in last.values()} == {State.COMPLETE}
    fast = last[2]
    assert fast.message == "early stopping: trained for 6 epochs, scored as it was after 4"
    assert fast.report is not None and fast.report.epochs == 6
    assert fast.validation_logits is not None
    assert fast.report.metrics == task.metrics(task.validation, fast.validation_logits)
    assert {last[number].message for number in (0, 1)} == {""}


def test_who_stopped_keeps_its_standing_and_may_be_cut(tiny_folder: Path, task: Task) -> None:
    # better after epoch 1 (accuracy .75) than after epoch 2 (.21), when it stops
    falling = entry(5, 3, 2e-2, focal=5.0)
    ahead = [entry(3, 5, 1e-2), entry(4, 6, 1.4e-2)]
    first, *_, last = rungs(tiny_folder, task, falling, *ahead, SLOW, patience=1)
    assert {n: outcome.state for n, outcome in first.items()} == {
        **dict.fromkeys((3, 4, 5), State.RUNNING),
        0: State.PRUNED,
    }
    assert last[5].state is State.COMPLETE
    first, *_ = rungs(tiny_folder, task, falling, *ahead, FAST, patience=1)
    cut = first[5]
    assert cut.state is State.PRUNED and cut.report is not None
    assert cut.report.metrics["accuracy"] == 0.75
    assert cut.message == "early stopping: trained for 2 epochs, scored as it was after 1"
    assert {outcome.state for n, outcome in first.items() if n != 5} == {State.RUNNING}


def test_without_patience_nothing_is_scored_more_often(
    tiny_folder: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = []
    plain = trainers.train.logits_of
    monkeypatch.setattr(
        trainers.train, "logits_of", lambda *given, **named: scored.append(1) or plain(*given, **named)
    )
    list(rungs(tiny_folder, task, SLOW, FAST, STEADY, patience=None))
    assert len(scored) == 3  # one for each rung
    scored.clear()
    list(rungs(tiny_folder, task, SLOW, FAST, STEADY, patience=2))
    assert len(scored) == EPOCHS + 1  # one for each epoch, and one of all at their best


def test_a_study_with_patience_writes_down_what_stopped(tiny_folder: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv", rows=60)
    spec = StudySpec(
        train=DataFile(name="rows.csv"),
        backbone=str(tiny_folder),
        methods=("lora", "bitfit"),
        trials=4,
        epochs=6,
        seeds=1,
        finalists=2,
        patience=1,
        folds=1,
    )
    task = read(DataFiles(train=rows), spec)
    database, files = open_database(f"sqlite:///{tmp_path / 'study.db'}"), Files(tmp_path / "files")
    study_id = database.create_study("study", spec.to_json(), task.summary(), "here").id
    cost = costs_on(spec.backbone, task.outputs)
    search = Search(database, files, study_id, task, space_for(spec, task)[0], cost, Clock(None))
    LocalRunner().run(search, Bench(study=study_id, task=task, backbone=spec.backbone, dtype="fp32"))

    trials = database.study(study_id).trials
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    assert {trial.repeat_of is None for trial in complete} == {True, False}
    assert any(trial.epochs < 6 for trial in complete)
    for trial in complete:
        assert trial.predictions_file is not None
        logits = load_arrays(files.path(trial.predictions_file).read_bytes())["validation"]
        assert trial.reports[-1].metrics == pytest.approx(task.metrics(task.validation, logits))
        if trial.epochs < 6:
            assert trial.message.startswith(f"early stopping: trained for {trial.epochs:g} epochs, scored")
    stopped = next(trial for trial in complete if trial.repeat_of is not None and trial.message)
    facts = module_to_export(database.study(study_id), files, stopped.repeat_of).facts
    assert facts["early_stopping"].startswith("trained for ")
    searched = [trial for trial in trials if trial.repeat_of is None]
    best = choose_finalists(searched, task.metric, 1)[0]
    top = max(t.reports[-1].metrics[task.metric] for t in searched if t.state is State.COMPLETE)
    assert best.reports[-1].metrics[task.metric] == top, "those that stopped early are not behind"


def test_a_request_without_an_epoch_of_patience_is_refused_and_old_ones_have_none() -> None:
    with pytest.raises(RequestError, match="patience is 0; it must be at least 1 epoch"):
        StudySpec(train=DataFile(name="rows.csv"), backbone="tiny", patience=0)
    old = StudySpec(train=DataFile(name="rows.csv"), backbone="tiny").to_json()
    del old["patience"]
    assert StudySpec.from_json(old).patience is None
