"""The benchmarks of speed run, and what they compare with computes the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CLASSES, away_from_its_start, batch_of

from trainers.backbone import Backbone
from trainers.methods.unipelt import UniPELTConfig

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
PLAIN_NAMES = {
    ".LayerNorm.input.gated_adapter.": ".",
    ".gated_prefix.": ".",
    ".gated_lora.a": ".a.weight",
    ".gated_lora.b": ".b.weight",
    ".gated_lora.": ".",
    ".gate.": ".gate.linear.",
}


def run(script: str, *words: str) -> Any:
    command = [sys.executable, str(FOLDER / script), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def plain_name(name: str) -> str:
    for ours, plain in PLAIN_NAMES.items():
        name = name.replace(ours, plain)
    return name if name.startswith("head.") else f"bert.{name}"


def test_the_plain_mixture_computes_what_a_stack_does(
    backbone: Backbone, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from plain_mixture import PlainUniPELT

    config = UniPELTConfig(modules="APL", pooling="all tokens", bottleneck=8, prefix_length=4, rank=2)
    stack, state = away_from_its_start(backbone, config)
    plain = PlainUniPELT(tiny_folder, CLASSES, rank=2, length=4, bottleneck=8).eval()
    trained = {name: p for name, p in plain.named_parameters() if p.requires_grad}
    named = {plain_name(name): tensor for name, tensor in state.items()}
    assert trained.keys() == named.keys()
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(named[name].view_as(parameter))
        batch = batch_of(backbone)
        with stack.attached():
            (expected,) = stack.logits(batch)
        found = plain(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    assert torch.allclose(found.logits, expected, atol=1e-5)


@pytest.mark.slow
def test_the_benchmark_of_training_prints_its_ratios(tiny_folder: Path) -> None:
    found = run("training.py", "--quick", "--backbone", str(tiny_folder), "--batch", "4")
    names = [speed["name"] for speed in found["speeds"]]
    assert names[0] == "Trainer + peft, its defaults"
    assert "Peltier LoRA, N = 4" in names and "Trainer + plain UniPELT" in names
    assert all(speed["per_second"] > 0 and speed["ratio"] > 0 for speed in found["speeds"])
    assert "time of UniPELT / LoRA, N = 1" in found["ratios"]
    assert 0 < found["ceiling"]["share"] < 1
