"""Commands for studies that are stored: list, show, run, pause, cancel, resume, reproduce."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from selector.options import Database, Json, StudyName
from selector.study import DEFAULT_DATABASE
from selector.terminal import err, out

if TYPE_CHECKING:
    from selector.service import Service
    from storage.records import Study
    from trainers.task import Task


def work(
    database: Database = DEFAULT_DATABASE,
    once: Annotated[bool, typer.Option("--once", help="Stop when the queue is empty.")] = False,
) -> None:
    """Run queued studies, one after another."""
    from selector.worker import end_on_sigterm
    from selector.worker import work as run_queue
    from storage.database import open_database

    end_on_sigterm()
    err.print("waiting for studies; submit them with: peltier submit, or: peltier dashboard", soft_wrap=True)
    run_queue(open_database(database), database, once=once, tell=lambda text: err.print(text, soft_wrap=True))


def run(study: Annotated[int, typer.Argument()], database: Database = DEFAULT_DATABASE) -> None:
    """Run one stored study; what `peltier work` starts for each."""
    from selector.worker import end_on_sigterm, end_with_parent

    end_on_sigterm()
    end_with_parent()
    from selector.service import Service
    from selector.stopping import Stop, on_signals

    service = Service(database)
    stop = Stop(service.database, study)
    try:
        with on_signals(stop, tell=lambda text: None):
            service.run(study, stop=stop)
    except KeyboardInterrupt:
        raise typer.Exit(1) from None


def cancel(study: StudyName, database: Database = DEFAULT_DATABASE) -> None:
    """End a study after the rung in flight, for good; what had finished is kept."""
    from selector.service import Service

    out.print(Service(database).cancel(study), soft_wrap=True)


def pause(study: StudyName, database: Database = DEFAULT_DATABASE) -> None:
    """Leave a study after the rung in flight, to go on later."""
    from selector.service import Service

    out.print(Service(database).pause(study), soft_wrap=True)


def resume(
    study: StudyName,
    database: Database = DEFAULT_DATABASE,
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave it to `peltier work` instead of running it here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Go on with a study that was paused, interrupted, or broke off."""
    from selector.service import Service
    from selector.worker import end_on_sigterm, worker_name

    service = Service(database)
    if queue:
        out.print(service.queue(study), soft_wrap=True)
        return
    end_on_sigterm()
    run_here(service, service.take_up(study, worker_name()), None, database, as_json)


def studies(database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """List the studies."""
    from selector.display import studies_table
    from selector.report import summary
    from storage.database import open_database

    found = open_database(database).studies()
    if as_json:
        print(json.dumps({"studies": [summary(study) for study in found]}, ensure_ascii=False))
    elif not found:
        out.print("no studies yet; start one with: peltier search TRAIN", soft_wrap=True)
    else:
        out.print(studies_table(found))


def show(study: StudyName, database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """Show a study: its baselines, leaderboard and recommendation."""
    from storage.database import open_database

    print_stored(open_database(database).find_study(study), database, as_json)


def reproduce(
    study: StudyName,
    trial: Annotated[int, typer.Argument(help="Number of the trial.", show_default=False)],
    stack: Annotated[
        bool,
        typer.Option("--stack", help="Beside the trials that stood beside it: slower, and the same bits."),
    ] = False,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Train one trial again and say whether it gives what is written down; exit status 1 if not."""
    from selector.service import Service

    found = Service(database).reproduce(study, trial, stack=stack)
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        out.print("\n".join(found.lines()), soft_wrap=True)
    if not found.matches:
        raise typer.Exit(1)


def run_here(service: Service, study: Study, task: Task | None, database: str, as_json: bool) -> None:
    """Run a study that this process holds, and print it; exit status 1 where it was left before its end."""
    from selector.progress import show_progress
    from selector.stopping import Stop, on_signals
    from selector.worker import kept_alive, worker_name

    worker, stop = worker_name(), Stop(service.database, study.id)
    try:
        with (
            on_signals(stop, tell=lambda text: err.print(text, soft_wrap=True)),
            kept_alive(service.database, study.id, worker, stop),
            show_progress(service.database, study.id, err),
        ):
            found = service.run(study.id, task, worker=worker, stop=stop)
    except KeyboardInterrupt:
        found = service.study(study.name)
    if str(found.state) != "COMPLETE":
        err.print(f"study {found.name}: {found.message}", soft_wrap=True)
        raise typer.Exit(1 if stop.signal is None else 128 + stop.signal)
    print_stored(found, database, as_json)


def print_stored(study: Study, database: str, as_json: bool) -> None:
    """A study as the user reads it, or as one JSON object."""
    from selector.display import print_study
    from selector.report import result

    if as_json:
        print(json.dumps(result(study), ensure_ascii=False))
    else:
        print_study(study, database, out)
