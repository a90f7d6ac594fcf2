"""Everything that is told of a GPU: run by themselves, with `pytest -m gpu`, where there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import ROOT, peltier, write_rows
from forms_of_methods import FORMS, SEARCHED, variants
from tiny import CLASSES, batch_of, data_of, moved, sentences, task_of

from trainers.backbone import load
from trainers.batches import Batch, batches, training_order
from trainers.checkpoint import default_reference
from trainers.heads import losses
from trainers.method import MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.naming import method_named
from trainers.stack import Candidate, Stack
from trainers.step_memory import training_bytes
from trainers.train import BATCH_SIZE, logits_of, start

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")
WEIGHED = ("lora", "adapter", "prefix", "bitfit", "unipelt")
CLOSE = 1e-4
"""In units of the largest number: both devices compute in fp32 and round in another order."""


def step(stack: Stack, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of all trained numbers."""
    with stack.attached():
        logits = stack.logits(batch)
        loss = losses(logits, batch.labels)
        goal = loss if stack.penalty is None else loss + stack.penalty
        (gradient,) = torch.autograd.grad(goal.sum(), stack.parameters)
    return logits.detach().cpu(), gradient.cpu()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{FORMS.index(form)}")
def test_a_stack_computes_what_it_computes_on_a_processor(tiny_folder: Path, form: MethodConfig) -> None:
    devices = [load(str(tiny_folder), dtype="fp32", device=name) for name in ("cpu", str(GPU))]
    candidates = [Candidate(config, seed) for seed, config in enumerate(variants(form))]
    here, there = (Stack(backbone, candidates, CLASSES) for backbone in devices)
    batch = batch_of(devices[0])
    for expected, found in zip(step(here, batch), step(there, moved(batch, GPU)), strict=True):
        assert (found - expected).abs().max() <= CLOSE * expected.abs().max()


@pytest.mark.parametrize("method", SEARCHED, ids=lambda method: method.name)
def test_training_steps_wait_for_nothing(tiny_folder: Path, method: type[MethodConfig]) -> None:
    backbone = load(str(tiny_folder), dtype="bf16", device=str(GPU))
    data = data_of(backbone, task_of(*(sentences(2 * BATCH_SIZE, seed) for seed in range(3))))
    count = 1 if method().alone else 2
    training = start(backbone, data, [Candidate(method(), seed) for seed in range(count)], epochs=2, seed=0)
    order = training_order(data.train.lengths, BATCH_SIZE, 0)
    with training.stack.attached():
        training.train_batches(order, 0, 4)
        torch.cuda.set_sync_debug_mode("error")
        try:
            training.train_batches(order, 2, 4)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_dropout_is_the_same_for_the_same_seed(tiny_folder: Path) -> None:
    backbone = load(str(tiny_folder), dtype="fp32", device=str(GPU))
    data = data_of(backbone, task_of(*(sentences(2 * BATCH_SIZE, seed) for seed in range(3))))
    found = []
    for others in ([], [Candidate(LoRAConfig(dropout=0.05), 1)]):
        candidates = [Candidate(LoRAConfig(dropout=0.1), 0), *others]
        training = start(backbone, data, candidates, epochs=2, seed=0)
        with training.stack.attached():
            training.train_until(1)
        found.append(logits_of(training.stack, data.validation)[0])
    assert abs(found[0] - found[1]).max() <= CLOSE * abs(found[0]).max()


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("name", WEIGHED)
def test_memory_told_is_what_torch_allocates_within_a_seventh(name: str, count: int) -> None:
    reference = default_reference()
    if reference is None:
        pytest.skip("the packaged backbone is not installed")
    backbone = load(reference, device=str(GPU))
    data = data_of(backbone, task_of(*(sentences(BATCH_SIZE, seed) for seed in range(3))))
    told = count * training_bytes(backbone, data, method_named(name)())
    candidates = [Candidate(method_named(name)(), seed) for seed in range(count)]
    training = start(backbone, data, candidates, epochs=8, seed=0)
    order = training_order(data.train.lengths, BATCH_SIZE, 0)
    with training.stack.attached():
        training.train_batches(order, 0, 8)  # what is allocated once and kept
        torch.cuda.reset_peak_memory_stats()
        at_rest = 3 * 4 * training.stack.parameters.numel()
        before = torch.cuda.memory_allocated() - at_rest
        training.train_batches(order, 1, 8)
    assert told == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.15)


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_a_search_trains_on_the_gpu_and_exports(tiny_folder: Path, tmp_path: Path, runner: str) -> None:
    rows = write_rows(tmp_path / "rows.csv")
    words = "--trials 8 --epochs 4 --finalists 2 --seeds 2 --json --force --runner".split()
    done = peltier("search", str(rows), "--backbone", str(tiny_folder), *words, runner, folder=tmp_path)
    assert done.status == 0, done.err
    study = json.loads(done.out)
    assert {trial["state"] for trial in study["trials"]} <= {"COMPLETE", "PRUNED"}
    assert {one["latency"]["device"] for one in study["finalists"] if one["latency"]} == {GPU.type}


def test_steps_can_be_recorded_as_graphs(tiny_folder: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), "--json", "--quick", "--batch", "4"]
    options = ["--backbone", str(tiny_folder), "--device", str(GPU)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names = [speed["name"] for speed in json.loads(done.stdout)["speeds"]]
    assert "Peltier LoRA, N = 4, CUDA graphs" in names, done.stderr


def test_batches_lie_on_the_gpu(tiny_folder: Path) -> None:
    backbone = load(str(tiny_folder))
    assert backbone.device.type == GPU.type
    data = data_of(backbone, task_of(*(sentences(8, seed) for seed in range(3))))
    order = training_order(data.train.lengths, 4, 0)
    for batch in batches(data.train, order, backbone.pad_token_id, backbone.device):
        assert batch.input_ids.device.type == batch.labels.device.type == GPU.type
