"""Our search in the place where Ray Tune asks for configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from selector.jobs import Job, JobSource, Wait, title
from selector.runners.mailbox import Parcel
from selector.stack_group import one_line
from selector.study_log import LOG, pass_on

LOST = "the worker ended without finishing its job"


def told(error: Exception) -> str:
    """An error in one line, without the way that it came to us."""
    return one_line(error.cause if isinstance(error, RayTaskError) else error)


def _how_it_ended(error: Exception | None) -> str:
    """Why a job broke off whose worker could not tell: it never began, or its process or node is gone."""
    if isinstance(error, RayTaskError):
        return told(error)
    return LOST if error is None else f"{LOST} ({type(error).__name__})"


class Witness(FIFOScheduler):
    """Sees how a trial broke off, which Tune tells its scheduler, and before the searcher."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.errors: dict[str, Exception] = {}

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        if trial.pickled_error_file is not None:
            self.errors[trial.trial_id] = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Leaving(Stopper):
    """Leaves a trial behind a result when the study is to be left; Tune asks at each result."""

    def __init__(self, source: JobSource) -> None:
        self._source = source

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return self._source.stopping

    def stop_all(self) -> bool:
        """Never at once: what is in flight is finished."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobSearcher(Searcher):
    """Hands out jobs as configurations, and takes results from the mailbox to the source."""

    def __init__(self, source: JobSource, mailbox: Any, slots: int) -> None:
        super().__init__(metric="results", mode="max")
        self._source = source
        self._mailbox = mailbox
        self._slots = slots
        self.witness = Witness()
        self.running: dict[str, Job] = {}
        self.error: Exception | None = None
        """What went wrong while recording; Tune would only log it."""

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
        if job is None:
            return
        failure, lost = parcel.failure, False
        if error and failure is None:
            found = self.witness.errors.pop(trial_id, None)
            failure, lost = _how_it_ended(found), not isinstance(found, RayTaskError)
            LOG.error("%s: %s", title(job), failure)
        with self._kept():
            self._source.ended(job, failure, lost=lost)

    def lose_all(self, error: Exception) -> None:
        """All workers are gone with one of them."""
        while self.running:
            job = self.running.pop(next(iter(self.running)))
            LOG.error("%s: %s", title(job), _how_it_ended(error))
            with self._kept():
                self._source.ended(job, _how_it_ended(error), lost=True)

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
