"""Who shares a stack with whom: alike in method, and none held up by those that change lower layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import make_backbone, sentences, task_of

import trainers.methods  # noqa: F401
from selector.candidate_memory import MAX_STACK
from selector.jobs import Bench, Bracket, Entry
from selector.stack_group import stacks
from selector.work import Worker
from storage.records import State
from trainers import step_memory
from trainers.backbone import Backbone, load

LAYERS = ("all", "top half", "every second", "top 1", "bottom half", "top half", "2 3", "0 3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of four layers."""
    return make_backbone(tmp_path_factory.mktemp("bert"), "bert", num_hidden_layers=4)


@pytest.fixture(scope="module")
def bert(folder: Path) -> Backbone:
    return load(str(folder), dtype="fp32")


def entry(number: int, layers: str, method: str = "lora", **values: object) -> Entry:
    return Entry(
        number=number, method=method, values={"layers": layers, **values}, seed=number, stored_bytes=number
    )


def numbers(groups: list[list[Entry]]) -> list[list[int]]:
    return [[one.number for one in group] for group in groups]


def test_candidates_of_the_upper_half_share_a_stack_of_their_own(bert: Backbone) -> None:
    entries = [entry(number, layers) for number, layers in enumerate(LAYERS)]
    assert numbers(stacks(entries, bert)) == [[0, 2, 4, 7], [1, 3, 5, 6]]
    assert numbers(stacks(entries[::-1], bert)) == [[0, 2, 4, 7], [1, 3, 5, 6]]


def test_those_that_have_left_still_say_who_stood_beside_whom(bert: Backbone) -> None:
    entries = [entry(number, "top half" if number % 2 else "all") for number in range(2 * MAX_STACK + 4)]
    whole = numbers(stacks(entries, bert))
    staying = [one for one in entries if one.number % 3]
    found = numbers(stacks(staying, bert, [one for one in entries if not one.number % 3]))
    assert found == [[number for number in group if number % 3] for group in whole]
    assert sorted(map(len, whole)) == [2, 2, MAX_STACK, MAX_STACK]


def test_methods_and_what_moves_the_embeddings_are_told_apart(bert: Backbone) -> None:
    entries = [
        entry(0, "top half"),
        entry(1, "top half", "prefix"),
        entry(2, "top half", "prefix", positions="shifted"),
        entry(3, "7 9"),
    ]
    assert numbers(stacks(entries, bert)) == [[0], [1], [2], [3]]


def test_backbones_whose_layers_cannot_be_parted_have_one_stack_for_all(
    bert: Backbone, tmp_path: Path
) -> None:
    t5 = load(str(make_backbone(tmp_path, "t5", num_layers=4)), dtype="fp32")
    entries = [entry(number, layers) for number, layers in enumerate(LAYERS)]
    assert numbers(stacks(entries, t5)) == [list(range(len(LAYERS)))]


def test_what_memory_does_not_hold_in_one_stack_is_trained_in_several_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(*(sentences(24, seed) for seed in range(3)))
    worker = Worker(Bench(study=1, task=task, backbone=str(folder), dtype="fp32"))
    entries = tuple(entry(number, "all", learning_rate=1e-2) for number in range(4))
    bracket = Bracket(
        number=0, entries=entries, rungs=(1, 2, 3), metric="accuracy", order_seed=0, final=False
    )
    first, *_, whole = worker.perform(bracket)
    (size,) = {one.training_bytes for one in first.outcomes}
    assert size is not None and size > 0 and {one.training_bytes for one in whole.outcomes} == {None}
    monkeypatch.setattr(step_memory, "memory_part", lambda device: 5.0 * size)  # half of it holds two
    weighed = [replace(one, training_bytes=size) for one in entries]
    assert numbers(stacks(weighed, worker.backbone)) == [[0, 1], [2, 3]]
    *_, parted = worker.perform(bracket)
    losses = [
        {one.number: one.report and one.report.metrics["loss"] for one in r.outcomes} for r in (whole, parted)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_bracket_of_two_stacks_scores_its_trials_as_brackets_of_one_do(folder: Path) -> None:
    task = task_of(*(sentences(24, seed) for seed in range(3)))
    worker = Worker(Bench(study=1, task=task, backbone=str(folder), dtype="fp32"))
    entries = tuple(entry(number, layers) for number, layers in enumerate(("all", "top half", "top 1")))
    whole = Bracket(number=0, entries=entries, rungs=(2,), metric="accuracy", order_seed=0, final=False)

    def scores(bracket: Bracket) -> dict[int, float]:
        *_, last = worker.perform(bracket)
        assert all(one.state is State.COMPLETE and one.report is not None for one in last.outcomes)
        return {one.number: one.report.metrics["loss"] for one in last.outcomes if one.report is not None}

    apart = [scores(replace(whole, entries=(one,))) for one in entries]
    assert scores(whole) == pytest.approx({n: loss for each in apart for n, loss in each.items()}, rel=1e-4)
