"""Native heads: what each family's sequence classifier in transformers 5.23 has behind the backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from trainers.checkpoint import BackboneError
from trainers.families import Family
from trainers.head import HEADS, MEAN, NATIVE, Dense, Head, Norm

POOLER = "first token through the checkpoint's pooler"


@dataclass(frozen=True)
class Recipe:
    """One family's classifier: what it computes, and where it keeps its layers."""

    head: Callable[[Any], Head]
    """From the model's configuration."""
    modules: Mapping[str, str]
    """Layer of our head (`` is the last one) -> module of the class in transformers."""


def _plain(head: Head) -> Callable[[Any], Head]:
    return lambda config: head


def _first_token(activation: str) -> Callable[[Any], Head]:
    return _plain(Head(name=NATIVE, pooling="first token", dense=Dense(activation)))


def _modernbert(config: Any) -> Head:
    norm = Norm(config.norm_eps, config.norm_bias)
    mean = config.classifier_pooling == "mean"
    return Head(
        name=NATIVE,
        pooling="mean of the real tokens" if mean else "first token",
        dense=Dense(config.classifier_activation, config.classifier_bias, norm),
    )


def _deberta(config: Any) -> Head:
    return Head(name=NATIVE, pooling="first token", dense=Dense(config.pooler_hidden_act))


_BERT = Recipe(_plain(Head(name=NATIVE, pooling=POOLER)), {"": "classifier"})
_IN_CLASSIFIER = {"dense": "classifier.dense", "": "classifier.out_proj"}
_ROBERTA = Recipe(_first_token("tanh"), _IN_CLASSIFIER)
_DECODER = Recipe(_plain(Head(name=NATIVE, pooling="last real token", bias=False)), {"": "score"})

RECIPES: Mapping[str, Recipe] = {
    "bert": _BERT,
    "albert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "mpnet": _ROBERTA,
    "electra": Recipe(_first_token("gelu"), _IN_CLASSIFIER),
    "distilbert": Recipe(_first_token("relu"), {"dense": "pre_classifier", "": "classifier"}),
    "deberta-v2": Recipe(_deberta, {"dense": "pooler.dense", "": "classifier"}),
    "modernbert": Recipe(_modernbert, {"dense": "head.dense", "norm": "head.norm", "": "classifier"}),
    **dict.fromkeys(("gpt2", "opt", "llama", "qwen2", "qwen3", "mistral"), _DECODER),
}
"""transformers' `model_type` -> its classifier."""


def head_of(name: str, reference: str, folder: Path, config: Any, family: Family) -> Head:
    """The head of a name on a backbone.

    Raises:
        BackboneError: where the family has no native head, or the checkpoint lacks its part of it.
        ValueError: for an unknown name.
    """
    if name not in HEADS:
        raise ValueError(f"head {name!r} is unknown; possible: {', '.join(HEADS)}")
    if name == MEAN:
        return Head(pooling="last real token") if family.decoder else Head()
    recipe = RECIPES.get(config.model_type)
    if recipe is None:
        raise BackboneError(
            f"backbone {reference!r} is of family {config.model_type!r}, whose classifier in transformers is "
            f"not known here or reads a decoder, too; use --head {MEAN}"
        )
    head = recipe.head(config)
    if head.pooling == POOLER and not _has_pooler(folder):
        raise BackboneError(
            f"backbone {reference!r} has no pooler, which the classifier of family {config.model_type!r} "
            f"reads; use --head {MEAN}"
        )
    return head


def _has_pooler(folder: Path) -> bool:
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            if any(name.startswith("pooler.") or ".pooler." in name for name in weights.keys()):  # noqa: SIM118
                return True
    return False
