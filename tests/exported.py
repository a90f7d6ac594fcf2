"""Exports of tiny modules in which nothing is 0 by chance, and fresh processes that load them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from tiny import task_of_kind

from trainers.backbone import Backbone
from trainers.building import build_stack
from trainers.export import Exported, Module, load_export, write_export
from trainers.method import MethodConfig
from trainers.predictions import Logits
from trainers.stack import Candidate
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import logits_of

LENGTH = 32
DRIVER = """
import json, sys
sys.modules.update(dict.fromkeys(("trainers", "selector", "storage", "dashboard")))  # as if not installed
for program, *files in json.load(open(sys.argv[1])):
    sys.argv[1:] = files
    exec(program, {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Case:
    """An export with the rows that it is asked, and the logits that the trained module gave."""

    export: Exported
    task: Task
    logits: Logits


def case_of(folder: Path, backbone: Backbone, config: MethodConfig, kind: str = "classification") -> Case:
    """A module away from its start, exported and loaded again."""
    task = task_of_kind(kind, 8, 12, 8)
    chance = torch.Generator().manual_seed(1)
    first = build_stack(backbone, [Candidate(config, 0)], task.outputs)
    (state,) = first.states()
    moved = {
        n: t + 0.1 * torch.randn(t.shape, generator=chance) if n in first.shapes[0] else t
        for n, t in state.items()
    }
    stack = build_stack(backbone, first.candidates, task.outputs, [moved])
    ((config, left),) = stack.deployed()
    logits = logits_of(stack, tokenise(task.validation, backbone.tokenizer, LENGTH))[0]
    write_export(folder, Module(config, 0, left), backbone, task, LENGTH, logits, {})
    return Case(load_export(folder, backbone), task, logits)


def in_a_fresh_process(
    folder: Path, format: ModuleType, cases: Mapping[str, Case], python: str = sys.executable
) -> dict[str, Logits]:
    """Write each case in a format, and ask all of them in one process that does not know Peltier."""
    work = []
    for name, case in cases.items():
        place = folder / name.replace(":", "-").replace(" ", "-")
        (place / "export").mkdir(parents=True)
        format.write(place / "export", case.export)
        rows = case.task.validation
        texts = [list(text) if rows.offsets is not None else text for text in rows.texts]
        pairs = None if rows.pairs is None else list(rows.pairs)
        (place / "rows.json").write_text(json.dumps({"texts": texts, "pairs": pairs}))
        work.append([format.CHECK, *(str(place / one) for one in ("export", "rows.json", "out.npy"))])
    (folder / "work.json").write_text(json.dumps(work))
    done = subprocess.run(
        [python, "-W", "ignore", "-c", DRIVER, str(folder / "work.json")],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: np.load(files[-1]) for name, (_, *files) in zip(cases, work, strict=True)}
