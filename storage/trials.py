"""The life of trials: added, started, measured at each rung, finished once and for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.errors import StorageError
from storage.records import Gate, Report, State, Trial
from storage.tables import ReportRow, TrialRow
from storage.writing import FINISHED, numbers, refused, study_row


def add_trials(session: Session, study_id: int, trials: Sequence[Trial]) -> None:
    """Add trials as they are, reports included."""
    study_row(session, study_id)
    rows = [_row(study_id, trial) for trial in trials]
    session.add_all(rows)
    given = ", ".join(str(trial.number) for trial in trials)
    with refused(f"study {study_id} already has one of the trials {given}; number new trials onwards"):
        session.flush()
    for row, trial in zip(rows, trials, strict=True):
        session.add_all(_report_row(row, report) for report in trial.reports)


def start_trials(session: Session, study_id: int, trial_numbers: Iterable[int], bracket: int) -> None:
    """Mark trials as RUNNING in a bracket."""
    for row in _unfinished(session, study_id, trial_numbers).values():
        row.state = State.RUNNING
        row.bracket = bracket


def record_rung(
    session: Session,
    study_id: int,
    reports: Mapping[int, Report],
    states: Mapping[int, State],
    messages: Mapping[int, str],
    latencies: Mapping[int, Mapping[str, Any]],
    found: Mapping[int, Mapping[str, Any]],
) -> None:
    """Keep what a bracket measured at one rung, who goes on, and what the others left: all or nothing.

    `found` are further columns by number; what is None leaves one as it was. A checkpoint is that of this
    rung or none: an earlier one would let a trial go on from before what is written down.
    """
    rows = _unfinished(session, study_id, {*reports, *states, *messages, *latencies, *found})
    for number in reports:
        rows[number].checkpoint_file = None
    for number, columns in found.items():
        _set(rows[number], columns)
    for number, latency in latencies.items():
        rows[number].latency = dict(latency)
    for number, report in reports.items():
        session.add(_report_row(rows[number], report))
        with refused(f"trial {number} already has a report of rung {report.rung}; a rung is measured once"):
            session.flush()
    for number, state in states.items():
        rows[number].state = state
    for number, message in messages.items():
        rows[number].message = message


def finish_trial(
    session: Session, study_id: int, number: int, state: State, found: Mapping[str, Any]
) -> None:
    """Set the last state of a trial and the columns that were found; None leaves one as it was."""
    if state not in FINISHED:
        raise StorageError(f"{state} does not finish a trial; possible are {', '.join(sorted(FINISHED))}")
    row = _unfinished(session, study_id, [number])[number]
    row.state = state
    row.checkpoint_file = None
    _set(row, found)


def _set(row: TrialRow, found: Mapping[str, Any]) -> None:
    for column, value in found.items():
        if value is not None:
            setattr(row, column, value)


def rest_trials(session: Session, study_id: int) -> None:
    """Mark what nobody trains any more as WAITING; it keeps its bracket, reports and checkpoint."""
    query = update(TrialRow).where(TrialRow.study_id == study_id, TrialRow.state == State.RUNNING)
    session.execute(query.values(state=State.WAITING))


def end_trials(session: Session, study_id: int, state: State, message: str) -> list[int]:
    """Numbers of the trials that were unfinished; they end in this state and without checkpoints."""
    query = (
        update(TrialRow)
        .where(TrialRow.study_id == study_id, TrialRow.state.not_in(FINISHED))
        .values(state=state, message=message, checkpoint_file=None)
        .returning(TrialRow.number)
    )
    study_row(session, study_id)
    return sorted(session.scalars(query))


def _unfinished(session: Session, study_id: int, trial_numbers: Iterable[int]) -> dict[int, TrialRow]:
    """Number -> row, locked until the transaction ends; StorageError if one is missing or finished."""
    wanted = sorted(set(trial_numbers))
    query = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.number.in_(wanted))
    rows = session.scalars(query.order_by(TrialRow.number).with_for_update(key_share=True))
    found = {row.number: row for row in rows}
    if missing := [number for number in wanted if number not in found]:
        raise StorageError(f"study {study_id} has no trials {missing}; add them before they are recorded")
    if finished := [f"{row.number} ({row.state})" for row in found.values() if row.state in FINISHED]:
        raise StorageError(
            f"trials {', '.join(finished)} of study {study_id} are finished and never change; "
            "add a new trial instead"
        )
    return found


def _row(study_id: int, trial: Trial) -> TrialRow:
    return TrialRow(
        study_id=study_id,
        number=trial.number,
        method=trial.method,
        config=dict(trial.config),
        seed=trial.seed,
        state=trial.state,
        bracket=trial.bracket,
        repeat_of=trial.repeat_of,
        origin=trial.origin,
        trainable_parameters=trial.trainable_parameters,
        stored_bytes=trial.stored_bytes,
        test=None if trial.test is None else numbers(trial.test),
        module_file=trial.module_file,
        predictions_file=trial.predictions_file,
        checkpoint_file=trial.checkpoint_file,
        latency=None if trial.latency is None else dict(trial.latency),
        training_bytes=trial.training_bytes,
        message=trial.message,
    )


def _report_row(trial: TrialRow, report: Report) -> ReportRow:
    return ReportRow(
        trial_id=trial.id,
        rung=report.rung,
        epochs=float(report.epochs),
        metrics=numbers(report.metrics),
        train_loss=float(report.train_loss),
        seconds=float(report.seconds),
        gates=[_gate(gate) for gate in report.gates] or None,
    )


def _gate(gate: Gate) -> dict[str, Any]:
    return {**asdict(gate), **numbers({"mean": gate.mean, "deviation": gate.deviation})}
