"""From records to rows: studies and what is found out about them.

Each function takes part in the caller's transaction, which makes it atomic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.columns import UTCDateTime
from storage.errors import StorageError
from storage.reading import unknown_study
from storage.records import Baseline, Export, State
from storage.tables import BaselineRow, ExportRow, StudyRow

FINISHED = frozenset({State.COMPLETE, State.PRUNED, State.FAIL})
LONGEST_NAME = 200
"""Characters; a name is shown in one line of a table."""


def now(session: Session) -> datetime:
    """The one clock of a database: its server's, since the clocks of several machines differ."""
    if session.get_bind().dialect.name == "postgresql":
        return session.scalars(select(func.clock_timestamp(type_=UTCDateTime()))).one()
    return datetime.now(UTC)


def create_study(
    session: Session, name: str, spec: Mapping[str, Any], task: Mapping[str, Any], worker: str | None
) -> int:
    """Id of the new study: WAITING in the queue, or RUNNING when a worker has it from the start."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise StorageError(
            f"{name!r} cannot name a study; a name is one line of 1 to {LONGEST_NAME} visible characters"
        )
    moment = now(session)
    held = moment if worker is not None else None
    row = StudyRow(
        name=name,
        state=State.WAITING if worker is None else State.RUNNING,
        spec=dict(spec),
        task=dict(task),
        created=moment,
        started=held,
        worker=worker,
        heartbeat=held,
    )
    session.add(row)
    with refused(f"a study named {name!r} exists already; choose another name"):
        session.flush()
    return row.id


def set_study_state(
    session: Session, study_id: int, state: State, message: str | None, seconds: float | None
) -> None:
    """Set the state and the times that follow from it; a finished study is given back by its worker."""
    row = study_row(session, study_id)
    row.state = state
    if message is not None:
        row.message = message
    if seconds is not None:
        row.seconds = seconds
    if state == State.RUNNING and row.started is None:
        row.started = now(session)
    row.finished = now(session) if state in FINISHED else None
    if state in FINISHED:
        row.worker = row.heartbeat = row.request = None


def add_meta_features(session: Session, study_id: int, features: Mapping[str, float]) -> None:
    """Keep more of what describes the task; a feature that is known already is replaced."""
    row = study_row(session, study_id)
    known = row.task.get("meta_features", {})
    row.task = {**row.task, "meta_features": {**known, **numbers(features)}}


def add_run(session: Session, study_id: int, run: Mapping[str, Any]) -> None:
    """Keep one more of the runs of a study."""
    row = study_row(session, study_id)
    row.runs = [*(row.runs or ()), dict(run)]


def set_recommendation(session: Session, study_id: int, recommendation: Mapping[str, Any]) -> None:
    """Keep the study's recommendation in place of an earlier one."""
    study_row(session, study_id).recommendation = dict(recommendation)


def add_baseline(session: Session, study_id: int, baseline: Baseline) -> None:
    """Keep one baseline; a study has each once."""
    row = BaselineRow(
        study_id=study_row(session, study_id).id,
        name=baseline.name,
        validation=numbers(baseline.validation),
        test=numbers(baseline.test),
        config=dict(baseline.config),
        trainable_parameters=baseline.trainable_parameters,
        stored_bytes=baseline.stored_bytes,
        seconds=baseline.seconds,
        module_file=baseline.module_file,
        predictions_file=baseline.predictions_file,
        latency=None if baseline.latency is None else dict(baseline.latency),
    )
    session.add(row)
    with refused(f"study {study_id} already has the baseline {baseline.name!r}; add each once"):
        session.flush()


def add_export(session: Session, study_id: int, export: Export) -> None:
    """Note a released export."""
    row = ExportRow(
        study_id=study_row(session, study_id).id,
        trial=export.trial,
        baseline=export.baseline,
        format=export.format,
        folder=export.folder,
        difference=export.difference,
        created=export.created,
    )
    session.add(row)


def study_row(session: Session, study_id: int) -> StudyRow:
    """The study's row, locked until the transaction ends.

    Raises:
        StorageError: if there is none.
    """
    # key_share: rows that refer to the study may be added meanwhile
    row = session.get(StudyRow, study_id, with_for_update={"key_share": True})
    if row is None:
        raise unknown_study(session, str(study_id))
    return row


def numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as plain floats: JSON knows none of numpy's."""
    return {name: float(value) for name, value in metrics.items()}


@contextmanager
def refused(message: str) -> Iterator[None]:
    """Say `message` when the database refuses a row that exists already."""
    try:
        yield
    except IntegrityError:
        raise StorageError(message) from None
