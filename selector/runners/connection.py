"""The way to Ray: one of our own on loopback that ends with the run, or a cluster that is joined."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._private.state import available_resources_per_node

from selector.environment import WORKER_SETTINGS
from selector.placement import ClusterError, Node, check_address
from selector.study_log import LOG

OBJECT_STORE_BYTES = 200 * 2**20
"""Room for the task and the results in flight; weights are read from disk by each worker."""
ANSWER_SECONDS = 5.0
"""In which a cluster must answer; Ray itself tries for two minutes."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A Ray while the block runs. A joined cluster goes on afterwards, without anything of ours.

    Raises:
        ClusterError: if there is no cluster at the address, or it cannot be joined from here.
    """
    logger = logging.getLogger("ray")
    logger.handlers, logger.propagate = [], True  # it writes to the terminal by itself since its import
    # Tune misses files of results, which it was told not to write.
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(_Printed()), _session(address):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has set its own
        session = ray.get_runtime_context()
        folder = Path(session.get_temp_dir(), session.get_session_name(), "logs")
        LOG.info("what Ray logs itself is in %s on each node", folder)
        yield


@contextmanager
def _session(address: str | None) -> Iterator[None]:
    try:
        if address is None:
            _start()
        else:
            _join(address)
        yield
    finally:
        ray.shutdown()


class _Printed(io.TextIOBase):
    """What Ray prints of dying nodes and of its trials: for the log, not between the lines of a user."""

    def write(self, text: str) -> int:
        if text.strip():
            logging.getLogger("ray").warning("%s", text.strip())
        return len(text)


def _start() -> None:
    try:
        ray.init(
            address="local",  # without it Ray would join whatever cluster runs on this machine
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            configure_logging=False,
            log_to_driver=False,
        )
    except Exception as error:  # a plain one after half a minute, where the machine is too busy
        raise ClusterError(
            f"Ray could not be started: {_first_line(error)}; try again when less else runs on this machine, "
            "or search without Ray: --runner local"
        ) from error


def _join(address: str) -> None:
    try:
        found = canonicalize_bootstrap_address_or_die(address)
        check_address(found)  # RAY_ADDRESS, which counts for `auto`, may hold anything
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:  # a ConnectionError of Ray's is an OSError, too
        raise ClusterError(_unreachable(address, error)) from error
    try:
        with _stderr_logged():
            ray.init(
                address=address,
                configure_logging=False,
                log_to_driver=False,
                runtime_env={"env_vars": WORKER_SETTINGS},
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(_unreachable(address, error)) from error


@contextmanager
def _stderr_logged() -> Iterator[None]:
    """Until it is connected, the part of Ray that is not Python writes to the file descriptor."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            _Printed().write(written.read().decode(errors="replace"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _unreachable(address: str, error: Exception) -> str:
    why = getattr(error, "strerror", None) or _first_line(error)
    return (
        f"cannot join a Ray cluster at {address}: {why}; a node of it must run on this machine (ray start "
        "--address=HOST:PORT), with the same versions of Python and Ray; where the cluster wants a token, "
        "set RAY_AUTH_MODE=token"
    )


def nodes() -> list[Node]:
    """The machines of the cluster that is connected."""
    free = available_resources_per_node()
    return [_node(node, free.get(node["NodeID"], {})) for node in ray.nodes() if node["Alive"]]


def _node(node: Mapping[str, Any], free: Mapping[str, float]) -> Node:
    has = node["Resources"]
    return Node(
        name=node["NodeManagerAddress"],
        cpus=has.get("CPU", 0.0),
        gpus=has.get("GPU", 0.0),
        free_cpus=free.get("CPU", 0.0),
        free_gpus=free.get("GPU", 0.0),
    )
