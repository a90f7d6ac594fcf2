"""Run a study on Ray: each job is one Ray Tune trial, on workers that keep their backbone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from selector.jobs import Bench, JobSource
from selector.placement import Placement, Wanted, place
from selector.runners.connection import connected, nodes
from selector.runners.mailbox import Mailbox
from selector.runners.searcher import JobSearcher
from selector.runners.trial import perform


class RayRunner:
    """Brackets side by side, on a local Ray of its own or on a cluster that is joined."""

    def __init__(self, wanted: Wanted = Wanted(), address: str | None = None) -> None:  # noqa: B008 (frozen)
        """Without `address` Ray is started on this machine, on loopback, and ends with the run."""
        self._wanted = wanted
        self._address = address

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source, as many side by side as there is room for.

        Raises:
            PlacementError: if there is no room for what is wanted; nothing has been started then.
            KeyboardInterrupt: when Ctrl-C ended the run; what was recorded stays.
        """
        with connected(self._address):
            placement = place(self._wanted, nodes())
            if not placement.gpus:
                # Ray hides no GPU from a worker that asked for none.
                bench = replace(bench, device="cpu")
            with tempfile.TemporaryDirectory(prefix="peltier-tune-") as folder:
                _fit(source, bench, placement, Path(folder))


def _fit(source: JobSource, bench: Bench, placement: Placement, folder: Path) -> None:
    mailbox = _mailbox()
    searcher = JobSearcher(source, mailbox, placement.workers, folder)
    trainable = tune.with_parameters(perform, study=bench.study, bench=[ray.put(bench)], mailbox=mailbox)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": placement.cpus, "gpu": placement.gpus}),
        tune_config=tune.TuneConfig(
            metric="results",
            mode="max",
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=placement.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="peltier",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()
    if searcher.running:
        # On Ctrl-C `fit` stops its trials and returns as if nothing had happened.
        raise KeyboardInterrupt
    if searcher.error is not None:
        raise searcher.error


def _mailbox() -> Any:
    """On the node of this process: with another one it would be lost, and every job with it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
