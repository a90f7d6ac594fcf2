"""Where brackets run: what a worker is given, what the nodes have, and how many workers fit on them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NODES_LISTED = 8
RELEASED_SECONDS = 60.0
"""In which a cluster has taken back what the workers of a run held that broke off."""


class ClusterError(RuntimeError):
    """There is no cluster, no room on it, or it failed; the message is shown as it is."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a user asks for."""

    workers: int | None = None
    """Brackets side by side; None: as many as there is room for."""
    cpus: int | None = None
    """Processor cores for each worker; None: one."""
    gpus: float | None = None
    """Of one GPU, for each worker; None: a whole one where there are any."""

    def __post_init__(self) -> None:
        for option, number in {"--workers": self.workers, "--cpus-per-worker": self.cpus}.items():
            if number is not None and number < 1:
                raise ValueError(f"{option} is {number}; it must be at least 1")
        if self.gpus is not None and not 0 <= self.gpus <= 1:
            raise ValueError(
                f"--gpus-per-worker is {self.gpus:g}; a worker trains on one GPU, so give 1, a part of "
                "one such as 0.5, or 0 to train on processors"
            )


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of a cluster: what it has, and what of that nobody uses now."""

    name: str
    cpus: float
    free_cpus: float
    gpus: float = 0.0
    free_gpus: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What is given."""

    workers: int
    cpus: int
    gpus: float


def place(wanted: Wanted, nodes: Sequence[Node]) -> Placement:
    """How many workers run, and with what each; never more than can start at once.

    Raises:
        ClusterError: if what is asked for is not there or not free, listing what is.
    """
    cpus = wanted.cpus or 1
    gpus = wanted.gpus
    if gpus is None:
        gpus = 1.0 if any(node.gpus for node in nodes) else 0.0
    room = sum(_fitting(node.cpus, node.gpus, cpus, gpus) for node in nodes)
    free = sum(_fitting(node.free_cpus, node.free_gpus, cpus, gpus) for node in nodes)
    asked = wanted.workers or 1
    if asked > free:
        workers = "a worker" if asked == 1 else f"{asked} workers"
        each = _amount(cpus, gpus) + (" each" if asked > 1 else "")
        # A worker lies on one node, so the sums of a cluster would say too much.
        fits = f"there is room for {room}" + (f", {free} of them free" if free < room else "")
        raise ClusterError(f"no room for {workers} with {each}: {fits}; nodes: {listed(nodes)}")
    return Placement(workers=wanted.workers or free, cpus=cpus, gpus=gpus)


def place_again(wanted: Wanted, nodes: Callable[[], Sequence[Node]], before: Placement) -> Placement:
    """As `place`, after a run that broke off: what its workers held comes back one by one, after a while.

    Waits for room for as many workers as before, and then takes what there is.

    Raises:
        ClusterError: if there is still no room for one after `RELEASED_SECONDS`.
    """
    end = time.monotonic() + RELEASED_SECONDS
    while time.monotonic() < end:
        try:
            placement = place(wanted, nodes())
        except ClusterError:
            pass
        else:
            if placement.workers >= before.workers:
                return placement
        time.sleep(0.2)
    return place(wanted, nodes())


def _fitting(cpus: float, gpus: float, cpus_each: int, gpus_each: float) -> int:
    """Workers that fit on one node; a part of a GPU is a part of one and the same."""
    by_cpus = int(cpus // cpus_each)
    if not gpus_each:
        return by_cpus
    # The sums of Ray's fractions are off by rounding: three times a third is a whole.
    on_whole, on_rest = int(1 / gpus_each + 1e-4), int(gpus % 1 / gpus_each + 1e-4)
    return min(by_cpus, int(gpus) * on_whole + on_rest)


def listed(nodes: Sequence[Node]) -> str:
    """The nodes with what they have, in one line."""
    shown = [f"{node.name} has {_has(node)}" for node in nodes[:NODES_LISTED]]
    more = len(nodes) - NODES_LISTED
    return ", ".join([*shown, f"and {more} more"] if more > 0 else shown) or "none"


def _has(node: Node) -> str:
    has = _amount(node.cpus, node.gpus)
    if (node.free_cpus, node.free_gpus) == (node.cpus, node.gpus):
        return has
    return f"{has} ({_amount(node.free_cpus, node.free_gpus)} free)"


def _amount(cpus: float, gpus: float) -> str:
    shown = f"{cpus:g} CPU{'' if cpus == 1 else 's'}"
    return f"{shown} and {gpus:g} GPU{'' if gpus == 1 else 's'}" if gpus else shown


def check_address(address: str) -> None:
    """Whether this can be the address of a Ray cluster: auto, or HOST:PORT.

    Raises:
        ValueError: if it is something else. Ray Client (ray://) would run the search, with its
            database, on the cluster instead of here.
    """
    if address.startswith("ray://"):
        raise ValueError(
            f"address {address!r} is one of Ray Client, through which Ray Tune cannot reach this process; "
            "run peltier on a node of the cluster, for instance with `ray job submit`, with --address auto"
        )
    if address != "auto" and not re.fullmatch(r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", address):
        raise ValueError(f"address {address!r} is no address of a Ray cluster; write HOST:PORT, or auto")
