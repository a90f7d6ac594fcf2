"""The peers that Peltier's stacks are timed against: transformers.Trainer, and plain loops, over peft."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Clock
from numpy.typing import NDArray
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from trainers.backbone import Backbone
from trainers.batches import batches
from trainers.data import Data
from trainers.tokens import Tokens
from trainers.train import BATCH_SIZE, EVALUATION_BATCH_SIZE

RATE = 2e-3


@dataclass(frozen=True)
class Setting:
    """What all contenders train on."""

    backbone: Backbone
    data: Data
    batch: int
    steps: int
    clock: Clock

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @property
    def classes(self) -> int:
        return len(self.data.task.labels)

    def shuffled(self, repeat: int) -> list[NDArray[np.int64]]:
        """Rows of the batches in random order, as a data loader gives them."""
        rows = np.random.default_rng(repeat).permutation(len(self.data.train))
        whole = [rows[i : i + self.batch] for i in range(0, len(rows) - self.batch + 1, self.batch)]
        return [whole[i % len(whole)] for i in range(self.steps)]


def peft_lora(setting: Setting) -> nn.Module:
    """A classifier of transformers with peft's LoRA, in fp32, dropout as its configuration says."""
    return _with_lora(setting.backbone, setting.classes, 8)


def _with_lora(backbone: Backbone, classes: int, rank: int) -> nn.Module:
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone.folder, num_labels=classes, dtype=torch.float32
    )
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=["query", "value"], task_type=TaskType.SEQ_CLS
    )
    module: nn.Module = get_peft_model(model, config).to(backbone.device)
    return module


# --------------------------------------------------------------------------------- plain loops


def loop(
    setting: Setting,
    model: nn.Module,
    order: Callable[[int], Sequence[NDArray[np.int64]]],
    *,
    autocast: bool,
    dropout: bool = True,
) -> Callable[[int], float]:
    """A loop as one writes it: forward, backward, clip, AdamW."""
    model.train(dropout)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE)

    def run(repeat: int) -> float:
        rows = list(order(repeat))
        start = setting.clock.now()
        for batch in batches(setting.data.train, rows, setting.backbone.pad_token_id, setting.device):
            with _precision(setting.device, autocast):
                loss = model(
                    input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels
                ).loss
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return (setting.clock.now() - start) / len(rows)

    return run


def _precision(device: torch.device, autocast: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()


# ------------------------------------------------------------------------------------ Trainer


class _Timed(TrainerCallback):
    """The seconds from the end of the first step to that of the last."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.ends = clock, list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(self.clock.now())


def trainer(setting: Setting, model: nn.Module) -> Callable[[int], float]:
    """`transformers.Trainer` with its defaults but for the batch size; nothing is logged or saved."""
    rows = _dicts(setting.data.train)
    collator = DataCollatorWithPadding(setting.backbone.tokenizer)

    def run(repeat: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            timed = _Timed(setting.clock)
            whole = Trainer(
                model=model,
                args=_arguments(Path(folder), setting, repeat),
                train_dataset=rows,
                data_collator=collator,
                callbacks=[timed],
            )
            whole.remove_callback(PrinterCallback)
            whole.train()
        return (timed.ends[-1] - timed.ends[0]) / (len(timed.ends) - 1)

    return run


@dataclass(frozen=True)
class Fitted:
    """A configuration that was trained to the end."""

    name: str
    trainer: Trainer

    def logits(self, tokens: Tokens) -> NDArray[np.float32]:
        """`[rows, classes]`"""
        found: NDArray[np.float32] = self.trainer.predict(_dicts(tokens)).predictions
        return found


def fit(backbone: Backbone, data: Data, rank: int, rate: float, epochs: int, seed: int) -> Fitted:
    """Train LoRA at query and value, alpha twice the rank, with Trainer and its defaults."""
    set_seed(seed)  # of the head and of LoRA
    with tempfile.TemporaryDirectory() as folder:
        whole = Trainer(
            model=_with_lora(backbone, len(data.task.labels), rank),
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH_SIZE,
                per_device_eval_batch_size=EVALUATION_BATCH_SIZE,
                num_train_epochs=epochs,
                learning_rate=rate,
                seed=seed,
                **_quiet(backbone.device),
            ),
            train_dataset=_dicts(data.train),
            data_collator=DataCollatorWithPadding(backbone.tokenizer),
        )
        whole.remove_callback(PrinterCallback)
        whole.train()
    return Fitted(f"lora, rank {rank}, learning rate {rate:.1e}", whole)


def _arguments(folder: Path, setting: Setting, repeat: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=setting.batch,
        max_steps=setting.steps + 1,
        learning_rate=RATE,
        seed=repeat,
        **_quiet(setting.device),
    )


def _quiet(device: torch.device) -> dict[str, Any]:
    return {
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": device.type == "cpu",
    }


def _dicts(tokens: Tokens) -> list[dict[str, Any]]:
    found = []
    for row, (start, end) in enumerate(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)):
        ids = tokens.ids[start:end].tolist()
        found.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(tokens.labels[row])})
    return found
