"""Data in other forms than plain files: packed, recoded, saved by datasets, on the hub, objects in Python."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas
import pyarrow
import pytest

from trainers.forms import named_splits, source_of
from trainers.source import TaskError, open_source
from trainers.task import Task, read_task

ROWS = [{"text": f"é {i}", "label": ("bad", "good")[i % 2]} for i in range(40)]
TABLE = pyarrow.Table.from_pylist(ROWS)
CSV = ("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)).encode()
LINES = "\n".join(map(json.dumps, ROWS)).encode()


def zstandard(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def write_stream(path: Path) -> None:
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)


def write_file(path: Path) -> None:
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV)),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "rows.jsonl.zst": lambda path: path.write_bytes(zstandard(LINES)),
    "rows.CSV.ZST": lambda path: path.write_bytes(zstandard(CSV)),
    "utf16.csv": lambda path: path.write_bytes(CSV.decode().encode("utf-16")),
    "big.csv": lambda path: path.write_bytes(b"\xfe\xff" + CSV.decode().encode("utf-16-be")),
    "utf32.csv": lambda path: path.write_bytes(CSV.decode().encode("utf-32")),
    "utf16.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.decode().encode("utf-16"))),
    "stream.arrow": write_stream,
    "file.arrow": write_file,
    "file.feather": write_file,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("plain") / "rows.csv"
    path.write_bytes(CSV)
    return read_task(path)


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_of_a_file_gives_the_same_task(name: str, tmp_path: Path, plain: Task) -> None:
    WRITERS[name](tmp_path / name)
    task = read_task(tmp_path / name)
    assert task.data_hash == plain.data_hash
    assert task.name == name.split(".")[0]


def test_unpacked_files_go_with_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(CSV.decode().encode("utf-16")))
    source = open_source(tmp_path / "rows.csv.gz")
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del source
    assert not list((tmp_path / "temporary").iterdir())


def test_objects_in_python_give_the_same_task(plain: Task) -> None:
    frame = pandas.DataFrame(ROWS)
    held = datasets.Dataset.from_list(ROWS)
    shuffled = held.select(range(39, -1, -1)).select(range(39, -1, -1))  # reads through an index
    for rows in (frame, frame.astype({"label": "category"}), held, shuffled, TABLE):
        assert read_task(rows).data_hash == plain.data_hash


def with_classes(labels: list[int]) -> datasets.Dataset:
    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["unacceptable", "acceptable"]),
        }
    )
    rows = {"sentence": [f"row {i} of {len(labels)}" for i in range(len(labels))], "label": labels}
    return datasets.Dataset.from_dict(rows, features=features)


def test_names_of_classes_are_kept_and_a_test_split_without_labels_is_made(tmp_path: Path) -> None:
    # as GLUE's CoLA comes from the hub: the labels of the test split are secret
    saved = datasets.DatasetDict(
        {"train": with_classes([1, 0] * 30), "dev": with_classes([0, 1, 1]), "test": with_classes([-1] * 7)}
    )
    saved.save_to_disk(tmp_path / "cola")
    for given in (tmp_path / "cola", str(tmp_path / "cola"), saved):
        task = read_task(given)
        assert task.labels == ("unacceptable", "acceptable")
        assert task.metric == "matthews"
        assert task.validation.labels.tolist() == [0, 1, 1]
        assert [len(task.train), len(task.test)] == [48, 12]
        assert task.origin["validation"] == "given"
        assert "came with" in task.origin["test"] and "has no labels" in task.origin["test"]
    with pytest.raises(TaskError, match="no label in 7 of 7 rows"):
        read_task(saved["train"], test=saved["test"])


def test_the_classes_of_words_keep_their_names(tmp_path: Path) -> None:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER", "I-PER"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["Abby", "Lee", str(i)] for i in range(20)], "ner_tags": [[1, 2, 0]] * 20}
    held = datasets.Dataset.from_dict(rows, features=features)
    held.to_parquet(tmp_path / "rows.parquet")
    held.save_to_disk(tmp_path / "saved", num_shards=2)
    for given in (held, tmp_path / "rows.parquet", tmp_path / "saved"):
        task = read_task(given)
        assert (task.kind, task.metric) == ("token-classification", "span_f1")
        assert task.labels == ("O", "B-PER", "I-PER")


def test_a_hub_id_without_the_hub_is_told() -> None:
    with pytest.raises(
        TaskError, match="no/such-rows:default is no file here, and the hub cannot be reached"
    ):
        read_task("no/such-rows:default")


def test_splits_go_by_their_names() -> None:
    held = source_of(TABLE)
    assert set(named_splits("f", {"train": held, "dev": held, "extra": held})) == {"train", "validation"}
    assert set(named_splits("f", {"only": held})) == {"train"}
    with pytest.raises(TaskError, match="splits 'a', 'b' and none of them is 'train'"):
        named_splits("f", {"a": held, "b": held})


def test_one_split_of_a_dataset_can_be_given(plain: Task) -> None:
    held = datasets.Dataset.from_list(ROWS)
    both = datasets.DatasetDict({"train": held, "test": held.select(range(4))})
    task = read_task(held, test=both, validation=held.select(range(6)))
    assert [len(task.validation), len(task.test)] == [6, 4]


DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut.csv.gz": (gzip.compress(CSV)[:-12], "not a readable .gz file.*compress it again"),
    "plain.csv.gz": (CSV, "not a readable .gz file"),
    "plain.jsonl.zst": (LINES, "not a readable .zst file"),
    "bomb.csv.gz": (gzip.compress(bytes(300 << 20), 1), "over 200 times larger.*unpack it yourself"),
    "what.gz": (gzip.compress(CSV), "extension '.gz'"),
    "what.xlsx.gz": (gzip.compress(CSV), "extension '.xlsx.gz', but only .csv"),
    "plain.arrow": (CSV, "not a readable Arrow file"),
    "cut.arrow": (b"ARROW1\0\0" + CSV, "not a readable Arrow file"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_with_a_way_out(name: str, tmp_path: Path) -> None:
    content, message = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=message) as caught:
        read_task(tmp_path / name)
    assert name in str(caught.value) and str(caught.value).isprintable()


def test_a_damaged_folder_is_named_with_a_way_out(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "saved")
    state = tmp_path / "saved" / "train" / "state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps(content | {"_data_files": [{"filename": "../../rows.arrow"}]}))
    with pytest.raises(TaskError, match="no data file of its own"):
        read_task(tmp_path / "saved")
    state.write_text("{")
    with pytest.raises(TaskError, match=r"state.json is missing or damaged.*save_to_disk"):
        read_task(tmp_path / "saved")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pandas.DataFrame({"text": ["a", 1], "label": [1, 0]}), "mixes types.*astype"),
        (pandas.DataFrame({"text": [], "label": []}), "has no rows"),
        (np.zeros(3), "is a ndarray; give a path, a hub id"),
        (pyarrow.table([["a"], ["b"], ["c"]], ["text", "label", "text"]), "more than one column 'text'"),
    ],
)
def test_an_object_that_cannot_be_read_is_told(rows: object, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        read_task(rows)
