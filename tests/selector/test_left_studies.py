"""Studies that are killed, interrupted, paused or cancelled, and go on: real trainings, real signals."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from commands import Shell
from place import OPTIONS, Place

from selector.control import CANCELLED, is_gone
from selector.stopping import Stop
from selector.study import RequestError
from storage.records import Request, State, Study, Trial

LONG = 20_000
"""Epochs that take minutes: only stories that stop the study at once ask for them."""


@pytest.fixture(scope="module")
def undisturbed(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    place = Place(tmp_path_factory.mktemp("undisturbed"), tiny_folder)
    return place.service.run(place.submit().id)


@pytest.fixture
def place(tiny_folder: Path, tmp_path: Path) -> Place:
    return Place(tmp_path, tiny_folder)


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def timeless(value: Any) -> Any:
    """Without what a clock tells: seconds, latencies, moments."""
    if isinstance(value, dict):
        clocks = ("seconds", "latency", "latency_ms", "test_opened")
        return {key: timeless(one) for key, one in value.items() if key not in clocks}
    return [timeless(one) for one in value] if isinstance(value, list | tuple) else value


def told(trials: tuple[Trial, ...]) -> list[Trial]:
    return [
        replace(trial, latency=None, reports=tuple(replace(report, seconds=0) for report in trial.reports))
        for trial in trials
    ]


def assert_same(found: Study, undisturbed: Study) -> None:
    """The same trials with the same numbers, modules and predictions, and the same recommendation."""
    assert found.state is State.COMPLETE, found.message
    for one, other in zip(told(found.trials), told(undisturbed.trials), strict=True):
        for name, value in asdict(one).items():
            assert value == asdict(other)[name], f"{name} of trial {one.number}"
    assert timeless(found.recommendation) == timeless(undisturbed.recommendation)
    names = [(baseline.name, baseline.validation, baseline.test) for baseline in found.baselines]
    assert names == [
        (baseline.name, baseline.validation, baseline.test) for baseline in undisturbed.baselines
    ]


# -------------------------------------------------------------------------------------- killed


@pytest.mark.slow
def test_a_search_that_is_killed_five_times_ends_as_an_undisturbed_one(
    place: Place, undisturbed: Study
) -> None:
    whole = len(undisturbed.baselines) + sum(len(trial.reports) for trial in undisturbed.trials)
    kills = sorted(random.Random(0).sample(range(1, whole), 5))
    for kill in kills:
        with place.search() as search:
            wait_for(lambda kill=kill, search=search: search.poll() is not None or place.results() >= kill)
            search.kill()
            search.communicate()
    with place.search() as search:
        _, said = search.communicate(timeout=120)
    assert search.returncode == 0, said
    assert "study rows-1 is the same search and unfinished; going on with it (--new starts another)" in said
    (study,) = place.service.studies()
    assert_same(place.service.study(study.name), undisturbed)
    commands = [run["command"] for run in place.study.runs]
    # Fewer than six where a search was killed before it had opened the study.
    assert 2 <= len(commands) <= 6 and all(
        command.startswith("peltier search rows.csv") for command in commands
    )
    left = {t.module_file for t in place.study.trials} | {t.predictions_file for t in place.study.trials}
    kept = {path.name for path in place.service.files.folder.iterdir() if len(path.name) == 64}
    assert place.service.database.files_in_use(kept) >= left - {None}


def test_the_same_search_goes_on_with_a_study_whose_process_is_dead(
    place: Place, undisturbed: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = f"{socket.gethostname()}-{ended.pid}"
    place.submit(worker=dead)
    monkeypatch.chdir(place.folder)
    shell = Shell(monkeypatch, capsys)
    again = ["search", "rows.csv", "--backbone", str(place.backbone), *OPTIONS, "--json"]
    said = shell(*again)
    assert said.status == 0 and "going on with it" in said.err, said.err
    assert_same(place.study, undisturbed)
    place.submit(worker=f"{socket.gethostname()}-{os.getpid()}")
    said = shell(*again)
    assert "study rows-2 is the same search and run by" in said.err
    place.service.cancel("rows-3") if place.service.study("rows-3").state is not State.COMPLETE else None
    assert [study.name for study in place.service.studies()] == ["rows-3", "rows-2", "rows-1"]


def test_a_worker_is_known_to_be_dead_on_its_own_machine_only() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = socket.gethostname()
    assert is_gone(f"{here}-{ended.pid}")
    assert not is_gone(f"{here}-{os.getpid()}")
    assert not is_gone(f"elsewhere-{ended.pid}")
    assert not is_gone("nobody")


# --------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_the_rung_and_keeps_the_study(
    number: int, place: Place, undisturbed: Study
) -> None:
    with place.search() as search:
        wait_for(lambda: place.results() >= 4)
        search.send_signal(number)
        _, said = search.communicate(timeout=60)
    assert search.returncode == 128 + number, said
    assert "study rows-1: paused; go on with: peltier resume rows-1" in said and "Traceback" not in said
    left = place.study
    assert (left.state, left.request, left.worker) == (State.WAITING, Request.PAUSE, None)
    assert {trial.state for trial in left.trials} <= {State.WAITING, State.PRUNED, State.COMPLETE}
    assert place.service.database.claim_study("daemon", lease_seconds=0) is None
    service = place.service
    assert_same(service.run(service.take_up("rows-1", "me").id, worker="me"), undisturbed)


def test_a_second_signal_stops_at_once(place: Place) -> None:
    with place.search("--epochs", str(LONG)) as search:
        wait_for(lambda: any(t.state is State.RUNNING for t in place.study.trials) if place.results() else 0)
        time.sleep(1.0)
        search.send_signal(signal.SIGINT)
        time.sleep(1.0)
        assert search.poll() is None, "one press waits for the rung"
        search.send_signal(signal.SIGINT)
        _, said = search.communicate(timeout=20)
    assert search.returncode == 128 + signal.SIGINT
    assert "press Ctrl-C again to stop now" in said and "Traceback" not in said
    assert place.study.request is Request.PAUSE
    assert {trial.state for trial in place.study.trials} == {State.WAITING}


@pytest.mark.slow
def test_sigterm_gives_the_rung_a_few_seconds(place: Place) -> None:
    with place.search("--epochs", str(LONG)) as search:
        wait_for(lambda: any(t.state is State.RUNNING for t in place.study.trials) if place.results() else 0)
        time.sleep(1.0)
        search.send_signal(signal.SIGTERM)
        search.communicate(timeout=30)
    assert search.returncode == 128 + signal.SIGTERM
    assert {trial.state for trial in place.study.trials} == {State.WAITING}


# --------------------------------------------------------------------------- paused, cancelled


def run_and(place: Place, act: Callable[[], object], **options: Any) -> Study:
    """Run a study in this process; `act` while it trains."""
    study = place.submit("me", **options)

    def later() -> None:
        wait_for(lambda: any(trial.reports for trial in place.study.trials))
        act()

    other = threading.Thread(target=later)
    other.start()
    try:
        return place.service.run(study.id, worker="me")
    finally:
        other.join()


def test_a_paused_study_goes_on_later_as_if_nothing_had_happened(
    place: Place, undisturbed: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selector.stopping.POLL_SECONDS", 0.0)
    said: list[str] = []
    left = run_and(place, lambda: said.append(place.service.pause("rows-1")))
    assert said == ["study rows-1 is left after the rung in flight, by me"]
    assert (left.state, left.message) == (State.WAITING, "paused; go on with: peltier resume rows-1")
    service = place.service
    assert "waits in the queue" in service.queue("rows-1")
    claimed = service.database.claim_study("daemon")
    assert claimed is not None
    assert_same(service.run(claimed.id), undisturbed)
    with pytest.raises(RequestError, match="study rows-1 is complete; there is nothing left to pause"):
        service.pause("rows-1")


def test_a_cancelled_study_ends_for_good(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selector.stopping.POLL_SECONDS", 0.0)
    left = run_and(place, lambda: place.service.cancel("rows-1"))
    assert (left.state, left.message) == (State.FAIL, CANCELLED)
    assert {trial.state for trial in left.trials} <= {State.PRUNED, State.COMPLETE}
    assert all(trial.checkpoint_file is None for trial in left.trials)
    known = {t.module_file for t in left.trials} | {t.predictions_file for t in left.trials}
    known |= {b.module_file for b in left.baselines} | {b.predictions_file for b in left.baselines}
    known |= {left.spec["train"]["sha256"]}
    kept = {path.name for path in place.service.files.folder.iterdir() if len(path.name) == 64}
    assert kept == known - {None}, "checkpoints are gone"
    with pytest.raises(RequestError, match="is ended \\(cancelled; .*\\); start another with peltier search"):
        place.service.take_up("rows-1", "me")


def test_what_nobody_runs_is_paused_and_cancelled_at_once(place: Place) -> None:
    service = place.service
    place.submit()
    assert service.pause("rows-1") == "study rows-1: paused; go on with: peltier resume rows-1"
    assert service.database.claim_study("daemon") is None
    assert service.cancel("rows-1") == f"study rows-1: {CANCELLED}"
    held = place.submit("other")
    with pytest.raises(RequestError, match="study rows-2 is run by other already"):
        service.take_up(held.name, "me")


def test_a_study_that_broke_off_is_taken_up_again(
    place: Place, undisturbed: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = place.submit("me")
    stop = Stop(place.service.database, study.id)

    def full_disk() -> bool:
        if any(trial.reports for trial in place.study.trials):
            raise OSError(28, "No space left on device")
        return False

    monkeypatch.setattr(type(stop), "__call__", lambda self: full_disk())
    with pytest.raises(OSError, match="No space left"):
        place.service.run(study.id, worker="me", stop=stop)
    monkeypatch.undo()
    broken = place.study
    assert broken.state is State.FAIL and "No space left on device" in broken.message
    service = place.service
    assert_same(service.run(service.take_up("rows-1", "me").id, worker="me"), undisturbed)
