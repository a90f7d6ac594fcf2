"""An upload is data from a stranger: its name is no path, its ending is checked."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from selector import uploads
from selector.archive import zip_folder
from selector.study import RequestError
from selector.uploads import ENDINGS, Upload, first_rows, safe_name, written
from trainers.task import TaskError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("tickets.csv", "tickets.csv"),
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\data\\my tickets (2).JSONL", "my-tickets-2.jsonl"),
        ("kündigungen.tsv", "k-ndigungen.tsv"),
        ("...csv", "data.csv"),
        ("a\nb\0c.json", "a-b-c.json"),
        (f"{'x' * 300}.parquet", f"{'x' * 64}.parquet"),
    ],
)
def test_names_become_safe_and_keep_their_ending(given: str, kept: str) -> None:
    assert safe_name(Upload(given, b"")) == kept


@pytest.mark.parametrize("given", ["model.pkl", "tickets", "tickets.csv.exe", ""])
def test_other_endings_are_refused_with_those_that_are_read(given: str) -> None:
    with pytest.raises(RequestError, match=", ".join(ENDINGS)):
        safe_name(Upload(given, b""))


def test_file_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 1 << 20)
    safe_name(Upload("a.csv", bytes(1 << 20)))
    with pytest.raises(RequestError, match="at most 1 MB"):
        safe_name(Upload("a.csv", bytes((1 << 20) + 1)))


def test_files_of_one_name_do_not_overwrite_each_other_and_go_away() -> None:
    with written(Upload("a.csv", b"1"), test=Upload("a.csv", b"2")) as files:
        assert files.validation is None and files.test is not None
        assert (files.train.read_bytes(), files.test.read_bytes()) == (b"1", b"2")
        folder = files.train.parent.parent
    assert not folder.exists()


def test_errors_name_the_file_as_the_user_knows_it() -> None:
    with pytest.raises(TaskError) as caught, written(Upload("empty.csv", b"")) as files:
        first_rows(files.train)
    assert str(caught.value).startswith("empty.csv is empty")


def test_first_rows_of_every_text_format_are_the_same(tmp_path: Path) -> None:
    contents = {
        "a.csv": "text,n\nhello,1\nyou,2\n",
        "a.tsv": "text\tn\nhello\t1\nyou\t2\n",
        "a.jsonl": '{"text": "hello", "n": 1}\n{"text": "you", "n": 2}\n',
        "a.json": '[{"text": "hello", "n": 1}, {"text": "you", "n": 2}]',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        assert first_rows(tmp_path / name, 1) == {"text": ["hello"], "n": ["1"]}, name


def test_zip_holds_the_folder_and_follows_no_links(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (folder / "deep").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "deep" / "module.safetensors").write_bytes(b"\0\1")
    (tmp_path / "secret").write_text("no")
    (folder / "link").symlink_to(tmp_path / "secret")
    with zipfile.ZipFile(BytesIO(zip_folder(folder, "tickets-export"))) as archive:
        names = ["tickets-export/deep/module.safetensors", "tickets-export/manifest.json"]
        assert sorted(archive.namelist()) == names
        assert archive.read(names[0]) == b"\0\1"


def test_missing_export_folder_says_how_to_write_it_again(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="peltier export STUDY FOLDER"):
        zip_folder(tmp_path / "gone", "tickets-export")
