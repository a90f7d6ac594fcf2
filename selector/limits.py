"""Hard limits of a request: how large a module may be, and how slow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NUMBER = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-zA-Z%]*)")
COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "": 1}
DURATIONS = {"ms": 1, "s": 1000}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a module must stay within; None: no limit."""

    parameters: int | None = None
    """Trained numbers, the head included."""
    stored_bytes: int | None = None
    latency_ms: float | None = None
    """Milliseconds for one text of the task's median length."""
    latency_ratio: float | None = None
    """The same in units of the plain backbone."""

    @property
    def on_size(self) -> bool:
        """Whether a configuration can be ruled out before it is trained."""
        return self.parameters is not None or self.stored_bytes is not None

    @property
    def on_latency(self) -> bool:
        """Whether modules must be timed."""
        return self.latency_ms is not None or self.latency_ratio is not None

    def use(self, parameters: int, stored_bytes: int) -> float:
        """The larger share of a size limit that a module uses up; above 1 it is beyond."""
        limited = ((parameters, self.parameters), (stored_bytes, self.stored_bytes))
        return max((size / limit for size, limit in limited if limit is not None), default=0.0)

    def too_slow(self, latency: Mapping[str, Any]) -> str:
        """What a measured latency is beyond, in words; empty within the limit."""
        beyond = []
        if self.latency_ratio is not None and latency["ratio"] > self.latency_ratio:
            beyond.append(f"{latency['ratio']:.2f}x the plain backbone, the limit is {self.latency_ratio:g}x")
        if self.latency_ms is not None and latency["ms"] > self.latency_ms:
            beyond.append(f"{latency['ms']:.2f} ms, the limit is {self.latency_ms:g} ms")
        return f"one text takes {' and '.join(beyond)}" if beyond else ""

    def sizes(self) -> str:
        """The size limits in words."""
        known = (
            "" if self.parameters is None else f"{self.parameters:,} parameters",
            "" if self.stored_bytes is None else f"{self.stored_bytes:,} bytes",
        )
        return " and ".join(word for word in known if word)


NO_LIMITS = Limits()


def limits_of(
    *, parameters: str | None, stored_bytes: str | None, latency: str | None, backbone_parameters: int
) -> Limits:
    """Limits as a user writes them; a percentage is of the backbone's parameters.

    Raises:
        ValueError: for what is no such limit, saying how to write one.
    """
    ratio = milliseconds = None
    if latency is not None:
        number, unit = _parts(latency, "--max-latency", "1.2x or 20ms", {"x", *DURATIONS})
        ratio, milliseconds = (number, None) if unit == "x" else (None, number * DURATIONS[unit])
    return Limits(
        parameters=None if parameters is None else _parameters(parameters, backbone_parameters),
        stored_bytes=None if stored_bytes is None else _bytes(stored_bytes),
        latency_ratio=ratio,
        latency_ms=milliseconds,
    )


def _parameters(text: str, of: int) -> int:
    number, unit = _parts(text.replace(",", ""), "--max-parameters", "0.5% or 120000", {"%", *COUNTS})
    return int(number / 100 * of) if unit == "%" else int(number * COUNTS[unit])


def _bytes(text: str) -> int:
    number, unit = _parts(text.replace(",", ""), "--max-bytes", "2MB, 500kB or 120000", set(SIZES))
    return int(number * SIZES[unit])


def _parts(text: str, option: str, examples: str, units: set[str]) -> tuple[float, str]:
    match = NUMBER.fullmatch(text.strip())
    if match is None or match["unit"].lower() not in units:
        raise ValueError(f"{option} {text!r} is no limit; write for example {examples}")
    if float(match["number"]) <= 0:
        raise ValueError(f"{option} is {text}; it must be above zero")
    return float(match["number"]), match["unit"].lower()
