"""Several modules of one backbone in one forward pass: each says what it says alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import module_of, write
from tiny import CLASSES, LABELS, make_backbone, sentences, task_of, task_of_kind

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.export import ExportError, Module, exported
from trainers.method import METHODS
from trainers.routing import shares
from trainers.serving import Asked, Modules, load_exports
from trainers.splits import Split


def served(backbone: Backbone, modules: Mapping[str, Module], kind: str = "classification") -> Modules:
    task = task_of_kind(kind, 4, 4, 4)
    return Modules({name: exported(one, backbone, task, 32, "head") for name, one in modules.items()})


def check_equal(modules: Modules, splits: Mapping[str, Split]) -> None:
    found = modules.logits(splits)
    assert found.keys() == {name for name, split in splits.items() if len(split)}
    for name, logits in found.items():
        np.testing.assert_allclose(logits, modules[name].logits(splits[name]), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_each_row_of_a_shared_pass_goes_through_its_own_module(method: str, backbone: Backbone) -> None:
    modules = served(backbone, {f"m{i}": module_of(backbone, method, i) for i in range(3)})
    check_equal(modules, {f"m{i}": sentences(3 + i, i) for i in range(3)})


@pytest.mark.parametrize("family", ["gpt2", "modernbert", "deberta-v2", "t5"])
@pytest.mark.parametrize("method", ["unipelt", "prefix", "prompt"])
def test_so_it_is_on_other_families(method: str, family: str, tmp_path: Path) -> None:
    backbone = load(str(make_backbone(tmp_path / family, family)), dtype="fp32")
    modules = served(backbone, {name: module_of(backbone, method, ord(name)) for name in "ab"})
    check_equal(modules, {"a": sentences(5, 0), "b": sentences(4, 1)})


def test_heads_of_the_families_own_are_served_beside_others(backbone: Backbone) -> None:
    native, task = backbone.with_head("native"), task_of_kind("classification", 4, 4, 4)
    on = {"mean": backbone, "native": native, "other": native}
    modules = Modules(
        {n: exported(module_of(b, "unipelt", i), b, task, 32, "head") for i, (n, b) in enumerate(on.items())}
    )
    check_equal(modules, {name: sentences(3 + i, i) for i, name in enumerate(on)})


def test_modules_of_unlike_methods_sizes_and_labels_are_served_together(backbone: Backbone) -> None:
    modules = {
        "small": module_of(backbone, "lora", 0, rank=2),
        "large": module_of(backbone, "lora", 1, rank=16),
        "adapter": module_of(backbone, "adapter", 2),
        "full": module_of(backbone, "full", 3),
        "binary": module_of(backbone, "lora", 9, classes=2, rank=2),
    }
    task, binary = task_of_kind("classification", 4, 4, 4), task_of(*map(two_labels, range(3)), labels=2)
    exports = {
        name: exported(one, backbone, binary if name == "binary" else task, 32, "head")
        for name, one in modules.items()
    }
    together = Modules(exports)
    check_equal(together, {name: sentences(2 + i, i) for i, name in enumerate(exports)})
    check_equal(together, {"small": sentences(40, 1), "binary": sentences(1, 2)})
    check_equal(together, {"adapter": sentences(3, 1), "large": sentences(3, 2).take(np.zeros(0, np.int64))})


def two_labels(seed: int) -> Split:
    rows = sentences(4, seed)
    return Split(rows.texts, None, rows.labels % 2)


@pytest.mark.parametrize("kind", ["token-classification", "pair-classification", "multi-label", "regression"])
def test_every_kind_is_served(kind: str, backbone: Backbone) -> None:
    outputs = 1 if kind == "regression" else CLASSES
    modules = served(backbone, {n: module_of(backbone, "unipelt", ord(n), outputs) for n in "ab"}, kind)
    task = task_of_kind(kind, 4, 6, 3)
    check_equal(modules, {"a": task.validation, "b": task.test})
    check_equal(modules, {"b": task.test})
    asked = [
        Asked("b", task.test.texts, task.test.pairs),
        Asked("a", task.validation.texts, task.validation.pairs),
        Asked("b", task.validation.texts[:2], task.validation.pairs and task.validation.pairs[:2]),
    ]
    for one, rows in zip(asked, modules.predict(asked), strict=True):
        alone = list(modules[one.module].predict(one.texts, one.pairs))
        assert [shape_of(row) for row in rows] == [shape_of(row) for row in alone]


def shape_of(row: dict[str, Any]) -> Any:
    """A prediction without the last digits of its numbers."""
    return json.loads(json.dumps(row), parse_float=lambda number: round(float(number), 4))


def test_no_row_is_computed_for_another_module() -> None:
    lengths = [np.arange(1, 31), np.arange(1, 31), np.array([7])]
    passes = list(shares(lengths, 64))
    computed = sum(len(rows) for one in passes for rows in one.values())
    assert computed <= 2 * 61 and len(passes) <= 3
    for i, own in enumerate(lengths):
        assert {row for one in passes for row in one.get(i, [])} == set(range(len(own)))


def test_rows_of_unlike_counts_that_fit_share_one_pass() -> None:
    (one,) = shares([np.array([5, 3]), np.array([4]), np.zeros(0, np.int64)], 64)
    assert {i: rows.tolist() for i, rows in one.items()} == {0: [0, 1], 1: [0, 0]}


# ------------------------------------------------------------------------------- from folders


def test_exports_are_loaded_under_the_names_of_their_folders(backbone: Backbone, tmp_path: Path) -> None:
    folders = [write(tmp_path / name, backbone, seed=seed) for seed, name in enumerate(("mood", "topic"))]
    modules = load_exports(folders)
    assert list(modules) == ["mood", "topic"]
    check_equal(modules, {"mood": sentences(3, 5), "topic": sentences(3, 6)})
    assert modules["mood"].labels == LABELS
    with pytest.raises(ExportError, match="no module 'weather'; modules: mood, topic"):
        modules.predict([Asked("weather", ["good film"])])
    with pytest.raises(ExportError, match="trained on single texts"):
        modules.predict([Asked("mood", ["good film"]), Asked("topic", ["good film"], ["bad film"])])


def test_other_weights_and_equal_names_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    other = load(str(make_backbone(tmp_path / "other", "electra")), dtype="fp32")
    folders = [write(tmp_path / "mood", backbone), write(tmp_path / "topic", other)]
    with pytest.raises(ExportError, match=r"topic' was trained on other weights .* than '.*mood'"):
        load_exports(folders)
    again = write(tmp_path / "deep" / "mood", backbone)
    with pytest.raises(ExportError, match="two folders are called 'mood'"):
        load_exports([folders[0], again])
