"""Many workers share one queue: nothing is lost, nothing is run twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database import Database
from storage.records import Request, State, Trial
from storage.tables import StudyRow

CLAIM_ALL = """
import os, sys
from storage.database import open_database
database = open_database(sys.argv[1])
print("ready", flush=True)
input()
while study := database.claim_study(str(os.getpid())):
    assert database.heartbeat(study.id, str(os.getpid()))
    print(study.id)
"""


def fall_silent(database: Database, study_id: int) -> None:
    """Make the last heartbeat of a study an hour old."""
    past = datetime.now(UTC) - timedelta(hours=1)
    with Session(database._engine) as session, session.begin():
        session.execute(update(StudyRow).where(StudyRow.id == study_id).values(heartbeat=past))


def test_eight_processes_claim_every_study_exactly_once(
    url: str, database: Database, race: Callable[..., list[str]]
) -> None:
    ids = [database.create_study(f"study {number}", {}, {}).id for number in range(40)]
    abandoned = database.create_study("abandoned", {}, {}, worker="dead")
    fall_silent(database, abandoned.id)
    outputs = race(CLAIM_ALL, 8, url)
    assert sorted(int(line) for output in outputs for line in output.split()) == [*ids, abandoned.id]
    assert {study.state for study in database.studies()} == {State.RUNNING}


def test_oldest_study_is_claimed_first_and_only_while_it_waits(database: Database) -> None:
    first, second, done = (database.create_study(name, {}, {}) for name in ("first", "second", "done"))
    database.set_study_state(done.id, State.COMPLETE)
    claims = [database.claim_study("me") for _ in range(3)]
    assert [study and study.id for study in claims] == [first.id, second.id, None]
    assert claims[0] is not None and claims[0].state == State.RUNNING and claims[0].started is not None


def test_study_of_a_silent_worker_is_taken_over_and_the_old_worker_learns_it(database: Database) -> None:
    study = database.create_study("direct", {}, {}, worker="old")
    assert study.state == State.RUNNING
    assert database.claim_study("new") is None
    fall_silent(database, study.id)
    assert database.heartbeat(study.id, "old")
    assert database.claim_study("new") is None
    fall_silent(database, study.id)
    taken = database.claim_study("new")
    assert taken == replace(study, worker="new")
    assert not database.heartbeat(study.id, "old")
    assert not database.release(study.id, "old")
    assert database.heartbeat(study.id, "new")


def test_lease_ends_after_the_seconds_the_claimer_allows(database: Database) -> None:
    study = database.create_study("short", {}, {}, worker="old")
    time.sleep(0.2)
    assert database.claim_study("new", lease_seconds=60) is None
    taken = database.claim_study("new", lease_seconds=0.1)
    assert taken is not None and taken.id == study.id


def test_released_study_waits_again_for_anybody(database: Database) -> None:
    study = database.create_study("handed on", {}, {}, worker="first")
    assert database.release(study.id, "first")
    assert database.study(study.id).state == State.WAITING
    assert not database.heartbeat(study.id, "first")
    taken = database.claim_study("second")
    assert taken is not None and taken.id == study.id and taken.started == study.started


def test_finished_study_is_nobodys(database: Database) -> None:
    study = database.create_study("finished", {}, {}, worker="me")
    database.set_study_state(study.id, State.FAIL, message="no memory")
    assert not database.heartbeat(study.id, "me")
    assert not database.release(study.id, "me")
    assert database.claim_study("other", lease_seconds=0) is None
    assert database.study(study.id).finished is not None


def test_running_study_without_a_worker_is_left_alone(database: Database) -> None:
    study = database.create_study("by hand", {}, {})
    database.set_study_state(study.id, State.RUNNING)
    assert database.claim_study("worker", lease_seconds=0) is None


def test_a_paused_study_is_claimed_by_name_only(database: Database) -> None:
    study = database.create_study("paused", {}, {}, worker="first")
    database.add_trials(
        study.id,
        [
            Trial(number=0, method="lora", config={}, seed=0, state=State.RUNNING, bracket=0),
            Trial(number=1, method="lora", config={}, seed=0, state=State.PRUNED, bracket=0),
        ],
    )
    database.rest(study.id, "paused", paused=True)
    found = database.study(study.id)
    assert (found.state, found.request, found.worker) == (State.WAITING, Request.PAUSE, None)
    assert [trial.state for trial in found.trials] == [State.WAITING, State.PRUNED]
    assert database.claim_study("daemon", lease_seconds=0) is None
    taken = database.claim(study.id, "second")
    assert taken is not None and (taken.worker, taken.request) == ("second", None)
    database.rest(study.id, "handed on", paused=False)
    assert database.claim_study("daemon") is not None


def test_a_study_is_claimed_from_the_dead_but_not_from_the_living(database: Database) -> None:
    study = database.create_study("direct", {}, {}, worker="old")
    assert database.claim(study.id, "new") is None
    assert database.claim(study.id, "new", dead="another") is None
    taken = database.claim(study.id, "new", dead="old")
    assert taken is not None and taken.worker == "new"
    fall_silent(database, study.id)
    assert database.claim(study.id, "newest") is not None
    database.set_study_state(study.id, State.COMPLETE)
    assert database.claim(study.id, "late", lease_seconds=0) is None


def test_requests_reach_who_runs_a_study_and_end_with_it(database: Database) -> None:
    study = database.create_study("asked", {}, {}, worker="me")
    assert database.request(study.id) is None
    database.ask(study.id, Request.CANCEL)
    assert database.request(study.id) is Request.CANCEL
    database.ask(study.id, None)
    assert database.request(study.id) is None
    database.ask(study.id, Request.CANCEL)
    database.cancel(study.id, "cancelled")
    found = database.study(study.id)
    assert (found.state, found.message, found.request, found.worker) == (
        State.FAIL,
        "cancelled",
        None,
        None,
    )
    for late in (lambda: database.ask(study.id, Request.PAUSE), lambda: database.cancel(study.id, "again")):
        late()
        assert database.study(study.id) == found
