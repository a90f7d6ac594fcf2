"""The int8 variant of an ONNX export, and what it costs and saves."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from trainers.formats.onnx import GRAPH
from trainers.formats.standalone import SOURCE
from trainers.standalone.imported import imported
from trainers.task import Task

INT8 = "model.int8.onnx"
REPORT = "int8.json"
BATCH = 32
RUNS = 9
"""Runs of which the median is taken, after one that is not counted."""


def add_int8(folder: Path, task: Task) -> dict[str, Any]:
    """Put a graph with weights in int8 beside that of an ONNX export, and int8.json; returns its content.

    Weights are rounded once, activations row by row while the graph runs. Both graphs are asked for the
    validation rows (with folds the training rows, which the module knows): metrics and their drop, bytes,
    and milliseconds for one text and for a batch, tokenising counted in, on this machine's CPU.
    """
    graph = onnx.load(folder / GRAPH)
    # The quantiser turns weights round and would find torch's notes on their shapes wrong.
    graph.graph.ClearField("value_info")
    logging.getLogger().addFilter(_without_advice)
    try:
        # With a zero point: without one the same graph lost 9 points of accuracy on SST-2, with it 1.
        quantize_dynamic(graph, folder / INT8, weight_type=QuantType.QUInt8)
    finally:
        logging.getLogger().removeFilter(_without_advice)
    with imported(folder / SOURCE) as module:
        graphs = {name: _measured(module, folder, name, task) for name in (GRAPH, INT8)}
    before, after = (graphs[name]["metrics"] for name in (GRAPH, INT8))
    found = {
        "split": "validation" if task.folds is None else "train",
        "rows": len(task.validation),
        "batch": BATCH,
        **graphs,
        "drop": {metric: before[metric] - after[metric] for metric in before},
    }
    (folder / REPORT).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def _without_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()  # our graph needs none


def _measured(module: Any, folder: Path, graph: str, task: Task) -> dict[str, Any]:
    predictor, split = module.load(folder, graph), task.validation
    texts = [list(text) for text in split.texts] if split.offsets is not None else list(split.texts)
    pairs = None if split.pairs is None else list(split.pairs)
    logits = predictor.logits(texts, pairs).numpy()
    middle = sorted(range(len(texts)), key=lambda row: len(texts[row]))[len(texts) // 2]

    def run(count: int) -> Callable[[], object]:
        return lambda: predictor.logits([texts[middle]] * count, pairs and [pairs[middle]] * count)

    return {
        "metrics": dict(task.metrics(split, logits)),
        "bytes": sum(path.stat().st_size for path in folder.glob(graph + "*")),
        "ms": _milliseconds(run(1)),
        "batch_ms": _milliseconds(run(BATCH)),
    }


def _milliseconds(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        run()
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken[1:])
