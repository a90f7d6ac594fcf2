"""Texts are tokenised once and cut afterwards: to what the tokenizer's own truncation would have given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from families_of_tokenizers import MAKERS, TEXTS, bert, gpt2, roberta, t5
from transformers.utils import logging as transformers_logging

from trainers.checkpoint import BackboneError
from trainers.raw_tokens import count_tokens
from trainers.special_tokens import frame_of
from trainers.splits import Split
from trainers.tokenising import read_rows, tokenise
from trainers.tokens import Tokens
from trainers.truncation import HEAD, HEAD_AND_TAIL, ends, kept_counts

LENGTHS = (6, 13, 32, 33, 64)


@pytest.fixture(scope="module", params=MAKERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    transformers_logging.set_verbosity_error()  # its own truncation of pairs warns at each text
    return MAKERS[request.param]()


def texts(count: int, seed: int) -> tuple[str, ...]:
    """None, one or several sentences; and what tokenizers stumble over."""
    chance = np.random.default_rng(seed)
    odd = ["", " ", "\n", "naïve 电影  film\t!", "[SEP] </s>", "x" * 300]
    rows = [" ".join(chance.choice(TEXTS, chance.integers(0, 5))) for _ in range(count - len(odd))]
    return tuple(odd + rows) if seed % 2 else tuple(rows + odd)


def split_of(first: Sequence[str], second: Sequence[str] | None = None) -> Split:
    return Split(tuple(first), None if second is None else tuple(second), np.arange(len(first)))


def row(tokens: Tokens, i: int) -> list[int]:
    found: list[int] = tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
    return found


@pytest.mark.parametrize("pairs", [False, True], ids=["single", "pairs"])
def test_cut_tokens_are_those_of_the_tokenizers_own_truncation(tokenizer: Any, pairs: bool) -> None:
    split = split_of(texts(40, 0), texts(40, 1) if pairs else None)
    once = read_rows(split, tokenizer, max(LENGTHS))
    separates = frame_of(tokenizer, 2).ids[1]
    second = split.pairs if separates or split.pairs is None else ["\n" + text for text in split.pairs]
    for length in LENGTHS:
        oracle = tokenizer(
            list(split.texts), second and list(second), truncation="longest_first", max_length=length
        )
        for found in (once.cut(length), tokenise(split, tokenizer, length)):
            assert found.lengths.max() <= length
            assert (found.types is not None) == ("token_type_ids" in oracle)
            for i, expected in enumerate(oracle["input_ids"]):
                if expected:
                    assert row(found, i) == expected
                if found.types is not None:
                    types = found.types[found.offsets[i] : found.offsets[i + 1]]
                    assert types.tolist() == oracle["token_type_ids"][i]


def test_an_empty_text_without_special_tokens_is_one_token() -> None:
    tokenizer = gpt2()
    found = tokenise(split_of(["", "good film", ""]), tokenizer, 8)
    assert row(found, 0) == row(found, 2) == [tokenizer.eos_token_id]
    assert row(found, 1) == tokenizer("good film")["input_ids"]


def test_head_and_tail_keep_the_first_and_the_last_half(tokenizer: Any) -> None:
    split = split_of(texts(60, 0))
    once = read_rows(split, tokenizer, max(LENGTHS), HEAD_AND_TAIL)
    frame = frame_of(tokenizer, 1)
    before, behind = (list(ids) for ids in frame.ids)
    for length in LENGTHS:
        found = once.cut(length)
        for i, text in enumerate(split.texts):
            whole = tokenizer(text, add_special_tokens=False)["input_ids"]
            room = length - frame.count
            if len(whole) > room:
                whole = whole[: room - room // 2] + whole[len(whole) - room // 2 :]
            assert row(found, i) == (before + whole + behind or [tokenizer.eos_token_id])


def test_each_text_of_a_pair_keeps_both_ends_of_what_the_longest_first_rule_leaves_it() -> None:
    tokenizer = roberta()
    first, second = texts(40, 2), texts(40, 3)
    for length in (14, 31):
        found = tokenise(split_of(first, second), tokenizer, length, HEAD_AND_TAIL)
        for i, pair in enumerate(zip(first, second, strict=True)):
            whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in pair]
            kept = [int(one[0]) for one in kept_counts([np.array([len(ids)]) for ids in whole], length - 4)]
            a, b = (
                ids if len(ids) <= n else ids[: n - n // 2] + ids[len(ids) - n // 2 :]
                for ids, n in zip(whole, kept, strict=True)
            )
            assert row(found, i) == [0, *a, 1, 1, *b, 1]


def test_room_in_a_pair_is_shared_as_if_the_longer_text_lost_one_token_after_the_other() -> None:
    for first, second, room in product(range(10), range(10), range(16)):
        a, b = first, second
        while a + b > room:
            a, b = (a - 1, b) if a > b else (a, b - 1)
        found = kept_counts([np.array([first]), np.array([second])], room, odd_to_first=True)
        assert (found[0][0], found[1][0]) == (a, b)
        # tokenizers in Rust differ only in whom an odd token goes to
        rust = [int(one[0]) for one in kept_counts([np.array([first]), np.array([second])], room)]
        assert sum(rust) == a + b and abs(rust[0] - a) <= 1


def test_an_unknown_strategy_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"truncation 'tail' is unknown; possible: head, head\+tail"):
        ends(np.array([3]), "tail")


VERY_LONG = {
    "words": " ".join(TEXTS) * 20,
    "no spaces": "电影很好看我们喜欢它" * 10_000,
    "dots": "." * 100_000,
    "blank": " " * 100_000 + "good film",
}


@pytest.mark.parametrize("text", VERY_LONG.values(), ids=VERY_LONG.keys())
@pytest.mark.parametrize("make", [bert, roberta, t5])
def test_a_very_long_text_gives_the_tokens_that_the_whole_would(make: Any, text: str) -> None:
    tokenizer = make()
    frame = frame_of(tokenizer, 1)
    whole = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    room = 128 - frame.count
    for strategy in (HEAD, HEAD_AND_TAIL):
        first, last = (int(one[0]) for one in ends(np.array([room]), strategy))
        cut = whole if len(whole) <= room else whole[:first] + whole[len(whole) - last :]
        found = tokenise(split_of(["good film", text]), tokenizer, 128, strategy)
        assert row(found, 1) == [*frame.ids[0], *cut, *frame.ids[1]]


def test_of_a_very_long_text_only_its_ends_reach_the_tokenizer() -> None:
    tokenizer = bert()
    read: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def __call__(self, *given: Any, **options: Any) -> Any:
            read.append(sum(map(len, given[0])))
            return tokenizer(*given, **options)

    for strategy in (HEAD, HEAD_AND_TAIL):
        read.clear()
        tokenise(split_of(["good film " * 1_000_000]), Counting(), 128, strategy)
        assert sum(read) < 30_000
        read.clear()
        tokenise(split_of(["x" * 10_000_000]), Counting(), 128, strategy)  # one word: a single token
        assert max(read) <= 1_000_000


def test_tokens_are_counted_as_the_tokenizer_counts_and_of_endless_texts_the_first_million() -> None:
    tokenizer = bert()
    found = count_tokens([*texts(20, 0), "a " * 700_000], tokenizer)
    assert found[:-1].tolist() == [
        len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts(20, 0)
    ]
    assert found[-1] == 500_000


def test_a_tokenizer_that_turns_pairs_round_is_refused() -> None:
    class Turned:
        is_fast = True

        def __call__(self, *given: str, **options: Any) -> Any:
            mask = [0, 1] if len(given) == 1 else [0, 1, 0, 0]
            return {"input_ids": [5] * len(given), "special_tokens_mask": mask, "token_type_ids": mask}

    with pytest.raises(BackboneError, match="does more than to put special tokens around texts"):
        frame_of(Turned(), 2)
