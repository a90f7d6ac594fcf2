"""Trials keep how much memory their training takes; of those from before it is not known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; NULL stands for a size that was not told."""
    op.add_column("trials", sa.Column("training_bytes", sa.BigInteger))


def downgrade() -> None:
    """Forget the sizes."""
    op.drop_column("trials", "training_bytes")
