"""Studies on a real Ray: the same results as without it, on loopback only, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from commands import COMMAND, ENVIRONMENT, write_rows
from processes import descendants, listening_addresses, running, trial_actors
from small_study import Spy, run_study

from selector.jobs import Bracket, Job, Result
from selector.placement import ClusterError, Wanted
from selector.runners.local import LocalRunner
from selector.runners.ray import RayRunner
from selector.search import SearchError
from storage.database import open_database
from storage.records import State, Study


@dataclass
class Seen:
    """Ray's processes and where they listened, while a study ran."""

    pids: set[int] = field(default_factory=set)
    addresses: set[tuple[str, int]] = field(default_factory=set)

    def look(self, spy: Spy, job: Job, result: Result) -> None:
        pids = descendants()
        self.pids |= pids
        self.addresses |= listening_addresses(pids | {os.getpid()})


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """One slot, so that brackets run one after another, and workers that find the packages."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def on_ray(one_core: None, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Seen]:
    seen = Seen()
    study, _ = run_study(RayRunner(), tmp_path_factory.mktemp("ray") / "study", tiny_folder, seen.look)
    return study, seen


def facts(study: Study) -> Sequence[tuple[object, ...]]:
    return [
        (t.number, t.method, dict(t.config), t.seed, t.state, t.repeat_of, t.bracket, t.message)
        for t in study.trials
    ]


@pytest.mark.slow
def test_ray_and_this_process_give_the_same_study(
    on_ray: tuple[Study, Seen], tiny_folder: Path, tmp_path: Path
) -> None:
    there, _ = on_ray
    here, _ = run_study(LocalRunner(), tmp_path / "study", tiny_folder)
    assert facts(there) == facts(here)
    assert {trial.state for trial in there.trials} == {State.COMPLETE, State.PRUNED}
    for one, other in zip(there.trials, here.trials, strict=True):
        assert [(r.rung, r.epochs, r.metrics) for r in one.reports] == [
            (r.rung, r.epochs, r.metrics) for r in other.reports
        ]
        assert [r.train_loss for r in one.reports] == pytest.approx(
            [r.train_loss for r in other.reports], abs=1e-5
        )
        assert one.test == other.test
    for one, other in zip(there.baselines, here.baselines, strict=True):
        assert (one.name, one.validation, one.test) == (other.name, other.validation, other.test)


def test_ray_listens_on_loopback_only(on_ray: tuple[Study, Seen]) -> None:
    _, seen = on_ray
    # As /proc/net/tcp and tcp6 write 127.0.0.1, ::ffff:127.0.0.1 and ::1.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert seen.addresses and {address for address, _ in seen.addresses} <= loopback


def test_no_process_of_ray_outlives_the_run(on_ray: tuple[Study, Seen]) -> None:
    _, seen = on_ray
    assert len(seen.pids) > 3  # its store, its scheduler, a worker, ...
    assert seen.pids & descendants() == set()


@pytest.mark.slow
def test_a_bracket_goes_on_after_its_last_rung_when_its_worker_is_killed(
    on_ray: tuple[Study, Seen], tiny_folder: Path, tmp_path: Path
) -> None:
    killed = []

    def kill_once(spy: Spy, job: Job, result: Result) -> None:
        if isinstance(job, Bracket) and not killed:
            killed.extend(trial_actors(descendants()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    study, spy = run_study(RayRunner(), tmp_path / "study", tiny_folder, kill_once)
    assert spy.begun[0] == [0, 1]
    assert spy.failures[0] == ["the worker ended without finishing its job (ActorDiedError)", None]
    undisturbed, _ = on_ray
    assert facts(study) == facts(undisturbed)
    for one, other in zip(study.trials, undisturbed.trials, strict=True):
        assert [(r.rung, r.metrics) for r in one.reports] == [(r.rung, r.metrics) for r in other.reports]
        assert one.test == other.test


@pytest.mark.slow
def test_a_bracket_whose_workers_always_die_is_given_up(tiny_folder: Path, tmp_path: Path) -> None:
    spies: list[Spy] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.2):
            if spies and 1 in spies[0].running:
                for pid in trial_actors(descendants()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        study, spy = run_study(
            RayRunner(),
            tmp_path / "study",
            tiny_folder,
            lambda spy, job, result: spies.append(spy),
            trials=6,
            bracket_size=2,
        )
    finally:
        over.set()
        killer.join()
    assert len(spy.failures[1]) == 3 and all(spy.failures[1])
    assert all(told == [None] for number, told in spy.failures.items() if number != 1)
    for trial in study.trials:
        if trial.bracket == 1:
            assert trial.state is State.FAIL
            assert trial.message.startswith("the worker ended without finishing its job")
        else:
            assert trial.state is State.COMPLETE
    assert any(trial.repeat_of is not None for trial in study.trials)


@pytest.mark.slow
def test_a_worker_that_cannot_begin_says_why(tiny_folder: Path, tmp_path: Path) -> None:
    backbone = shutil.copytree(tiny_folder, tmp_path / "bert")
    weights = backbone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    before = descendants()
    with pytest.raises(SearchError, match=r"the baselines could not be scored: \w+Error: "):
        run_study(RayRunner(), tmp_path / "study", backbone)
    assert descendants() <= before


def test_a_ray_that_does_not_start_is_told_in_one_line(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_slow(**settings: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("ray.init", too_slow)
    with pytest.raises(ClusterError, match=r"^Ray could not be started: The current .*--runner local$"):
        run_study(RayRunner(), tmp_path / "study", tiny_folder)


def test_what_this_machine_does_not_have_is_refused_with_what_it_has(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ClusterError, match=r"^no room for 2 workers .*: there is room for 1; nodes: .* 1 CPU$"
    ):
        run_study(RayRunner(Wanted(workers=2)), tmp_path / "study", tiny_folder)


@contextmanager
def searching(folder: Path, backbone: Path, *, trials: int, epochs: int) -> Iterator[subprocess.Popen[str]]:
    """A search in a process of its own, once its workers train."""
    options = (
        f"--trials {trials} --epochs {epochs} --methods bitfit --finalists 1 --seeds 1 --folds 1".split()
    )
    with subprocess.Popen(
        [*COMMAND, "search", "rows.csv", "--backbone", str(backbone), "--no-full-finetuning", *options],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as search:
        assert search.stderr is not None
        for line in search.stderr:
            if "searching" in line and trial_actors(descendants(search.pid)):
                break
        yield search


def stored(folder: Path) -> Study:
    (study,) = open_database(f"sqlite:///{folder / 'peltier.db'}").studies()
    return open_database(f"sqlite:///{folder / 'peltier.db'}").study(study.id)


def all_gone(started: set[int], seconds: float = 30) -> bool:
    """Whether none of these processes is left; a raylet lets go of its workers in its own time."""
    deadline = time.monotonic() + seconds
    while (left := started & running()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not left


MANY, FEW = 20_000, 16
"""Epochs: a rung of many takes minutes, one of few a second or two."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "presses", "epochs"),
    [(signal.SIGINT, 1, FEW), (signal.SIGINT, 2, MANY), (signal.SIGTERM, 1, MANY)],
)
def test_a_search_that_is_told_to_end_leaves_no_process_and_says_so(
    number: int, presses: int, epochs: int, tiny_folder: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", rows=60)
    with searching(tmp_path, tiny_folder, trials=64, epochs=epochs) as search:
        started = descendants(search.pid)
        assert len(started) > 3
        for _ in range(presses):
            search.send_signal(number)
            time.sleep(1.0)
        assert search.stderr is not None
        said = search.stderr.read()
    assert search.returncode == 128 + number and "Traceback" not in said
    assert all_gone(started)
    study = stored(tmp_path)
    assert (study.state, study.message) == (State.WAITING, "paused; go on with: peltier resume rows-1")


@pytest.mark.slow
def test_a_search_that_is_killed_leaves_no_process_and_its_command_goes_on(
    tiny_folder: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", rows=60)
    with searching(tmp_path, tiny_folder, trials=16, epochs=FEW) as search:
        started = descendants(search.pid)
        while not any(trial.reports for trial in stored(tmp_path).trials):
            time.sleep(0.1)
        search.kill()
        search.communicate()
    before = {trial.number: trial.reports for trial in stored(tmp_path).trials}
    with searching(tmp_path, tiny_folder, trials=16, epochs=FEW) as search:
        search.communicate()
    assert search.returncode == 0
    found = stored(tmp_path)
    assert found.state is State.COMPLETE and len(found.runs) == 2
    for trial in found.trials:
        # Rungs that were written down are the same ones, seconds included: nothing was trained twice.
        assert trial.reports[: len(before.get(trial.number, ()))] == before.get(trial.number, ())
    # Two of Ray's agents look only once a minute whether their raylet still lives.
    assert all_gone(started, seconds=120)
