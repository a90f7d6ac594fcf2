"""Carries jobs to workers and results back: arrays and modules do not belong in Tune's own records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import LogRecord

from selector.jobs import Job, Result


@dataclass
class Parcel:
    """What came of a job since the driver last looked."""

    results: list[Result] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
    """What was logged on the way."""
    failure: str | None = None
    """Why the job broke off, as far as its worker could tell."""


class Mailbox:
    """A Ray actor; light, because it imports no torch."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._parcels: dict[str, Parcel] = {}

    def assign(self, key: str, job: Job) -> None:
        """Leave a job for the worker that will ask for it."""
        self._jobs[key] = job

    def job(self, key: str) -> Job:
        """The job; handed out once."""
        return self._jobs.pop(key)

    def deliver(self, key: str, result: Result, records: Sequence[LogRecord]) -> None:
        """Leave a result for the driver."""
        parcel = self._parcels.setdefault(key, Parcel())
        parcel.results.append(result)
        parcel.records.extend(records)

    def explain(self, key: str, failure: str | None, records: Sequence[LogRecord]) -> None:
        """Leave what was logged after the last result, and the reason if the job broke off."""
        parcel = self._parcels.setdefault(key, Parcel())
        parcel.failure = failure
        parcel.records.extend(records)

    def collect(self, key: str) -> Parcel:
        """What came since the last call."""
        return self._parcels.pop(key, Parcel())
