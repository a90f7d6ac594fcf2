"""What is asked of studies under way: to pause, to end, to go on; and which are unfinished."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from selector.recording import forget_checkpoints
from selector.study import RequestError, StudySpec
from storage.database import Database
from storage.files import Files
from storage.records import Request, State, Study

LEASE_SECONDS = 30.0
"""A worker that has not been heard of for this long is taken for dead, and its study for free."""
CANCELLED = "cancelled; what had finished is kept"


def worker_name() -> str:
    """A name that no other running process has."""
    return f"{socket.gethostname()}-{os.getpid()}"


def is_gone(worker: str) -> bool:
    """Whether a worker is known to be dead: it ran on this machine, and its process is no more."""
    host, _, number = worker.rpartition("-")
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def paused_message(name: str) -> str:
    """The message of a paused study."""
    return f"paused; go on with: peltier resume {name}"


def is_paused(study: Study) -> bool:
    """Whether a study waits until somebody lets it go on."""
    return study.state is State.WAITING and study.request is Request.PAUSE


def possible(study: Study) -> tuple[str, ...]:
    """What can be asked of a study as it stands: some of pause, resume and cancel."""
    if study.state is State.FAIL:
        left = any(trial.state in (State.WAITING, State.RUNNING) for trial in study.trials)
        return ("resume",) if left else ()
    if study.state is State.COMPLETE or study.request is Request.CANCEL:
        return ()
    if is_paused(study):
        return ("resume", "cancel")
    return ("cancel",) if study.request is Request.PAUSE else ("pause", "cancel")


def ask(database: Database, files: Files, study: Study, request: Request) -> str:
    """Pause or cancel a study: by its worker after the rung in flight, or here if it has none.

    Returns what happens, for the user.

    Raises:
        RequestError: if the study is finished.
    """
    if study.state not in (State.WAITING, State.RUNNING):
        raise RequestError(f"study {study.name} is {_ended(study)}; there is nothing left to {request}")
    # From here on either its worker finds the request, or there is none and the study is ours.
    database.ask(study.id, request)
    if database.claim(study.id, worker_name(), LEASE_SECONDS, _dead(study)) is None:
        return f"study {study.name} is left after the rung in flight, by {study.worker}"
    if request is Request.CANCEL:
        cancel(database, files, study.id)
    else:
        database.rest(study.id, paused_message(study.name), paused=True)
    return f"study {study.name}: {database.study(study.id).message}"


def cancel(database: Database, files: Files, study_id: int) -> None:
    """End a study that nobody else runs, and forget its checkpoints."""
    before = database.study(study_id)
    database.cancel(study_id, CANCELLED)
    forget_checkpoints(database, files, before.trials)


def take_up(database: Database, study: Study, worker: str) -> Study:
    """Make an unfinished study this worker's, to go on with it.

    Raises:
        RequestError: if it is finished, or another worker has it.
    """
    if study.state is State.FAIL:
        database.reopen(study.id, paused_message(study.name))
    taken = database.claim(study.id, worker, LEASE_SECONDS, _dead(study))
    if taken is not None:
        return taken
    if study.state in (State.COMPLETE, State.FAIL):
        raise RequestError(f"study {study.name} is {_ended(study)}; start another with peltier search")
    raise RequestError(f"study {study.name} is run by {study.worker} already; watch it in the dashboard")


def queue(database: Database, study: Study) -> None:
    """Put a paused study back into the queue, for any worker.

    Raises:
        RequestError: if it is finished, or a worker has it.
    """
    worker = worker_name()
    take_up(database, study, worker)
    database.release(study.id, worker)


def unfinished(database: Database, spec: StudySpec, name: str | None = None) -> list[Study]:
    """Studies of the same request and the same data that are not finished, the newest first."""
    found = [study for study in database.studies() if study.state in (State.WAITING, State.RUNNING)]
    named = [study for study in found if name is None or study.name == name]
    return [study for study in named if _plain(StudySpec.from_json(study.spec)) == _plain(spec)]


def _plain(spec: StudySpec) -> Any:
    """As the store gives it back: lists for tuples. The names that the files had make no difference."""
    values = json.loads(json.dumps(spec.to_json()))
    for split in ("train", "validation", "test"):
        if values[split] is not None:
            values[split] = values[split]["sha256"]
    return values


def _dead(study: Study) -> str | None:
    return study.worker if study.worker is not None and is_gone(study.worker) else None


def _ended(study: Study) -> str:
    return "complete" if study.state is State.COMPLETE else f"ended ({study.message})"
