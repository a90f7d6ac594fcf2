"""Words as tokens: every word is read once, by its first token, with every tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES, rows_of
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import batches, evaluation_order
from trainers.checkpoint import BackboneError
from trainers.method import METHODS
from trainers.splits import Split
from trainers.stack import Candidate, Stack
from trainers.tokenising import tokenise
from trainers.tokens import Tokens
from trainers.train import logits_of
from trainers.word_tokens import encode_words

ROWS = (("Ada", "plays", "chess", "in", "Rome", "."), ("naïve", "café", "don't"), ("x",))


def word_pieces() -> Any:
    """A BERT tokenizer that cuts words into characters."""
    letters = [chr(i) for i in range(33, 127)] + list("ïé")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    tokenizer = BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=False)
    return tokenizer


def byte_pairs(*, space: bool) -> Any:
    """A tokenizer of bytes as GPT-2's, a letter with the space before it; with a `space` before all."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    begins = ["Ġ" + letter for letter in alphabet if letter.isascii()]
    vocabulary = {letter: i for i, letter in enumerate([*alphabet, *begins, "<s>", "</s>"])}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(begin) for begin in begins]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    ends = [(name, vocabulary[name]) for name in ("<s>", "</s>")]
    plain.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("make", [word_pieces, lambda: byte_pairs(space=True)], ids=["bert", "gpt2"])
def test_a_word_is_its_first_token_as_transformers_counts_words(make: Any) -> None:
    tokenizer = make()
    encoded = encode_words(ROWS, tokenizer, 128)
    expected, before = [], 0
    for words, ids in zip(ROWS, encoded.ids, strict=True):
        oracle = tokenizer(list(words), is_split_into_words=True)
        assert ids == oracle["input_ids"]
        numbers = oracle.word_ids()
        expected += [before + numbers.index(word) for word in range(len(words))]
        before += len(ids)
    assert encoded.places.tolist() == expected


def test_without_a_leading_space_a_word_is_still_found() -> None:
    tokenizer = byte_pairs(space=False)
    encoded = encode_words(ROWS, tokenizer, 128)
    flat = [token for ids in encoded.ids for token in tokenizer.convert_ids_to_tokens(ids)]
    firsts = [flat[place].removeprefix("Ġ")[:1] for place in encoded.places]
    assert firsts[:2] == ["A", "p"] and firsts[-1] == "x"
    assert len(set(encoded.places.tolist())) == sum(map(len, ROWS)) - firsts.count("")


def test_a_word_of_which_the_tokenizer_leaves_nothing_shares_a_token() -> None:
    tokenizer = word_pieces()
    encoded = encode_words([("a", "\u200b", "b"), ("c", "\u200b"), ("\u200b",)], tokenizer, 32)
    tokens = [token for ids in encoded.ids for token in tokenizer.convert_ids_to_tokens(ids)]
    assert [tokens[place] for place in encoded.places] == ["a", "b", "b", "c", "[SEP]", "[SEP]"]


def long_row(words: int) -> Split:
    rows = rows_of("token-classification", 40)
    row = tuple(word for part in rows.texts for word in part)[:words]
    return Split((row,), None, rows.labels[:words], np.array([0, words]))


def test_a_long_row_is_read_in_parts_and_every_word_once(backbone: Backbone) -> None:
    split = long_row(50)
    tokens = tokenise(split, backbone.tokenizer, 12)
    assert len(tokens) == 5 and tokens.lengths.max() <= 12
    seen: list[int] = []
    for batch in batches(tokens, evaluation_order(tokens.lengths, 2), 0, torch.device("cpu")):
        assert batch.words is not None
        seen += batch.items.tolist()
        words = [split.texts[0][item] for item in batch.items]
        assert batch.input_ids.flatten()[batch.words].tolist() == tokens_of(backbone, words)
        assert batch.labels.tolist() == split.labels[batch.items].tolist()
    assert sorted(seen) == list(range(50))


def tokens_of(backbone: Backbone, words: list[str]) -> list[int]:
    found: list[int] = backbone.tokenizer.convert_tokens_to_ids(words)
    return found


def test_the_parts_of_a_long_row_are_read_as_rows_of_their_own(backbone: Backbone) -> None:
    stack = Stack(backbone, [Candidate(METHODS["lora"](), seed) for seed in (0, 1)], CLASSES)
    split = long_row(25)
    together = logits_of(stack, tokenise(split, backbone.tokenizer, 12))
    parts = tuple(split.texts[0][i : i + 10] for i in (0, 10, 20))
    alone = Split(parts, None, split.labels, np.array([0, 10, 20, 25]))
    assert np.allclose(logits_of(stack, tokenise(alone, backbone.tokenizer, 32)), together, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt"])
def test_padding_and_neighbours_do_not_change_a_words_prediction(method: str, any_backbone: Backbone) -> None:
    stack = Stack(any_backbone, [Candidate(METHODS[method](), seed) for seed in (0, 1)], CLASSES)
    split = rows_of("token-classification", 6)
    assert split.offsets is not None
    together = logits_of(stack, tokenise(split, any_backbone.tokenizer, 32))
    for row in range(6):
        one = split.take(np.array([row]))
        alone = logits_of(stack, tokenise(one, any_backbone.tokenizer, 32))
        assert np.allclose(alone, together[:, split.offsets[row] : split.offsets[row + 1]], atol=1e-5)


def test_what_is_left_of_a_long_word_is_no_row_and_no_word_no_prediction() -> None:
    split = Split((("abcdefghij",), (), ("k",)), None, np.array([1, 2]), np.array([0, 1, 1, 2]))
    tokens = tokenise(split, word_pieces(), 6)
    assert tokens.lengths.tolist() == [6, 3]
    assert tokens.places is not None and tokens.places.tolist() == [1, 7]
    assert len(tokenise(Split(((),), None, np.zeros(0, int), np.array([0, 0])), word_pieces(), 6)) == 0


def test_taken_rows_keep_their_words(backbone: Backbone) -> None:
    tokens = tokenise(rows_of("token-classification", 6), backbone.tokenizer, 32)
    taken = tokens.take(np.array([4, 1]))
    assert taken.places is not None and tokens.places is not None
    for new, old in enumerate((4, 1)):
        (items,) = (tokens.items(np.array([old])),)
        (own,) = (taken.items(np.array([new])),)
        assert taken.labels[own].tolist() == tokens.labels[items].tolist()
        assert taken.ids[taken.places[own]].tolist() == tokens.ids[tokens.places[items]].tolist()
    assert isinstance(taken, Tokens) and len(taken) == 2


def test_a_tokenizer_that_cannot_tell_its_words_is_refused(backbone: Backbone) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(BackboneError, match=r"tokenizer Slow does not tell.*tokenizer\.json"):
        tokenise(rows_of("token-classification", 2), Slow(), 32)
