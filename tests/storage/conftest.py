"""Every story about the database runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from storage.database import Database, open_database

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server: TEST_POSTGRES_URL, else a throw-away one from the machine's binaries."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    programs = _postgres_programs()
    if programs is None and os.environ.get("CI"):
        pytest.fail("no PostgreSQL binaries: install postgresql, or set TEST_POSTGRES_URL")
    if programs is None:
        pytest.skip("no PostgreSQL binaries on this machine")
    # Not tmp_path_factory: its parents are closed to all but their owner, and as root
    # the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="peltier-postgres-"))
    try:
        yield from _server(programs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a new, empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/peltier.db"
        return
    server = make_url(request.getfixturevalue("postgres")).set(drivername="postgresql+psycopg")
    name = f"peltier_{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    _run(engine, f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    _run(engine, f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An open, empty database."""
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def race() -> Iterator[Callable[..., list[str]]]:
    """Run a script in several processes that start its last part at the same moment; what each printed.

    The script finds its arguments in `sys.argv[1:]` and calls `input()` where it waits for the others.
    """
    started: list[subprocess.Popen[str]] = []

    def run(script: str, processes: int, *arguments: str) -> list[str]:
        command = [sys.executable, "-c", script, *arguments]
        pipe = subprocess.PIPE
        for _ in range(processes):
            started.append(
                subprocess.Popen(
                    command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
                )
            )
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate(timeout=120)[0] for process in started]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _run(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement))


def _postgres_programs() -> Path | None:
    """Folder of initdb and pg_ctl: on the PATH, else the newest where Debian puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda path: int(path.parent.name), default=None)


def _server(programs: Path, folder: Path) -> Iterator[str]:
    user: list[str] = []
    if os.geteuid() == 0:
        # initdb refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres", "postgres")
    data = ["-D", str(folder / "data")]

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*user, str(programs / program), *data, *arguments],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    port = _free_port()
    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-w", "-s", "-l", str(folder / "log"), "-o", settings, "start")
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")


@pytest.fixture
def unused_port() -> int:
    """A port of this machine where nobody listens."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
