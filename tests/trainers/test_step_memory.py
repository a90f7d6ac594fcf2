"""Memory of a training, told before it is trained, against what torch allocates in a step."""

from __future__ import annotations

import pytest
import torch
from tiny import data_of, make_backbone, sentences, task_of
from torch.profiler import ProfilerActivity, profile

import trainers.methods  # noqa: F401
from trainers import step_memory
from trainers.backbone import Backbone, load
from trainers.batches import training_order
from trainers.data import Data
from trainers.method import METHODS
from trainers.stack import Candidate
from trainers.step_memory import fitting_stack, training_bytes
from trainers.train import BATCH_SIZE, start

SEARCHED = ("lora", "adapter", "prefix", "bitfit", "unipelt", "ia3", "layernorm", "reft", "vera", "compacter")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Six narrow layers: what passes through one of them is then little beside what all of them keep."""
    folder = make_backbone(tmp_path_factory.mktemp("deep"), "bert", num_hidden_layers=6)
    return load(str(folder), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def data(backbone: Backbone) -> Data:
    return data_of(backbone, task_of(*(sentences(BATCH_SIZE, seed) for seed in range(3))))


def peak(backbone: Backbone, data: Data, method: str, count: int) -> int:
    """Bytes that torch held at most in a step, beside what it held before, and the moments."""
    candidates = [Candidate(METHODS[method](), seed) for seed in range(count)]
    training = start(backbone, data, candidates, epochs=8, seed=0)
    order = training_order(data.train.lengths, BATCH_SIZE, 0)
    with training.stack.attached():
        training.train_batches(order, 0, 8)  # what is allocated once and kept
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            training.train_batches(order, 1, 8)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most + 3 * 4 * training.stack.parameters.numel()


@pytest.mark.filterwarnings("ignore:Memory block of unknown size")
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("method", SEARCHED)
def test_memory_told_is_what_torch_allocates_within_a_seventh(
    backbone: Backbone, data: Data, method: str, count: int
) -> None:
    told = training_bytes(backbone, data, METHODS[method]())
    assert count * told == pytest.approx(peak(backbone, data, method, count), rel=0.15)


def test_what_full_fine_tuning_needs_is_its_weights_gradients_and_moments(
    backbone: Backbone, data: Data
) -> None:
    numbers = start(backbone, data, [Candidate(METHODS["full"](), 0)], epochs=1, seed=0).stack.parameters
    told = training_bytes(backbone, data, METHODS["full"]())
    assert told > 4 * 4 * numbers.numel()


def test_modules_in_the_upper_layers_need_less_memory(backbone: Backbone, data: Data) -> None:
    sizes = [training_bytes(backbone, data, METHODS["lora"](layers=n)) for n in ("top 1", "top half", "all")]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[2] > 4 * sizes[0]


def test_a_stack_holds_what_half_of_a_worker_s_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_memory, "memory_part", lambda device: 2000.0)
    cpu = torch.device("cpu")
    assert fitting_stack([100] * 8, cpu) == 8
    assert fitting_stack([300] * 8, cpu) == 3
    assert fitting_stack([300, 600, 100], cpu) == 1  # all are padded to the largest
    assert fitting_stack([5000, 100], cpu) == 1
    assert fitting_stack([0] * 8, cpu) == 8
