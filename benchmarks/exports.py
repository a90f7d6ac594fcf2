"""Export a module of every method in every format, and write the table of docs/exports.md.

    python benchmarks/exports.py --docs docs/exports.md
    python benchmarks/exports.py --backbone bert-base-uncased --methods lora,unipelt

Modules are not trained: every tensor is moved away from its start by noise, which a format must carry as well
as training. Each is written, loaded by the program with which a release checks its format, in a process that
has loaded no other, compared with the logits of the module, and timed there for one text of median length.
Where a format needs the family's own classifier, the module has that head (`--head native`), and its cell a
star.
tests/trainers/formats/test_table.py checks every cell of the table with the functions of this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from untrained import ROWS, export_of, task

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.building import method_named
from trainers.checkpoint import default_reference
from trainers.export import Exported
from trainers.formats import FORMATS, NEEDS, format_named, fresh, refusals
from trainers.head import HEADS, NATIVE
from trainers.method import METHODS
from trainers.parity import parity
from trainers.task import Task

BEGIN, END = "<!-- written by benchmarks/exports.py -->", "<!-- end -->"

DRIVER = """
import importlib, json, os, sys
for name in ("numpy", "torch", "transformers", "safetensors.torch", *sys.argv[2:]):
    importlib.import_module(name)
asked = json.load(open(sys.argv[1], encoding="utf-8"))
for files in asked["files"]:
    child = os.fork()
    if not child:
        sys.argv[1:] = files
        status = 1
        try:
            exec(compile(asked["program"], "check", "exec"), {"__name__": "__main__"})
            status = 0
        except BaseException as error:
            print(f"{files[0]}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(status)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


@dataclass(frozen=True)
class Cell:
    """What one format makes of one method: a release, or why not."""

    refused: str | None = None
    head: str = "mean"
    """That of the module."""
    difference: float = 0.0
    size: int = 0
    ms: float | None = None


def offers(backbone: Backbone, method: str, rows: Task) -> Iterator[tuple[str, Exported, str | None]]:
    """Each format with the module to write in it, or why it cannot be; under the head that suits."""
    exports = [export_of(backbone.with_head(head), method_named(method)(), rows) for head in HEADS]
    reasons = [refusals(export) for export in exports]
    for name in FORMATS:
        able = [export for export, why in zip(exports, reasons, strict=True) if why[name] is None]
        # With its own head or without: the reason that stays is the method's.
        yield name, able[0] if able else exports[-1], None if able else reasons[-1][name]


def cells(
    backbone: Backbone, methods: Sequence[str], *, timed: bool, written: Sequence[str] = FORMATS
) -> Iterator[tuple[str, str, Cell]]:
    """Method, format and what came of it, format by format; what is not to be written is only offered."""
    rows = task()
    offered = {method: list(offers(backbone, method, rows)) for method in methods}
    for position, name in enumerate(FORMATS):
        exports = {m: one[position][1] for m, one in offered.items() if one[position][2] is None}
        found = checked(name, exports, rows, timed=timed) if name in written else {}
        for method, one in offered.items():
            head = str(one[position][1].manifest["head"])
            yield method, name, found.get(method) or Cell(one[position][2], head)


def checked(name: str, exports: Mapping[str, Exported], rows: Task, *, timed: bool) -> dict[str, Cell]:
    """Write the modules in a format, and have each loaded by a process of its own.

    These are forked from one that has imported the libraries, which takes most of the time.

    Raises:
        ExportError: if one does not give its logits.
    """
    format, found = format_named(name), {}
    program = fresh.timed(format.CHECK) if timed else format.CHECK
    with tempfile.TemporaryDirectory(prefix="peltier-table-") as room:
        folder, checks = Path(room), []
        fresh.write_rows(folder / "rows.json", rows.validation)
        for method, export in exports.items():
            (folder / method).mkdir()
            format.write(folder / method, export)
            files = ("", "../rows.json", f"../{method}.npy", f"../{method}.json")
            checks.append([str((folder / method / file).resolve()) for file in files])
        (folder / "checks.json").write_text(json.dumps({"program": program, "files": checks}))
        imports = [NEEDS[name]] if name in NEEDS else []
        subprocess.run([sys.executable, "-c", DRIVER, folder / "checks.json", *imports], cwd=room, check=True)
        for method, export in exports.items():
            logits, expected = np.load(folder / f"{method}.npy"), export.logits(rows.validation)
            facts = parity(logits, rows, expected, format.TOLERANCE, process="fresh")
            took = folder / f"{method}.json"
            found[method] = Cell(
                head=str(export.manifest["head"]),
                difference=facts["largest_difference"],
                size=sum(file.stat().st_size for file in (folder / method).rglob("*") if file.is_file()),
                ms=json.loads(took.read_text())["ms"] if took.is_file() else None,
            )
    return found


def table(found: Mapping[tuple[str, str], Cell], backbone: Backbone) -> str:
    """The table in Markdown, with the reasons below it."""
    formats = list(dict.fromkeys(name for _, name in found))
    reasons = list(dict.fromkeys(cell.refused for cell in found.values() if cell.refused))
    lines = [f"| method | {' | '.join(formats)} |", f"|---|{'---|' * len(formats)}"]
    for method in dict.fromkeys(method for method, _ in found):
        texts = [cell_text(found[method, name], reasons) for name in formats]
        lines.append(f"| {method} | {' | '.join(texts)} |")
    named = backbone.reference if not Path(backbone.reference).exists() else backbone.model_type
    say = (
        f"Backbone {named}, {ROWS} rows, fp32 on {backbone.device.type}: largest difference of a logit, "
        f"size, time for one text (tokenising included, measured once on a shared machine). A star: with "
        f"`--head native`."
    )
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([say, "", *lines, "", *notes])


def cell_text(cell: Cell, reasons: Sequence[str]) -> str:
    """Such as `2e-07, 1.2 MB, 3.1 ms`, or `no (1)`."""
    if cell.refused is not None:
        return f"no ({reasons.index(cell.refused) + 1})"
    took = "" if cell.ms is None else f", {cell.ms:.1f} ms"
    star = "*" if cell.head == NATIVE else ""
    return f"{cell.difference:.0e}, {cell.size / 1e6:.2f} MB{took}{star}"


def parsed(text: str) -> dict[tuple[str, str], tuple[str | None, bool]]:
    """Method and format of each cell of the table in a page -> why it is refused, whether it has a star."""
    lines = text.split(BEGIN)[1].split(END)[0].splitlines()
    grid = [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    notes = dict(line.split(". ", 1) for line in lines if line.split(". ", 1)[0].isdigit())
    found: dict[tuple[str, str], tuple[str | None, bool]] = {}
    for method, *texts in grid[2:]:
        for name, cell in zip(grid[0][1:], texts, strict=True):
            why = notes[cell[4:-1]] if cell.startswith("no (") else None
            found[method, name] = why, cell.endswith("*")
    return found


def options(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default=default_reference())
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--docs", type=Path, help="page whose table is replaced; default: it is printed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Release, tell each cell as it is done, and write the table."""
    asked = options(arguments)
    backbone = load(asked.backbone, dtype="fp32")
    found: dict[tuple[str, str], Cell] = {}
    for method, name, cell in cells(backbone, asked.methods.split(","), timed=True):
        found[method, name] = cell
        print(method, name, cell, file=sys.stderr, flush=True)
    text = table(found, backbone)
    if asked.docs is None:
        print(text)
        return
    before, rest = asked.docs.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    asked.docs.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
