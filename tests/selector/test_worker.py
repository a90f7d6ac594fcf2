"""The daemon behind `peltier work`, with real children: each story ends with none left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import COMMAND, ENVIRONMENT, write_rows

from selector import worker
from selector.data import DataFiles
from selector.service import Service, check_request
from selector.study import DataFile, StudySpec
from storage.records import State, Study

LONG = 20_000
"""Epochs that take minutes: only stories that end the study on the way ask for them."""


class Queue:
    """A database with its URL, and studies put into it."""

    def __init__(self, folder: Path, backbone: Path) -> None:
        self.url = f"sqlite:///{folder / 'queue.db'}"
        self.service = Service(self.url)
        self.database = self.service.database
        self._rows = write_rows(folder / "rows.csv", rows=40)
        self._backbone = backbone

    def submit(self, *, epochs: int = 1) -> Study:
        given = DataFiles(train=self._rows)
        spec = StudySpec(
            train=DataFile(name="rows.csv"),
            backbone=str(self._backbone),
            methods=("bitfit",),
            trials=1,
            epochs=epochs,
            seeds=1,
            folds=1,
            runner="local",
        )
        return self.service.submit(given, spec, check_request(given, spec))

    def state(self, study: Study) -> State:
        return self.database.study(study.id).state


@pytest.fixture
def queue(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # children inherit it
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.2)
    yield Queue(tmp_path, tiny_folder)
    assert children_of(tmp_path) == [], "a child was left behind"


def children_of(folder: Path) -> list[int]:
    """Processes that run a study of this folder's database, found by their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            running = b"\0run\0" in (process / "cmdline").read_bytes()
            if (
                running
                and f"PELTIER_DATABASE_URL=sqlite:///{folder}".encode() in (process / "environ").read_bytes()
            ):
                found.append(int(process.name))
        except (OSError, ValueError):
            continue  # no process, or one that has just ended
    return found


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def is_training(queue: Queue, study: Study) -> bool:
    return any(trial.state is State.RUNNING for trial in queue.database.study(study.id).trials)


@pytest.mark.slow
def test_queued_studies_run_one_after_another_the_oldest_first(queue: Queue) -> None:
    first, second = queue.submit(), queue.submit()
    told: list[str] = []
    assert worker.work(queue.database, queue.url, once=True, tell=told.append) == 2
    assert told == [
        f"running study {first.name}",
        f"study {first.name}: COMPLETE",
        f"running study {second.name}",
        f"study {second.name}: COMPLETE",
    ]
    assert queue.database.study(second.id).recommendation is not None


def test_with_an_empty_queue_once_ends_at_once(queue: Queue) -> None:
    assert worker.work(queue.database, queue.url, once=True) == 0


def test_a_child_that_dies_fails_its_study_with_the_status(queue: Queue, tmp_path: Path) -> None:
    study = queue.submit(epochs=LONG)

    def kill() -> None:
        wait_for(lambda: is_training(queue, study))
        os.kill(children_of(tmp_path)[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    worker.work(queue.database, queue.url, once=True)
    killer.join()
    found = queue.database.study(study.id)
    assert found.state is State.FAIL
    assert found.message == (
        f"the process that ran this study ended with status -9; go on with: peltier resume {study.name}"
    )
    assert [trial.state for trial in found.trials] == [State.WAITING]


def test_a_study_that_another_worker_takes_is_left_to_it(queue: Queue) -> None:
    study = queue.submit(epochs=LONG)

    def take() -> None:
        wait_for(lambda: is_training(queue, study))
        wait_for(lambda: queue.database.claim_study("another", lease_seconds=0.0))

    taker = threading.Thread(target=take)
    taker.start()
    worker.work(queue.database, queue.url, once=True)
    taker.join()
    # The stopped child had no last words: the study, its trials included, is as the other worker found it.
    assert queue.database.heartbeat(study.id, "another")
    assert is_training(queue, study)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_its_worker(number: int, queue: Queue, tmp_path: Path) -> None:
    study = queue.submit(epochs=LONG)
    daemon = subprocess.Popen(
        [*COMMAND, "work"],
        env={**os.environ, "PELTIER_DATABASE_URL": queue.url},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: is_training(queue, study))
        daemon.send_signal(number)
        if number != signal.SIGKILL:
            time.sleep(1.0)
            daemon.send_signal(number)  # the rung would take minutes
        status = daemon.wait(30)
    finally:
        daemon.kill()
    wait_for(lambda: not children_of(tmp_path), seconds=10)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
        assert queue.state(study) is State.RUNNING  # the next worker takes it over when the lease has ended
    else:
        found = queue.database.study(study.id)
        assert (found.state, found.request, found.worker) == (State.WAITING, None, None)
        assert [trial.state for trial in found.trials] == [State.WAITING]
