"""The tables, as SQLAlchemy maps them; `migrations/` makes them.

Rows never leave this package: `reading.py` turns them into the records of `records.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Enum, ForeignKey, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from storage.columns import Json, Message, Number, UTCDateTime
from storage.records import State


class Base(DeclarativeBase):
    """What all tables share: every constraint has a name, so that a migration can drop it."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {
        str: Text,
        float: Number,
        datetime: UTCDateTime,
        dict[str, Any]: Json,
        list[dict[str, Any]]: Json,
        # length 8: COMPLETE is the longest word
        State: Enum(State, native_enum=False, length=8, name="state"),
    }


class StudyRow(Base):
    """One study, with the lease of the worker that runs it."""

    __tablename__ = "studies"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    state: Mapped[State]
    spec: Mapped[dict[str, Any]]
    task: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    seconds: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str] = mapped_column(Message, default="")
    recommendation: Mapped[dict[str, Any] | None]
    worker: Mapped[str | None]
    """Who runs the study; None while nobody does."""
    heartbeat: Mapped[datetime | None]
    """When the worker last said that it is alive."""
    request: Mapped[str | None]
    """A `Request`."""
    runs: Mapped[list[dict[str, Any]] | None]
    # lazy="raise": a page that lists studies must not load their trials one study at a time.
    trials: Mapped[list[TrialRow]] = relationship(lazy="raise", order_by="TrialRow.number")
    baselines: Mapped[list[BaselineRow]] = relationship(lazy="raise", order_by="BaselineRow.id")
    exports: Mapped[list[ExportRow]] = relationship(lazy="raise", order_by="ExportRow.id")


class TrialRow(Base):
    """One configuration with one seed."""

    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    method: Mapped[str]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[State]
    bracket: Mapped[int | None]
    repeat_of: Mapped[int | None]
    origin: Mapped[str | None]
    trainable_parameters: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    test: Mapped[dict[str, Any] | None]
    module_file: Mapped[str | None]
    predictions_file: Mapped[str | None]
    checkpoint_file: Mapped[str | None]
    latency: Mapped[dict[str, Any] | None]
    training_bytes: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str] = mapped_column(Message, default="")
    reports: Mapped[list[ReportRow]] = relationship(lazy="raise", order_by="ReportRow.rung")


class ReportRow(Base):
    """What one trial measured at one rung."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("trial_id", "rung"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"))
    rung: Mapped[int]
    epochs: Mapped[float]
    metrics: Mapped[dict[str, Any]]
    train_loss: Mapped[float] = mapped_column(nullable=True)
    seconds: Mapped[float]
    gates: Mapped[list[dict[str, Any]] | None]


class BaselineRow(Base):
    """A row of the study that no search produced."""

    __tablename__ = "baselines"
    __table_args__ = (UniqueConstraint("study_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    name: Mapped[str]
    validation: Mapped[dict[str, Any]]
    test: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    trainable_parameters: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
    module_file: Mapped[str | None]
    predictions_file: Mapped[str | None]
    latency: Mapped[dict[str, Any] | None]


class ExportRow(Base):
    """A released export."""

    __tablename__ = "exports"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    trial: Mapped[int | None]
    baseline: Mapped[str | None]
    format: Mapped[str]
    folder: Mapped[str]
    difference: Mapped[float]
    created: Mapped[datetime]
