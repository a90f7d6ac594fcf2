"""The choice of a study, and the test scores that may be looked at once it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.errors import StorageError
from storage.tables import BaselineRow, TrialRow
from storage.writing import now, numbers, study_row

Metrics = Mapping[str, float]


def open_test(
    session: Session,
    study_id: int,
    recommendation: Mapping[str, Any],
    trials: Mapping[int, Metrics],
    baselines: Mapping[str, Metrics],
) -> None:
    """Keep the recommendation, the moment, and what the test split gave for it; once for a study."""
    study = study_row(session, study_id)
    if study.recommendation is not None:
        raise StorageError(f"the test split of study {study_id} was opened before; its choice stands")
    study.recommendation = {**recommendation, "test_opened": now(session).isoformat(timespec="seconds")}
    of_study = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.number.in_(list(trials)))
    for trial in session.scalars(of_study):
        trial.test = numbers(trials[trial.number])
    for baseline in session.scalars(select(BaselineRow).where(BaselineRow.study_id == study_id)):
        baseline.test = numbers(baselines[baseline.name])
