"""The words of a recommendation: names, counts, sizes, differences."""

from __future__ import annotations

from selector.contenders import Compared, Finalist
from selector.statistics import Difference

BASELINE_NAMES = {
    "majority": "the majority class",
    "mean": "the mean of the training rows",
    "tfidf_logistic_regression": "TF-IDF with logistic regression",
    "tfidf_ridge": "TF-IDF with ridge regression",
    "word_tags": "the most frequent tag of each word",
    "linear_probe": "the linear probe",
    "frequent_labels": "the labels that most rows have",
    "frequent_tag": "the most frequent tag",
    "full": "full fine-tuning",
}


def name_of(contender: Compared) -> str:
    """A method's name, or a baseline's in words."""
    name = contender.method if isinstance(contender, Finalist) else contender.name
    return BASELINE_NAMES.get(name, name)


def label(contender: Compared) -> str:
    """The name with the number of the trial, if there is one."""
    name = name_of(contender)
    return f"{name} (trial {contender.trial})" if isinstance(contender, Finalist) else name


def points(one: Difference) -> str:
    """A difference in points, that is, hundredths of the metric."""
    # Adding zero turns -0.0 into 0.0.
    mean, low, high = (round(100 * number, 1) + 0.0 for number in (one.mean, one.low, one.high))
    return f"{mean:+.1f} points, 95 % interval {low:.1f} to {high:.1f}"


def count(number: float, noun: str) -> str:
    """A number of things, such as "1 seed", "3 seeds" or "0.25 epochs"."""
    return f"{as_whole(number):,} {noun}{'' if number == 1 else 's'}"


def as_whole(number: float) -> float:
    """An integer where the number is one, so that it is written as 2 and not as 2.0."""
    return round(number) if number == round(number) else number


def size(stored_bytes: int) -> str:
    """Bytes in the largest unit that keeps the number above one."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if stored_bytes >= one:
            return f"{stored_bytes / one:.1f} {unit}"
    return count(stored_bytes, "byte")
