"""A profile: shares that add up, a trace that can be read, and a training that it does not change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from tiny import data_of, sentences, task_of

from trainers.backbone import Backbone
from trainers.fidelity import Fidelity
from trainers.methods.unipelt import UniPELTConfig
from trainers.profiling import PARTS, TRACED, WARM_UP, part, profiled
from trainers.stack import Candidate
from trainers.train import start


def trained(backbone: Backbone) -> torch.Tensor:
    """A mixture after two epochs of ten steps."""
    data = data_of(backbone, task_of(sentences(160), sentences(20, seed=1), sentences(20, seed=2)))
    training = start(backbone, data, [Candidate(UniPELTConfig(), 0)], epochs=2, seed=0)
    training.advance(Fidelity(epochs=2))
    return training.stack.states()[0]["head.weight"]


def test_every_part_is_timed_and_the_training_stays_the_same(backbone: Backbone, tmp_path: Path) -> None:
    with profiled(tmp_path / "trace.json") as found:
        watched = trained(backbone)
    assert torch.equal(watched, trained(backbone))
    assert all(found.seconds[name] > 0 for name in PARTS)
    assert sum(found.seconds.values()) <= found.total
    assert f"{TRACED} training steps are traced in" in found.summary()
    shares = [int(word) for word in re.findall(r"(\d+)%", found.summary())]
    assert sum(shares) in range(95, 106), "rounded percentages"


def test_the_trace_holds_some_steps_by_their_parts(backbone: Backbone, tmp_path: Path) -> None:
    with profiled(tmp_path / "trace.json"):
        trained(backbone)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events if event.get("ph") == "X"]
    assert names.count("backward") == TRACED
    assert "modules" in names and "aten::mm" in names


def test_too_short_a_training_leaves_no_trace_and_says_so_by_silence(tmp_path: Path) -> None:
    with profiled(tmp_path / "trace.json") as found, part("backward"):
        pass
    assert found.steps < WARM_UP and not (tmp_path / "trace.json").exists()
    assert "traced" not in found.summary()
