"""Which columns hold the text, the second text and the label, by the field's conventions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trainers.kinds import KINDS, PAIR, reads_pairs, single
from trainers.source import TaskError, listed, quoted

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


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a task."""

    kind: str
    text: str
    text_pair: str | None
    label: str
    label_lists: bool = False
    """Whether the label column holds lists."""

    def names(self) -> list[str]:
        return [name for name in (self.text, self.text_pair, self.label) if name is not None]


def choose_columns(
    file: str,
    names: Sequence[str],
    *,
    text: str | None,
    text_pair: str | None,
    label: str | None,
    kind: str | None,
    lists: Collection[str] = (),
) -> Columns:
    """The columns of the file with these column names; a name that is given always wins over a convention.

    `lists` are the columns that hold lists. Whether a column of plain labels holds numbers is not looked at.

    Raises:
        TaskError: if they cannot be decided, or the given ones contradict each other.
    """
    check_given(file, names, text=text, text_pair=text_pair, label=label, kind=kind)
    words = None if text_pair else word_columns(names, text=text, label=label, kind=kind, lists=lists)
    if words is not None:
        return words
    label = label or label_by_name(names, (text, text_pair), kind)
    pairs = kind is not None and reads_pairs(kind)
    if text is None and text_pair is None and (kind is None or pairs):
        text, text_pair = pair_in(names, label)
    elif pairs or text_pair is not None:
        text, text_pair = completed(text, text_pair, names)
    if text is None and text_pair is None and not pairs:
        text = conventional(TEXTS, names, (label,), outranking=1)
        # of two columns, one known by its name leaves no doubt about the other
        text = text or only_other(names, label)
        label = label or only_other(names, text)
    missing = missing_options(text, text_pair, label, kind)
    if missing or text is None or label is None:
        have = listed(map(quoted, names), 20)
        raise TaskError(f"cannot tell the columns of {file} apart ({have}); name them with {missing}")
    label_lists = label in lists
    if kind is None:
        kind = "multi-label" if label_lists else "classification"
        kind = kind if text_pair is None else PAIR + "classification"
    return Columns(kind=kind, text=text, text_pair=text_pair, label=label, label_lists=label_lists)


def word_columns(
    names: Sequence[str], *, text: str | None, label: str | None, kind: str | None, lists: Collection[str]
) -> Columns | None:
    """The columns of words and their tags: both are lists, are named so in full, or the kind is given."""
    if kind not in (None, "token-classification"):
        return None
    text = text or conventional(WORDS, names, (label,), outranking=len(WORDS))
    label = label or conventional(TAGS, names, (text,), outranking=len(TAGS))
    if text is None or label is None:
        return None
    in_full = text.lower() == "tokens" and label.lower() in TAGS and label.lower() not in LABELS[:2]
    in_lists = {text, label} <= set(lists)
    if kind is None and not in_lists and not (in_full and not {text, label} & set(lists)):
        return None
    return Columns(kind="token-classification", text=text, text_pair=None, label=label, label_lists=True)


def label_by_name(names: Sequence[str], taken: Sequence[str | None], kind: str | None) -> str | None:
    """The column of the labels, or of the numbers, by its name."""
    label = conventional(LABELS, names, taken, outranking=2)
    number = conventional(SCORES, names, taken, outranking=len(SCORES))
    return number or label if kind is not None and single(kind) == "regression" else label or number


def check_given(
    file: str,
    names: Sequence[str],
    *,
    text: str | None,
    text_pair: str | None,
    label: str | None,
    kind: str | None,
) -> None:
    """Refuse an unknown kind, a column that is missing or given twice, and a second text for a single one."""
    if kind is not None and kind not in KINDS:
        raise TaskError(f"the task {quoted(kind)} is unknown; choose --task from {listed(KINDS)}")
    given = {"--text": text, "--text-pair": text_pair, "--label": label}
    chosen = [name for name in given.values() if name is not None]
    for option, name in given.items():
        if name is not None and name not in names:
            have = listed(map(quoted, names), 20)
            raise TaskError(
                f"{file} has no column {quoted(name)}; it has {have}. Give one of these as {option}"
            )
        if chosen.count(name or "") > 1:
            raise TaskError(f"column {quoted(name)} of {file} is given twice; {listed(given)} must differ")
    if kind is not None and not reads_pairs(kind) and text_pair is not None:
        other = f", or use --task {PAIR}{kind}" if PAIR + kind in KINDS else ""
        raise TaskError(
            f"--task {kind} reads one text, but --text-pair {quoted(text_pair)} is given as well; "
            f"leave out --text-pair{other}"
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


def missing_options(text: str | None, text_pair: str | None, label: str | None, kind: str | None) -> str:
    """The options that would decide, as a message lists them."""
    pair = reads_pairs(kind) if kind else text is None and text_pair is None
    options = []
    if text is None:
        options.append("--text")
    if text_pair is None and pair:
        options.append("--text-pair" if kind else "--text-pair (where there are two texts)")
    if label is None:
        options.append("--label")
    return listed(options)
