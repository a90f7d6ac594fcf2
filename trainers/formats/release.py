"""The release of a module in a format: written, loaded in a fresh process, compared, then given out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.export import Exported
from trainers.export_folder import seal, workshop
from trainers.formats import check_offered
from trainers.formats.elsewhere import python_of
from trainers.formats.fresh import ask
from trainers.parity import parity
from trainers.predictions import Logits
from trainers.task import Task


def release(
    folder: Path,
    export: Exported,
    task: Task,
    expected: Logits,
    facts: Mapping[str, Any],
    *,
    format: str,
    elsewhere: Path | None = None,
) -> float:
    """Write an export in a format; returns the largest difference of its logits from `expected`.

    `expected` are the trained module's logits of the validation rows (with folds the training rows) in fp32;
    `facts` (scores, provenance) go into the manifest, beside parity, size and latency. `elsewhere` is the
    Python that loads a format of `ELSEWHERE`.

    Raises:
        ExportError: if the format cannot represent the module, the folder holds something else or cannot be
            written, what a fresh process loads differs, or there is no Python that could load it.
    """
    folder = folder.absolute()
    writer = check_offered(format, export)
    python = python_of(format, elsewhere)
    with workshop(folder) as room:
        draft = room / "export"
        draft.mkdir()
        writer.write(draft, export)
        found, latency = ask(writer.CHECK, draft, task.validation, room, python)
        checked = parity(found, task, expected, writer.TOLERANCE, process="fresh")
        if format == "onnx":  # the one format with a variant, whose drop must be measured on labelled rows
            from trainers.onnx_int8 import add_int8  # importing onnx takes seconds

            add_int8(draft, task)
        named = {} if format == "native" else {"format": format}
        manifest = {**export.manifest, **named, **facts, "parity": checked, "latency": latency}
        seal(draft, folder, manifest)
    return float(checked["largest_difference"])
