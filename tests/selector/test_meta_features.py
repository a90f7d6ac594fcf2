"""A task as a vector: each feature against its formula, and distances that mean what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kinds import write_file
from numpy.typing import NDArray
from scipy.stats import entropy
from tiny import LABELS, task_of, task_of_kind

from selector.data import DataFiles
from selector.jobs import Baselines, Bench
from selector.meta_features import SPREAD, STRANGERS, distance, of_baselines, of_task
from selector.service import Service, check_request
from selector.study import DataFile, StudySpec
from selector.work import Worker
from storage.records import Baseline
from trainers.task import Split, Task

TOKENS = np.array([3, 4, 5, 6, 42])
MEASURED_BY_WORKERS = {"words", "probe", "separation"}


def task_with(labels: NDArray[Any], kind: str = "classification") -> Task:
    rows = Split(tuple(f"text {i}" for i in range(len(labels))), None, labels)
    return task_of(rows, rows, rows, kind=kind)


def baseline(name: str, score: float) -> Baseline:
    return Baseline(name=name, validation={"accuracy": score, "loss": 1.0}, test={})


def test_lengths_are_one_scale_and_two_ratios() -> None:
    found = of_task(task_with(np.array([0, 1, 2, 2, 2])), TOKENS)
    assert found["mean_tokens"] == pytest.approx(math.log10(12), abs=1e-4)
    assert found["median_tokens"] == pytest.approx(math.log10(5 / 12), abs=1e-4)
    assert found["long_tokens"] == pytest.approx(math.log10(np.quantile(TOKENS, 0.95) / 12), abs=1e-4)
    longer = of_task(task_with(np.array([0, 1, 2, 2, 2])), 10 * TOKENS)
    assert [name for name in found if longer[name] != pytest.approx(found[name])] == ["mean_tokens"]


def test_labels_are_told_by_their_number_entropy_and_imbalance() -> None:
    found = of_task(task_with(np.array([0, 1, 2, 2, 2])), TOKENS)
    assert found["rows"] == pytest.approx(math.log10(5), abs=1e-4)
    assert found["classes"] == pytest.approx(math.log10(3), abs=1e-4)
    assert found["label_entropy"] == pytest.approx(entropy([1, 1, 3], base=3), abs=1e-4)
    assert found["imbalance"] == pytest.approx(math.log10(3), abs=1e-4)
    even = of_task(task_with(np.array([0, 1, 2])), TOKENS)
    assert (even["label_entropy"], even["imbalance"]) == (1.0, 0.0)


def test_labels_of_sets_are_told_one_by_one() -> None:
    sets = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], np.float32)
    found = of_task(task_with(sets, "multi-label"), TOKENS)
    assert found["label_entropy"] == pytest.approx(1 / 3, abs=1e-4)  # only the second is in doubt, by one bit
    assert found["imbalance"] == pytest.approx(math.log10(2), abs=1e-4)  # the third never occurs


def test_numbers_to_predict_have_no_labels() -> None:
    found = of_task(task_of_kind("regression", 12, 4, 4), TOKENS)
    assert found["classes"] == 0 and not {"label_entropy", "imbalance"} & found.keys()


@pytest.mark.parametrize("kind", ["classification", "pair-regression", "multi-label", "token-classification"])
def test_every_kind_is_described_in_finite_numbers_the_same_each_time(kind: str) -> None:
    task = task_of_kind(kind, 12, 4, 4)
    found = of_task(task, TOKENS)
    assert all(math.isfinite(value) for value in found.values())
    assert found == of_task(replace(task, name="another"), TOKENS)
    assert found.keys() <= SPREAD.keys() - MEASURED_BY_WORKERS
    assert not any(text in str(found) for text in LABELS)


def test_baselines_tell_how_far_words_and_the_backbone_go() -> None:
    scores = {"majority": 0.6, "tfidf_logistic_regression": 0.7, "linear_probe": 0.9, "full": 0.95}
    found = of_baselines([baseline(*pair) for pair in scores.items()], "accuracy")
    assert found == {"words": 0.25, "probe": 0.75}
    assert of_baselines([baseline("mean", 0.0), baseline("linear_probe", -0.2)], "accuracy") == {
        "probe": -0.2
    }
    assert of_baselines([baseline("majority", 1.0), baseline("linear_probe", 1.0)], "accuracy") == {}
    assert of_baselines([baseline("majority", 0.5), baseline("linear_probe", math.nan)], "accuracy") == {}


def test_distance_is_counted_in_standard_deviations_of_what_both_have() -> None:
    one = {name: 0.0 for name in SPREAD}
    assert distance(one, one) == 0
    assert distance(one, {name: 2 * unit for name, unit in SPREAD.items()}) == pytest.approx(2)
    half = dict(list(one.items())[::2])
    assert distance(one, {name: -unit for name, unit in SPREAD.items() if name in half}) == pytest.approx(1)
    assert distance(one, {}) == distance({"unheard of": 1.0}, {"unheard of": 1.0}) == STRANGERS


def test_two_strangers_are_as_far_as_two_datasets_drawn_at_random() -> None:
    chance = np.random.default_rng(0)
    drawn = [{name: chance.normal() * unit for name, unit in SPREAD.items()} for _ in range(400)]
    squares = [distance(one, other) ** 2 for one, other in zip(drawn[::2], drawn[1::2], strict=True)]
    assert math.sqrt(np.mean(squares)) == pytest.approx(STRANGERS, rel=0.1)


def test_a_study_is_described_when_it_is_submitted_and_by_its_baselines(
    tmp_path: Path, tiny_folder: Path
) -> None:
    file = write_file(tmp_path, "topics.jsonl")
    given = DataFiles(train=file)
    spec = StudySpec(train=DataFile(name=file.name), backbone=str(tiny_folder), runner="local")
    service = Service(f"sqlite:///{tmp_path / 'peltier.db'}")
    checked = check_request(given, spec)
    study = service.submit(given, spec, checked)
    assert study.task["backbone"] == {"model_type": "bert", "hidden_size": 32}
    assert study.task["meta_features"].keys() == SPREAD.keys() - MEASURED_BY_WORKERS
    worker = Worker(Bench(study=study.id, task=checked.task, backbone=spec.backbone, device="cpu"))
    *words, probe = worker.perform(Baselines(seed=0))
    assert [result.features for result in words] == [{}] * len(words)
    assert probe.features.keys() == {"separation"} and 0 <= probe.features["separation"] <= 1
