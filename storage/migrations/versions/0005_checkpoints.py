"""Trials in training keep a checkpoint; studies keep what they are asked to do, and what ran them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; NULL stands for no checkpoint, no request, and studies from before there were any."""
    op.add_column("trials", sa.Column("checkpoint_file", sa.Text))
    op.add_column("studies", sa.Column("request", sa.Text))
    op.add_column("studies", sa.Column("runs", sa.JSON))


def downgrade() -> None:
    """Drop the columns; what was in training then begins again, and who ran the studies is forgotten."""
    op.drop_column("studies", "runs")
    op.drop_column("studies", "request")
    op.drop_column("trials", "checkpoint_file")
