"""Run a study on Ray: each job is one Ray Tune trial, on workers that keep their backbone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from selector.jobs import Bench, JobSource
from selector.placement import ClusterError, Placement, Wanted, place, place_again
from selector.runners.connection import connected, nodes
from selector.runners.mailbox import Mailbox
from selector.runners.searcher import JobSearcher, told
from selector.runners.trial import perform
from selector.study_log import LOG

MAILBOXES = 3
"""Attempts to start one."""


class RayRunner:
    """Brackets side by side, on a local Ray of its own or on a cluster that is joined."""

    def __init__(self, wanted: Wanted = Wanted(), address: str | None = None) -> None:  # noqa: B008 (frozen)
        """Without `address` Ray is started on this machine, on loopback, and ends with the run."""
        self._wanted = wanted
        self._address = address

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source, as many side by side as there is room for.

        Raises:
            ClusterError: if there is no room for what is wanted, and nothing has been started; or if Ray
                itself failed, and what was recorded stays.
            KeyboardInterrupt: when Ctrl-C ended the run; what was recorded stays.
        """
        placement = None
        while True:
            with connected(self._address), tempfile.TemporaryDirectory(prefix="peltier-tune-") as folder:
                if placement is None:
                    placement = place(self._wanted, nodes())
                else:
                    placement = place_again(self._wanted, nodes, placement)
                if not placement.gpus:
                    # Ray hides no GPU from a worker that asked for none.
                    bench = replace(bench, device="cpu")
                try:
                    if _fit(source, bench, placement, Path(folder)):
                        return
                except RayError as error:
                    raise ClusterError(f"Ray failed: {told(error)}") from error
            LOG.warning("Ray is started, or joined, anew")


def _fit(source: JobSource, bench: Bench, placement: Placement, folder: Path) -> bool:
    """Work off the jobs; False when Tune has given up and left its workers lying about."""
    mailbox = _mailbox()
    searcher = JobSearcher(source, mailbox, placement.workers)
    trainable = tune.with_parameters(perform, study=bench.study, bench=[ray.put(bench)], mailbox=mailbox)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": placement.cpus, "gpu": placement.gpus}),
        tune_config=tune.TuneConfig(
            metric="results",
            mode="max",
            search_alg=searcher,
            scheduler=searcher.attendant,
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
    done = True
    try:
        tuner.fit()
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        # Of a worker that was ended by the memory monitor of a cluster. Tune does not know what that means.
        searcher.lose_all(error.__cause__)
        done = False
    if searcher.error is not None:
        raise searcher.error
    return done


def _mailbox() -> Any:
    """On the node of this process: with another one it would be lost, and every job with it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here)
    for _ in range(MAILBOXES):
        mailbox: Any = actor.remote()
        try:
            ray.get(mailbox.collect.remote(""))
        except RayActorError:
            # It was given a process of a run that had just ended on this node, and went with it. Seen once.
            continue
        return mailbox
    raise ClusterError("this node of the cluster ends every process that is started on it")
