"""Which columns hold the text, the second text and the label, by the field's conventions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trainers.column_names import (
    LABELS,
    SCORES,
    TAGS,
    TEXTS,
    WORDS,
    completed,
    conventional,
    only_other,
    pair_in,
)
from trainers.flags import as_option, flagged, is_id, named_columns
from trainers.kinds import KINDS, PAIR, reads_pairs, single
from trainers.source import MOST_LISTED, TaskError, listed, quoted


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a task."""

    kind: str
    text: str
    text_pair: str | None
    label: str
    label_lists: bool = False
    """Whether the label column holds lists."""
    flags: tuple[str, ...] = ()
    """The columns of the labels, where each has a column of 0 and 1; `label` then names all of them."""

    def names(self) -> list[str]:
        labels = self.flags or (self.label,)
        return [name for name in (self.text, self.text_pair, *labels) if name is not None]


def choose_columns(
    file: str,
    names: Sequence[str],
    *,
    text: str | None,
    text_pair: str | None,
    label: str | None,
    kind: str | None,
    lists: Collection[str] = (),
    flags: Collection[str] = (),
    media: Mapping[str, str] | None = None,
) -> Columns:
    """The columns of the file with these column names; a name that is given always wins over a convention.

    `lists` are the columns that hold lists, `flags` those of 0 and 1, `media` those of pictures and the like,
    which are taken only when they are named. Whether a column of plain labels holds numbers is not looked at.

    Raises:
        TaskError: if they cannot be decided, or the given ones contradict each other.
    """
    several = named_columns(label, names)
    if len(several) > 1:
        return given_flags(file, names, several, text=text, text_pair=text_pair, kind=kind)
    label = several[0] if several else label
    check_given(file, names, text=text, text_pair=text_pair, label=label, kind=kind)
    given = (text, text_pair, label)
    others = {name: kind for name, kind in (media or {}).items() if name not in given}
    names = [name for name in names if name not in others]
    words = None if text_pair else word_columns(names, text=text, label=label, kind=kind, lists=lists)
    if words is not None:
        return words
    label = label or label_by_name(names, (text, text_pair), kind)
    found = flagged(names, flags, text)
    if found and label is None and text_pair is None and kind in (None, "multi-label"):
        return flag_columns(file, names, found, text)
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
        raise TaskError(undecided(file, names, missing, others))
    label_lists = label in lists
    if kind is None:
        kind = "multi-label" if label_lists else "classification"
        kind = kind if text_pair is None else PAIR + "classification"
    return Columns(kind=kind, text=text, text_pair=text_pair, label=label, label_lists=label_lists)


def undecided(file: str, names: Sequence[str], missing: str, media: Mapping[str, str]) -> str:
    """That the columns with these names do not tell what they are."""
    have = listed(map(quoted, names), 20)
    if not media:
        return f"cannot tell the columns of {file} apart ({have}); name them with {missing}"
    held = listed((f"{kind} in column {quoted(name)}" for name, kind in media.items()), MOST_LISTED)
    return (
        f"{file} holds {held}, which cannot be trained on, and its other columns ({have or 'none'}) do not "
        f"tell which is the text; text is needed: name its column, with {missing}"
    )


def flag_columns(file: str, names: Sequence[str], flags: Sequence[str], text: str | None) -> Columns:
    """The columns of labels that have a column each, and the text beside them."""
    rest = [name for name in names if name not in set(flags)]
    others = [name for name in rest if not is_id(name)]
    text = text or conventional(TEXTS, rest, (), outranking=1) or (others[0] if len(others) == 1 else None)
    if text is None:
        raise TaskError(
            f"cannot tell the text column of {file} ({listed(map(quoted, rest), 20)}); name it with --text"
        )
    return Columns(kind="multi-label", text=text, text_pair=None, label=as_option(flags), flags=tuple(flags))


def given_flags(
    file: str,
    names: Sequence[str],
    flags: Sequence[str],
    *,
    text: str | None,
    text_pair: str | None,
    kind: str | None,
) -> Columns:
    """The columns of labels that one --label names.

    Raises:
        TaskError: if one is not there or named twice, or the other arguments do not suit several labels.
    """
    for name in flags:
        check_given(file, names, text=text, text_pair=text_pair, label=name, kind=kind)
    if len(set(flags)) < len(flags):
        raise TaskError(f"--label {quoted(as_option(flags))} names a column of {file} twice; name each once")
    if text_pair is not None or kind not in (None, "multi-label"):
        other = f"--text-pair {quoted(text_pair)}" if text_pair is not None else f"--task {kind}"
        raise TaskError(
            f"--label names {len(flags):,} columns of {file}, so each row has one text and several labels, "
            f"which {other} does not suit; leave it out, or name one column with --label"
        )
    return flag_columns(file, names, flags, text)


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
