"""Peltier's own format: the trained tensors alone, to be put on the backbone they were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import trainers
from trainers.export import Exported, Module
from trainers.export_folder import MANIFEST, MODULE
from trainers.parity import TOLERANCE as TOLERANCE

NAME = "native"
CHECK = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(trainers.__file__).parents[1])!r})  # the very code that wrote it
import numpy as np
from trainers.export import load_export
exported = load_export(Path(sys.argv[1]))
device = exported.stack.backbone.device
def logits(texts, pairs):
    return exported.logits(exported.unlabelled(texts, pairs))
rows = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
np.save(sys.argv[3], logits(rows["texts"], rows["pairs"]))
"""


def refusal(export: Exported) -> str | None:
    """Every module has its native form."""
    return None


def write(folder: Path, export: Exported) -> None:
    """Write the module, and the manifest as far as loading needs it."""
    (candidate,), (state,) = export.stack.candidates, export.stack.states()
    (folder / MODULE).write_bytes(Module(candidate.config, candidate.seed, state).to_bytes())
    (folder / MANIFEST).write_text(json.dumps(export.manifest), encoding="utf-8")
