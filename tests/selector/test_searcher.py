"""Between Ray Tune and our search, without a Ray: what becomes of an error."""

from __future__ import annotations

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from selector.jobs import Baselines, Job, Result, Wait
from selector.runners.mailbox import Parcel
from selector.runners.searcher import JobSearcher
from selector.study import SearchError


class Exhausted:
    """A source that cannot go on."""

    stopping = False

    def __init__(self) -> None:
        self.heard: list[Job] = []
        """Jobs that were said to have ended."""

    def next_job(self, slots: int) -> Job | Wait | None:
        raise SearchError("the budget pays for no candidate")

    def record(self, job: Job, result: Result) -> None: ...

    def ended(self, job: Job, failure: str | None = None, *, lost: bool = False) -> None:
        self.heard.append(job)


def test_an_error_ends_the_jobs_that_run_with_their_next_result(monkeypatch: pytest.MonkeyPatch) -> None:
    source, running = Exhausted(), Baselines(seed=0)
    searcher = JobSearcher(source, mailbox=None, slots=2)
    monkeypatch.setattr(searcher, "_record", lambda trial_id: Parcel())
    searcher.running["first"] = running
    assert searcher.attendant.on_trial_result(None, None, {}) == TrialScheduler.CONTINUE
    assert searcher.suggest("second") == Searcher.FINISHED
    assert str(searcher.error) == "the budget pays for no candidate"
    assert searcher.attendant.on_trial_result(None, None, {}) == TrialScheduler.STOP
    searcher.on_trial_complete("first")
    # A bracket would be told as failed, and could not go on in a later run.
    assert not source.heard and not searcher.running
