"""A plain model of transformers: the module added to the frozen weights, where that is exact."""

from __future__ import annotations

from pathlib import Path

from trainers.export import Exported
from trainers.formats.classifier import base_path, classifier_of, refusal_of_head, write_tokenizer
from trainers.formats.merging import merged_weights, refusal_of_method
from trainers.formats.programs import program

NAME = "merged"
TOLERANCE = 1e-4
CHECK = program(
    """
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

def load(kind):
    return kind.from_pretrained(folder, dtype=torch.float32)
"""
)


def refusal(export: Exported) -> str | None:
    """Why there is no such model; None where there is."""
    return refusal_of_method(export) or refusal_of_head(export)


def write(folder: Path, export: Exported) -> None:
    """Weights as safetensors, the configuration with the labels, and the tokenizer."""
    model = classifier_of(export)
    weights = {f"{base_path(model)}{name}": tensor for name, tensor in merged_weights(export.stack).items()}
    found = model.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys, found.unexpected_keys
    model.save_pretrained(folder)
    write_tokenizer(folder, export)
