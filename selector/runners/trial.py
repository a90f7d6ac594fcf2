"""What one Ray Tune trial does, on whatever node it lies: work off one job of a study."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import tune

from selector.stack_group import one_line
from selector.study_log import LOG, collected
from selector.work import Worker

_resident: dict[int, Worker] = {}
"""The worker of this process, by study. Actors are reused, so a backbone is loaded once for each of them."""


def perform(config: Mapping[str, Any], *, study: int, bench: Sequence[Any], mailbox: Any) -> None:
    """Fetch the job, work, deliver each result.

    `bench` holds a reference, so that it is fetched where a worker begins and not by each job.
    """
    key = config["job"]
    job = ray.get(mailbox.job.remote(key))
    failure = None
    with collected() as log:
        try:
            for count, result in enumerate(_worker(study, bench[0]).perform(job), start=1):
                ray.get(mailbox.deliver.remote(key, result, log.take()))
                tune.report({"results": count})
        except Exception as error:
            failure = one_line(error)
            LOG.exception("%s", failure)
            raise
        finally:
            ray.get(mailbox.explain.remote(key, failure, log.take()))


def _worker(study: int, bench: Any) -> Worker:
    worker = _resident.get(study)
    if worker is None:
        _resident.clear()
        worker = _resident[study] = Worker(ray.get(bench))
        LOG.info("a worker has loaded the backbone: process %d on %s", os.getpid(), socket.gethostname())
    return worker
