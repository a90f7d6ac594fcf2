"""Run a study in this process, one job after another."""

from __future__ import annotations

from selector.jobs import Bench, JobSource, Wait, title
from selector.study_log import LOG
from selector.work import Worker, one_line


class LocalRunner:
    """The same path as on a cluster, without one."""

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source."""
        worker = Worker(bench)
        while (job := source.next_job(slots=1)) is not None:
            assert not isinstance(job, Wait), "nothing runs beside this loop that one could wait for"
            results, failure = worker.perform(job), None
            while True:
                try:
                    result = next(results, None)
                except Exception as error:  # of the job; what `record` raises is ours and ends the study
                    result, failure = None, one_line(error)
                    LOG.exception("%s failed: %s", title(job), failure)
                if result is None:
                    break
                source.record(job, result)
            source.ended(job, failure)
