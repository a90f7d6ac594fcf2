"""Bring a database to the newest schema, whoever opens it first."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, inspect, text

from storage.engines import for_writing, open_migration_engine
from storage.errors import StorageError
from storage.schema import VERSION_TABLE
from storage.tables import Base
from storage.urls import shown

LOCK = 0x50454C54
"""Any number that no other program locks in the same PostgreSQL database; these are the letters PELT."""


def migrate(url: URL) -> None:
    """Make or update the tables in one transaction; nothing happens when they are up to date.

    Processes that open a new database at the same moment wait for the first of them.

    Raises:
        StorageError: if a newer Peltier wrote the database, or another program has tables of our names.
    """
    engine = open_migration_engine(url)
    try:
        with engine.connect() as connection:
            if _is_current(connection, url):
                return
        with for_writing(engine).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            if not _is_current(connection, url):
                command.upgrade(alembic_config(connection), "head")
    finally:
        engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for this package's migrations on an open connection; it logs only trouble."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    folder = Path(__file__).parent / "migrations"
    # A bare % would be read as the configuration's interpolation.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _is_current(connection: Connection, url: URL) -> bool:
    config = alembic_config(connection)
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    revision = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()
    if revision is None:
        _refuse_foreign_tables(connection, url)
    elif revision not in known:
        raise StorageError(
            f"{shown(url)} has schema {revision}, which a newer Peltier made; this one knows "
            f"up to {known[0]}. Update Peltier or give another database"
        )
    return revision == known[0]


def _refuse_foreign_tables(connection: Connection, url: URL) -> None:
    foreign = sorted(set(inspect(connection).get_table_names()) & set(Base.metadata.tables))
    if foreign:
        raise StorageError(
            f"{shown(url)} already has tables of another program ({', '.join(foreign)}); "
            "give Peltier a database of its own"
        )
