"""The newest schema of the database, and whether a database has it: a question that needs no Alembic."""

from __future__ import annotations

from sqlalchemy import URL, Connection, inspect, text

from storage.engines import open_migration_engine

NEWEST = "0007"
"""Revision of the last file in `storage/migrations/versions`; a test holds them together."""
VERSION_TABLE = "peltier_alembic_version"
"""Optuna and others own `alembic_version`."""


def is_newest(url: URL) -> bool:
    """Whether nothing is left to migrate."""
    engine = open_migration_engine(url)
    try:
        with engine.connect() as connection:
            return _revisions(connection) == [NEWEST]
    finally:
        engine.dispose()


def _revisions(connection: Connection) -> list[str]:
    if not inspect(connection).has_table(VERSION_TABLE):
        return []
    return list(connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")))
