"""Studies on a real Ray: the same results as without it, on loopback only, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from commands import ENVIRONMENT, write_rows

from selector.budget import Clock
from selector.data import DataFiles, read
from selector.jobs import Bench, Bracket, Job, JobSource, Result, Runner, Wait
from selector.runners.local import LocalRunner
from selector.runners.ray import RayRunner
from selector.search import Search, SearchError
from selector.service import space_for
from selector.study import DataFile, StudySpec
from storage.database import open_database
from storage.files import Files
from storage.records import State, Study
from trainers.backbone import outline
from trainers.cost import Cost, cost_of
from trainers.method import MethodConfig


@dataclass
class Spy:
    """Hands everything on, looks at Ray's processes while a study runs, and may kill a worker."""

    source: JobSource
    kills_in_bracket: int | None = None
    seen: set[int] = field(default_factory=set)
    ports: set[str] = field(default_factory=set)
    failures: dict[int, str | None] = field(default_factory=dict)

    def next_job(self, slots: int) -> Job | Wait | None:
        return self.source.next_job(slots)

    def record(self, job: Job, result: Result) -> None:
        self.source.record(job, result)
        pids = descendants()
        self.seen |= pids
        self.ports |= listening_addresses(pids | {os.getpid()})
        if isinstance(job, Bracket) and job.number == self.kills_in_bracket:
            for pid in trial_actors(pids):
                os.kill(pid, signal.SIGKILL)

    def ended(self, job: Job, failure: str | None = None) -> None:
        if isinstance(job, Bracket):
            self.failures[job.number] = failure
        self.source.ended(job, failure)


# ----------------------------------------------------------------------------------- processes


def descendants() -> set[int]:
    """Pids of all processes below this one."""
    parents: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            text = read_text(process / "stat")
            if text:
                parents[int(process.name)] = int(text.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def trial_actors(pids: set[int]) -> list[int]:
    """The processes in which Tune's trials run; Ray names them after the trainable."""
    return [pid for pid in pids if read_text(Path(f"/proc/{pid}/cmdline")).startswith("ray::ImplicitFunc")]


def listening_addresses(pids: set[int]) -> set[str]:
    """Local addresses, as /proc/net writes them, on which these processes accept connections."""
    inodes = set()
    for pid in pids:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue  # it has ended
        inodes |= {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in read_text(Path(f"/proc/net/{name}")).splitlines()
    ]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in inodes}


def read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# ------------------------------------------------------------------------------------- studies


def run(
    runner: Runner, folder: Path, backbone: Path, *, kills_in_bracket: int | None = None, **options: int
) -> tuple[Study, Spy]:
    """A small study through a runner, in fp32, so that equal seeds give equal numbers."""
    folder.mkdir()
    rows = write_rows(folder / "rows.csv", rows=60)
    spec = StudySpec(
        train=DataFile(name="rows.csv"),
        backbone=str(backbone),
        methods=("lora", "bitfit"),
        full_finetuning=False,  # the stories count brackets
        **{"trials": 4, "epochs": 4, "seeds": 1, "finalists": 2, "bracket_size": 8, "folds": 1, **options},
    )
    task = read(DataFiles(train=rows), spec)
    sketch = outline(spec.backbone)

    def cost(config: MethodConfig) -> Cost:
        return cost_of(config, sketch.sites, len(task.labels), sketch.hidden_size)

    database = open_database(f"sqlite:///{folder / 'study.db'}")
    study_id = database.create_study("study", spec.to_json(), task.summary(), "here").id
    files = Files(folder / "files")
    search = Search(database, files, study_id, task, space_for(spec)[0], cost, Clock(None))
    spy = Spy(search, kills_in_bracket)
    runner.run(spy, Bench(study=study_id, task=task, backbone=spec.backbone, dtype="fp32"))
    return database.study(study_id), spy


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
def on_ray(one_core: None, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Spy]:
    return run(RayRunner(), tmp_path_factory.mktemp("ray") / "study", tiny_folder)


def facts(study: Study) -> Sequence[tuple[object, ...]]:
    return [
        (t.number, t.method, dict(t.config), t.seed, t.state, t.repeat_of, t.bracket, t.message)
        for t in study.trials
    ]


@pytest.mark.slow
def test_ray_and_this_process_give_the_same_study(
    on_ray: tuple[Study, Spy], tiny_folder: Path, tmp_path: Path
) -> None:
    there, _ = on_ray
    here, _ = run(LocalRunner(), tmp_path / "study", tiny_folder)
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


def test_ray_listens_on_loopback_only(on_ray: tuple[Study, Spy]) -> None:
    _, spy = on_ray
    # As /proc/net/tcp and tcp6 write 127.0.0.1, ::ffff:127.0.0.1 and ::1.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert spy.ports and spy.ports <= loopback


def test_no_process_of_ray_outlives_the_run(on_ray: tuple[Study, Spy]) -> None:
    _, spy = on_ray
    assert len(spy.seen) > 3  # its store, its scheduler, a worker, ...
    assert spy.seen & descendants() == set()


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_own_bracket_only(tiny_folder: Path, tmp_path: Path) -> None:
    study, spy = run(
        RayRunner(), tmp_path / "study", tiny_folder, kills_in_bracket=1, trials=6, bracket_size=2
    )
    message = "the worker ended without finishing its job"
    assert spy.failures == {n: message if n == 1 else None for n in spy.failures}
    assert len(spy.failures) >= 4  # three brackets of the search, one of finalists
    for trial in study.trials:
        if trial.bracket == 1:
            assert (trial.state, trial.message) == (State.FAIL, message)
            assert len(trial.reports) == 1  # what was measured before stays
        else:
            assert trial.state in (State.COMPLETE, State.PRUNED)
    assert any(trial.repeat_of is not None for trial in study.trials)


@pytest.mark.slow
def test_a_worker_that_cannot_begin_says_why(tiny_folder: Path, tmp_path: Path) -> None:
    backbone = shutil.copytree(tiny_folder, tmp_path / "bert")
    weights = backbone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SearchError, match=r"the baselines could not be scored: \w+Error: "):
        run(RayRunner(), tmp_path / "study", backbone)
