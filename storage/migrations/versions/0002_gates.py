"""Reports keep the gates of mixtures; reports from before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; NULL stands for no gates."""
    op.add_column("reports", sa.Column("gates", sa.JSON))


def downgrade() -> None:
    """Drop the column, and with it all gates that were measured."""
    op.drop_column("reports", "gates")
