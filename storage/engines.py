"""Connections to SQLite and PostgreSQL, set up so that many processes can share one database."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from storage.errors import StorageError
from storage.urls import shown, without_password

CONNECT_SECONDS = 10
"""How long to wait for a PostgreSQL server that does not answer; its library would wait minutes."""
BUSY_MILLISECONDS = 30_000
"""How long a write to SQLite waits for other processes' writes."""


def open_engine(url: URL) -> Engine:
    """Engine for studies: foreign keys hold, and readers of SQLite never wait for a writer."""
    if url.get_backend_name() == "sqlite":
        engine = _sqlite(url, {"foreign_keys": "ON", "synchronous": "NORMAL"})
        event.listen(engine, "connect", _write_ahead)
        return engine
    return _postgresql(url, pool_pre_ping=True)


def open_migration_engine(url: URL) -> Engine:
    """Engine for migrations only.

    A migration copies a SQLite table and drops the old one, which would delete
    the children of its rows if foreign keys were on.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, {"foreign_keys": "OFF"}, poolclass=NullPool)
    return _postgresql(url, poolclass=NullPool)


def for_reading(engine: Engine) -> Engine:
    """The same connections; a reading transaction sees one moment of the database."""
    # A transaction of SQLite always does.
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def for_writing(engine: Engine) -> Engine:
    """The same connections; on SQLite a writing transaction waits for its turn when it begins.

    One that reads first and writes later would fail with "database is locked"
    when another process wrote in between.
    """
    return engine.execution_options(peltier_writes=True)


def storage_error(url: URL, error: DBAPIError) -> StorageError:
    """What to tell a person when the database itself refuses."""
    reason = without_password(str(error.orig), url)
    if url.get_backend_name() == "sqlite":
        advice = "check that it is a SQLite database, that you may write to it and that its disk is not full"
    else:
        advice = "check that the server runs, that the database exists, and the user and password"
    return StorageError(f"{shown(url)}: {reason}; {advice}")


def _sqlite(url: URL, pragmas: dict[str, str], **options: Any) -> Engine:
    folder = Path(str(url.database)).parent
    if not folder.is_dir():
        raise StorageError(f"{shown(url)}: the folder {folder} does not exist; make it or give another path")
    engine = create_engine(url, **options)

    def prepare(connection: Any, record: object) -> None:
        # None: Python's own driver begins no transactions; `begin` below does.
        connection.isolation_level = None
        for name, value in {"busy_timeout": str(BUSY_MILLISECONDS), **pragmas}.items():
            connection.execute(f"PRAGMA {name}={value}").close()

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("peltier_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _write_ahead(connection: Any, record: object) -> None:
    """Switch the file to write-ahead logging, which it keeps.

    SQLite does not let the switch itself wait for a writer, as it does every
    other statement: two processes that open a new file at once need this loop.
    """
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _postgresql(url: URL, **options: Any) -> Engine:
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    try:
        return create_engine(url, connect_args=arguments, **options)
    except ImportError:
        raise StorageError(
            f"{shown(url)}: the PostgreSQL driver psycopg is not installed; "
            "run pip install 'peltier[postgres]'"
        ) from None
