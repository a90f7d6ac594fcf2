"""Carries jobs to workers and results back: arrays and modules do not belong in Tune's own records."""

from __future__ import annotations

from selector.jobs import Job, Result


class Mailbox:
    """A Ray actor; light, because it imports no torch."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._results: dict[str, list[Result]] = {}
        self._failures: dict[str, str] = {}

    def assign(self, key: str, job: Job) -> None:
        """Leave a job for the worker that will ask for it."""
        self._jobs[key] = job

    def job(self, key: str) -> Job:
        """The job; handed out once."""
        return self._jobs.pop(key)

    def deliver(self, key: str, result: Result) -> None:
        """Leave a result for the driver."""
        self._results.setdefault(key, []).append(result)

    def collect(self, key: str) -> list[Result]:
        """The results that came since the last call."""
        return self._results.pop(key, [])

    def explain(self, key: str, failure: str) -> None:
        """Leave the reason why a job broke off."""
        self._failures[key] = failure

    def failure(self, key: str) -> str | None:
        """Why a job broke off; None when its worker could not tell, because it was killed."""
        return self._failures.pop(key, None)
