"""Files are found by what is in them; nothing half-written is ever found."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.files import Files, files_folder

DIE_WHILE_WRITING = """
import os, signal, sys
from storage.files import Files
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
Files(sys.argv[1]).put(b"module")
"""


def test_content_comes_back_under_its_sha256(tmp_path: Path) -> None:
    files = Files(tmp_path / "not" / "made" / "yet")
    content_hash = files.put(b"module")
    assert content_hash == hashlib.sha256(b"module").hexdigest()
    assert files.path(content_hash).read_bytes() == b"module"
    assert Files(files.folder).path(content_hash) == files.path(content_hash)


def test_same_content_is_kept_once_however_it_comes(tmp_path: Path) -> None:
    source = tmp_path / "train.csv"
    source.write_bytes(b"text,label\n" * 1000)
    files = Files(tmp_path / "peltier.files")
    with ThreadPoolExecutor(8) as pool:
        hashes = set(pool.map(lambda _: files.put_file(source), range(16)))
    assert hashes == {files.put(source.read_bytes())}
    assert [path.name for path in files.folder.iterdir()] == [*hashes]
    assert source.exists()


def test_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    content_hash = Files(tmp_path / "files").put_file(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert Files(tmp_path / "files").path(content_hash).stat().st_size == 64 << 20


@pytest.mark.parametrize("name", ["", "../x", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63, "٣" * 64])
def test_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("not ours")
    with pytest.raises(StorageError, match="is no content hash"):
        Files(tmp_path / "files").path(name)


def test_missing_file_is_said_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"there is no file {'0' * 64} in {tmp_path}"):
        Files(tmp_path).path("0" * 64)


def test_process_killed_while_writing_leaves_no_content(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIE_WHILE_WRITING, str(tmp_path)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == -9
    left = list(tmp_path.iterdir())
    assert len(left) == 1 and left[0].name.endswith(".partial")
    files = Files(tmp_path)
    content_hash = hashlib.sha256(b"module").hexdigest()
    with pytest.raises(StorageError, match="there is no file"):
        files.path(content_hash)
    assert files.put(b"module") == content_hash
    assert files.path(content_hash).read_bytes() == b"module"


def test_unreadable_source_and_unusable_folder_are_one_line(tmp_path: Path) -> None:
    files = Files(tmp_path / "files")
    for source in (tmp_path / "nothing", tmp_path):
        with pytest.raises(StorageError, match=f"cannot read {source}: .*; give a file"):
            files.put_file(source)
    assert list(files.folder.iterdir()) == []
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="cannot write into .*taken: .*; check that you may write"):
        Files(tmp_path / "taken").put(b"module")


def test_files_lie_beside_a_sqlite_file_else_in_the_home_of_peltier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PELTIER_HOME", raising=False)
    assert files_folder("sqlite:///x/peltier.db") == tmp_path / "x" / "peltier.files"
    assert files_folder("sqlite:////srv/studies.v2.db") == Path("/srv/studies.v2.files")
    assert files_folder("postgresql://me@host/x") == tmp_path / "peltier.files"
    monkeypatch.setenv("PELTIER_HOME", str(tmp_path / "home"))
    assert files_folder("postgresql://me@host/x") == tmp_path / "home" / "peltier.files"
    assert files_folder("sqlite:///peltier.db") == tmp_path / "peltier.files"
