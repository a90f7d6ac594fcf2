"""Our search in the place where Ray Tune asks for configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from selector.jobs import Job, JobSource, Wait, title
from selector.runners.mailbox import Parcel
from selector.stack_group import one_line
from selector.study_log import LOG, pass_on

LOST = "the worker ended without finishing its job"


def told(error: Exception) -> str:
    """An error in one line, without the way that it came to us."""
    return one_line(error.cause if isinstance(error, RayTaskError) else error)


class Attendant(FIFOScheduler):
    """Ends running trials when the study is to be left or cannot go on, and sees how others broke off.

    Tune asks and tells its scheduler, and before the searcher.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stopping = stopping
        self.errors: dict[str, Exception] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        return str(self.STOP if self._stopping() else self.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        if trial.pickled_error_file is not None:
            self.errors[trial.trial_id] = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobSearcher(Searcher):
    """Hands out jobs as configurations, and takes results from the mailbox to the source."""

    def __init__(self, source: JobSource, mailbox: Any, slots: int) -> None:
        super().__init__(metric="results", mode="max")
        self._source = source
        self._mailbox = mailbox
        self._slots = slots
        self.attendant = Attendant(lambda: self.error is not None or source.stopping)
        self.running: dict[str, Job] = {}
        self.error: Exception | None = None
        """Why the study cannot go on; Tune would only log it."""

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None:
            return str(Searcher.FINISHED)
        with self._kept():
            job = self._source.next_job(self._slots)
            if isinstance(job, Wait):
                return None
            if job is not None:
                ray.get(self._mailbox.assign.remote(trial_id, job))
                self.running[trial_id] = job
                return {"job": trial_id}
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._record(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        parcel = self._record(trial_id)
        job = self.running.pop(trial_id, None)
        if job is None or self.error is not None:
            return  # what was recorded of it stands, and a later run of the study goes on there
        if error and parcel.failure is None:
            self._lose(job, self.attendant.errors.pop(trial_id, None))
            return
        with self._kept():
            self._source.ended(job, parcel.failure)

    def lose_all(self, error: Exception) -> None:
        """All workers are gone with one of them."""
        for key in list(self.running):
            self._lose(self.running.pop(key), error)

    def _lose(self, job: Job, error: Exception | None) -> None:
        """Of a job whose worker could not tell: it never began, or its process or node is gone."""
        lost = not isinstance(error, RayTaskError)
        failure = LOST if error is None else f"{LOST} ({type(error).__name__})" if lost else told(error)
        LOG.error("%s: %s", title(job), failure)
        with self._kept():
            self._source.ended(job, failure, lost=lost)

    def _record(self, trial_id: str) -> Parcel:
        job = self.running.get(trial_id)
        if job is None:
            return Parcel()
        parcel: Parcel = Parcel()
        with self._kept():
            parcel = ray.get(self._mailbox.collect.remote(trial_id))
            for record in parcel.records:
                pass_on(record)
            for result in parcel.results:
                self._source.record(job, result)
        return parcel

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep the first error, with which the run ends."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: our own store is what a study resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
