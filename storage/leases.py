"""The queue of studies: a worker holds a study as long as its heartbeat is young."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from storage.records import State
from storage.tables import StudyRow
from storage.writing import now


def claim_study(session: Session, worker: str, lease_seconds: float) -> int | None:
    """Id of the oldest study that waits, or whose worker fell silent; it is this worker's from now on.

    One statement finds and takes the study, and rows that another worker is
    just taking are skipped: no two workers ever get the same study.
    """
    moment = now(session)
    silent = moment - timedelta(seconds=lease_seconds)
    waiting = StudyRow.state == State.WAITING
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
