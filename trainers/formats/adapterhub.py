"""AdapterHub's format: a module with its head, for `AutoAdapterModel` of the library `adapters`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from trainers.export import Exported
from trainers.formats.adapterhub_modules import CLASSES, MODULE, files_of, refusal_of_module
from trainers.formats.classifier import facts_of, reference_of, refusal_of_head, write_tokenizer
from trainers.formats.programs import program
from trainers.head import head_tensors
from trainers.kinds import single

NAME = "adapterhub"
TOLERANCE = 1e-4
VERSION = "adapters.1.3.0"
"""Of the library whose files these are; it takes those of before 1.1 to mean something else by alpha."""
HEADS: Mapping[str, str] = {
    "classification": "classification",
    "regression": "classification",
    "multi-label": "multilabel_classification",
    "token-classification": "tagging",
}
"""Kind of task -> the library's head; numbers are a class alone."""
CHECK = program(
    """
from adapters import AutoAdapterModel

AutoModelForSequenceClassification = AutoModelForTokenClassification = AutoAdapterModel

def load(kind):
    global at_once
    facts = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    gated = any(one["use_gating"] for one in facts["config"].get("configs", [facts["config"]]))
    at_once = 1 if gated else at_once  # its gates average over padding, too
    model = kind.from_pretrained(facts["model_name"], dtype=torch.float32)
    model.load_adapter(str(folder), set_active=True, use_safetensors=True)
    return model
"""
)


def refusal(export: Exported) -> str | None:
    """Why the library cannot represent a module; None where it can."""
    return refusal_of_module(export) or refusal_of_head(export)


def write(folder: Path, export: Exported) -> None:
    """Configuration and tensors of the module and of its head, and the tokenizer."""
    backbone = export.stack.backbone
    about = {
        "hidden_size": backbone.hidden_size,
        "model_class": CLASSES[backbone.model_type],
        "model_name": reference_of(export),
        "model_type": backbone.model_type,
        "name": MODULE,
        "version": VERSION,
    }
    config, tensors = files_of(export)
    _write_json(folder / "adapter_config.json", {"config": config, **about})
    save_file(tensors, folder / "adapter.safetensors")
    config, tensors = _head(export)
    _write_json(folder / "head_config.json", {"config": config, **about})
    save_file(tensors, folder / "model_head.safetensors")
    write_tokenizer(folder, export)
    _for_older_transformers(folder / "tokenizer_config.json")


def _head(export: Exported) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Its layers are numbered as they stand: dropout 0, linear 1, activation 2, dropout 3, linear 4."""
    head, facts = export.stack.backbone.head, facts_of(export)
    dense = None if export.reads_words else head.dense
    config = {
        "head_type": HEADS[single(export.kind)],
        "num_labels": facts["num_labels"],
        "label2id": facts["label2id"],
        "layers": 1 if dense is None else 2,
        "activation_function": None if dense is None else dense.activation,
    }
    if not export.reads_words:
        config |= {"use_pooler": dense is None, "bias": True}
    (state,) = export.stack.states()
    places = {"head.dense": 1, "head": 1 if dense is None else 4}
    tensors = {}
    for name, tensor in head_tensors(state).items():
        layer, _, parameter = name.rpartition(".")
        tensors[f"heads.{MODULE}.{places[layer]}.{parameter}"] = tensor.float().cpu().contiguous()
    return config, tensors


def _for_older_transformers(path: Path) -> None:
    """The library needs transformers 4, which does not know how 5 names its tokenizers."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    known = ("model_input_names", "model_max_length", "padding_side", "truncation_side")
    kept = {n: v for n, v in facts.items() if n in known or n.endswith("_token")}
    _write_json(path, {**kept, "tokenizer_class": "PreTrainedTokenizerFast"})


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
