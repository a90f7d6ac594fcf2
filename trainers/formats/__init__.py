"""Formats in which a module leaves Peltier; each is one module of this package, and released by `release`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from trainers.errors import ExportError
from trainers.export import Exported

NEEDS: Mapping[str, str] = {"peft": "peft", "onnx": "onnx"}
"""Format -> the extra of `pip install 'peltier[...]'` that brings what it needs."""
FORMATS = tuple(
    name
    for name in ("native", "peft", "merged", "standalone", "onnx")
    if find_spec(f"{__name__}.{name}") is not None
)

ELSEWHERE = ("adapterhub",)
"""Formats of libraries that need other packages than Peltier, and are loaded by another Python
(`trainers.formats.elsewhere`)."""


@runtime_checkable
class Format(Protocol):
    """What the module of a format gives."""

    NAME: str
    TOLERANCE: float
    """Largest allowed difference of a logit, fp32; see `trainers.parity`."""
    CHECK: str
    """A Python program, run as `python -c CHECK FOLDER ROWS.json OUT.npy` in a process that need not have
    Peltier: reads rows ({"texts": [...], "pairs": [...] or null}; texts are lists of words for tokens), loads
    FOLDER as a user of the format would, writes float32 logits [items, outputs] in order. Its
    `logits(texts, pairs)`, defined at the top, is then timed, on `device` where it defines that, too."""

    def refusal(self, export: Exported, /) -> str | None:
        """Why a module cannot be written in this format, in one line; None where it can."""

    def write(self, folder: Path, export: Exported, /) -> None:
        """Write all files of the format into an empty folder."""


def format_named(name: str) -> Format:
    """The module of a format.

    Raises:
        ExportError: if there is none of that name, or a package that it needs is not installed.
    """
    if name not in (*FORMATS, *ELSEWHERE):
        raise ExportError(f"format {name!r} is unknown; formats: {', '.join((*FORMATS, *ELSEWHERE))}")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it; it misses a package for GPUs
    try:
        # Importing peft or onnx takes seconds, and neither need be installed.
        return cast(Format, import_module(f"{__name__}.{name}"))
    except ModuleNotFoundError as error:
        extra = NEEDS.get(name)
        fix = f"pip install 'peltier[{extra}]'" if extra else f"pip install {error.name}"
        raise ExportError(
            f"format {name} needs {error.name}, which is not installed; install it with: {fix}"
        ) from None


def refusals(export: Exported) -> dict[str, str | None]:
    """Of every format why it cannot be written for a module; None where it can."""
    found: dict[str, str | None] = {}
    for name in FORMATS:
        try:
            found[name] = format_named(name).refusal(export)
        except ExportError as error:
            found[name] = str(error)
    return found


def check_offered(name: str, export: Exported) -> Format:
    """The format, if it can represent a module.

    Raises:
        ExportError: with the reason and the formats that can.
    """
    format = format_named(name)
    reason = format.refusal(export)
    if reason is not None:
        able = [other for other, why in refusals(export).items() if why is None]
        raise ExportError(f"{reason.rstrip('.')}; formats that can: {', '.join(able)}")
    return format
