"""The first schema. Spelled out and importing nothing of ours, so that it stays what it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

State = sa.Enum("WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL", native_enum=False, length=8, name="state")
Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make all tables."""
    _studies()
    _trials()
    _reports()
    _baselines()
    _exports()


def downgrade() -> None:
    """Drop all tables, and with them everything that was searched."""
    for table in ("exports", "baselines", "reports", "trials", "studies"):
        op.drop_table(table)


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", State, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("task", sa.JSON, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("started", Moment),
        sa.Column("finished", Moment),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("recommendation", sa.JSON),
        sa.Column("worker", sa.Text),
        sa.Column("heartbeat", Moment),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("name", name="uq_studies_name"),
    )


def _trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("state", State, nullable=False),
        sa.Column("bracket", sa.Integer),
        sa.Column("repeat_of", sa.Integer),
        sa.Column("trainable_parameters", sa.BigInteger),
        sa.Column("stored_bytes", sa.BigInteger),
        sa.Column("test", sa.JSON),
        sa.Column("module_file", sa.Text),
        sa.Column("predictions_file", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        _of_study("trials"),
        sa.UniqueConstraint("study_id", "number", name="uq_trials_study_id_number"),
    )


def _reports() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("trial_id", sa.Integer, nullable=False),
        sa.Column("rung", sa.Integer, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("train_loss", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_reports_trial_id", ondelete="CASCADE"),
        sa.UniqueConstraint("trial_id", "rung", name="uq_reports_trial_id_rung"),
    )


def _baselines() -> None:
    op.create_table(
        "baselines",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("validation", sa.JSON, nullable=False),
        sa.Column("test", sa.JSON, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("trainable_parameters", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("module_file", sa.Text),
        sa.Column("predictions_file", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_baselines"),
        _of_study("baselines"),
        sa.UniqueConstraint("study_id", "name", name="uq_baselines_study_id_name"),
    )


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("trial", sa.Integer),
        sa.Column("baseline", sa.Text),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("difference", sa.Double, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
        _of_study("exports"),
    )
    op.create_index("ix_exports_study_id", "exports", ["study_id"])


def _of_study(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["study_id"], ["studies.id"], name=f"fk_{table}_study_id", ondelete="CASCADE"
    )
