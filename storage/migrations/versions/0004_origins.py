"""Trials keep who proposed them; of trials from before nobody knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; NULL stands for unknown, and for the repeats of finalists."""
    op.add_column("trials", sa.Column("origin", sa.Text))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("trials", "origin")
