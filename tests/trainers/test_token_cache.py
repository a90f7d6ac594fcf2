"""Tokens are kept on disk: nobody tokenises twice, and what is damaged or foreign is never read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families_of_tokenizers import bert
from tiny import rows_of, sentences, task_of, task_of_kind
from transformers import CanineTokenizer

from trainers import token_cache
from trainers.backbone import Backbone
from trainers.batches import batches, training_order
from trainers.data import Data, prepare
from trainers.kinds import KINDS
from trainers.splits import Split
from trainers.task import Task
from trainers.token_cache import cache_folder
from trainers.token_keys import hash_of_tokenizer, key_of
from trainers.tokens import Tokens

ARRAYS = ("ids", "types", "offsets", "labels", "places")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("PELTIER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokens"


class Counting:
    """A tokenizer that counts how often it is asked."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *given: Any, **options: Any) -> Any:
        self.calls += 1
        return self.tokenizer(*given, **options)


def counting(backbone: Backbone) -> Backbone:
    same_name = type(type(backbone.tokenizer).__name__, (Counting,), {})
    return replace(backbone, tokenizer=same_name(backbone.tokenizer))


def task(seed: int = 0) -> Task:
    return task_of(sentences(40, seed), sentences(12, seed + 1), sentences(9, seed + 2))


def assert_equal(first: Data, second: Data) -> None:
    assert first.max_length == second.max_length
    for name in ("train", "validation", "test"):
        one, other = getattr(first, name), getattr(second, name)
        for array in ARRAYS:
            a, b = getattr(one, array), getattr(other, array)
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and np.array_equal(a, b)), (name, array)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_tokenised_once_is_not_tokenised_again(kind: str, backbone: Backbone, folder: Path) -> None:
    task = task_of_kind(kind, 30, 12, 9)
    first = prepare(task, backbone)
    silent = counting(backbone)
    again = prepare(task, silent)
    assert silent.tokenizer.calls == 0
    assert_equal(first, again)


