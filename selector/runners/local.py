"""Run a study in this process, one job after another."""

from __future__ import annotations

from selector.jobs import Bench, JobSource, Wait
from selector.work import Worker


class LocalRunner:
    """The same path as on a cluster, without one."""

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source."""
        worker = Worker(bench)
        while (job := source.next_job(slots=1)) is not None:
            assert not isinstance(job, Wait), "nothing runs beside this loop that one could wait for"
            failure = None
            try:
                for result in worker.perform(job):
                    source.record(job, result)
            except (RuntimeError, ValueError, MemoryError) as error:
                failure = f"{type(error).__name__}: {error}".splitlines()[0]
            source.ended(job, failure)
