"""A folder with a dataset, a database and a small search in it, run in this process or in one of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from commands import COMMAND, ENVIRONMENT, write_rows

from selector.data import DataFiles
from selector.service import Service, check_request
from selector.study import DataFile, StudySpec
from storage.records import Study

OPTIONS = (
    "--methods lora,adapter,bitfit --trials 6 --epochs 4 --seeds 1 --finalists 2 --folds 1 --dtype fp32 "
    "--runner local --no-full-finetuning --no-memory"
).split()


class Place:
    """A folder with rows and a database; the same search in each gives the same study."""

    def __init__(self, folder: Path, backbone: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.rows = write_rows(folder / "rows.csv", rows=120)
        self.backbone = backbone
        self.url = f"sqlite:///{folder / 'peltier.db'}"

    @property
    def service(self) -> Service:
        return Service(self.url)

    @property
    def study(self) -> Study:
        return self.service.study("rows-1")

    def spec(self, **options: Any) -> StudySpec:
        given: dict[str, Any] = {
            "methods": ("lora", "adapter", "bitfit"),
            "trials": 6,
            "epochs": 4,
            "seeds": 1,
            "finalists": 2,
            "folds": 1,
            "dtype": "fp32",
            "runner": "local",
            "full_finetuning": False,
            "memory": False,
        }
        return StudySpec(train=DataFile(name="rows.csv"), backbone=str(self.backbone), **{**given, **options})

    def submit(self, worker: str | None = None, **options: Any) -> Study:
        given, spec = DataFiles(train=self.rows), self.spec(**options)
        return self.service.submit(given, spec, check_request(given, spec), worker=worker)

    def search(self, *options: str) -> subprocess.Popen[str]:
        command = [*COMMAND, "search", "rows.csv", "--backbone", str(self.backbone), *OPTIONS, *options]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def results(self) -> int:
        """Baselines and reports that are written down."""
        if not (self.folder / "peltier.db").exists() or not self.service.studies():
            return 0
        study = self.study
        return len(study.baselines) + sum(len(trial.reports) for trial in study.trials)
