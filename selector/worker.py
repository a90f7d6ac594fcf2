"""The daemon behind `peltier work`: takes queued studies and runs each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.database import Database
from storage.errors import StorageError
from storage.records import State, Study

HEARTBEAT_SECONDS = 5.0
EXIT_SECONDS = 15.0
"""A child that has finished, or was told to, gets this long to close what it opened."""
PARENT_SECONDS = 1.0
"""How often a child looks whether its worker still lives; far shorter than a lease."""
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
    """Renew the lease of a study that this process runs itself, until the block ends.

    When another worker has taken the study over, this process is interrupted.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            try:
                if database.heartbeat(study_id, name):
                    continue
                if database.study(study_id).state is State.RUNNING:
                    interrupt_main()
                return
            except StorageError:
                continue  # a busy database; the lease outlasts several beats

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
        while child.poll() is None and database.heartbeat(study.id, name):
            _wait(child, HEARTBEAT_SECONDS)
        if database.study(study.id).state in (State.WAITING, State.RUNNING):
            # Ours no longer, or the child has died: no last words in a study that another worker runs.
            _kill(child)
        _wait(child, EXIT_SECONDS)
    finally:
        _stop(child)
    if database.heartbeat(study.id, name):
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
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGINT)
        _wait(child, EXIT_SECONDS)
    _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


# --------------------------------------------------------------------------- ends of processes


def end_on_sigterm() -> None:
    """Let SIGTERM (systemd, `docker stop`) end this process as Ctrl-C does, its child included."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def end_with_parent() -> None:
    """Let this process, a worker's child, die soon after the worker: its lease goes to another one then."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
