"""Run a study on Ray: each job is one Ray Tune trial, on workers that keep their backbone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from selector.jobs import Bench, Job, JobSource, Wait
from selector.placement import Placement, Wanted, place
from selector.runners.connection import connected, nodes
from selector.runners.mailbox import Mailbox
from selector.work import Worker


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
            self._fit(source, bench, placement)

    def _fit(self, source: JobSource, bench: Bench, placement: Placement) -> None:
        mailbox = _mailbox()
        searcher = JobSearcher(source, mailbox, placement.workers)
        trainable = tune.with_parameters(perform, bench=bench, mailbox=mailbox)
        with tempfile.TemporaryDirectory(prefix="peltier-tune-") as folder:
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
                    storage_path=folder,
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


_resident: dict[int, Worker] = {}
"""The worker of this process, by study. Actors are reused, so a backbone is loaded once for each of them."""


def perform(config: Mapping[str, Any], *, bench: Bench, mailbox: Any) -> None:
    """What one Tune trial does: fetch its job, work, deliver each result."""
    key = config["job"]
    job = ray.get(mailbox.job.remote(key))
    try:
        for count, result in enumerate(_worker(bench).perform(job), start=1):
            ray.get(mailbox.deliver.remote(key, result))
            tune.report({"results": count})
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        ray.get(mailbox.explain.remote(key, reason))
        raise


def _worker(bench: Bench) -> Worker:
    worker = _resident.get(bench.study)
    if worker is None:
        _resident.clear()
        worker = _resident[bench.study] = Worker(bench)
    return worker


class JobSearcher(Searcher):
    """Asks our search for jobs in the place where Tune asks for configurations."""

    def __init__(self, source: JobSource, mailbox: Any, slots: int) -> None:
        super().__init__(metric="results", mode="max")
        self._source = source
        self._mailbox = mailbox
        self._slots = slots
        self.running: dict[str, Job] = {}
        self.error: Exception | None = None
        """What went wrong while recording; Tune would only log it."""

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None:
            return str(Searcher.FINISHED)
        try:
            job = self._source.next_job(self._slots)
        except Exception as error:
            self.error = error
            return str(Searcher.FINISHED)
        if job is None:
            return str(Searcher.FINISHED)
        if isinstance(job, Wait):
            return None
        self.running[trial_id] = job
        ray.get(self._mailbox.assign.remote(trial_id, job))
        return {"job": trial_id}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._record(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        self._record(trial_id)
        job = self.running.pop(trial_id, None)
        if job is not None:
            failure = self._failure(trial_id) if error else None
            self._guard(lambda: self._source.ended(job, failure))

    def _failure(self, trial_id: str) -> str:
        reason: str | None = ray.get(self._mailbox.failure.remote(trial_id))
        return reason or "the worker ended without finishing its job"

    def _record(self, trial_id: str) -> None:
        job = self.running.get(trial_id)
        if job is None:
            return
        for result in ray.get(self._mailbox.collect.remote(trial_id)):
            self._guard(lambda result=result: self._source.record(job, result))

    def _guard(self, action: Any) -> None:
        try:
            action()
        except Exception as error:
            self.error = self.error or error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: our own store is what a study resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
