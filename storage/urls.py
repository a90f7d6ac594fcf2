"""Database URLs: read one, and show it without its secrets."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import StorageError

FORMS = "possible are sqlite:///FILE and postgresql://USER:PASSWORD@HOST:PORT/DATABASE"

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def database_url(text: str) -> URL:
    """The URL with its driver spelled out and, for SQLite, the file's absolute path.

    Raises:
        StorageError: if it does not parse, names another kind of database, or
            would keep nothing (SQLite in memory). No message holds a password.
    """
    url = _parsed(text)
    if url.drivername not in DRIVERS:
        raise StorageError(f"unknown database {url.drivername!r} in the database URL; {FORMS}")
    url = url.set(drivername=DRIVERS[url.drivername])
    if url.get_backend_name() == "sqlite":
        return url.set(database=str(_file(url)))
    # An unescaped '@' in a password moves its tail into the host, which messages do show.
    if "@" in f"{url.host}{url.database}":
        raise StorageError("the database URL has more than one '@'; write an '@' in the password as %40")
    return url


def shown(url: URL) -> str:
    """The URL for people: *** for the password, and no query, which may hold one, too."""
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def masked(text: str) -> str:
    """A text that may be a URL, with the secrets that it may hold left out as in `shown`."""
    if "://" not in text:
        return text
    try:
        return make_url(text).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return _hinted(text)


def without_password(text: str, url: URL) -> str:
    """First line of a driver's message, in case the driver repeats what it was given."""
    line = text.strip().partition("\n")[0].strip()
    secrets = [url.password, *(value for key, value in url.query.items() if "password" in key)]
    for secret in secrets:
        line = line.replace(str(secret), "***") if secret else line
    return line


def _parsed(text: str) -> URL:
    try:
        return make_url(text)
    # ValueError: the port is no number.
    except (ArgumentError, ValueError):
        raise StorageError(f"{_hinted(text)} is not a database URL; {FORMS}") from None


def _hinted(text: str) -> str:
    """As much of a malformed URL as surely holds no password."""
    if not text:
        return "an empty text"
    if "@" not in text and ":" not in text:
        return f"{text!r}"
    scheme = re.match(r"[A-Za-z0-9+]+(?=://)", text)
    return f"{scheme[0]}://..." if scheme else "the given text"


def _file(url: URL) -> Path:
    database = url.database or ":memory:"
    if database == ":memory:" or database.startswith("file:") or url.host:
        raise StorageError(
            f"{shown(url)} names no file; give sqlite:///peltier.db (in this folder) "
            "or sqlite:////absolute/path/peltier.db"
        )
    return Path(database).absolute()
