"""Which files must stay because a row names them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.tables import BaselineRow, StudyRow, TrialRow

COLUMNS = (
    TrialRow.checkpoint_file,
    TrialRow.module_file,
    TrialRow.predictions_file,
    BaselineRow.module_file,
    BaselineRow.predictions_file,
)
DATA = ("train", "validation", "test")
"""Of a request: files that the user gave."""


def named(session: Session, hashes: Iterable[str]) -> set[str]:
    """Those of the content hashes that any row of any study names."""
    wanted = set(hashes)
    if not wanted:
        return set()
    found: set[str] = set()
    for column in COLUMNS:
        found.update(name for name in session.scalars(select(column).where(column.in_(wanted))) if name)
    for spec in session.scalars(select(StudyRow.spec)):
        given = [spec.get(split) for split in DATA]
        found.update(file["sha256"] for file in given if file and file["sha256"] in wanted)
    return found
