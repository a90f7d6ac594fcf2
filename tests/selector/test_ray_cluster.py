"""Studies on a cluster that is joined: three nodes of Ray on this machine, on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import ENVIRONMENT, peltier, write_rows
from processes import command_of, descendants, listening_addresses, parent_of, trial_actors
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory
from ray._raylet import Config
from ray.cluster_utils import Cluster
from safetensors.torch import load_file, save_file
from small_study import Spy, run_study

from selector.data import DataFiles, read
from selector.environment import LOOPBACK
from selector.jobs import Bench, Bracket, Entry, Job, Outcome, Result, Rung, Wait
from selector.placement import ClusterError, Wanted
from selector.runners.connection import connected, nodes
from selector.runners.ray import RayRunner
from selector.runners.searcher import LOST
from selector.study import DataFile, StudySpec
from selector.study_log import study_log
from storage.records import State

GIB = 2**30
MARGIN = 6 * GIB
"""Of memory that other tests may take while a cluster is about to run short of it."""
STORE_BYTES = 80 * 2**20
"""The least that Ray accepts is 75 MiB."""


@pytest.fixture(scope="module", autouse=True)
def without_tokens() -> Iterator[None]:
    """All Rays of this file: one that starts a cluster of its own would have this process ask for tokens
    from then on, which the nodes of a cluster that was there before do not send."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        Config.initialize("")  # Ray read it when it was imported, or when it was started last
        yield
    Config.initialize("")


@contextmanager
def started(**head: Any) -> Iterator[Cluster]:
    """A cluster of one node."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        node = {"object_store_memory": STORE_BYTES, "include_dashboard": False, **head}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without cores for others, and two nodes with one core each."""
    with started(num_cpus=0) as cluster:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield cluster


# ---------------------------------------------------------------------------- jobs by a script


@dataclass
class Script:
    """Hands out the jobs of a list and keeps what comes of them."""

    jobs: deque[Job]
    look: Callable[[Result], None]
    running: int = 0
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    failures: dict[int, str | None] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    stops: bool = False
    """Whether it wants to stop once there is a result."""

    @property
    def stopping(self) -> bool:
        return self.stops and bool(self.outcomes)

    def next_job(self, slots: int) -> Job | Wait | None:
        if self.stopping or not self.jobs:
            return Wait() if self.running else None
        self.running += 1
        return self.jobs.popleft()

    def record(self, job: Job, result: Result) -> None:
        assert isinstance(job, Bracket) and isinstance(result, Rung)
        self.outcomes.setdefault(job.number, []).extend(result.outcomes)
        self.look(result)

    def ended(self, job: Job, failure: str | None = None, *, lost: bool = False) -> None:
        assert isinstance(job, Bracket)
        self.running -= 1
        self.failures[job.number] = failure
        if lost:
            self.lost.add(job.number)


def bracket(number: int, method: str = "bitfit", rungs: tuple[int, ...] = (1,), **values: Any) -> Bracket:
    entry = Entry(number=number, method=method, values=values, seed=0, stored_bytes=0)
    return Bracket(number=number, entries=(entry,), rungs=rungs, metric="accuracy", order_seed=0)


def perform(
    runner: RayRunner,
    folder: Path,
    backbone: Path,
    *jobs: Job,
    name: str = "rows",
    look: Callable[[Result], None] = lambda result: None,
    stopping: bool = False,
) -> Script:
    rows = write_rows(folder / "rows.csv", rows=60)
    task = read(
        DataFiles(train=rows), StudySpec(train=DataFile(name="rows.csv"), backbone=str(backbone), folds=1)
    )
    task = replace(task, name=name)
    script = Script(deque(jobs), look, stops=stopping)
    with study_log(folder / "study.log"):
        runner.run(script, Bench(study=1, task=task, backbone=str(backbone), dtype="fp32"))
    return script


