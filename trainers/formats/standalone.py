"""The standalone format: weights, tokenizer, and one readable file that needs neither Peltier nor peft."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trainers.bridge import BridgedConfig
from trainers.checkpoint import BITS
from trainers.export import Exported
from trainers.layout import full_name
from trainers.stack import Stack
from trainers.standalone.facts import Facts
from trainers.standalone.source import source_of
from trainers.trained import WeightDelta

NAME = "standalone"
TOLERANCE = 1e-4
MODULE = "module.safetensors"
FACTS = "module.json"
SOURCE = "predict.py"

CHECK = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from predict import load
predictor = load()
device = predictor.model.device
def logits(texts, pairs):
    return predictor.logits(texts, pairs).numpy()
rows = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
np.save(sys.argv[3], logits(rows["texts"], rows["pairs"]))
"""


def refusal(export: Exported) -> str | None:
    """Why there is no standalone file of an export; None where there is."""
    method, precision = export.manifest["method"], export.stack.backbone.precision
    if isinstance(export.stack.candidates[0].config, BridgedConfig):
        return f"{method} is computed by peft, which a standalone file does without"
    if precision in BITS:
        return f"the module was trained on a backbone in {precision}, which needs bitsandbytes"
    return None


def write(folder: Path, export: Exported) -> None:
    """The backbone with its tokenizer, the module apart from it, and predict.py.

    Changes of the backbone's own weights are added to them, so the backbone of a full fine-tuning is the
    tuned one and the module holds the head alone.
    """
    stack = export.stack
    assert isinstance(stack, Stack)
    facts = Facts(export, stack)
    found = facts.json()
    source, names = source_of(_docstring(found), facts.features, facts.deltas)
    for place in _places(found):
        place["delta"] = names[place["delta"]]
        place["tensors"] = {short: name for short, name in place["tensors"].items() if f'"{short}"' in source}
    (folder / SOURCE).write_text(source, encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(_tensors(stack, found), folder / MODULE)
    _changed_model(stack).save_pretrained(folder)
    stack.backbone.tokenizer.save_pretrained(folder)


def _docstring(facts: dict[str, Any]) -> str:
    words, pairs = facts["kind"] == "token-classification", facts["pairs"]
    texts = '[["some", "words"]]' if words else '["a text"], ["its second text"]' if pairs else '["a text"]'
    return (
        f"Predicts with a module that Peltier trained ({facts['method']}): {facts['kind']}.\n\n"
        f"    from predict import load\n\n"
        f"    load().predict({texts})\n\n"
        f"Needs torch, transformers and safetensors, and the other files of this folder; no network.\n\n"
        f"The changes are computed by the code that trained them, where a first axis counts\n"
        f"candidates; here there is one.\n"
    )


def _places(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (place for site in facts.get("sites", ()) for place in site["places"])
    yield from (facts[name] for name in ("prompt",) if name in facts)


def _tensors(stack: Stack, facts: dict[str, Any]) -> dict[str, Tensor]:
    """The trained tensors and the constants that the file reads."""
    (state,) = stack.states()
    wanted = {name for place in _places(facts) for name in place["tensors"].values()}
    found = {name: state[name] for name in state if name in wanted or name.startswith("head.")}
    for place in stack.places:
        for short, tensor in place.delta.constants().items():
            name = full_name(place.site, place.delta, short)
            found |= {name: tensor} if name in wanted else {}
    return {name: tensor.contiguous().cpu() for name, tensor in found.items()}


def _changed_model(stack: Stack) -> Any:
    """The backbone, with what a method changed of its own weights."""
    changes = [place for place in stack.places if isinstance(place.delta, WeightDelta)]
    if not changes:
        return stack.backbone.model
    model, (state,) = copy.deepcopy(stack.backbone.model), stack.states()
    with torch.no_grad():
        for place in changes:
            model.get_parameter(place.site.module).add_(state[place.names["change"]])
    return model
