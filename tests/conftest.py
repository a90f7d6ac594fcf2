"""Shared by all tests: settings and tiny backbones."""

from __future__ import annotations

import os
import tempfile

CACHE = tempfile.TemporaryDirectory(prefix="peltier-tests-")
os.environ.update(
    PELTIER_CACHE=CACHE.name,
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
)

from selector.environment import prepare  # noqa: E402

prepare()

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from tiny import SIZES, make_backbone  # noqa: E402

from trainers.backbone import Backbone, load  # noqa: E402

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """All tests but those for a GPU expect the numbers of a processor, also where there is a GPU."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU; where there is one: pytest -m gpu"))


def pytest_unconfigure() -> None:
    CACHE.cleanup()


@pytest.fixture(scope="session", params=sorted(SIZES))
def any_backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A tiny fp32 backbone of each supported family."""
    return load(str(make_backbone(tmp_path_factory.mktemp(request.param), request.param)), dtype="fp32")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT."""
    return make_backbone(tmp_path_factory.mktemp("tiny-bert"), "bert")


@pytest.fixture(scope="session")
def backbone(tiny_folder: Path) -> Backbone:
    """A tiny BERT in fp32."""
    return load(str(tiny_folder), dtype="fp32")