def test_faults_in_jobs_stay_theirs_and_are_told_in_one_line_each(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = perform(
        RayRunner(address=cluster.address),
        tmp_path,
        tiny_folder,
        bracket(0, method="nonesuch"),
        replace(bracket(1), metric="nonesuch"),
        bracket(2, learning_rate=1e30),
        bracket(3, rungs=()),
        bracket(4),
    )
    # In this order: a method that there is not, a metric that no report has, a value out of its range.
    texts = ["method 'nonesuch' is unknown; ", "KeyError: 'nonesuch'", "bitfit.learning_rate is 1e+30; "]
    assert all(text in str(script.failures[number]) for number, text in enumerate(texts))
    assert not script.lost
    assert script.failures[3] is None and 3 not in script.outcomes  # it gave no result at all
    assert [outcome.state for outcome in script.outcomes[4]] == [State.COMPLETE]
    said = capfd.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 3 and all(any(text in line for line in lines) for text in texts)
    log = tmp_path / "study.log"
    assert lines[0].endswith(f"(in full in {log})") and log.read_text().count("Traceback") >= 3


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_fails_its_trial_only_with_words(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    backbone = shutil.copytree(tiny_folder, tmp_path / "bert")
    weights = load_file(backbone / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][:] = torch.nan
    save_file(weights, backbone / "model.safetensors", {"format": "pt"})
    script = perform(RayRunner(address=cluster.address), tmp_path, backbone, bracket(0), bracket(1))
    assert script.failures == {0: None, 1: None}
    for (outcome,) in script.outcomes.values():
        assert outcome.state is State.FAIL
        assert outcome.message == "training diverged: the loss is nan after 1 epoch"


@pytest.mark.slow
def test_running_jobs_are_left_after_a_rung_when_the_source_is_stopping(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    jobs = [bracket(number, rungs=(1, 2, 1000)) for number in range(3)]
    script = perform(RayRunner(address=cluster.address), tmp_path, tiny_folder, *jobs, stopping=True)
    assert script.failures and set(script.failures.values()) == {None} and not script.lost
    left = [outcomes[-1] for outcomes in script.outcomes.values()]
    assert {outcome.state for outcome in left} == {State.RUNNING}
    assert all(outcome.report is not None and outcome.report.epochs <= 2 for outcome in left)


@pytest.mark.slow
def test_each_worker_loads_the_backbone_once_and_the_nodes_share_the_brackets(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    nodes: dict[int, set[int]] = {}

    def look(spy: Spy, job: Job, result: Result) -> None:
        for pid in trial_actors(descendants()):
            nodes.setdefault(parent_of(pid), set()).add(pid)

    study, spy = run_study(
        RayRunner(address=cluster.address), tmp_path / "study", tiny_folder, look, trials=6, bracket_size=2
    )
    assert len(spy.failures) >= 4 and all(told == [None] for told in spy.failures.values())
    assert [len(workers) for workers in nodes.values()] == [1, 1]
    assert (tmp_path / "study" / "study.log").read_text().count("has loaded the backbone") == 2
    assert {trial.state for trial in study.trials} == {State.COMPLETE}


LONG_NAME = "x" * (STORE_BYTES + 2**20)
"""Makes the task larger than the object store of a node, without longer trainings."""


def test_a_task_that_is_larger_than_the_object_store_goes_by_way_of_the_disk(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    runner = RayRunner(Wanted(workers=1), cluster.address)
    script = perform(runner, tmp_path, tiny_folder, bracket(0), name=LONG_NAME)
    assert [outcome.state for outcome in script.outcomes[0]] == [State.COMPLETE]


@pytest.mark.slow
def test_a_full_object_store_on_a_full_disk_ends_the_run_in_one_line(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with started(num_cpus=1, _system_config={"local_fs_capacity_threshold": 1e-4}) as cluster:
        runner = RayRunner(address=cluster.address)
        with pytest.raises(ClusterError, match=r"^Ray failed: OutOfDiskError: Local disk is full$"):
            perform(runner, tmp_path, tiny_folder, bracket(0), name=LONG_NAME)


@pytest.mark.slow
def test_a_worker_that_the_memory_monitor_of_a_cluster_ends_does_not_end_the_run(
    tiny_folder: Path, tmp_path: Path
) -> None:
    total = get_system_memory()
    if total - get_used_memory() < MARGIN + 4 * GIB:
        pytest.skip("it takes 10 GiB of free memory to run short of memory in a controlled way")
    with started(num_cpus=0) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_monitor_refresh_ms", "100")
        patch.setenv("RAY_memory_usage_threshold", str((get_used_memory() + MARGIN) / total))
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        runner = RayRunner(address=cluster.address)
        script = perform(runner, tmp_path, tiny_folder, bracket(0, rungs=(1, 2)), bracket(1), look=run_short)
    assert script.failures == {0: f"{LOST} (OutOfMemoryError)", 1: None} and script.lost == {0}
    assert [outcome.state for outcome in script.outcomes[1]] == [State.COMPLETE]


def run_short(result: Result) -> None:
    """Fill the memory while the worker of the first bracket waits with its second rung, until it is gone."""
    if isinstance(result, Rung) and result.bracket == 0:
        (worker,) = trial_actors(descendants())
        filled = []
        while parent_of(worker):
            filled += (
                [np.ones(GIB // 2, dtype=np.uint8)]
                if get_used_memory() < get_system_memory() - 2 * GIB
                else []
            )
            time.sleep(0.1)
        filled.clear()


@pytest.mark.slow
def test_a_second_ray_on_the_machine_is_neither_joined_nor_disturbed(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    theirs = descendants()
    before = listening_addresses(theirs)
    ours: set[int] = set()

    def look(result: Result) -> None:
        ours.update(descendants() - theirs)
        ports = {port for _, port in listening_addresses(ours)}
        assert ports and not ports & {port for _, port in before}
        # Where others expect a Ray to be: its store, its dashboard and agent, its client.
        assert not ports & {6379, 8265, 52365, 10001}
        assert len(trial_actors(ours)) == 1 and not trial_actors(theirs)

    script = perform(RayRunner(Wanted(workers=1)), tmp_path, tiny_folder, bracket(0), look=look)
    assert script.failures == {0: None}
    assert not ours & descendants()
    assert theirs <= descendants() and listening_addresses(theirs) == before
    with connected(cluster.address):
        assert sorted(node.free_cpus for node in nodes()) == [0, 1, 1]


@pytest.mark.slow
def test_a_search_on_a_cluster_prints_its_result_and_nothing_of_ray(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", rows=60)
    options = "--trials 2 --epochs 2 --seeds 1 --methods bitfit --folds 1 --json".split()
    # The nodes of this cluster listen on loopback and want no token, so its driver must do so, too.
    settings = {LOOPBACK: "false", "RAY_AUTH_MODE": "disabled"}
    said = peltier(
        *("search", "rows.csv", "--backbone", str(tiny_folder), "--address", cluster.address, *options),
        folder=tmp_path,
        **settings,
    )
    assert said.status == 0, said.err
    assert len(json.loads(said.out)["trials"]) >= 2
    expected = re.compile(r"\d+:\d\d (starting|searching|repeating|comparing|exporting).*|warning: .*")
    assert [line for line in said.err.splitlines() if not expected.fullmatch(line)] == []
    log = (tmp_path / "peltier.files" / "logs" / "rows-1.log").read_text()
    assert "has loaded the backbone" in log and "ERROR" not in log


def test_what_the_cluster_does_not_have_is_refused_with_what_it_has(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    for wanted, missing in ((Wanted(gpus=1), "1 CPU and 1 GPU"), (Wanted(cpus=2), "2 CPUs")):
        with pytest.raises(ClusterError) as refused:
            perform(RayRunner(wanted, cluster.address), tmp_path, tiny_folder, bracket(0))
        assert str(refused.value).startswith(f"no room for a worker with {missing}: there is room for 0; ")
        assert str(refused.value).count("127.0.0.1 has 1 CPU") == 2


def test_where_no_cluster_is_one_line_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=f"^cannot join a Ray cluster at 127.0.0.1:{port}: .*refused; "):
        perform(RayRunner(address=f"127.0.0.1:{port}"), tmp_path, tiny_folder, bracket(0))


RUNGS = 3


@dataclass
class NodeKiller:
    """Ends a node with all that runs on it when both workers have a bracket to go on with."""

    done: dict[int, int] = field(default_factory=dict)
    """Bracket -> rungs written down the first time that it was given out."""
    killed: int | None = None

    def look(self, spy: Spy, job: Job, result: Result) -> None:
        if isinstance(result, Rung) and len(spy.begun[result.bracket]) == 1:
            self.done[result.bracket] = result.rung + 1  # a last one may still be under way from a dead node
            if self.killed is None:
                self._kill_a_node(spy)

    def _kill_a_node(self, spy: Spy) -> None:
        time.sleep(0.5)  # a worker waits with its next result, so the other one catches up
        workers = trial_actors(descendants())
        going_on = [number for number in spy.running if self.done.setdefault(number, 0) < RUNGS]
        if len(going_on) == len(workers) == 2:
            self.killed = parent_of(workers[0])
            assert "raylet" in command_of(self.killed)
            for pid in (self.killed, *descendants(self.killed)):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_death_of_a_node_costs_the_rung_in_flight_on_it_and_nothing_else(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    killer = NodeKiller()
    study, spy = run_study(
        RayRunner(address=cluster.address),
        tmp_path / "study",
        tiny_folder,
        killer.look,
        trials=12,  # one worker scores the baselines first
        bracket_size=2,
    )
    assert killer.killed is not None
    (lost,) = [number for number, told in spy.failures.items() if told != [None]]
    first, *again = spy.failures[lost]
    assert first is not None and first.startswith(LOST)
    # Rungs that were written down are not trained again; the last may have been sent before the node died.
    left = killer.done[lost] < RUNGS
    assert again == ([None] if left else [])
    assert spy.begun[lost] == ([0, killer.done[lost]] if left else [0])
    for trial in study.trials:
        assert trial.state is State.COMPLETE
        assert [report.rung for report in trial.reports] == (
            [0] if trial.repeat_of is not None else [0, 1, 2]
        )
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1 and said.err.startswith(f"bracket {lost} (trials ")
