"""The names that columns have by the field's conventions, and the columns that they point to."""

from __future__ import annotations

from collections.abc import Sequence

# The first two outrank the others ("label" beside "category" is the label); the others must be alone.
LABELS = ("label", "labels", "intent", "category", "class", "target", "tag")
# Numbers: taken where no column has a name of the above, and before them when a number is to be predicted.
SCORES = (
    "score",
    "similarity",
    "stars",
    "rating",
    "similarity_score",
    "relatedness_score",
    "relatedness",
    "gold_score",
)
# Columns of words and of their tags; the first that is there is taken (CoNLL-2003 has pos_tags, too).
WORDS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "label", "pos_tags", "upos", "chunk_tags", "ner", "pos")
TEXTS = (
    "text",
    "sentence",
    "question",
    "message",
    "content",
    "utterance",
    "query",
    "review",
    "comment",
    "tweet",
    "document",
    "body",
    "title",
)
# The column names of the GLUE tasks, and those of sentence-pair files elsewhere.
PAIRS = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "passage"),
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("sentence_1", "sentence_2"),
    ("text_1", "text_2"),
)


def conventional(
    words: Sequence[str], names: Sequence[str], taken: Sequence[str | None], outranking: int
) -> str | None:
    """The one column that is named by one of the words, in any case; the first words outrank the others."""
    found = [name for word in words for name in names if name.lower() == word and name not in taken]
    if len(found) > 1 and found[0].lower() not in words[:outranking]:
        return None
    return found[0] if found else None


def pair_in(names: Sequence[str], label: str | None) -> tuple[str | None, str | None]:
    """The two columns of the one pair that is in the file, else None twice."""
    named = {name.lower(): name for name in names if name != label}
    found = [(named[a], named[b]) for a, b in PAIRS if a in named and b in named]
    return found[0] if len(found) == 1 else (None, None)


def completed(text: str | None, text_pair: str | None, names: Sequence[str]) -> tuple[str | None, str | None]:
    """The two columns of a pair of which at least one is given."""
    named = {name.lower(): name for name in names}
    for first, second in PAIRS:
        if text is None and text_pair is not None and text_pair.lower() == second:
            text = named.get(first)
        if text_pair is None and text is not None and text.lower() == first:
            text_pair = named.get(second)
    return text, text_pair


def only_other(names: Sequence[str], known: str | None) -> str | None:
    others = [name for name in names if name != known]
    return others[0] if known in names and len(others) == 1 else None
