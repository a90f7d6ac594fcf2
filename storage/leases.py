"""The queue of studies: a worker holds a study as long as its heartbeat is young."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from storage.records import Request, State
from storage.tables import StudyRow, TrialRow
from storage.writing import FINISHED, now, study_row


def claim_study(session: Session, worker: str, lease_seconds: float) -> int | None:
    """Id of the oldest study that waits, or whose worker fell silent; it is this worker's from now on.

    A paused study is left alone.
    One statement finds and takes the study, and rows that another worker is
    just taking are skipped: no two workers ever get the same study.
    """
    moment = now(session)
    silent = moment - timedelta(seconds=lease_seconds)
    waiting = and_(StudyRow.state == State.WAITING, StudyRow.request.is_(None))
    abandoned = and_(
        StudyRow.state == State.RUNNING, StudyRow.worker.is_not(None), StudyRow.heartbeat < silent
    )
    oldest = (
        select(StudyRow.id)
        .where(or_(waiting, abandoned))
        .order_by(StudyRow.id)
        .limit(1)
        # SQLite has no such locks and needs none: it has one writer at a time.
        .with_for_update(skip_locked=True)
    )
    query = (
        update(StudyRow)
        .where(StudyRow.id == oldest.scalar_subquery())
        .values(
            state=State.RUNNING,
            worker=worker,
            heartbeat=moment,
            started=func.coalesce(StudyRow.started, moment),
        )
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(query).one_or_none()


def claim(session: Session, study_id: int, worker: str, lease_seconds: float, dead: str | None) -> bool:
    """Take one study if it is unfinished and nobody runs it; False when somebody does.

    `dead` is a worker of which the claimer knows that it is no more, however young its heartbeat.
    """
    moment = now(session)
    silent = moment - timedelta(seconds=lease_seconds)
    free = or_(StudyRow.worker.is_(None), StudyRow.heartbeat < silent, StudyRow.worker == dead)
    query = (
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.state.not_in(FINISHED), free)
        .values(
            state=State.RUNNING,
            worker=worker,
            heartbeat=moment,
            request=None,
            started=func.coalesce(StudyRow.started, moment),
        )
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(query).one_or_none() is not None


def ask(session: Session, study_id: int, request: Request | None) -> None:
    """Set what an unfinished study is asked to do."""
    if is_open(session, study_id):
        study_row(session, study_id).request = None if request is None else str(request)


def request(session: Session, study_id: int) -> Request | None:
    """What a study is asked to do."""
    found = session.scalar(select(StudyRow.request).where(StudyRow.id == study_id))
    return None if found is None else Request(found)


def is_open(session: Session, study_id: int) -> bool:
    """Whether a study is not finished."""
    return study_row(session, study_id).state not in FINISHED


def rest(session: Session, study_id: int, message: str, *, paused: bool) -> bool:
    """Let an unfinished study wait without a worker; False when it is finished."""
    row = study_row(session, study_id)
    if row.state in FINISHED:
        return False
    row.state, row.message = State.WAITING, message
    row.worker = row.heartbeat = None
    row.request = str(Request.PAUSE) if paused else None
    return True


def reopen(session: Session, study_id: int, message: str) -> bool:
    """Pause a study that broke off with trials unfinished; False for all others."""
    left = select(TrialRow.id).where(TrialRow.study_id == study_id, TrialRow.state.not_in(FINISHED))
    row = study_row(session, study_id)
    if row.state != State.FAIL or session.scalars(left.limit(1)).one_or_none() is None:
        return False
    row.state, row.message, row.request, row.finished = State.WAITING, message, str(Request.PAUSE), None
    return True


def heartbeat(session: Session, study_id: int, worker: str) -> bool:
    """Renew the lease; False when the study is no longer this worker's."""
    query = (
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.state == State.RUNNING, StudyRow.worker == worker)
        .values(heartbeat=now(session))
        .returning(StudyRow.id)
    )
    return session.scalars(query).one_or_none() is not None


def release(session: Session, study_id: int, worker: str) -> bool:
    """Put the study back into the queue for any worker; False when it is no longer this worker's."""
    query = (
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.state == State.RUNNING, StudyRow.worker == worker)
        .values(state=State.WAITING, worker=None, heartbeat=None)
        .returning(StudyRow.id)
    )
    return session.scalars(query).one_or_none() is not None
