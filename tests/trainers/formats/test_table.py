"""Every cell of the table in docs/exports.md: released as it says, or refused for that reason."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trainers.backbone import Backbone
from trainers.formats import FORMATS
from trainers.method import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")  # peft's, of LayerNorm
ROOT = Path(__file__).resolve().parents[3]


def script(path: Path) -> Any:
    """A script of benchmarks/, which is no package."""
    name = f"benchmarks_{path.stem}"  # tests/exports.py is another module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for it there
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(path.parent)])
        spec.loader.exec_module(module)
    return module


TABLE = script(ROOT / "benchmarks" / "exports.py")
GRAPHS = ["prompt", "unipelt", "vera"]
CELLS = TABLE.parsed((ROOT / "docs" / "exports.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(backbone: Backbone) -> dict[tuple[str, str], Any]:
    """Method and format -> what came of it on a tiny backbone.

    That formats give the logits of each method is tested in files of their own; here are the graphs of a few
    methods, which take seconds each.
    """
    offered = TABLE.cells(backbone, list(METHODS), timed=False, written=())
    graphs = TABLE.cells(backbone, GRAPHS, timed=False, written=("onnx",))
    return {(method, name): cell for method, name, cell in (*offered, *graphs)}


def test_the_table_has_every_method_and_every_format() -> None:
    assert CELLS.keys() == {(method, name) for method in METHODS for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("method", METHODS)
def test_a_cell_holds(method: str, name: str, found: dict[tuple[str, str], Any]) -> None:
    why, star = CELLS[method, name]
    cell = found[method, name]
    assert cell.refused == why
    assert (cell.head == "native" and why is None) == star
    if name == "onnx" and method in GRAPHS:
        assert cell.difference <= 1e-4 and cell.size > 0
