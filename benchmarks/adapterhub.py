"""Export modules for AdapterHub's library, load them with it, and print what came of each.

    python benchmarks/adapterhub.py --environment /tmp/hub
    python benchmarks/adapterhub.py --python /tmp/hub/bin/python --backbone roberta-base

The library (`adapters`) needs an older transformers, so it has an environment of its own: `--environment`
makes one, into which pip installs the library and what it needs; torch is the one of this environment.
`--python` names one that is there. Modules are not trained: every tensor is moved away from its start by
noise. Each is written, loaded by the program with which a release checks the format, and compared with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from untrained import ROWS, export_of, task

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.checkpoint import default_reference
from trainers.export import Exported
from trainers.formats import adapterhub, fresh
from trainers.formats.elsewhere import python_of
from trainers.head import NATIVE
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.parity import parity
from trainers.task import Task

LIBRARY = "adapters==1.3.0"
CONFIGS: Mapping[str, MethodConfig] = {
    "adapter, Pfeiffer": AdapterConfig(),
    "adapter, Houlsby": AdapterConfig(placement="houlsby", activation="swish"),
    "adapter, parallel": AdapterConfig(placement="parallel", scaling=4.0),
    "adapter, top half, bottleneck 37": AdapterConfig(bottleneck=37, activation="gelu", layers="top half"),
    "LoRA": LoRAConfig(),
    "LoRA, feed-forward": LoRAConfig(targets="ffn", rslora=True),
    "LoRA, attention": LoRAConfig(targets="attention"),
    "DoRA": LoRAConfig(dora=True),
    "prefix": PrefixConfig(),
    "prefix from a network": PrefixConfig(reparametrised=True),
    "prefix, shifted": PrefixConfig(positions="shifted"),
    "UniPELT APL": UniPELTConfig(),
    "UniPELT AP": UniPELTConfig(modules="AP"),
    "UniPELT APL, gates at A only": UniPELTConfig(gates="A"),
    "UniPELT APL without gates": UniPELTConfig(gates="none"),
    "UniPELT APL, first token": UniPELTConfig(pooling="first token"),
    "UniPELT APL, all tokens": UniPELTConfig(pooling="all tokens"),
    "UniPELT APLB": UniPELTConfig(modules="APLB"),
    **{name: METHODS[name]() for name in ("ia3", "compacter", "vera", "reft")},
}


def environment(folder: Path) -> Path:
    """An environment with the library, on this one's torch; its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", LIBRARY], check=True)
        # Behind all that pip installed, so that nothing else of this environment comes first.
        (packages,) = (folder / "lib").glob("python*/site-packages")
        (packages / "torch_of_peltier.pth").write_text(f"{distribution('torch').locate_file('')}\n")
    return python


def row(name: str, export: Exported, rows: Task, python: str) -> str:
    """A row of the table: largest difference, size and time of one text, or why there is no such module."""
    why = adapterhub.refusal(export)
    if why is not None:
        return f"| {name} | no: {why} | | |"
    with tempfile.TemporaryDirectory(prefix="peltier-hub-") as room:
        folder = Path(room) / "export"
        folder.mkdir()
        adapterhub.write(folder, export)
        found, took = fresh.ask(adapterhub.CHECK, folder, rows.validation, Path(room), python)
        expected = export.logits(rows.validation)
        facts = parity(found, rows, expected, adapterhub.TOLERANCE, process="fresh")
        size = sum(file.stat().st_size for file in folder.iterdir())
    assert took is not None
    return f"| {name} | {facts['largest_difference']:.0e} | {size / 1e6:.2f} MB | {took['ms']:.1f} ms |"


def options(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default=default_reference())
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--environment", type=Path, help="folder of the environment; made if it is not there")
    where.add_argument("--python", type=Path, help="Python of an environment that has the library")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Write, load and compare each module, and print the table as it grows."""
    asked = options(arguments)
    python = python_of(adapterhub.NAME, asked.python or environment(asked.environment))
    backbone: Backbone = load(asked.backbone, dtype="fp32", head=NATIVE)
    rows = task()
    print(f"Backbone {backbone.reference}, {ROWS} rows, {LIBRARY}\n")
    print("| module | largest difference of a logit | size | one text |\n|---|---|---|---|")
    for name, config in CONFIGS.items():
        print(row(name, export_of(backbone, config, rows), rows, python), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
