"""Run a study on Ray: each job is one Ray Tune trial, on workers that keep their backbone."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from selector.jobs import Bench, Job, JobSource, Wait
from selector.runners.mailbox import Mailbox
from selector.work import Worker

OBJECT_STORE_BYTES = 200 * 2**20
"""Room for the task and the results in flight; weights are read from disk by each worker."""


class RayRunner:
    """A local Ray of its own, on loopback, that ends with the run."""

    def run(self, source: JobSource, bench: Bench) -> None:
        """Work off all jobs of a source, as many side by side as there are devices.

        Raises:
            KeyboardInterrupt: when Ctrl-C ended the run; what was recorded stays.
        """
        cpus = len(os.sched_getaffinity(0))
        _start(cpus)
        try:
            gpus = int(ray.cluster_resources().get("GPU", 0))
            slots = gpus or cpus
            resources = {"cpu": 1, "gpu": 1} if gpus else {"cpu": 1}
            self._fit(source, bench, slots, resources)
        finally:
            ray.shutdown()

    def _fit(self, source: JobSource, bench: Bench, slots: int, resources: Mapping[str, float]) -> None:
        mailbox = ray.remote(num_cpus=0)(Mailbox).remote()
        searcher = JobSearcher(source, mailbox, slots)
        trainable = tune.with_parameters(perform, bench=bench, mailbox=mailbox)
        with tempfile.TemporaryDirectory(prefix="peltier-tune-") as folder:
            tuner = tune.Tuner(
                tune.with_resources(trainable, dict(resources)),
                tune_config=tune.TuneConfig(
                    metric="results",
                    mode="max",
                    search_alg=searcher,
                    num_samples=-1,
                    max_concurrent_trials=slots,
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


def _start(cpus: int) -> None:
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a failed job is told by its trial, in one line
    ray.init(
        address="local",  # without it Ray would join whatever cluster runs on this machine
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level=logging.CRITICAL,
        log_to_driver=False,
    )
