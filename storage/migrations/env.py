"""Alembic runs this to migrate the database whose connection `storage.migrating` hands it."""

from __future__ import annotations

from typing import Any

from alembic import context

from storage.schema import VERSION_TABLE
from storage.tables import Base


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Own tables only: a database may hold those of other programs."""
    return kind != "table" or name in Base.metadata.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_name=include_name,
    # SQLite cannot alter a table: a migration copies it.
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
