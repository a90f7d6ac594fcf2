"""The data of a request: kept by content in whatever form it came, and read again as the same task."""

from __future__ import annotations

import gzip
from pathlib import Path

import datasets
import pytest

from selector.data import DataFiles, keep, read, read_kept
from selector.study import DataFile, StudySpec
from storage.files import Files
from trainers.task import TaskError

ROWS = [{"text": f"row {i}", "label": i % 2} for i in range(60)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)


def spec_of(path: Path, metric: str | None = None) -> StudySpec:
    return StudySpec(train=DataFile(name=path.name), backbone="", metric=metric, folds=1)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


def test_a_packed_file_is_kept_as_it_is(tmp_path: Path, files: Files) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    given = DataFiles(train=path)
    spec = keep(files, given, spec_of(path))
    assert files.path(spec.train.sha256).read_bytes() == path.read_bytes()
    path.unlink()
    assert len(read_kept(files, spec).train) == 38


def test_a_folder_of_splits_is_kept_as_files(tmp_path: Path, files: Files) -> None:
    names = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = datasets.Dataset.from_list(ROWS, features=names)
    secret = rows.select(range(5)).map(lambda row: {"label": -1})
    splits = datasets.DatasetDict({"train": rows, "validation": rows.select(range(8)), "test": secret})
    splits.save_to_disk(tmp_path / "saved")
    given = DataFiles(train=tmp_path / "saved")
    spec = keep(files, given, spec_of(tmp_path / "saved"))
    assert spec.validation is not None and spec.test is None  # its labels are secret, so another is made
    original, again = read(given, spec_of(tmp_path / "saved")), read_kept(files, spec)
    assert again.data_hash == original.data_hash
    assert again.labels == ("no", "yes")


def test_a_metric_of_which_less_is_better_is_no_choice(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row {i},{i / 2}\n" for i in range(30)))
    assert read(DataFiles(train=path), spec_of(path)).metric == "pearson"
    with pytest.raises(TaskError, match="of --metric rmse less is better.*choose r2, which ranks"):
        read(DataFiles(train=path), spec_of(path, "rmse"))
