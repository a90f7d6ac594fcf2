"""The SQL store: every method of `Database` is one transaction."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, final

from sqlalchemy import URL, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from storage import choice, files_in_use, leases, reading, trials, writing
from storage.engines import for_reading, for_writing, open_engine, storage_error
from storage.records import Baseline, Export, Report, Request, State, Study, Trial
from storage.schema import is_newest
from storage.urls import database_url, shown


def open_database(url: str) -> Database:
    """The database at the URL, made or brought to the newest schema first.

    Raises:
        StorageError: if it cannot be opened; the message never shows a password.
    """
    parsed = database_url(url)
    try:
        if not is_newest(parsed):
            import_module("storage.migrating").migrate(parsed)  # loads Alembic, which takes a while
    except DBAPIError as error:
        raise storage_error(parsed, error) from None
    return Database(parsed)


@final
class Database:
    """Studies in SQLite or PostgreSQL; threads and processes may share it, each process opens its own.

    Every method raises StorageError when the database refuses (server gone, disk full).
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine = open_engine(url)
        self.close = weakref.finalize(self, self._engine.dispose)
        """Give all connections back; happens by itself when the database is forgotten."""

    def __repr__(self) -> str:
        return f"<Database {shown(self._url)}>"

    def create_study(
        self, name: str, spec: Mapping[str, Any], task: Mapping[str, Any], worker: str | None = None
    ) -> Study:
        """A new study: WAITING for any worker, or RUNNING when `worker` has it from the start.

        Raises:
            StorageError: if a study of this name exists, or it is no name.
        """
        with self._write() as session:
            return reading.study(session, writing.create_study(session, name, spec, task, worker))

    def find_study(self, name_or_id: str) -> Study:
        """The study of this name, else of this id; StorageError lists others when there is none."""
        with self._read() as session:
            return reading.find_study(session, name_or_id)

    def study(self, study_id: int) -> Study:
        """The study with its trials, reports, baselines and exports, all as of one moment."""
        with self._read() as session:
            return reading.study(session, study_id)

    def studies(self) -> list[Study]:
        """All studies, newest first, without trials, baselines and exports."""
        with self._read() as session:
            return reading.studies(session)

    def trial_counts(self) -> dict[int, dict[State, int]]:
        """Study id -> state -> number of trials, for a list of studies; only what is there has a key."""
        with self._read() as session:
            return reading.trial_counts(session)

    def add_trials(self, study_id: int, new: Sequence[Trial]) -> None:
        """Add trials as they are; StorageError if a number is taken."""
        with self._write() as session:
            trials.add_trials(session, study_id, new)

    def start_trials(self, study_id: int, numbers: Iterable[int], bracket: int) -> None:
        """Mark trials as RUNNING in a bracket; StorageError if one is unknown or finished."""
        with self._write() as session:
            trials.start_trials(session, study_id, numbers, bracket)

    def record_rung(
        self,
        study_id: int,
        reports: Mapping[int, Report],
        states: Mapping[int, State],
        messages: Mapping[int, str] | None = None,
        latencies: Mapping[int, Mapping[str, Any]] | None = None,
        found: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        """Keep one rung of a bracket: trial number -> report, new state, message, latency; all or nothing.

        `found` are columns such as `module_file` and `checkpoint_file`; a checkpoint of an earlier rung is
        forgotten.

        Raises:
            StorageError: if a trial is unknown, finished, or has a report of this rung.
        """
        with self._write() as session:
            trials.record_rung(
                session, study_id, reports, states, messages or {}, latencies or {}, found or {}
            )

    def finish_trial(
        self,
        study_id: int,
        number: int,
        state: State,
        message: str | None = None,
        test: Mapping[str, float] | None = None,
        module_file: str | None = None,
        predictions_file: str | None = None,
        trainable_parameters: int | None = None,
        stored_bytes: int | None = None,
    ) -> None:
        """Finish a trial as COMPLETE, PRUNED or FAIL; what is None stays as it was.

        Raises:
            StorageError: if the trial is unknown or finished: a finished trial never changes.
        """
        found = {
            "message": message,
            "test": None if test is None else writing.numbers(test),
            "module_file": module_file,
            "predictions_file": predictions_file,
            "trainable_parameters": trainable_parameters,
            "stored_bytes": stored_bytes,
        }
        with self._write() as session:
            trials.finish_trial(session, study_id, number, state, found)

    def fail_running_trials(self, study_id: int, message: str) -> list[int]:
        """Every WAITING or RUNNING trial becomes FAIL; returns their numbers."""
        with self._write() as session:
            return trials.end_trials(session, study_id, State.FAIL, message)

    def add_baseline(self, study_id: int, baseline: Baseline) -> None:
        """Keep one baseline; StorageError if the study has one of this name."""
        with self._write() as session:
            writing.add_baseline(session, study_id, baseline)

    def add_meta_features(self, study_id: int, features: Mapping[str, float]) -> None:
        """Keep more of what describes the study's task, beside what is known of it."""
        with self._write() as session:
            writing.add_meta_features(session, study_id, features)

    def add_run(self, study_id: int, run: Mapping[str, Any]) -> None:
        """Keep what asked for a study, or what runs it now, after those before."""
        with self._write() as session:
            writing.add_run(session, study_id, run)

    def files_in_use(self, hashes: Iterable[str]) -> set[str]:
        """Those of the content hashes that any row names: files that must stay."""
        with self._read() as session:
            return files_in_use.named(session, hashes)

    def set_recommendation(self, study_id: int, recommendation: Mapping[str, Any]) -> None:
        """Keep the study's recommendation in place of an earlier one."""
        with self._write() as session:
            writing.set_recommendation(session, study_id, recommendation)

    def open_test(
        self,
        study_id: int,
        recommendation: Mapping[str, Any],
        trials: Mapping[int, Mapping[str, float]],
        baselines: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Keep the recommendation with the moment, and the test scores of repeats and baselines.

        Raises:
            StorageError: if the study has a recommendation: the test split is opened once.
        """
        with self._write() as session:
            choice.open_test(session, study_id, recommendation, trials, baselines)

    def add_export(self, study_id: int, export: Export) -> None:
        """Note a released export."""
        with self._write() as session:
            writing.add_export(session, study_id, export)

    def set_study_state(
        self, study_id: int, state: State, message: str | None = None, seconds: float | None = None
    ) -> None:
        """Set the state and the times that follow from it; None leaves the rest as it is."""
        with self._write() as session:
            writing.set_study_state(session, study_id, state, message, seconds)

    def claim_study(self, worker: str, lease_seconds: float = 30.0) -> Study | None:
        """Take the oldest study that waits, or whose worker was silent for longer than the lease.

        None when there is none. A study taken over still has the RUNNING trials of its last worker.
        """
        with self._write() as session:
            study_id = leases.claim_study(session, worker, lease_seconds)
            return None if study_id is None else reading.study(session, study_id)

    def claim(
        self, study_id: int, worker: str, lease_seconds: float = 30.0, dead: str | None = None
    ) -> Study | None:
        """Take this study if it waits, even paused, or if its worker is silent or the one named `dead`.

        None where it is finished, or run by somebody else. A request that it had is forgotten.
        """
        with self._write() as session:
            taken = leases.claim(session, study_id, worker, lease_seconds, dead)
            return reading.study(session, study_id) if taken else None

    def ask(self, study_id: int, request: Request | None) -> None:
        """Set what a study that is not finished is asked to do; None takes an earlier request back."""
        with self._write() as session:
            leases.ask(session, study_id, request)

    def request(self, study_id: int) -> Request | None:
        """What a study is asked to do; cheap enough to be looked at every second."""
        with self._read() as session:
            return leases.request(session, study_id)

    def rest(self, study_id: int, message: str, *, paused: bool) -> None:
        """Let a study wait: for any worker, or paused until it is claimed by name.

        Its trials in training wait with it and keep their checkpoints. A finished study stays as it is.
        """
        with self._write() as session:
            if leases.rest(session, study_id, message, paused=paused):
                trials.rest_trials(session, study_id)

    def break_off(self, study_id: int, message: str) -> None:
        """End a study as FAIL; its unfinished trials wait, in case it is reopened."""
        with self._write() as session:
            trials.rest_trials(session, study_id)
            writing.set_study_state(session, study_id, State.FAIL, message, None)

    def reopen(self, study_id: int, message: str) -> bool:
        """Let a study that broke off wait, paused; False where no trial of it is left to be trained."""
        with self._write() as session:
            return leases.reopen(session, study_id, message)

    def cancel(self, study_id: int, message: str) -> None:
        """End a study and its unfinished trials for good; a finished one stays as it is."""
        with self._write() as session:
            if leases.is_open(session, study_id):
                trials.end_trials(session, study_id, State.PRUNED, message)
                writing.set_study_state(session, study_id, State.FAIL, message, None)

    def heartbeat(self, study_id: int, worker: str) -> bool:
        """Renew the worker's lease; False when the study is no longer this worker's."""
        with self._write() as session:
            return leases.heartbeat(session, study_id, worker)

    def release(self, study_id: int, worker: str) -> bool:
        """Put the study back into the queue as WAITING; False when it is no longer this worker's."""
        with self._write() as session:
            return leases.release(session, study_id, worker)

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine) as session, session.begin():
                yield session
        except (IntegrityError, DataError, ProgrammingError):
            # Mistakes of this program, not of the database or the person: not to be hidden.
            raise
        except DBAPIError as error:
            raise storage_error(self._url, error) from error

    def _read(self) -> AbstractContextManager[Session]:
        return self._session(for_reading(self._engine))

    def _write(self) -> AbstractContextManager[Session]:
        return self._session(for_writing(self._engine))
