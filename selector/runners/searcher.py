"""Our search in the place where Ray Tune asks for configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.tune.search import Searcher

from selector.jobs import Job, JobSource, Wait, title
from selector.runners.mailbox import Parcel
from selector.study_log import LOG, pass_on

LOST = "the worker ended without finishing its job"


class JobSearcher(Searcher):
    """Hands out jobs as configurations, and takes results from the mailbox to the source."""

    def __init__(self, source: JobSource, mailbox: Any, slots: int, folder: Path) -> None:
        """`folder` is where Tune writes down how its trials failed."""
        super().__init__(metric="results", mode="max")
        self._source = source
        self._mailbox = mailbox
        self._slots = slots
        self._folder = folder
        self.running: dict[str, Job] = {}
        self.error: Exception | None = None
        """What went wrong while recording; Tune would only log it."""

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None:
            return str(Searcher.FINISHED)
        try:
            job = self._source.next_job(self._slots)
        except Exception as error:
            self.error = error
            return str(Searcher.FINISHED)
        if job is None:
            return str(Searcher.FINISHED)
        if isinstance(job, Wait):
            return None
        self.running[trial_id] = job
        ray.get(self._mailbox.assign.remote(trial_id, job))
        return {"job": trial_id}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._record(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        parcel = self._record(trial_id)
        job = self.running.pop(trial_id, None)
        if job is None:
            return
        if error and parcel.failure is None:
            self.lose(job, self._how_it_ended(trial_id))
        else:
            self._guard(lambda: self._source.ended(job, parcel.failure))

    def lose(self, job: Job, how: str) -> None:
        """A worker is gone, whatever it was that ended it."""
        LOG.error("%s: %s\n%s", title(job), LOST, how)
        self._guard(lambda: self._source.ended(job, LOST))

    def _how_it_ended(self, trial_id: str) -> str:
        told = [path.read_text(errors="replace") for path in self._folder.glob(f"**/*{trial_id}*/error.txt")]
        return "\n".join(told)

    def _record(self, trial_id: str) -> Parcel:
        job = self.running.get(trial_id)
        if job is None:
            return Parcel()
        parcel: Parcel = ray.get(self._mailbox.collect.remote(trial_id))
        for record in parcel.records:
            pass_on(record)
        for result in parcel.results:
            self._guard(lambda result=result: self._source.record(job, result))
        return parcel

    def _guard(self, action: Any) -> None:
        try:
            action()
        except Exception as error:
            self.error = self.error or error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: our own store is what a study resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
