"""A small study through a runner, watched while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from commands import write_rows

from selector.budget import Clock
from selector.data import DataFiles, read
from selector.jobs import Bench, Bracket, Job, JobSource, Result, Runner, Wait
from selector.search import Search
from selector.service import space_for
from selector.study import DataFile, StudySpec
from selector.study_log import study_log
from storage.database import open_database
from storage.files import Files
from storage.records import Study
from trainers.backbone import outline
from trainers.cost import Cost, cost_of
from trainers.method import MethodConfig


@dataclass
class Spy:
    """Hands everything on, and looks on, or makes trouble, when a result has been written down."""

    source: JobSource
    look: Callable[[Spy, Job, Result], None] = lambda spy, job, result: None
    running: set[int] = field(default_factory=set)
    """Brackets that are in training."""
    begun: dict[int, list[int]] = field(default_factory=dict)
    """Bracket -> the rungs that were behind it, each time that it was given out."""
    failures: dict[int, list[str | None]] = field(default_factory=dict)
    """Bracket -> why it broke off, each time that it was given out."""

    @property
    def stopping(self) -> bool:
        return self.source.stopping

    def next_job(self, slots: int) -> Job | Wait | None:
        job = self.source.next_job(slots)
        if isinstance(job, Bracket):
            self.running.add(job.number)
            self.begun.setdefault(job.number, []).append(job.begun)
        return job

    def record(self, job: Job, result: Result) -> None:
        self.source.record(job, result)
        self.look(self, job, result)

    def ended(self, job: Job, failure: str | None = None, *, lost: bool = False) -> None:
        if isinstance(job, Bracket):
            self.running.remove(job.number)
            self.failures.setdefault(job.number, []).append(failure)
        self.source.ended(job, failure, lost=lost)


def run_study(
    runner: Runner,
    folder: Path,
    backbone: Path,
    look: Callable[[Spy, Job, Result], None] = lambda spy, job, result: None,
    **options: int,
) -> tuple[Study, Spy]:
    """In fp32, so that equal seeds give equal numbers; its log is `folder`/study.log."""
    folder.mkdir()
    rows = write_rows(folder / "rows.csv", rows=60)
    spec = StudySpec(
        train=DataFile(name="rows.csv"),
        backbone=str(backbone),
        methods=("lora", "bitfit"),
        full_finetuning=False,  # the stories count brackets
        **{"trials": 4, "epochs": 4, "seeds": 1, "finalists": 2, "bracket_size": 8, "folds": 1, **options},
    )
    task = read(DataFiles(train=rows), spec)
    sketch = outline(spec.backbone)

    def cost(config: MethodConfig) -> Cost:
        return cost_of(config, sketch.sites, len(task.labels), sketch.hidden_size)

    database = open_database(f"sqlite:///{folder / 'study.db'}")
    study_id = database.create_study("study", spec.to_json(), task.summary(), "here").id
    files = Files(folder / "files")
    search = Search(database, files, study_id, task, space_for(spec)[0], cost, Clock(None))
    spy = Spy(search, look)
    with study_log(folder / "study.log"):
        runner.run(spy, Bench(study=study_id, task=task, backbone=spec.backbone, dtype="fp32"))
    return database.study(study_id), spy