def test_kept_tokens_make_the_same_batches_as_fresh_ones(
    backbone: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(task(), backbone)
    kept = prepare(task(), backbone).train
    monkeypatch.setattr(token_cache, "cache_folder", lambda: None)
    fresh = prepare(task(), backbone).train
    for one, other in zip(batches_of(kept), batches_of(fresh), strict=True):
        for name in ("input_ids", "attention_mask", "token_type_ids", "labels"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def batches_of(tokens: Tokens) -> Iterator[Any]:
    order = training_order(tokens.lengths, 8, 0)
    return batches(tokens, order, 0, torch.device("cpu"))


def test_kept_tokens_lie_in_the_file_not_in_memory(backbone: Backbone, folder: Path) -> None:
    found = prepare(task(), backbone).train
    assert not found.ids.flags.owndata and not found.ids.flags.writeable
    (path,) = folder.glob("*.arrow")
    if sys.platform == "linux":
        assert str(path) in Path("/proc/self/maps").read_text()


def other_texts(backbone: Backbone) -> tuple[Task, Backbone, str]:
    return task(seed=9), backbone, "head"


def one_other_word(backbone: Backbone) -> tuple[Task, Backbone, str]:
    rows = sentences(9, 2)
    changed = Split((*rows.texts[:-1], "good"), None, rows.labels)
    return replace(task(), test=changed), backbone, "head"


def rows_moved_to_another_split(backbone: Backbone) -> tuple[Task, Backbone, str]:
    whole = sentences(40)
    parts = whole.take(np.arange(39)), whole.take(np.arange(39, 40))
    return replace(task(), train=parts[0], validation=parts[1]), backbone, "head"


def a_pair_of_the_same_texts(backbone: Backbone) -> tuple[Task, Backbone, str]:
    splits = {
        name: replace(getattr(task(), name), pairs=getattr(task(), name).texts)
        for name in ("train", "validation", "test")
    }
    return replace(task(), text_pair="other", **splits), backbone, "head"


def a_shorter_backbone(backbone: Backbone) -> tuple[Task, Backbone, str]:
    return task(), replace(backbone, max_length=10), "head"


def another_strategy(backbone: Backbone) -> tuple[Task, Backbone, str]:
    return task(), backbone, "head+tail"


def another_tokenizer(backbone: Backbone) -> tuple[Task, Backbone, str]:
    return task(), replace(backbone, tokenizer=bert()), "head"


@pytest.mark.parametrize(
    "change",
    [
        other_texts,
        one_other_word,
        rows_moved_to_another_split,
        a_pair_of_the_same_texts,
        a_shorter_backbone,
        another_strategy,
        another_tokenizer,
    ],
)
def test_anything_that_changes_the_tokens_is_tokenised_anew(
    change: Any, backbone: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(task(), backbone)
    other, reader, truncation = change(backbone)
    asked = counting(reader)
    found = prepare(other, asked, truncation)
    assert asked.tokenizer.calls > 0
    monkeypatch.setattr(token_cache, "cache_folder", lambda: None)
    assert_equal(found, prepare(other, reader, truncation))


def test_other_labels_of_the_same_texts_use_the_same_tokens(backbone: Backbone, folder: Path) -> None:
    prepare(task(), backbone)
    rows = task().train
    relabelled = replace(task(), train=Split(rows.texts, None, (rows.labels + 1) % 3))
    silent = counting(backbone)
    found = prepare(relabelled, silent)
    assert silent.tokenizer.calls == 0
    assert found.train.labels.tolist() == relabelled.train.labels.tolist()


def test_a_damaged_file_is_made_again(backbone: Backbone, folder: Path) -> None:
    whole = prepare(task(), backbone)
    (path,) = folder.glob("*.arrow")
    content = path.read_bytes()
    damages = [b"", b"tokens", content[: len(content) // 2], content[:-1]]
    for place in range(0, len(content), 97):
        damages.append(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    remade = 0
    for damage in damages:
        path.unlink()
        path.write_bytes(damage)
        asked = counting(backbone)
        assert_equal(prepare(task(), asked), whole)
        if asked.tokenizer.calls:
            remade += 1
            assert path.read_bytes() == content
    assert remade > len(damages) / 2  # a byte of padding changes nothing


WRITER = """
import sys
import numpy as np
from trainers.token_cache import Entry, cached
from trainers.tokens import Tokens

def made(number):
    ids = np.arange(number * 50_000, dtype=np.int32)
    return Entry((Tokens(ids, None, np.array([0, len(ids)]), np.zeros(1)),), 8)

print("ready", flush=True)
sys.stdin.readline()
for number in range(1, 20):
    entry = cached(f"{number:064}", [np.zeros(1)], lambda: made(number))
    assert np.array_equal(entry.tokens[0].ids, made(number).tokens[0].ids)
"""


def test_two_processes_may_keep_the_same_tokens_at_once(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER], env=environment, **pipes) for _ in range(2)]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n"] * 2
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(list(folder.glob("*.arrow"))) == 19 == len(list(folder.iterdir()))


def test_where_nothing_can_be_written_it_works_without(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PELTIER_CACHE", str(tmp_path / "file"))
    assert cache_folder() is None
    without = prepare(task(), backbone)
    assert (tmp_path / "file").read_text() == "not a folder"
    monkeypatch.setenv("PELTIER_CACHE", str(tmp_path / "cache"))
    assert_equal(prepare(task(), backbone), without)


def test_a_full_disk_leaves_no_half_entry(
    backbone: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_cache.os, "replace", full)
    assert len(prepare(task(), backbone).train) == 40
    assert list(folder.iterdir()) == []


def test_what_was_used_longest_ago_makes_room(
    backbone: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for seed in range(3):
        prepare(task(seed), backbone)
        (name,) = {path.name for path in folder.iterdir()} - set(names)
        names.append(name)
        os.utime(folder / name, (1000 + seed, 1000 + seed))
    prepare(task(0), backbone)  # the oldest one is used again
    size = max(path.stat().st_size for path in folder.iterdir())
    (folder / "crashed.part").write_bytes(b"")
    os.utime(folder / "crashed.part", (1000, 1000))
    (folder / "begun.part").write_bytes(b"")
    monkeypatch.setattr(token_cache, "MOST_BYTES", 2 * size + 100)
    prepare(task(3), backbone)
    left = {path.name for path in folder.iterdir()}
    assert len(left) == 3 and names[0] in left and "begun.part" in left


def test_what_is_larger_than_the_cache_is_not_kept(
    backbone: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "MOST_BYTES", 100)
    assert len(prepare(task(), backbone).train) == 40
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_only_its_user_may_look_into_the_cache(backbone: Backbone, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    prepare(task(), backbone)
    assert folder.stat().st_mode & 0o777 == 0o700
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert not any(text.encode() in path.read_bytes() for text in task().train.texts)


def test_the_cache_lies_where_the_system_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PELTIER_CACHE")
    monkeypatch.setattr(token_cache.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "peltier" / "tokens"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere" / "peltier" / "tokens"


def test_a_call_does_not_change_a_tokenizers_hash_and_its_rules_do() -> None:
    tokenizer = bert()
    before = hash_of_tokenizer(tokenizer)
    tokenizer("good", truncation=True, max_length=5, padding="max_length")
    assert hash_of_tokenizer(tokenizer) == before == hash_of_tokenizer(bert())
    tokenizer.truncation_side = "left"
    assert hash_of_tokenizer(tokenizer) != before
    assert len({before, hash_of_tokenizer(bert_of_cases())}) == 2


def bert_of_cases() -> Any:
    tokenizer = bert()
    tokenizer.backend_tokenizer.normalizer = None
    return tokenizer


def test_tokens_of_a_tokenizer_in_python_are_not_kept() -> None:
    assert key_of([sentences(3)], CanineTokenizer()) is None


def test_words_do_not_pass_for_other_words_with_the_same_letters() -> None:
    rows = rows_of("token-classification", 1)
    other = replace(rows, texts=((rows.texts[0][0] + rows.texts[0][1], *rows.texts[0][2:]),))
    assert key_of([rows], bert()) != key_of([other], bert())
