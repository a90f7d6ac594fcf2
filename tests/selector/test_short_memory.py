"""Where memory does not hold a stack it is split, down to single candidates: torch's allocator refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import sentences, task_of

import selector.stack_group
from selector.jobs import Bench, Bracket, Entry, Outcome
from selector.stack_group import StackGroup
from selector.work import Worker
from storage.records import State
from trainers.stack import Candidate

PEBIBYTE = 2**50


@pytest.fixture
def worker(tiny_folder: Path) -> Worker:
    task = task_of(*(sentences(24, seed) for seed in range(3)))
    return Worker(Bench(study=1, task=task, backbone=str(tiny_folder), dtype="fp32"))


def bracket(*numbers: int, rungs: tuple[int, ...] = (1, 2)) -> Bracket:
    entries = [
        Entry(number=n, method="lora", values={"rank": 1 + n}, seed=n, stored_bytes=n) for n in numbers
    ]
    return Bracket(number=0, entries=tuple(entries), rungs=rungs, metric="accuracy", order_seed=0, final=True)


def outcomes(worker: Worker, job: Bracket) -> dict[int, Outcome]:
    """The last outcome of each trial."""
    return {one.number: one for rung in worker.perform(job) for one in rung.outcomes}


def refuse(monkeypatch: pytest.MonkeyPatch, needs: Callable[[Sequence[Candidate]], int]) -> list[int]:
    """Let beginning a stack take so many bytes as well; returns the sizes of the stacks that began."""
    begin, begun = selector.stack_group.begin, []

    def hungry(backbone: Any, data: Any, candidates: Sequence[Candidate], **options: Any) -> Any:
        torch.empty(needs(candidates), dtype=torch.uint8)
        begun.append(len(candidates))
        return begin(backbone, data, candidates, **options)

    monkeypatch.setattr(selector.stack_group, "begin", hungry)
    return begun


def test_a_stack_that_does_not_fit_is_halved_and_no_trial_notices(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = outcomes(worker, bracket(0, 1)) | outcomes(worker, bracket(2, 3)) | outcomes(worker, bracket(4))
    begun = refuse(monkeypatch, lambda candidates: PEBIBYTE * (len(candidates) > 2))
    found = outcomes(worker, bracket(0, 1, 2, 3, 4))
    assert begun == [2, 1, 2]  # 5 = 3 + 2, 3 = 2 + 1
    assert {one.state for one in found.values()} == {State.COMPLETE}
    for number in range(5):
        one, other = found[number].report, apart[number].report
        assert one is not None and other is not None
        assert one.metrics == pytest.approx(other.metrics, rel=1e-5)


def test_a_trial_that_does_not_fit_alone_fails_and_the_others_go_on(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, lambda candidates: PEBIBYTE * any(c.config.rank == 3 for c in candidates))
    found = outcomes(worker, bracket(0, 1, 2, 3))
    assert {number for number, one in found.items() if one.state is State.FAIL} == {2}
    assert found[2].message.startswith("RuntimeError: ") and "can't allocate memory" in found[2].message
    assert all(one.report is not None for number, one in found.items() if number != 2)


def test_a_stack_that_outgrows_memory_after_a_rung_goes_on_in_halves_from_there(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = outcomes(worker, bracket(0, 1))
    group = StackGroup(bracket(0, 1).entries, bracket(0, 1), worker.backbone, worker.data)
    assert group.advance(1) == [group]
    group.retain(group.numbers)
    advance = type(group._training).advance

    def refused(self: Any, fidelity: Any) -> Any:
        torch.empty(PEBIBYTE * (len(self.stack) > 1), dtype=torch.uint8)
        return advance(self, fidelity)

    monkeypatch.setattr(type(group._training), "advance", refused)
    begun = refuse(monkeypatch, lambda candidates: 0)
    parts = group.advance(2)
    assert [part.numbers for part in parts] == [[0], [1]] and begun == [1, 1]
    for part in parts:
        (number,) = part.numbers
        expected = undisturbed[number].report
        assert expected is not None and part.reports[number].epochs == 2
        assert part.reports[number].metrics == pytest.approx(expected.metrics, rel=1e-5)


def test_other_errors_split_nothing(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def broken(backbone: Any, data: Any, candidates: Sequence[Candidate], **options: Any) -> Any:
        begun.append(len(candidates))
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(selector.stack_group, "begin", broken)
    found = outcomes(worker, bracket(0, 1, 2))
    assert begun == [3]
    assert {one.message for one in found.values()} == {"RuntimeError: shapes do not fit"}
