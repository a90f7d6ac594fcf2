"""One run of a study: search, choose, open the test split, export; or leave it for another run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from selector.budget import Clock
from selector.control import cancel, paused_message
from selector.data import read_kept
from selector.decision import decide, test_scores
from selector.environment import leave_loopback
from selector.fitting import Fitting, fitting_of
from selector.full_finetuning import proposed
from selector.jobs import Bench, Runner
from selector.objectives import front_of
from selector.placement import ClusterError
from selector.provenance import provenance
from selector.recording import forget_checkpoints
from selector.runners.local import LocalRunner
from selector.search import Search, SearchError
from selector.searched_space import space_for
from selector.stopping import Stop
from selector.study import StudySpec
from storage.database import Database
from storage.files import Files
from storage.records import Request, State, Study
from trainers.task import Task


class Run:
    """A study in the hands of this process: begun, or taken up where another run left it."""

    def __init__(
        self,
        database: Database,
        files: Files,
        study_id: int,
        worker: str | None,
        stop: Stop,
        export: Callable[[Study, Task], None],
    ) -> None:
        """`worker` holds the study's lease, if it is this process; `export` releases what is chosen."""
        self._database = database
        self._files = files
        self._id = study_id
        self._worker = worker
        self._stop = stop
        self._export = export
        study = database.study(study_id)
        self._spec = StudySpec.from_json(study.spec)
        self._clock = Clock(self._spec.budget_seconds, started=time.time() - study.seconds)

    def to_the_end(self, task: Task | None) -> Study:
        """The study as it is then: complete, or left because it was asked for.

        Raises:
            SearchError: if nothing could be trained.
            KeyboardInterrupt: when it is to be left without waiting for the rung in flight.
        """
        self._database.add_run(self._id, provenance())
        try:
            if not self._complete(read_kept(self._files, self._spec) if task is None else task):
                self._leave()
        except KeyboardInterrupt:
            self._leave()
            raise
        except Exception as error:
            if self._is_ours():
                self._break_off(error)
            raise
        return self._database.study(self._id)

    def _complete(self, task: Task) -> bool:
        """Whether the study is complete; else it is to be left."""
        note = ""
        if self._database.study(self._id).recommendation is None:
            fitted = fitting_of(self._spec, space_for(self._spec, task)[0], task.outputs)
            search = self._searched(task, fitted)
            if search.stopping:
                return False
            self._choose(search, task, fitted)
            note = search.note
        # Else the test split was seen: nothing more is trained, and the choice stands.
        self._tell("exporting the recommended module")
        self._export(self._database.study(self._id), task)
        self._database.set_study_state(self._id, State.COMPLETE, message=note, seconds=self._clock.seconds)
        return True

    def _searched(self, task: Task, fitted: Fitting) -> Search:
        """Train what is still to be trained."""
        self._tell("starting the workers")
        search = Search(
            self._database,
            self._files,
            self._id,
            task,
            fitted.space,
            fitted.cost,
            self._clock,
            fitted.limits,
            fitted.fit,
            fitted.no_full,
            self._stop,
        )
        runner_of(self._spec).run(search, _bench(self._id, task, self._spec))
        return search

    def _choose(self, search: Search, task: Task, fitted: Fitting) -> None:
        """Recommend, and only then open the test split."""
        self._tell("comparing the finalists")
        study, spec = self._database.study(self._id), self._spec
        choice = decide(study, self._files, task, fitted.space, search.left_out, fitted.limits).to_json()
        if len(spec.objectives) > 1:
            searched = tuple(trial for trial in study.trials if proposed(trial, spec.methods))
            choice["front"] = front_of(replace(study, trials=searched), spec.objectives).to_json()
        self._database.open_test(self._id, choice, *test_scores(study, self._files, task))

    def _tell(self, message: str) -> None:
        self._database.set_study_state(self._id, State.RUNNING, message=message, seconds=self._clock.seconds)

    # ------------------------------------------------------------------------ before the end

    def _is_ours(self) -> bool:
        return self._worker is None or self._database.heartbeat(self._id, self._worker)

    def _leave(self) -> None:
        """Keep the study for later, or end it if that was asked for."""
        if self._stop.taken or not self._is_ours():
            return
        if self._stop.request is Request.CANCEL:
            cancel(self._database, self._files, self._id)
        elif self._stop.request is Request.PAUSE or self._worker is not None:
            name = self._database.study(self._id).name
            self._database.rest(self._id, paused_message(name), paused=True)
        else:
            self._database.rest(self._id, "left by its worker, and waiting for another", paused=False)

    def _break_off(self, error: Exception) -> None:
        """Mark the study as failed; it can be taken up again unless trying again cannot help."""
        if isinstance(error, SearchError):
            before = self._database.study(self._id)
            self._database.fail_running_trials(self._id, _why(error))
            forget_checkpoints(self._database, self._files, before.trials)
        self._database.break_off(self._id, _why(error))


def _bench(study: int, task: Task, spec: StudySpec) -> Bench:
    return Bench(
        study=study,
        task=task,
        backbone=spec.backbone,
        dtype=spec.dtype,
        truncation=spec.truncation,
        head=spec.head,
    )


def _why(error: Exception) -> str:
    shown = (
        str(error) if isinstance(error, (SearchError, ClusterError)) else f"{type(error).__name__}: {error}"
    )
    return shown.splitlines()[0]


def runner_of(spec: StudySpec) -> Runner:
    """What runs a study; Ray is imported only when it is used."""
    if spec.runner == "local":
        return LocalRunner()
    if spec.address is not None:
        leave_loopback()
    from selector.runners.ray import RayRunner  # importing Ray takes over a second

    return RayRunner(spec.wanted, spec.address)
