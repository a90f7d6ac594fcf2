"""The classifier of transformers that computes what a head of ours computes, on the frozen weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from trainers.backbone import Backbone
from trainers.checkpoint import BITS, PACKAGED
from trainers.export import Exported
from trainers.head import NATIVE, head_tensors
from trainers.kinds import single
from trainers.native_heads import RECIPES
from trainers.truncation import HEAD

TAGGERS: Mapping[str, str] = {
    **dict.fromkeys(("bert", "albert", "roberta", "xlm-roberta", "electra", "distilbert"), "classifier"),
    **dict.fromkeys(("mpnet", "deberta-v2", "gpt2", "t5"), "classifier"),
    **dict.fromkeys(("llama", "qwen2", "qwen3", "mistral"), "score"),
}
"""`model_type` -> the layer of its classifier of tokens; ModernBERT's has a dense layer, and OPT has none."""
PROBLEMS: Mapping[str, str] = {
    "classification": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""Kind of task -> what transformers calls it."""


def refusal_of_head(export: Exported) -> str | None:
    """Why no classifier of transformers computes what this module does; None where one does."""
    backbone = export.stack.backbone
    if backbone.precision in BITS:
        return (
            f"the module was trained on weights in {backbone.precision}, and other weights give other logits"
        )
    if export.reads_words:
        if backbone.model_type in TAGGERS:
            return None
        return f"transformers has no classifier of tokens with one linear layer for {backbone.model_type!r}"
    if backbone.head.name != NATIVE:
        return _refusal_of_mean(backbone)
    if export.manifest.get("truncation", HEAD) != HEAD:
        how = export.manifest["truncation"]
        return f"its texts are cut by {how}, as no tokenizer does; search without --truncation"
    return None


def _refusal_of_mean(backbone: Backbone) -> str:
    read = f"its head reads the {backbone.pooling}, as no classifier does"
    if backbone.model_type not in RECIPES:
        return read
    if backbone.family.decoder:
        read = "its head is trained with a bias, as no classifier of this family does"
    return f"{read}; search with --head {NATIVE}"


def head_modules(export: Exported) -> dict[str, str]:
    """Layer of our head -> module of the classifier; the last layer is the one without a name."""
    model_type = export.stack.backbone.model_type
    return {"": TAGGERS[model_type]} if export.reads_words else dict(RECIPES[model_type].modules)


def classifier_of(export: Exported) -> Any:
    """The classifier on the frozen weights, with the head of the module, fp32 on the CPU."""
    backbone = export.stack.backbone
    config = AutoConfig.from_pretrained(backbone.folder, trust_remote_code=False)
    config.update({**facts_of(export), "pad_token_id": padding_of(export), "dtype": "float32"})
    with torch.random.fork_rng(devices=[]):  # its first values, which are replaced
        model = _kind(export).from_config(config)
    base = getattr(model, model.base_model_prefix)
    with torch.no_grad():
        # The class may lack a pooler that the backbone has.
        weights = {name: tensor.float().cpu() for name, tensor in backbone.model.state_dict().items()}
        found = base.load_state_dict(weights, strict=False)
        assert not found.missing_keys, found.missing_keys
        for name, tensor in classifier_tensors(export).items():
            model.get_parameter(name).copy_(tensor)
    return model.float().eval()


def facts_of(export: Exported) -> dict[str, Any]:
    """Labels and kind of task as a model's configuration has them."""
    kind, labels = single(export.kind), list(export.labels) or ["value"]
    problem = {} if export.reads_words else {"problem_type": PROBLEMS[kind]}
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        **problem,
    }


def classifier_tensors(export: Exported) -> dict[str, Tensor]:
    """The head's tensors under the classifier's names."""
    (state,) = export.stack.states()
    modules, found = head_modules(export), {}
    for name, tensor in head_tensors(state).items():
        _, *layer, parameter = name.split(".")
        found[f"{modules['.'.join(layer)]}.{parameter}"] = tensor.cpu()
    return found


def write_tokenizer(folder: Path, export: Exported) -> None:
    """The tokenizer, told what the backbone and the training ask of it."""
    backbone = export.stack.backbone
    names = list(backbone.tokenizer.model_input_names)
    options = {"model_input_names": names, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(backbone.folder, **options)
    tokenizer.model_max_length = int(export.manifest["max_length"])
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding_of(export))
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)


def padding_of(export: Exported) -> int:
    """The padding token; no token that texts end in, because decoders read the last other one."""
    backbone, tokenizer = export.stack.backbone, export.stack.backbone.tokenizer
    config: Any = backbone.model.config
    own = (config.pad_token_id, tokenizer.pad_token_id)
    others = (tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    last = tokenizer("")["input_ids"][-1:]
    return int(next((n for n in (*own, *others) if n is not None and n not in last), backbone.pad_token_id))


def reference_of(export: Exported) -> str:
    """Where another library finds the backbone: its hub id, or the folder that it was loaded from."""
    backbone = export.stack.backbone
    local = backbone.reference == PACKAGED or Path(backbone.reference).exists()
    return str(backbone.folder) if local else backbone.reference


def base_path(model: nn.Module) -> str:
    """What the backbone's modules begin with inside the classifier."""
    return f"{model.base_model_prefix}."


def _kind(export: Exported) -> Any:
    return AutoModelForTokenClassification if export.reads_words else AutoModelForSequenceClassification
