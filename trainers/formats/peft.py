"""peft's format: a module with its head, for `AutoPeftModelForSequenceClassification` and its like."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor

from trainers.export import Exported
from trainers.formats.classifier import (
    base_path,
    classifier_of,
    facts_of,
    head_modules,
    padding_of,
    reference_of,
    refusal_of_head,
    write_tokenizer,
)
from trainers.formats.peft_modules import module_of, refusal_of_module
from trainers.formats.programs import program

NAME = "peft"
TOLERANCE = 1e-4
LABELS = "labels.json"
"""What transformers needs to be told of the classifier: peft keeps the backbone's name only."""
CHECK = program(
    f"""
from peft import AutoPeftModelForSequenceClassification as AutoModelForSequenceClassification
from peft import AutoPeftModelForTokenClassification as AutoModelForTokenClassification

def load(kind):
    facts = json.loads((folder / {LABELS!r}).read_text(encoding="utf-8"))
    return kind.from_pretrained(folder, dtype=torch.float32, **facts)
"""
)


def refusal(export: Exported) -> str | None:
    """Why peft cannot represent a module; None where it can."""
    return refusal_of_module(export) or refusal_of_head(export)


def write(folder: Path, export: Exported) -> None:
    """`adapter_config.json`, `adapter_model.safetensors`, the tokenizer, and `LABELS`."""
    plain = classifier_of(export)
    plain.name_or_path = reference_of(export)
    path = base_path(plain)
    module = module_of(export, path)
    if hasattr(module.config, "modules_to_save"):
        module.config.modules_to_save = sorted({name.split(".")[0] for name in head_modules(export).values()})
    module.config.task_type = "TOKEN_CLS" if export.reads_words else "SEQ_CLS"
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # its remarks on choices that are made here on purpose
        model = get_peft_model(plain, module.config)
        _fill(model, module.tensors)
        model.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)  # peft's has nothing but blanks
    facts = {**facts_of(export), "pad_token_id": padding_of(export)}
    (folder / LABELS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tokenizer(folder, export)


@torch.no_grad()
def _fill(model: PeftModel, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        path, _, short = name.rpartition(".")
        place: Tensor = getattr(model.get_submodule(path), short)
        place.copy_(tensor.reshape(place.shape))
