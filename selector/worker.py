"""The daemon behind `peltier work`: takes queued studies and runs each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.database import Database
from storage.records import State, Study

HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 30.0
"""A worker that has not been heard of for this long is taken for dead, and its study for free."""


def work(
    database: Database, url: str, *, once: bool = False, tell: Callable[[str], None] = lambda text: None
) -> int:
    """Run queued studies, oldest first; with `once` stop when the queue is empty. Returns how many were run.

    Each study runs in a child process, so that a crash ends that study only and
    Ray starts afresh. The database's URL travels in the environment, not on the
    command line, where other users could read its password.
    """
    name = worker_name()
    done = 0
    while True:
        study = database.claim_study(name, lease_seconds=LEASE_SECONDS)
        if study is None:
            if once:
                return done
            time.sleep(1.0)
            continue
        tell(f"running study {study.name}")
        _run(database, url, study, name)
        finished = database.study(study.id)
        tell(f"study {study.name}: {finished.state}{': ' + finished.message if finished.message else ''}")
        done += 1


def worker_name() -> str:
    """A name that no other running process has."""
    return f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def kept_alive(database: Database, study_id: int, name: str) -> Iterator[None]:
    """Renew the lease of a study that this process runs itself, until the block ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS) and database.heartbeat(study_id, name):
            pass

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _run(database: Database, url: str, study: Study, name: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "selector", "run", str(study.id)],
        env={**os.environ, "PELTIER_DATABASE_URL": url},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while child.poll() is None:
            if not database.heartbeat(study.id, name):
                return  # another worker has taken over; the child is stopped below
            _wait(child, HEARTBEAT_SECONDS)
    finally:
        _stop(child)
    if database.study(study.id).state is State.RUNNING:
        message = f"the process that ran this study ended with status {child.returncode}"
        database.fail_running_trials(study.id, message)
        database.set_study_state(study.id, State.FAIL, message=message)


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything it started, politely first."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGINT)
    _wait(child, 15)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
