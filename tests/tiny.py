"""Tiny random backbones, sentences and trainings: enough for every formula, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, BertTokenizerFast

from trainers.backbone import Backbone
from trainers.batches import Batch, Tokens, batches, tokenise
from trainers.heads import losses
from trainers.optim import AdamW
from trainers.stack import Stack, State
from trainers.task import Split

CLASSES = 3

WORDS = (
    "the a is was not very good bad great awful film plot actor music we they it love hate boring moving "
    "slow fast kind cruel warm cold happy sad bright dull"
).split()

SIZES = {
    "bert": {"intermediate_size": 64},
    "roberta": {"intermediate_size": 64, "pad_token_id": 0, "max_position_embeddings": 65},
    "xlm-roberta": {"intermediate_size": 64, "pad_token_id": 0, "max_position_embeddings": 65},
    "electra": {"intermediate_size": 64, "embedding_size": 32},
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64},
}
"""Two layers, width 32, four heads: enough for every formula."""


def make_backbone(folder: Path, family: str) -> Path:
    """Write a random backbone with a word tokenizer, as `save_pretrained` would."""
    common = {"vocab_size": 5 + len(WORDS), "max_position_embeddings": 64}
    if family != "distilbert":
        common |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(family, **{**common, **SIZES[family]})
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "LayerNorm" in name:
            torch.nn.init.normal_(
                parameter, 0.5 if "weight" in name else 0.0, 0.1
            )  # nothing is 0 or 1 by chance
        elif "embeddings" not in name:
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


def tokens_of(backbone: Backbone, count: int = 12) -> Tokens:
    return tokenise(sentences(count), backbone.tokenizer, 32)


def batch_of(backbone: Backbone, rows: slice = slice(0, 6), count: int = 12) -> Batch:
    tokens = tokens_of(backbone, count)
    (batch,) = batches(tokens, [np.arange(count)[rows]], 0, torch.device("cpu"))
    return batch


def train(stack: Stack, steps: int, optimizer: str) -> list[State]:
    """A few steps with each candidate's own learning rate."""
    rates = [candidate.config.learning_rate for candidate in stack.candidates]
    adam = AdamW(stack.parameters.shape, rates, [c.config.weight_decay for c in stack.candidates])
    with stack.attached():
        for step in range(steps):
            batch = batch_of(stack.backbone, slice(6 * (step % 2), 6 * (step % 2) + 6))
            loss = losses(stack.logits(batch), batch.labels).sum()
            (rows,) = torch.autograd.grad(loss, stack.parameters)
            if optimizer == "sgd":
                with torch.no_grad():
                    stack.parameters -= torch.tensor(rates).unsqueeze(1) * rows
            else:
                adam.step(stack.parameters, rows, 1.0)
    return stack.states()
