"""From rows to records: what a study looks like to the rest of the program."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from storage.errors import StorageError
from storage.records import Baseline, Export, Gate, Report, Request, State, Study, Trial
from storage.tables import BaselineRow, ExportRow, ReportRow, StudyRow, TrialRow

SHOWN_NAMES = 5
"""How many names a message lists when a study is unknown."""


def study(session: Session, study_id: int) -> Study:
    """A study with all that belongs to it, in five queries however many trials it has."""
    everything = (
        selectinload(StudyRow.trials).selectinload(TrialRow.reports),
        selectinload(StudyRow.baselines),
        selectinload(StudyRow.exports),
    )
    query = select(StudyRow).where(StudyRow.id == study_id).options(*everything)
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise unknown_study(session, str(study_id))
    return _study(
        row,
        trials=tuple(_trial(trial) for trial in row.trials),
        baselines=tuple(_baseline(baseline) for baseline in row.baselines),
        exports=tuple(_export(export) for export in row.exports),
    )


def find_study(session: Session, name_or_id: str) -> Study:
    """The study of this name, else of this id."""
    study_id = session.scalar(select(StudyRow.id).where(StudyRow.name == name_or_id))
    # 9 digits: every longer number is beyond the ids of PostgreSQL
    if study_id is None and name_or_id.isascii() and name_or_id.isdigit() and len(name_or_id) <= 9:
        study_id = session.scalar(select(StudyRow.id).where(StudyRow.id == int(name_or_id)))
    if study_id is None:
        raise unknown_study(session, repr(name_or_id))
    return study(session, study_id)


def studies(session: Session) -> list[Study]:
    """All studies, newest first, without what belongs to them."""
    rows = session.scalars(select(StudyRow).order_by(StudyRow.id.desc()))
    return [_study(row, trials=(), baselines=(), exports=()) for row in rows]


def trial_counts(session: Session) -> dict[int, dict[State, int]]:
    """Study id -> state -> number of its trials in that state."""
    query = select(TrialRow.study_id, TrialRow.state, func.count()).group_by(
        TrialRow.study_id, TrialRow.state
    )
    counts: dict[int, dict[State, int]] = {}
    for study_id, state, count in session.execute(query):
        counts.setdefault(study_id, {})[state] = count
    return counts


def unknown_study(session: Session, given: str) -> StorageError:
    """The error for a study that is not there: it names the newest that are."""
    newest = select(StudyRow.name).order_by(StudyRow.id.desc()).limit(SHOWN_NAMES)
    names = ", ".join(map(repr, session.scalars(newest)))
    if not names:
        return StorageError(f"there is no study {given}; this database has no studies yet")
    return StorageError(f"there is no study {given}; the newest are {names}. Give a name or an id")


def _study(
    row: StudyRow, trials: tuple[Trial, ...], baselines: tuple[Baseline, ...], exports: tuple[Export, ...]
) -> Study:
    return Study(
        id=row.id,
        name=row.name,
        state=row.state,
        spec=row.spec,
        task=row.task,
        created=row.created,
        started=row.started,
        finished=row.finished,
        seconds=row.seconds,
        message=row.message,
        trials=trials,
        baselines=baselines,
        recommendation=row.recommendation,
        exports=exports,
        worker=row.worker,
        request=None if row.request is None else Request(row.request),
        runs=tuple(row.runs or ()),
    )


def _trial(row: TrialRow) -> Trial:
    return Trial(
        number=row.number,
        method=row.method,
        config=row.config,
        seed=row.seed,
        state=row.state,
        bracket=row.bracket,
        repeat_of=row.repeat_of,
        origin=row.origin,
        trainable_parameters=row.trainable_parameters,
        stored_bytes=row.stored_bytes,
        reports=tuple(_report(report) for report in row.reports),
        test=row.test,
        module_file=row.module_file,
        predictions_file=row.predictions_file,
        checkpoint_file=row.checkpoint_file,
        latency=row.latency,
        training_bytes=row.training_bytes,
        message=row.message,
    )


def _report(row: ReportRow) -> Report:
    return Report(
        rung=row.rung,
        epochs=row.epochs,
        metrics=row.metrics,
        train_loss=row.train_loss,
        seconds=row.seconds,
        gates=tuple(Gate(**gate) for gate in row.gates or ()),
    )


def _baseline(row: BaselineRow) -> Baseline:
    return Baseline(
        name=row.name,
        validation=row.validation,
        test=row.test,
        config=row.config,
        trainable_parameters=row.trainable_parameters,
        stored_bytes=row.stored_bytes,
        seconds=row.seconds,
        module_file=row.module_file,
        predictions_file=row.predictions_file,
        latency=row.latency,
    )


def _export(row: ExportRow) -> Export:
    return Export(
        trial=row.trial,
        baseline=row.baseline,
        format=row.format,
        folder=row.folder,
        difference=row.difference,
        created=row.created,
    )
