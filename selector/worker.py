"""The daemon behind `peltier work`: takes queued studies and runs each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from selector.control import LEASE_SECONDS
from selector.control import worker_name as worker_name
from selector.stopping import Stop
from storage.database import Database
from storage.errors import StorageError
from storage.records import State, Study

HEARTBEAT_SECONDS = 5.0
EXIT_SECONDS = 15.0
"""A child that has finished, or was told to, gets this long to close what it opened."""
PARENT_SECONDS = 1.0
"""How often a child looks whether its worker still lives; far shorter than a lease."""


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


@contextmanager
def kept_alive(database: Database, study_id: int, name: str, stop: Stop) -> Iterator[None]:
    """Renew the lease of a study that this process runs itself, until the block ends.

    When another worker has taken the study over, this process is interrupted.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            try:
                if database.heartbeat(study_id, name):
                    continue
                study = database.study(study_id)
                unfinished = study.state in (State.RUNNING, State.WAITING)
                # Nobody has it when this process itself has just left it, or was taken for dead.
                if unfinished and (study.worker is not None or not stop()):
                    stop.taken = True
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
        if database.study(study.id).worker not in (None, name):
            _kill(child)  # no last words in a study that another worker runs
        _wait(child, EXIT_SECONDS)
    finally:
        _stop(child)
    if database.heartbeat(study.id, name):
        how = f"the process that ran this study ended with status {child.returncode}"
        database.break_off(study.id, f"{how}; go on with: peltier resume {study.name}")


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child: after its rung if that ends soon, at once when this process is told a second time."""
    for _ in range(2):
        if child.poll() is None:
            os.kill(child.pid, signal.SIGTERM)
            try:
                _wait(child, EXIT_SECONDS)
                break
            except KeyboardInterrupt:
                continue
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
