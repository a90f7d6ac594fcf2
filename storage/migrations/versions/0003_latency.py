"""Trials and baselines keep their inference latency; those from before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; NULL stands for a latency that was not measured."""
    op.add_column("trials", sa.Column("latency", sa.JSON))
    op.add_column("baselines", sa.Column("latency", sa.JSON))


def downgrade() -> None:
    """Drop the columns, and with them all latencies that were measured."""
    op.drop_column("baselines", "latency")
    op.drop_column("trials", "latency")
