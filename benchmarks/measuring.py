"""What the benchmarks of speed share: a clock, alternating repeats, medians, the machine, its ceiling."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from trainers.backbone import Backbone


@dataclass(frozen=True)
class Clock:
    """Seconds of work on one device."""

    device: torch.device
    threads: int

    @property
    def kind(self) -> str:
        """One thread on a processor is timed by what it computes: others on the machine do not count."""
        return "CPU time" if self.device.type == "cpu" and self.threads == 1 else "wall clock"

    def now(self) -> float:
        """The time, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.kind == "CPU time" else time.perf_counter()


Contender = Callable[[int], float]
"""Takes the number of the repeat, which decides the rows; gives seconds of one step of one candidate."""


def alternate(
    contenders: Mapping[str, Contender], repeats: int, tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Name -> seconds of each repeat; contenders take turns, after one turn that does not count."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(-1, repeats):
        for name, contender in contenders.items():
            seconds = contender(max(repeat, 0))
            if repeat >= 0:
                found[name].append(seconds)
        tell("warmed up" if repeat < 0 else f"repeat {repeat + 1} of {repeats}")
    return found


@dataclass(frozen=True)
class Speed:
    """One contender against the slowest of them."""

    name: str
    per_second: float
    """Candidate-steps a second: the median of the repeats."""
    ratio: float
    """To the first contender: the median of the ratios within each repeat."""
    lowest: float
    highest: float


def speeds(seconds: Mapping[str, Sequence[float]]) -> list[Speed]:
    """Medians, and ratios to the first contender, repeat by repeat."""
    first = next(iter(seconds.values()))
    found = []
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(first, values, strict=True)]
        found.append(Speed(name, 1 / median(values), median(ratios), min(ratios), max(ratios)))
    return found


def ratio(seconds: Mapping[str, Sequence[float]], of: str, to: str) -> float:
    """How many times as fast `of` is as `to`: the median of the repeats."""
    return median(b / a for a, b in zip(seconds[of], seconds[to], strict=True))


# ------------------------------------------------------------------------------- the ceiling


def ceiling(
    device: torch.device, dtype: torch.dtype, width: int, inner: int, rows: int, clock: Clock
) -> float:
    """FLOP/s of the frozen layers' own matrix product, `[rows, width] x [width, inner]`, the best of five."""
    x, weight = torch.randn(rows, width, device=device), torch.randn(inner, width, device=device)
    x, weight = x.to(dtype), weight.to(dtype)
    count = max(1, round(2e10 / (2 * rows * width * inner)))
    best = float("inf")
    with torch.no_grad():
        for _ in range(6):
            start = clock.now()
            for _ in range(count):
                nn.functional.linear(x, weight)
            best = min(best, clock.now() - start)
    return 2 * rows * width * inner * count / best


def frozen_flops(backbone: Backbone) -> int:
    """FLOPs of a training step in the frozen linear layers, a token: once forward, once back to their inputs.

    Attention, normalisations and the modules themselves are not counted.
    """
    linear = sum(module.weight.numel() for module in layers(backbone) if isinstance(module, nn.Linear))
    return 4 * linear


def layers(backbone: Backbone) -> list[nn.Module]:
    """Every module inside the transformer's layers."""
    return list(backbone.model.get_submodule(backbone.family.layers).modules())


# ------------------------------------------------------------------------------- the machine


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on, and when."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }


def _processor() -> str:
    flags, name = "", platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = value
    fast = [word for word in ("avx512f", "avx512_bf16", "amx_bf16") if word in flags.split()]
    return f"{name} ({' '.join(fast) or 'no AVX-512'})"


def table(rows: Sequence[Speed], facts: Mapping[str, Any]) -> str:
    """A Markdown table with a line that says where it comes from."""
    first = rows[0].name
    lines = [
        ", ".join(f"{name} {value}" for name, value in facts.items()),
        "",
        f"| | candidate-steps a second | times {first} |",
        "|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.per_second:.3g} | {row.ratio:.2f} ({row.lowest:.2f} to {row.highest:.2f}) |"
        )
    return "\n".join(lines)


def as_json(rows: Sequence[Speed]) -> list[dict[str, Any]]:
    """Speeds as JSON values."""
    return [asdict(row) for row in rows]
