"""Tiny random backbones, sentences and trainings: enough for every formula, made on the spot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, BertTokenizerFast, T5EncoderModel

from trainers.backbone import Backbone
from trainers.batches import Batch, batches
from trainers.data import Data
from trainers.heads import losses
from trainers.method import MethodConfig
from trainers.optim import AdamW
from trainers.stack import Candidate, Stack, State
from trainers.task import Split, Task
from trainers.tokenising import tokenise
from trainers.tokens import Tokens

CLASSES = 3
LABELS = ("bad", "fine", "good")

WORDS = (
    "the a is was not very good bad great awful film plot actor music we they it love hate boring moving "
    "slow fast kind cruel warm cold happy sad bright dull"
).split()

_PLAIN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_WIDE = {**_PLAIN, "intermediate_size": 64}
_GROUPED = {**_WIDE, "num_key_value_heads": 2}
SIZES: dict[str, dict[str, object]] = {
    "bert": _WIDE,
    "roberta": {**_WIDE, "max_position_embeddings": 65},
    "xlm-roberta": {**_WIDE, "max_position_embeddings": 65},
    "electra": {**_WIDE, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64},
    "albert": {**_WIDE, "embedding_size": 16},
    "mpnet": {**_WIDE, "max_position_embeddings": 66},
    "deberta-v2": {
        **_WIDE,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
    "modernbert": {**_WIDE, "local_attention": 8, "global_attn_every_n_layers": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {**_PLAIN, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 16},
    "mistral": {**_GROUPED, "sliding_window": 8},
    "t5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
    },
}
"""Two layers, width 32, four heads: enough for every formula."""
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


def make_backbone(folder: Path, family: str, **sizes: object) -> Path:
    """Write a random backbone with a word tokenizer, as `save_pretrained` would; `sizes` precede `SIZES`."""
    common: dict[str, object] = {"vocab_size": 5 + len(WORDS), **SPECIAL}
    if family not in ("gpt2", "t5"):
        common["max_position_embeddings"] = 64
    config = AutoConfig.for_model(family, **{**common, **SIZES.get(family, {}), **sizes})
    return write_backbone(folder, config)


def write_backbone(folder: Path, config: Any) -> Path:
    """Write a random model of a configuration, with the word tokenizer."""
    torch.manual_seed(0)
    model = T5EncoderModel(config) if config.model_type == "t5" else AutoModel.from_config(config)
    for name, parameter in model.named_parameters():
        # Nothing is 0 or 1 by chance.
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5 if "weight" in name else 0.0, 0.1)
        elif "emb" not in name or "project" in name or "mapping" in name:
            torch.nn.init.normal_(parameter, 0.0, 0.2)
    model.save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    return folder


def sentences(count: int, seed: int = 0) -> Split:
    """Random sentences of 2 to 12 words with random labels."""
    chance = np.random.default_rng(seed)
    texts = tuple(" ".join(chance.choice(WORDS, chance.integers(2, 13))) for _ in range(count))
    return Split(texts, None, chance.integers(0, CLASSES, count))


def rows_of(kind: str, count: int, seed: int = 0) -> Split:
    """Random sentences with random labels in the form of a kind; second texts are the first in reverse."""
    rows, chance = sentences(count, seed), np.random.default_rng([seed, 1])
    pairs = rows.texts[::-1] if kind.startswith("pair-") else None
    if kind == "multi-label":
        return Split(rows.texts, pairs, chance.integers(0, 2, (count, CLASSES)).astype(np.float32))
    if kind.endswith("regression"):
        return Split(rows.texts, pairs, chance.normal(20, 5, count).astype(np.float32))
    if kind == "token-classification":
        words = tuple(tuple(text.split()) for text in rows.texts)
        offsets = np.cumsum([0, *map(len, words)]).astype(np.int64)
        return Split(words, None, chance.integers(0, CLASSES, offsets[-1]), offsets)
    return Split(rows.texts, pairs, rows.labels)


def task_of_kind(kind: str, *counts: int) -> Task:
    """A task of a kind with so many training, validation and test rows."""
    metric = {"multi-label": "micro_f1", "token-classification": "token_accuracy"}.get(kind, "accuracy")
    regression = kind.endswith("regression")
    splits = [rows_of(kind, count, seed) for seed, count in enumerate(counts)]
    return task_of(
        *splits, kind=kind, labels=0 if regression else CLASSES, metric="pearson" if regression else metric
    )


def task_of(
    *splits: Split, kind: str = "classification", labels: int = CLASSES, metric: str = "accuracy"
) -> Task:
    """A task of given training, validation and test rows."""
    train, validation, test = splits
    return Task(
        name="films",
        kind=kind,
        text="text",
        text_pair=None if train.pairs is None else "other",
        label="label",
        labels=LABELS[:labels],
        metric=metric,
        train=train,
        validation=validation,
        test=test,
        origin=dict.fromkeys(("train", "validation", "test"), "given"),
        data_hash="0" * 64,
    )


def data_of(backbone: Backbone, task: Task) -> Data:
    """A task tokenised, cut after 32 tokens."""
    parts = (tokenise(split, backbone.tokenizer, 32) for split in (task.train, task.validation, task.test))
    return Data(task, *parts, 32)


def tokens_of(backbone: Backbone, count: int = 12) -> Tokens:
    return tokenise(sentences(count), backbone.tokenizer, 32)


def batch_of(backbone: Backbone, rows: slice = slice(0, 6), count: int = 12) -> Batch:
    tokens = tokens_of(backbone, count)
    (batch,) = batches(tokens, [np.arange(count)[rows]], 0, torch.device("cpu"))
    return batch


def moved(batch: Batch, device: torch.device) -> Batch:
    """The same batch on another device."""
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    return replace(batch, **{name: tensor.to(device) for name, tensor in tensors.items()})


def train(stack: Stack, steps: int, optimizer: str) -> list[State]:
    """A few steps with each candidate's own learning rate."""
    rates = [candidate.config.learning_rate for candidate in stack.candidates]
    decays = [candidate.config.weight_decay for candidate in stack.candidates]
    factors = stack.rates()
    adam = AdamW(stack.parameters.shape, rates, decays, factors)
    with stack.attached():
        for step in range(steps):
            batch = batch_of(stack.backbone, slice(6 * (step % 2), 6 * (step % 2) + 6))
            loss = losses(stack.logits(batch, training=True), batch.labels)
            goal = loss if stack.penalty is None else loss + stack.penalty
            (rows,) = torch.autograd.grad(goal.sum(), stack.parameters)
            if optimizer == "sgd":
                with torch.no_grad():
                    step = torch.tensor(rates).unsqueeze(1) * rows
                    stack.parameters -= step if factors is None else step * factors
            else:
                adam.step(stack.parameters, rows, 1.0)
    return stack.states()


def away_from_its_start(backbone: Backbone, config: MethodConfig) -> tuple[Stack, State]:
    """A candidate in which nothing is zero by chance, and its tensors."""
    generator = torch.Generator().manual_seed(1)
    stack = Stack(backbone, [Candidate(config, 0)], CLASSES)
    (state,) = stack.states()
    moved = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in state.items()}
    return Stack(backbone, stack.candidates, CLASSES, [moved]), moved
