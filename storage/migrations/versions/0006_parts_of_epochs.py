"""A report may stand inside an epoch, such as after 0.25; those from before stand at the end of one."""

from __future__ import annotations

import math

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Let the column hold parts of an epoch; what is there keeps its value."""
    with op.batch_alter_table("reports") as batch:
        batch.alter_column("epochs", type_=sa.Double, existing_type=sa.Integer, existing_nullable=False)


def downgrade() -> None:
    """Round parts of an epoch up: a report tells then that its trial was trained a little longer."""
    column = sa.column("epochs", sa.Double)
    reports = sa.table("reports", column)
    connection = op.get_bind()
    found = connection.scalars(sa.select(column).select_from(reports).distinct()).all()
    for inside in (epochs for epochs in found if epochs % 1):
        connection.execute(sa.update(reports).where(column == inside).values(epochs=math.ceil(inside)))
    with op.batch_alter_table("reports") as batch:
        batch.alter_column("epochs", type_=sa.Integer, existing_type=sa.Double, existing_nullable=False)
