"""Small tokenizers of the kinds that backbones have, trained on the spot."""

from __future__ import annotations

from typing import Any

from tiny import WORDS, sentences
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, CanineTokenizer, PreTrainedTokenizerFast

TEXTS = sentences(200).texts


def bert() -> Any:
    """Word pieces of one letter, and whole words; `[CLS] a [SEP] b [SEP]` with segments."""
    letters = [chr(i) for i in range(33, 127)]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS[1:],
        *letters,
        *("##" + c for c in letters),
    ]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=10**9)


def byte_pairs(vocabulary: int = 300) -> Any:
    """The byte pairs of GPT-2, without special tokens."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    plain.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return plain


def gpt2() -> Any:
    plain = byte_pairs()
    plain.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>")


def roberta() -> Any:
    """`<s> a </s></s> b </s>`."""
    plain = byte_pairs()
    plain.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>")


def llama() -> Any:
    """`<s> a <s> b`."""
    plain = byte_pairs()
    begin = [("<s>", 0)]
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=begin
    )
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>")


def t5() -> Any:
    """Sentence pieces; `a </s> b </s>`."""
    plain = Tokenizer(models.Unigram())
    plain.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    plain.train_from_iterator(TEXTS, trainer)
    plain.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>", pad_token="<pad>")


def cut_at_the_begin() -> Any:
    tokenizer = bert()
    tokenizer.truncation_side = "left"
    return tokenizer


MAKERS = {
    "bert": bert,
    "roberta": roberta,
    "gpt2": gpt2,
    "llama": llama,
    "t5": t5,
    "left": cut_at_the_begin,
    "canine, in Python": CanineTokenizer,
}
