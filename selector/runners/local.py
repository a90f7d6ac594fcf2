"""Run a study in this process, one job after another."""

from __future__ import annotations

from collections.abc import Iterator

from selector.jobs import Bench, Job, JobSource, Result, Wait, title
from selector.stack_group import one_line
from selector.study_log import LOG
from selector.work import Worker


class LocalRunner:
    """The same path as on a cluster, without one."""

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source, or those before it says to stop."""
        worker = Worker(bench)
        while (job := source.next_job(slots=1)) is not None:
            assert not isinstance(job, Wait), "nothing runs beside this loop that one could wait for"
            source.ended(job, _work_off(source, job, worker.perform(job)))


def _work_off(source: JobSource, job: Job, results: Iterator[Result]) -> str | None:
    """Record the results of a job; why it broke off, if it did."""
    while not source.stopping:
        try:
            result = next(results, None)
        except Exception as error:  # of the job; what `record` raises is ours and ends the study
            failure = one_line(error)
            LOG.exception("%s failed: %s", title(job), failure)
            return failure
        if result is None:
            return None
        source.record(job, result)
    return None
