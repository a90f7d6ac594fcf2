"""Between Ray Tune and our search, without a Ray: what becomes of an error."""

from __future__ import annotations

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from selector.jobs import Job, Result, Wait
from selector.runners.searcher import JobSearcher
from selector.study import SearchError


class Exhausted:
    """A source that cannot go on."""

    stopping = False

    def next_job(self, slots: int) -> Job | Wait | None:
        raise SearchError("the budget pays for no candidate")

    def record(self, job: Job, result: Result) -> None: ...

    def ended(self, job: Job, failure: str | None = None, *, lost: bool = False) -> None: ...


def test_an_error_ends_the_jobs_that_run_with_their_next_result() -> None:
    searcher = JobSearcher(Exhausted(), mailbox=None, slots=2)
    assert searcher.attendant.on_trial_result(None, None, {}) == TrialScheduler.CONTINUE
    assert searcher.suggest("second") == Searcher.FINISHED
    assert str(searcher.error) == "the budget pays for no candidate"
    assert searcher.attendant.on_trial_result(None, None, {}) == TrialScheduler.STOP
